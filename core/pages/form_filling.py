"""Fills in a form with values that a person typed before. Works on the HTML of the page, and so with every form.

Only visible fields that people type into are filled in: no secrets, and no hidden fields, except for the fingerprint of
what they saw when they typed it (`core/pages/seen.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urlsplit

from django.utils.html import escape

from core.pages import seen

Typed = Mapping[str, Sequence[str]]

_NOT_TYPED = frozenset({"hidden", "password", "file", "submit", "button", "image", "reset"})
_SECRET = frozenset({"current-password", "new-password", "one-time-code"})


@dataclass(frozen=True)
class Edit:
    start: int
    end: int
    text: str


@dataclass
class Control:
    """An input, textarea or select, with its position in the page. ``until`` is where its content ends."""

    tag: str
    attributes: dict[str, str | None]
    start: int
    end: int
    until: int = 0
    options: list["Control"] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.attributes.get("name") or ""

    @property
    def kind(self) -> str:
        return (self.attributes.get("type") or "text").lower() if self.tag == "input" else self.tag

    @property
    def is_typed(self) -> bool:
        words = set((self.attributes.get("autocomplete") or "").split())
        return bool(
            self.name and self.kind not in _NOT_TYPED and "disabled" not in self.attributes and not words & _SECRET
        )


@dataclass
class Form:
    action: str
    id: str
    controls: list[Control] = field(default_factory=list)
    button: str = ""

    @property
    def names(self) -> set[str]:
        return {control.name for control in self.controls if control.is_typed}


@dataclass(frozen=True)
class Filled:
    """``button`` is the text of the form's button. ``html`` is unchanged if the page has no such form."""

    html: str
    button: str = ""
    is_found: bool = False


def fill(html: str, *, path: str, action: str, typed: Typed) -> Filled:
    """``path`` is the path of the page, ``action`` the address that the form was sent to."""
    forms = _forms_of(html, path)
    chosen = [form for form in forms if form.action == action and (form.names or not typed)]
    if typed and not chosen:
        chosen = _like(forms, typed)
    if not chosen:
        return Filled(html)
    edits = [edit for form in chosen for edit in _edits(form, typed)]
    for edit in sorted(edits, key=lambda edit: edit.start, reverse=True):
        html = html[: edit.start] + edit.text + html[edit.end :]
    return Filled(html, " ".join(chosen[0].button.split()), is_found=True)


def _like(forms: Sequence[Form], typed: Typed) -> list[Form]:
    """If the form was in the answer to another form, such as the review of a policy: that other form."""
    most = max(forms, key=lambda form: len(form.names & typed.keys()), default=None)
    return [most] if most and 2 * len(most.names & typed.keys()) >= len(typed) else []


def _edits(form: Form, typed: Typed) -> Iterator[Edit]:
    values = {name: list(given) for name, given in typed.items()}
    for control in form.controls:
        if control.is_typed or control.name == seen.FIELD:
            yield from _filled(control, values.get(control.name))


def _filled(control: Control, values: list[str] | None) -> Iterator[Edit]:
    """``values`` is ``None`` if the name was not sent, as for an empty checkbox. Text fields of one name get one."""
    if control.kind in {"checkbox", "radio"}:
        yield _marked(control, "checked", (control.attributes.get("value") or "on") in (values or []))
    elif control.tag == "select":
        for option in control.options:
            if values is not None or "multiple" in control.attributes:
                yield _marked(option, "selected", option.attributes.get("value") in (values or []))
    elif values:
        value = values.pop(0)
        if control.tag == "textarea":
            # A line break directly after the tag is not part of the text.
            yield Edit(control.end, control.until, f"\n{escape(value)}")
        else:
            yield _tag(control, {**control.attributes, "value": value})


def _marked(control: Control, attribute: str, is_set: bool) -> Edit:
    attributes = {name: value for name, value in control.attributes.items() if name != attribute}
    return _tag(control, {**attributes, attribute: None} if is_set else attributes)


def _tag(control: Control, attributes: Mapping[str, str | None]) -> Edit:
    written = [name if value is None else f'{name}="{escape(value)}"' for name, value in attributes.items()]
    return Edit(control.start, control.end, f"<{' '.join([control.tag, *written])}>")


def _forms_of(html: str, path: str) -> list[Form]:
    reader = _Reader(html, path)
    reader.feed(html)
    reader.close()
    return reader.forms()


class _Reader(HTMLParser):
    """Finds the POST forms of a page with their controls, including controls that refer to a form by ``form``."""

    def __init__(self, html: str, path: str) -> None:
        super().__init__()
        self._path = path
        self._lines = [0]
        for line in html.split("\n"):
            self._lines.append(self._lines[-1] + len(line) + 1)
        self._forms: list[tuple[Form, bool]] = []
        self._open: Form | None = None
        self._select: Control | None = None
        self._textarea: Control | None = None
        self._button: Form | None = None
        self._elsewhere: list[tuple[str, Control]] = []

    def forms(self) -> list[Form]:
        for form_id, control in self._elsewhere:
            for form, _ in self._forms:
                if form.id == form_id:
                    form.controls.append(control)
        return [form for form, is_post in self._forms if is_post]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        start = self._offset()
        control = Control(tag, attributes, start, start + len(self.get_starttag_text() or ""))
        match tag:
            case "form":
                action = urlsplit(attributes.get("action") or "").path or self._path
                self._open = Form(action, attributes.get("id") or "")
                self._forms.append((self._open, (attributes.get("method") or "").lower() == "post"))
            case "input" | "textarea" | "select":
                self._add(control)
            case "option" if self._select is not None:
                self._select.options.append(control)
            case "button" if self._open and not self._open.button and attributes.get("type", "submit") == "submit":
                self._button = self._open

    def handle_endtag(self, tag: str) -> None:
        match tag:
            case "form":
                self._open = None
            case "select":
                self._select = None
            case "button":
                self._button = None
            case "textarea" if self._textarea is not None:
                self._textarea.until = self._offset()
                self._textarea = None

    def handle_data(self, data: str) -> None:
        if self._button is not None:
            self._button.button += data

    def _add(self, control: Control) -> None:
        if control.tag == "select":
            self._select = control
        elif control.tag == "textarea":
            self._textarea = control
        elif control.kind == "submit" and self._open and not self._open.button:
            self._open.button = control.attributes.get("value") or ""
        if form_id := control.attributes.get("form"):
            self._elsewhere.append((form_id, control))
        elif self._open is not None:
            self._open.controls.append(control)

    def _offset(self) -> int:
        line, column = self.getpos()
        return self._lines[line - 1] + column
