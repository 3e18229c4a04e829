"""Every page in a made-up language, which shows whatever is not translated, and in the real ones."""

import re

import pytest
from django.conf import settings
from django.utils.translation import _trans

from accounts.models import Group, Organization, User
from auditlog.tests.entries import sql
from opsera_portal.tests.test_access import PAGES, World, cells, fill
from opsera_portal.tests.test_translations import NAMES, WORDS, texts_in
from opsera_portal.tests.worlds import created_once, undone
from pipelines.models import Pipeline, Run, Step
from tokens.models import Token

pytestmark = [pytest.mark.django_db, pytest.mark.once]

# Esperanto, which the portal doesn't speak: nothing else has remembered texts of it.
MADE_UP = "eo"
# In English for everyone: the API and Django admin.
IN_ENGLISH = ("/api/", "/admin/")
COLUMN = "admin"


@pytest.fixture(scope="module")
def world(django_db_setup, django_db_blocker):
    yield from created_once(django_db_blocker, World)


def pages(world):
    rows = [(method, path) for method, path, column, word in cells(PAGES) if column == COLUMN and word == "ok"]
    paths = [fill(path, world.things) for method, path in rows if method == "GET"]
    return [path for path in paths if not path.startswith(IN_ENGLISH) and "export" not in path]


def read(client, path):
    with undone():
        answer = client.get(path)
        return answer.content.decode() if answer.headers["Content-Type"].startswith("text/html") else ""


# The made-up language: each translated text is between these two.
OPEN, CLOSE = "\ue000", "\ue001"
TRANSLATED = re.compile(f"{OPEN}[^{OPEN}{CLOSE}]*{CLOSE}")
# Values of the database, ids, and what is the same in each language.
VALUES = re.compile(
    r"[\w.+-]+@[\w.-]+|[0-9a-f]{8}-[0-9a-f-]{27}|https?://\S+|/[\w/{}<>:?=&.-]+|[\w-]+\.(?:example|json|md)|"
    r"\b(?:GET|POST|PUT|PATCH|DELETE|HEAD)\b|[a-z]+(?:-[a-z]+)+|Firefox\S*|\d+\w*"
)


@pytest.fixture
def in_a_made_up_language(monkeypatch, world):
    """Texts become `<text>`; rows of the database get names without words."""
    marks = {
        "gettext": lambda text: f"{OPEN}{text}{CLOSE}" if text else "",
        "pgettext": lambda context, text: f"{OPEN}{text}{CLOSE}",
        "ngettext": lambda one, many, number: f"{OPEN}{one if number == 1 else many}{CLOSE}",
        "npgettext": lambda context, one, many, number: f"{OPEN}{one if number == 1 else many}{CLOSE}",
    }
    for name, mark in marks.items():
        monkeypatch.setattr(_trans, name, mark)
    with undone():
        for model in (User, Organization, Token, Pipeline, Step, Group):
            for number, pk in enumerate(model.objects.values_list("pk", flat=True)):
                model.objects.filter(pk=pk).update(name=str(number))
        sql("UPDATE auditlog_tokenuse SET token_name = '7', user_agent = '7', account = '7'")
        sql("UPDATE auditlog_activity SET token_name = '7', target_name = '7', account = '7'")
        Run.objects.update(pipeline_name="7")
        User.objects.update(language=MADE_UP)
        yield


def left_in_english(html):
    # From the inside out: a translated text can contain another one.
    while (shorter := TRANSLATED.sub("", html)) != html:
        html = shorter
    rest = [NAMES.sub("", VALUES.sub("", text)).strip() for text in texts_in(html.replace("<wbr>", ""))]
    return [text for text in rest if WORDS.search(text)]


def test_every_text_of_every_page_is_translated(client, world, in_a_made_up_language):
    world.sign_in(client, COLUMN)

    # The names of languages and of places are not translated.
    read_pages = {path: read(client, path) for path in pages(world) if path != "/profile/preferences/"}
    left = {path: left_in_english(html) for path, html in read_pages.items()}

    assert len(left) > 40
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
