"""Every page in a made-up language, which shows whatever is not translated, and in the real ones."""

import re
from urllib.parse import urlencode

import pytest
from django.conf import settings
from django.db.models.functions import Right
from django.utils.translation import _trans

from accounts.models import Group, Organization, User, Webhook
from auditlog.tests.entries import sql
from core.pages.form_filling import Form, _forms_of
from gateway.models import Service
from opsera_portal.tests.test_access import PAGES, World, cells, fill
from opsera_portal.tests.test_translations import NAMES, WORDS, texts_in
from opsera_portal.tests.worlds import created_once, undone
from pipelines.models import Pipeline, Run, Step
from tokens.approval.models import ApprovalRequest
from tokens.models import Token, TrustRule
from tokens.review.models import ReviewItem

pytestmark = [pytest.mark.django_db, pytest.mark.once]

# Esperanto, which the portal doesn't speak: nothing else has remembered texts of it.
MADE_UP = "eo"
# In English for everyone: the API and Django admin.
IN_ENGLISH = ("/api/", "/admin/")
COLUMN = "admin"
# The names of languages and of places are not translated.
PREFERENCES = "/profile/preferences/"


@pytest.fixture(scope="module")
def world(django_db_setup, django_db_blocker):
    yield from created_once(django_db_blocker, World)


def addresses(world, method, outcome, reader=COLUMN):
    rows = {path: word for of, path, column, word in cells(PAGES) if (of, column) == (method, reader)}
    return [fill(path, world.things) for path, word in rows.items() if word == outcome]


def pages(world, reader=COLUMN):
    paths = addresses(world, "GET", "ok", reader)
    return [path for path in paths if not path.startswith(IN_ENGLISH) and "export" not in path]


def read(client, path):
    with undone():
        answer = client.get(path)
        return answer.content.decode() if answer.headers["Content-Type"].startswith("text/html") else ""


# The made-up language: each translated text is between these two.
OPEN, CLOSE = "⟦", "⟧"
TRANSLATED = re.compile(f"{OPEN}[^{OPEN}{CLOSE}]*{CLOSE}")
# Values of the database, ids, and what is the same in each language.
VALUES = re.compile(
    r"[\w.+-]+@[\w.-]+|[0-9a-f]{8}-[0-9a-f-]{27}|https?://\S+|/[\w/{}<>:?=&.-]+|[\w-]+\.(?:example|json|md)|"
    r"GitHub Actions|GitLab CI|Kubernetes|Terraform|"
    # The log of a run is stored in English.
    r"(?:Requested|Stopped|Cleared) by|"
    r"\b(?:GET|POST|PUT|PATCH|DELETE|HEAD|OPTIONS)\b|[a-z]+(?:-[a-z0-9]+)+|Firefox\S*|Laptop|\d+\w*"
)


def speak_a_made_up_language(monkeypatch):
    """Texts become `<text>`."""
    marks = {
        "gettext": lambda text: f"{OPEN}{text}{CLOSE}" if text else "",
        "pgettext": lambda context, text: f"{OPEN}{text}{CLOSE}",
        "ngettext": lambda one, many, number: f"{OPEN}{one if number == 1 else many}{CLOSE}",
        "npgettext": lambda context, one, many, number: f"{OPEN}{one if number == 1 else many}{CLOSE}",
    }
    for name, mark in marks.items():
        monkeypatch.setattr(_trans, name, mark)


@pytest.fixture
def in_a_made_up_language(monkeypatch, world):
    """Rows of the database get names without words."""
    speak_a_made_up_language(monkeypatch)
    with undone():
        for model in (User, Organization, Token, Pipeline, Step, Group, Service):
            for number, pk in enumerate(model.objects.values_list("pk", flat=True)):
                model.objects.filter(pk=pk).update(name=str(number))
        sql("UPDATE auditlog_tokenuse SET token_name = '7', user_agent = '7', account = '7'")
        sql("UPDATE auditlog_activity SET token_name = '7', target_name = '7', account = '7'")
        Run.objects.update(pipeline_name="7")
        TrustRule.objects.update(name="7", claims={"7": "7"})
        Webhook.objects.update(description="7")
        scope = {"name": "7", "label": "7", "description": "7", "only_reads": False}
        Service.objects.update(name="7", slug=Right("slug", 1), scopes=[scope], rules="GET /7 7")
        ReviewItem.objects.update(token_name="7", owner_name="7")
        ApprovalRequest.objects.update(reason="7")
        User.objects.update(language=MADE_UP)
        yield


@pytest.fixture(scope="module")
def remembered():
    """The pages of each reader in the made-up language, read once for all tests."""
    return {}


@pytest.fixture
def pages_of(client, world, remembered, in_a_made_up_language):
    def pages_of(reader):
        world.sign_in(client, reader)
        if reader not in remembered:
            paths = [path for path in pages(world, reader) if path != PREFERENCES]
            remembered[reader] = {path: read(client, path) for path in paths}
        return remembered[reader]

    return pages_of


def left_in_english(html):
    # From the inside out: a translated text can contain another one.
    while (shorter := TRANSLATED.sub("", html)) != html:
        html = shorter
    rest = [NAMES.sub("", VALUES.sub("", text)).strip() for text in texts_in(html.replace("<wbr>", ""))]
    return [text for text in rest if WORDS.search(text)]


@pytest.mark.parametrize(("reader", "number"), [(COLUMN, 40), ("owner", 25), ("guest", 20)])
def test_every_text_of_every_page_is_translated(pages_of, reader, number):
    left = {path: left_in_english(html) for path, html in pages_of(reader).items()}

    assert len(left) > number
    assert {path: texts for path, texts in left.items() if texts} == {}


def empty(form):
    return {}


def wrongly_filled(form):
    return {control.name: "?" for control in form.controls if control.name and control.kind not in {"hidden", "submit"}}


def sent(client, world, page, form, values):
    """The page after a form was sent: with its errors, or with a message."""
    world.sign_in(client, COLUMN)
    with undone():
        answer = client.post(form.action, values, headers={"Referer": f"http://testserver{page}"}, follow=True)
        return answer.content.decode() if answer.headers["Content-Type"].startswith("text/html") else ""


def test_every_text_after_every_form_is_translated(client, world, pages_of):
    found = [(path, form) for path, html in pages_of(COLUMN).items() for form in _forms_of(html, path)]
    forms = {form.action: (path, form) for path, form in found if form.action != "/logout/"}
    # Some only appear on a page in another state, such as the form that rejects a run.
    others = {*addresses(world, "POST", "bad")} - forms.keys() - {PREFERENCES, f"{PREFERENCES}notifications/"}
    hidden = {path: (path, Form(path, "")) for path in others}

    answers = {
        (action, values.__name__): sent(client, world, page, form, values(form))
        for action, (page, form) in {**forms, **hidden}.items()
        for values in (empty, wrongly_filled)
        if form.controls or values is empty
    }
    left = {key: left_in_english(html) for key, html in answers.items()}

    assert sum("error-summary" in html for html in answers.values()) > 20
    assert {key: texts for key, texts in left.items() if texts} == {}


FILTER_FORM = re.compile(r'<form class="filter-form".*?</form>', re.DOTALL)
NAME = re.compile(r' name="(\w+)"')


def test_every_error_of_every_filter_is_translated(client, pages_of, monkeypatch):
    for module in ("core", "pipelines"):
        monkeypatch.setattr(f"{module}.filters.MOST_TO_READ", 0)
    forms = {path: FILTER_FORM.search(html) for path, html in pages_of(COLUMN).items()}
    wrong = {path: dict.fromkeys(NAME.findall(form[0]), "?") for path, form in forms.items() if form}

    left = {path: left_in_english(read(client, f"{path}?{urlencode(values)}")) for path, values in wrong.items()}

    assert len(left) > 8
    assert {path: texts for path, texts in left.items() if texts} == {}


@pytest.mark.parametrize("language", [code for code, _name in settings.LANGUAGES])
def test_every_page_opens_in_every_language(client, world, language):
    world.sign_in(client, COLUMN)
    User.objects.update(language=language)

    for path in pages(world):
        html = read(client, path)
        # Some are parts of a page.
        assert f'<html lang="{language}">' in html or "<html" not in html, path
        # Numbers in attributes, such as of a drawing, have a point in every language.
        assert not re.search(r'(?:x|y|width|height|x1|x2|y1|y2|dy)="\d+,\d', html), path


def test_signed_out_pages_are_in_the_language_of_the_browser(client):
    for language in ("de", "pl"):
        for path in ("/login/", "/password/reset/", "/nothing-here/"):
            html = client.get(path, headers={"Accept-Language": language}).content.decode()
            assert f'<html lang="{language}">' in html
