"""Each text of a page or a mail is marked for translation, and translated into each language."""

import ast
import importlib.util
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import polib
import pytest
from django.conf import settings
from django.template.base import Lexer, TokenType

from opsera_portal.tests.files import python_files_below

pytestmark = pytest.mark.once

ROOT = Path(settings.BASE_DIR)
TRANSLATED = [code for code, _name in settings.LANGUAGES if code != settings.LANGUAGE_CODE]


def catalog(language):
    return polib.pofile(str(ROOT / "locale" / language / "LC_MESSAGES" / "django.po"))


def sources(entry):
    return [text for text in (entry.msgid, entry.msgid_plural) if text]


def translations(entry):
    return list(entry.msgstr_plural.values()) if entry.msgid_plural else [entry.msgstr]


# Translated


@pytest.mark.parametrize("language", TRANSLATED)
def test_every_text_has_a_translation(language):
    missing = [entry.msgid for entry in catalog(language) if not entry.translated() or entry.fuzzy]

    assert missing == []


def test_people_read_expired_early_and_never_the_word_of_the_api():
    texts = [text for entry in catalog(TRANSLATED[0]) for text in sources(entry)]

    assert [text for text in texts if "expired early" in text.lower()]
    assert [text for text in texts if "revok" in text.lower()] == []


VARIABLE = re.compile(r"%\(\w+\)[sd]|%[sd]|\{\w*\}")
# Names of elements, and the links of a sentence.
MARKUP = re.compile(r"</?\w+|href=\"[^\"]*\"|\b(?:class|id)=\"[^\"]*\"")


def found(pattern, texts):
    return [sorted(pattern.findall(text)) for text in texts]


@pytest.mark.parametrize("language", TRANSLATED)
def test_translations_have_the_variables_and_the_markup_of_the_text(language):
    wrong = []
    for entry in catalog(language):
        of_sources = found(VARIABLE, sources(entry))
        # "One token" has no number.
        needed, possible = set.intersection(*map(set, of_sources)), set.union(*map(set, of_sources))
        variables_fit = all(needed <= set(of_text) <= possible for of_text in found(VARIABLE, translations(entry)))
        markup = found(MARKUP, sources(entry))
        if not variables_fit or any(of_text not in markup for of_text in found(MARKUP, translations(entry))):
            wrong.append((entry.msgid, translations(entry)))

    assert wrong == []


@pytest.mark.parametrize("language", TRANSLATED)
def test_translations_begin_and_end_like_the_text(language):
    """Line breaks and spaces at the edges are part of a mail or of a sentence with a link."""

    def edges(text):
        return re.match(r"\s*", text)[0], re.search(r"\s*\Z", text)[0]

    wrong = [
        entry.msgid
        for entry in catalog(language)
        if any(edges(text) != edges(entry.msgid) for text in translations(entry))
    ]

    assert wrong == []


@pytest.mark.parametrize("language", TRANSLATED)
def test_compiled_translations_are_current(language):
    compiled = polib.mofile(str(ROOT / "locale" / language / "LC_MESSAGES" / "django.mo"))

    assert {(entry.msgctxt, entry.msgid): translations(entry) for entry in compiled} == {
        (entry.msgctxt, entry.msgid): translations(entry) for entry in catalog(language)
    }


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("xgettext") is None, reason="GNU gettext is not installed: apt-get install gettext")
def test_files_have_exactly_the_texts_of_the_code(tmp_path, monkeypatch, settings):
    spec = importlib.util.spec_from_file_location("make_messages", ROOT / ".ci" / "make_messages.py")
    make_messages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_messages)
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(make_messages, "DIRECTORY", tmp_path)
    settings.LOCALE_PATHS = [tmp_path]
    for language in TRANSLATED:
        (tmp_path / language / "LC_MESSAGES").mkdir(parents=True)

    make_messages.update()

    for language in TRANSLATED:
        new = polib.pofile(str(tmp_path / language / "LC_MESSAGES" / "django.po"))
        assert {(entry.msgctxt, entry.msgid, entry.msgid_plural) for entry in new} == {
            (entry.msgctxt, entry.msgid, entry.msgid_plural) for entry in catalog(language)
        }


# Marked: templates

SHOWN_ATTRIBUTES = {"title", "aria-label", "aria-roledescription", "alt", "placeholder", "label"}
NOT_TEXT = {"script", "style", "code", "pre", "kbd", "samp"}
VOID = {"area", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr", "path", "rect", "line", "circle"}
# The same in every language.
NAMES = re.compile(
    r"Opsera Portal|nginx|Caddy|Traefik|Envoy|Kubernetes|ingress|Apache|mod_auth_openidc|Spring|Python|PyJWT|"
    r"FastAPI|Express|jose|Django|OpenAPI|Postman|curl|GitHub|JSON Lines|JSON|CSV|API|UTC|HTTP|ms|URL|JWT|&\w+;"
)
WORDS = re.compile(r"[^\W\d_]{2,}")
# Not translated: the pages of Django admin and of the API reference.
IN_ENGLISH = ("admin/", "api_docs.html", "includes/api_")
TEMPLATES = [
    path
    for path in sorted((ROOT / "templates").rglob("*"))
    if path.suffix in {".html", ".txt"} and not str(path.relative_to(ROOT / "templates")).startswith(IN_ENGLISH)
]


class Texts(HTMLParser):
    """The texts that a reader gets from a page."""

    def __init__(self):
        super().__init__()
        self.found, self._inside = [], []

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in SHOWN_ATTRIBUTES and value]
        if tag in NOT_TEXT and tag not in VOID:
            self._inside.append(tag)

    def handle_endtag(self, tag):
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()

    def handle_data(self, data):
        if not self._inside:
            self.found.append(data)


def texts_in(html):
    parser = Texts()
    parser.feed(html)
    parser.close()
    return parser.found


# `look`: classes of a button.
PARAMETER = re.compile(r"""(?<![\w(])(?!look=)\w+=(?:"([^"]*)"|'([^']*)')""")


def unmarked_in(template):
    """What a template says outside of `translate` and `blocktranslate`."""
    left, ends, found = [], None, []
    for token in Lexer(template).tokenize():
        name = token.contents.split()[0] if token.token_type is TokenType.BLOCK and token.contents else ""
        if ends:
            ends = None if name == ends else ends
        elif name in {"comment", "blocktranslate", "blocktrans"}:
            ends = f"end{name}"
        elif token.contents == "block page_class":
            ends = "endblock"
        elif token.token_type is TokenType.TEXT:
            left.append(token.contents)
        elif name in {"include", "copy_button"}:
            # A text has a space or begins with a capital letter; other values are ids and names.
            values = [first or second for first, second in PARAMETER.findall(token.contents)]
            found += [value for value in values if " " in value.strip() or value[:1].isupper()]
    return [text for text in found + texts_in("".join(left)) if WORDS.search(NAMES.sub("", text))]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("<p>Hello</p>", ["Hello"]),
        ('<p>{% translate "Hello" %} {{ name }}</p>', []),
        ("{% blocktranslate %}Hello{% endblocktranslate %} you", [" you"]),
        ("{% comment %}Hello{% endcomment %}", []),
        ('<a title="Open it" href="/x/">{{ name }}</a>', ["Open it"]),
        ('<input class="wide field" value="Abc">', []),
        ("<code>curl</code> <pre>make run</pre>", []),
        ('{% include "x.html" with title="Not saved" label=_("Save") id="save" %}', ["Not saved"]),
    ],
)
def test_unmarked_texts_are_found(template, expected):
    assert unmarked_in(template) == expected


def test_all_texts_of_templates_are_marked():
    unmarked = {str(path.relative_to(ROOT)): unmarked_in(path.read_text()) for path in TEMPLATES}

    assert {path: texts for path, texts in unmarked.items() if texts} == {}


# Marked: Python

# Their values are shown to people.
TEXTS = {"label", "help_text", "empty_label", "empty_text", "error_messages", "title", "verbose_name"}
IN_ENGLISH_MODULES = re.compile(
    r"/(tests|migrations|management|demo|api)/|/(admin|models|settings\w*|commands_reference)\.py"
)
APPS = ("accounts", "auditlog", "core", "opsera_portal", "pipelines", "tokens")


def plain_texts(node):
    """Sentences that are written as they are in an expression, without a call that translates them."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) and re.search(r"[A-Z].* ", node.value) else []
    if isinstance(node, ast.JoinedStr):
        parts = "".join(part.value if isinstance(part, ast.Constant) else " x " for part in node.values)
        return [parts] if WORDS.search(parts) and " " in parts.strip() else []
    if isinstance(node, ast.Dict):
        return [text for value in node.values for text in plain_texts(value)]
    if isinstance(node, ast.List | ast.Tuple):
        return [text for value in node.elts for text in plain_texts(value)]
    return []


def unmarked_calls(source):
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if re.fullmatch(r"messages\.\w+", called):
                found += [text for argument in node.args[1:] for text in plain_texts(argument)]
            elif called.endswith("ValidationError") and "serializers" not in called:
                found += [text for argument in node.args for text in plain_texts(argument)]
            elif "Serializer" not in called:
                found += [
                    text for keyword in node.keywords if keyword.arg in TEXTS for text in plain_texts(keyword.value)
                ]
        elif isinstance(node, ast.ClassDef) and any("Error" in ast.unparse(base) for base in node.bases):
            fields = [field for field in node.body if isinstance(field, ast.Assign)]
            found += [
                text
                for field in fields
                if ast.unparse(field.targets[0]) == "message"
                for text in plain_texts(field.value)
            ]
    return found


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('forms.CharField(label="Your name")', ["Your name"]),
        ('forms.CharField(label=_("Your name"))', []),
        ('messages.success(request, f"{count} tokens expired.")', [" x  tokens expired."]),
        ('class Taken(DomainError):\n    message = "It is taken."', ["It is taken."]),
        ('raise ValidationError({"name": ["Enter a name."]})', ["Enter a name."]),
    ],
)
def test_unmarked_calls_are_found(source, expected):
    assert unmarked_calls(source) == expected


def test_all_texts_of_forms_messages_and_errors_are_marked():
    files = python_files_below(*(ROOT / app for app in APPS))
    unmarked = {
        str(path.relative_to(ROOT)): unmarked_calls(path.read_text())
        for path in files
        if not IN_ENGLISH_MODULES.search(f"/{path.relative_to(ROOT)}")
    }

    assert {path: texts for path, texts in unmarked.items() if texts} == {}
