"""Tokens that can be used only a number of times."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.utils import IntegrityError
from django.urls import reverse
from django.utils import timezone
from rest_framework.test import APIClient

from auditlog.models import TokenUse
from tokens import replacement
from tokens.expiry import notices
from tokens.models import Token
from tokens.tests.factories import TokenFactory, bearer, now_in_seconds
from tokens.uses import clean_max_uses

ME, TOKENS, PAGE = "/api/v1/me", "/api/v1/tokens", "/profile/tokens/"


@pytest.fixture
def token(owner):
    return TokenFactory(owner=owner, max_uses=2)


def uses(api, token, number, **extra):
    headers = bearer(token)
    return [api.get(ME, headers=headers, **extra) for _ in range(number)]


@pytest.mark.each_database
def test_token_works_so_often_and_then_says_why_not(api, token):
    answers = uses(api, token, 4)

    assert [answer.status_code for answer in answers] == [200, 200, 401, 401]
    assert [answer.json()["token"]["uses_left"] for answer in answers[:2]] == [1, 0]
    assert answers[2].json()["code"] == "used_up"
    token.refresh_from_db()
    assert token.use_count == 2
    assert token.state.id == "expired"
    assert [use.reason for use in TokenUse.objects.order_by("id")] == ["ok", "ok", "used_up", "used_up"]


def test_last_use_is_taken_on_a_server_whose_clock_is_behind(api, owner):
    token = TokenFactory(owner=owner, max_uses=1, created_at=now_in_seconds() + timedelta(seconds=2))

    assert [answer.status_code for answer in uses(api, token, 2)] == [200, 401]


def test_last_answer_says_that_the_token_has_ended(api, token):
    first, last = uses(api, token, 2)

    assert first.headers["Sunset"] != last.headers["Sunset"]


def test_refused_request_takes_no_use_and_one_without_right_takes_one(api, owner):
    token = TokenFactory(owner=owner, max_uses=2, networks="192.0.2.0/24", scope="pipeline-readonly")
    headers = bearer(token)

    uses(api, token, 3, REMOTE_ADDR="198.51.100.1")
    forbidden = api.get(TOKENS, headers=headers, REMOTE_ADDR="192.0.2.1")

    token.refresh_from_db()
    assert forbidden.status_code == 403
    assert token.use_count == 1


def test_uses_of_other_tokens_are_not_counted(api, owner):
    token = TokenFactory(owner=owner)

    uses(api, token, 3)

    token.refresh_from_db()
    assert (token.use_count, token.uses_left) == (0, None)


@pytest.mark.django_db(transaction=True)
def test_of_many_requests_at_once_exactly_so_many_are_accepted(owner):
    token = TokenFactory(owner=owner, max_uses=5)
    headers = bearer(token)

    def attempt(_):
        try:
            return APIClient().get(ME, headers=headers).status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as threads:
        statuses = list(threads.map(attempt, range(16)))

    assert sorted(statuses) == [200] * 5 + [401] * 11
    token.refresh_from_db()
    assert token.use_count == 5
    assert TokenUse.objects.filter(outcome="allowed").count() == 5


def test_database_never_stores_more_uses_than_are_allowed(token):
    with pytest.raises(IntegrityError), transaction.atomic():
        Token.objects.filter(pk=token.pk).update(use_count=3)


def test_nobody_is_mailed_when_the_token_is_used_up(api, token):
    assert not notices.due(notices.ENDED, at=timezone.now()).exists()

    uses(api, token, 2)

    assert not notices.due(notices.ENDED, at=timezone.now()).exists()


def test_token_with_counted_uses_is_not_replaced(client, owner, token):
    client.force_login(owner)

    with pytest.raises(replacement.LimitedUses):
        replacement.replace_token(actor=owner, token=token)

    assert "replace/" not in client.get(reverse("tokens:token_detail", args=[token.pk])).text
    answer = client.post(f"{TOKENS}/{token.pk}/replace", {}, "application/json")
    assert (answer.status_code, answer.json()["code"]) == (409, "limited_uses")


# Creating


@pytest.mark.parametrize("number", [None, 1, 1_000_000])
def test_number_of_uses_is_free_within_its_range(number):
    assert clean_max_uses(number) == number


@pytest.mark.parametrize("number", [0, -1, 1_000_001])
def test_other_numbers_are_refused(number):
    with pytest.raises(ValidationError, match="Enter a number from 1 to 1,000,000"):
        clean_max_uses(number)


def test_api_creates_a_token_for_one_use(client, api, owner):
    client.force_login(owner)

    created = client.post(TOKENS, {"name": "Once", "scopes": ["api"], "max_uses": 1}, "application/json").json()

    assert (created["max_uses"], created["uses_left"]) == (1, 1)
    headers = {"Authorization": f"Bearer {created['token']}"}
    assert [api.get(ME, headers=headers).status_code for _ in range(2)] == [200, 401]


@pytest.mark.parametrize("number", [0, -1, 1_000_001, "x", 1.5, True, [1], {}], ids=str)
def test_api_refuses_other_numbers(client, owner, number):
    client.force_login(owner)

    answer = client.post(TOKENS, {"name": "Once", "scopes": ["api"], "max_uses": number}, "application/json")

    assert answer.status_code == 400
    assert "max_uses" in answer.json()["errors"]
    assert not Token.objects.exists()


@pytest.mark.parametrize(("number", "stored"), [("3", 3), ("", None)])
def test_form_creates_a_token_for_a_number_of_uses(client, owner, number, stored):
    client.force_login(owner)

    client.post(PAGE, {"name": "CI", "scopes": ["api"], "lifetime": "1w", "max_uses": number})

    assert Token.objects.get().max_uses == stored


@pytest.mark.parametrize("number", ["0", "x", "-1", "1000001", "1.5", "٣x"])
def test_form_refuses_other_numbers(client, owner, number):
    client.force_login(owner)

    answer = client.post(PAGE, {"name": "CI", "scopes": ["api"], "lifetime": "1w", "max_uses": number})

    assert answer.status_code == 400
    assert "max_uses" in answer.context["form"].errors
    assert not Token.objects.exists()


@pytest.mark.parametrize(
    ("query", "value", "problems"),
    [("max_uses=3", "3", 0), ("max_uses=0", "0", 1), ("max_uses=x", "x", 1), ("max_uses=1&max_uses=2", None, 1)],
)
def test_link_fills_in_the_number_of_uses(client, owner, query, value, problems):
    client.force_login(owner)

    context = client.get(f"{PAGE}?{query}").context

    assert context["form"]["max_uses"].value() == value
    assert len(context["filled"].problems) == problems


# Showing


def test_pages_say_how_many_uses_are_left(client, api, owner, token):
    client.force_login(owner)
    page = reverse("tokens:token_detail", args=[token.pk])
    uses(api, token, 1)
    assert "1 use left" in client.get(page).text
    assert "1 use left" in client.get(PAGE).text

    uses(api, token, 1)

    assert "All uses were taken" in client.get(page).text
    assert client.get(page).context["similar_url"].count("max_uses=2") == 1
