"""The form for a new token says whether a name is free, while a person types it."""

import pytest
import time_machine
from django.utils import timezone

from accounts.roles import SiteRole
from accounts.tests.factories import UserFactory
from opsera_portal.tests.naughty import NAUGHTY_STRINGS
from tokens.models import Token
from tokens.tests.factories import TokenFactory
from tokens.views.names import NAME_CHECKS

CHECK = "/profile/tokens/name/"
TAKEN = "You already have a token with this name."


@pytest.fixture
def signed_in(client, owner):
    client.force_login(owner)
    return client


def said(client, name):
    answer = client.post(CHECK, {"name": name})
    assert answer.status_code == 200
    return answer.text


def test_free_name_is_free_and_creates_nothing(signed_in):
    assert "Free" in said(signed_in, "nightly build")
    assert not Token.objects.exists()


@pytest.mark.parametrize("typed", ["nightly", "NIGHTLY", " nightly ", "ｎｉｇｈｔｌｙ"])
def test_name_of_a_live_token_is_in_use_ignoring_case_and_form(signed_in, owner, typed):
    TokenFactory(owner=owner, name="Nightly")

    assert TAKEN in said(signed_in, typed)
    form = {"name": typed, "scopes": ["pipeline"], "lifetime": "1w", "expires_at": ""}
    assert signed_in.post("/profile/tokens/", form).status_code == 400


def test_name_of_an_ended_token_is_free(signed_in, owner):
    TokenFactory(owner=owner, name="nightly", revoked_at=timezone.now())

    assert "Free" in said(signed_in, "nightly")


def test_name_of_another_persons_token_is_free(signed_in, member, stranger):
    for person in (member, stranger):
        TokenFactory(owner=person, name="nightly")

    assert "Free" in said(signed_in, "nightly")


@pytest.mark.parametrize(
    ("typed", "says"),
    [("x" * 51, "at most 50 characters"), ("a\x00b", "letters, digits"), ("<b>", "letters, digits"), ("🎉", "letters")],
)
def test_wrong_name_says_what_to_do(signed_in, typed, says):
    assert says in said(signed_in, typed)


@pytest.mark.parametrize("data", [{}, {"name": ""}, {"name": "   "}])
def test_empty_name_says_nothing(signed_in, data):
    answer = signed_in.post(CHECK, data)

    assert (answer.status_code, answer.text.strip()) == (200, "")


def test_naughty_strings_are_answered_without_repeating_them(signed_in):
    for text in NAUGHTY_STRINGS[::10]:
        answer = said(signed_in, text)
        assert text not in answer or "<" not in text, text


def test_address_never_contains_the_name(signed_in):
    assert signed_in.get(CHECK, {"name": "nightly"}).status_code == 405


@pytest.mark.parametrize("role", list(SiteRole))
def test_every_role_can_check_a_name(client, organization, role):
    client.force_login(UserFactory(organization=organization, site_role=role))

    assert "Free" in said(client, "nightly")


def test_signed_out_person_signs_in_first(client):
    answer = client.post(CHECK, {"name": "nightly"})

    assert answer.status_code == 302
    assert answer.url.startswith("/login/")


@time_machine.travel("2026-05-03 12:00:10Z", tick=False)
def test_person_above_the_limit_has_to_wait(client, owner, member):
    client.force_login(owner)
    for _ in range(NAME_CHECKS.amount):
        assert client.post(CHECK, {"name": "nightly"}).status_code == 200

    answer = client.post(CHECK, {"name": "nightly"})
    assert answer.status_code == 429
    assert int(answer["Retry-After"]) <= 60
    client.force_login(member)
    assert client.post(CHECK, {"name": "nightly"}).status_code == 200


def test_check_makes_few_queries(signed_in, owner, django_assert_max_num_queries):
    TokenFactory.create_batch(20, owner=owner)

    with django_assert_max_num_queries(4):
        said(signed_in, "nightly")
