"""Links that fill in the form for a new token."""

from datetime import timedelta
from urllib.parse import urlencode

import pytest
from django.utils import timezone

from opsera_portal.tests.naughty import NAUGHTY_STRINGS
from tokens.models import Token
from tokens.tests.factories import TokenFactory

PAGE = "/profile/tokens/"
IN_TEN_DAYS = (timezone.now() + timedelta(days=10)).date().isoformat()


@pytest.fixture
def signed_in(client, owner):
    client.force_login(owner)
    return client


def filled(client, query):
    """The values of the form, and the problems that the page names."""
    answer = client.get(f"{PAGE}?{query}")
    assert answer.status_code == 200
    form = answer.context["form"]
    return {name: form[name].value() for name in form.fields}, answer.context["filled"].problems


def test_link_fills_in_the_form_and_creates_nothing(signed_in):
    answer = signed_in.get(f"{PAGE}?name=nightly+build&scopes=pipeline,api-readonly&lifetime=1w")

    form = answer.context["form"]
    assert {name: form[name].value() for name in form.fields} == {
        "name": "nightly build",
        "description": None,
        "service": None,
        "scopes": ["pipeline", "api-readonly"],
        "networks": None,
        "max_uses": None,
        "not_before": None,
        "which_pipelines": "all",
        "pipelines": None,
        "lifetime": "1w",
        "expires_at": None,
    }
    assert answer.context["filled"].problems == []
    assert "No token exists yet" in answer.text
    assert not answer.context["filled"].is_wide
    assert 'value="nightly build"' in answer.text
    assert not Token.objects.exists()


def test_token_of_a_filled_form_is_created_by_the_form(signed_in):
    values, _ = filled(signed_in, "name=nightly&scopes=pipeline&lifetime=1d")

    assert signed_in.post(PAGE, {name: value for name, value in values.items() if value}).status_code == 302
    token = Token.objects.get()
    assert (token.name, token.scope, token.lifetime) == ("nightly", "pipeline", timedelta(days=1))


@pytest.mark.parametrize("scopes", ["scopes=api-readonly,pipeline", "scopes=api-readonly+pipeline,,pipeline"])
def test_scopes_are_separated_by_commas_or_spaces(signed_in, scopes):
    assert filled(signed_in, scopes)[0]["scopes"] == ["api-readonly", "pipeline"]


def test_scopes_can_be_repeated_as_a_form_sends_them(signed_in):
    assert filled(signed_in, "scopes=api-readonly&scopes=pipeline")[0]["scopes"] == ["api-readonly", "pipeline"]


@pytest.mark.parametrize("lifetime", ["lifetime=custom&", ""])
def test_link_can_name_a_date(signed_in, lifetime):
    values, problems = filled(signed_in, f"{lifetime}expires_at={IN_TEN_DAYS}")

    assert (values["lifetime"], values["expires_at"], problems) == ("custom", IN_TEN_DAYS, [])


@pytest.mark.parametrize(
    ("query", "field", "kept", "says"),
    [
        ("name=" + "x" * 51, "name", None, "The name was left out. Use at most 50 characters; this name has 51."),
        ("name=a%00b", "name", None, "Use letters, digits"),
        ("name=%3Cscript%3E", "name", None, "Use letters, digits"),
        ("name=+", "name", None, "Enter a name."),
        ("name=a&name=b", "name", None, "more than once"),
        ("scopes=registry", "scopes", [], "These scopes don't exist and were left out: registry."),
        ("scopes=pipeline,registry", "scopes", ["pipeline"], "registry"),
        ("scopes=a,b,c,d,e", "scopes", [], "a, b, c, and 2 more"),
        ("scopes=" + "y" * 500, "scopes", [], "y" * 40 + "…"),
        ("scopes=PIPELINE", "scopes", [], "don't exist"),
        ("scopes=%00,%F0%9F%8E%89", "scopes", [], "don't exist"),
        ("lifetime=99y", "lifetime", "1mo", "It must be one of 1d, 1w, 1mo, 2mo, 3mo, custom."),
        ("lifetime=%00", "lifetime", "1mo", "It must be one of"),
        ("lifetime=1d&lifetime=1w", "lifetime", "1mo", "more than once"),
        ("lifetime=custom", "lifetime", "1mo", "It must look like 2026-12-31."),
        ("expires_at=soon", "lifetime", "1mo", "It must look like 2026-12-31."),
        ("expires_at=2026-13-41", "lifetime", "1mo", "Enter a date"),
        ("expires_at=2001-01-01", "lifetime", "1mo", "in the future"),
        ("expires_at=9999-12-31", "lifetime", "1mo", "92 days at most"),
        (f"lifetime=1w&expires_at={IN_TEN_DAYS}", "lifetime", "1w", "The date was left out"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_wrong_value_is_left_out_and_named(signed_in, query, field, kept, says):
    values, problems = filled(signed_in, query)

    assert values[field] == kept
    assert len(problems) == 1
    assert says in problems[0]


def test_organizations_policy_applies_to_links(signed_in, owner):
    owner.organization.allowed_scopes = "pipeline"
    owner.organization.max_token_lifetime_days = 20
    owner.organization.save()

    values, problems = filled(signed_in, "scopes=api,pipeline&lifetime=1mo")

    assert (values["scopes"], values["lifetime"]) == (["pipeline"], "1w")
    assert ["API Access" in problems[0], "20 days at most" in problems[1]] == [True, True]


def test_name_in_use_becomes_the_next_free_name(signed_in, owner, member):
    TokenFactory(owner=owner, name="Nightly")
    TokenFactory(owner=member, name="nightly 2")

    values, [problem] = filled(signed_in, "name=nightly")

    assert values["name"] == "nightly 2"
    assert "You already have a token" in problem


def test_link_reveals_nothing_about_tokens_of_others(signed_in, member, stranger):
    TokenFactory(owner=member, name="nightly")
    TokenFactory(owner=stranger, name="nightly")

    assert filled(signed_in, "name=nightly") == (
        {
            "name": "nightly",
            "description": None,
            "service": None,
            "scopes": [],
            "networks": None,
            "max_uses": None,
            "not_before": None,
            "which_pipelines": "all",
            "pipelines": None,
            "lifetime": "1mo",
            "expires_at": None,
        },
        [],
    )


@pytest.mark.parametrize("query", ["", "name=&scopes=&lifetime=&expires_at=", "q=x&state=active", "nothing=x"])
def test_page_without_values_of_the_form_says_nothing_about_a_link(signed_in, query):
    answer = signed_in.get(f"{PAGE}?{query}")

    assert answer.context["filled"] is None
    assert 'id="filled-by-link"' not in answer.text


def test_replacement_of_a_token_wins_over_other_values(signed_in, owner):
    token = TokenFactory(owner=owner, name="nightly", scope="pipeline")

    answer = signed_in.get(f"{PAGE}?like={token.pk}&name=other&scopes=api")

    assert answer.context["form"]["name"].value() == "nightly 2"
    assert answer.context["filled"] is None


def test_naughty_strings_in_a_link_do_not_break_the_page(signed_in):
    for text in NAUGHTY_STRINGS[::10]:
        query = urlencode(dict.fromkeys(("name", "scopes", "lifetime", "expires_at"), text), errors="surrogatepass")
        answer = signed_in.get(f"{PAGE}?{query}")
        assert answer.status_code == 200, text
        assert text not in answer.text or "<" not in text


def test_signed_out_person_comes_back_to_the_filled_form(client):
    answer = client.get(f"{PAGE}?name=nightly&scopes=pipeline")

    assert answer.url == "/login/?next=/profile/tokens/%3Fname%3Dnightly%26scopes%3Dpipeline"


def test_link_makes_few_queries(signed_in, owner, django_assert_max_num_queries):
    TokenFactory.create_batch(3, owner=owner)

    with django_assert_max_num_queries(13):
        signed_in.get(f"{PAGE}?name=nightly&scopes=pipeline,registry&lifetime=1w")
