"""Widgets of forms."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.forms.utils import flatatt
from django.shortcuts import resolve_url
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from core.text import Text

# A page offers at most so many choices in a select or as checkboxes.
MOST_CHOICES = 200
# People find longer lists of people, groups, pipelines or tags by typing a part of the name.
MOST_TO_READ = 50


class QuickSelect(forms.Select):
    """A select without groups of options. Django renders a template for each option, and one for its attributes."""

    def render(self, name: str, value: Any, attrs: dict[str, Any] | None = None, renderer: Any = None) -> SafeString:
        chosen = set(self.format_value(value))
        options = format_html_join(
            "",
            "<option{}>{}</option>",
            (
                (flatatt({"value": str(key or ""), "selected": str(key or "") in chosen}), label)
                for key, label in self.choices
            ),
        )
        return format_html(
            "<select{}>{}</select>", flatatt({"name": name, **self.build_attrs(self.attrs, attrs)}), options
        )


class SuggestingInput(forms.TextInput):
    """A text field that suggests fixed values while a person types, where a select would be too long."""

    def __init__(self, suggestions: Sequence[str], attrs: dict[str, Any] | None = None) -> None:
        super().__init__({"autocomplete": "off", **(attrs or {})})
        self.suggestions = suggestions

    def render(self, name: str, value: Any, attrs: dict[str, Any] | None = None, renderer: Any = None) -> SafeString:
        list_id = f"{(attrs or {}).get('id', name)}_suggestions"
        field = super().render(name, value, {**(attrs or {}), "list": list_id}, renderer)
        options = format_html_join("", '<option value="{}"></option>', ((text,) for text in self.suggestions))
        return format_html('{}<datalist id="{}">{}</datalist>', field, list_id, options)


class PickerInput(forms.TextInput):
    """A text field that suggests rows while a person types (assets/js/picker.js). Without scripts it is a text field.

    ``source``: the URL name of a `SuggestionsView`, or its address.
    """

    def __init__(self, source: str, attrs: dict[str, Any] | None = None) -> None:
        super().__init__({"autocomplete": "off", **(attrs or {})})
        self.source = source

    def render(self, name: str, value: Any, attrs: dict[str, Any] | None = None, renderer: Any = None) -> SafeString:
        field = super().render(name, value, {**(attrs or {}), **_picker_attributes(self.source)}, renderer)
        return _with_panel(field)


class PickerTextarea(forms.Textarea):
    """A list of values: a text field with a value in each line, and below it a field that suggests rows and adds them.

    ``label``: of the field below it. With scripts, people see the lines as a list with a button to remove each, and the
    text field itself only while it has the focus. Without them, they see only the text field.
    """

    def __init__(self, source: str, label: Text, attrs: dict[str, Any] | None = None) -> None:
        super().__init__({"autocomplete": "off", "spellcheck": "false", "rows": 5, **(attrs or {})})
        self.source, self.label = source, label

    def render(self, name: str, value: Any, attrs: dict[str, Any] | None = None, renderer: Any = None) -> SafeString:
        lines = super().render(name, value, attrs, renderer)
        return format_html(
            "{}{}", lines, adding_picker(self.source, self.label, (attrs or {}).get("id", name), is_list=True)
        )


def adding_picker(source: str, label: Text, lines_id: str, *, is_list: bool = False) -> SafeString:
    """A field that suggests rows. What is picked becomes a further line of the text field with this id, which
    ``is_list`` shows as a list."""
    attributes = {"type": "text", "id": f"{lines_id}_find", "autocomplete": "off", "data-adds-to": lines_id}
    said = {"data-text-added": gettext("Added: {name}")}
    if is_list:
        said |= {"data-text-remove": gettext("Remove {name}"), "data-text-removed": gettext("Removed: {name}")}
    field = format_html("<input{}>", flatatt({**attributes, **said, **_picker_attributes(source)}))
    return format_html(
        '<div class="picker-adding" hidden><label for="{}_find">{}</label>{}</div>', lines_id, label, _with_panel(field)
    )


def _picker_attributes(source: str) -> dict[str, Any]:
    return {
        "data-picker": True,
        "hx-post": resolve_url(source),
        "hx-trigger": "input delay:250ms",
        "hx-params": "none",
        "hx-target": "next .picker-panel",
        "hx-sync": "this:replace",
    }


def _with_panel(field: SafeString) -> SafeString:
    return format_html('<div class="picker">{}<div class="picker-panel" hidden></div></div>', field)
