"""The policy's rules for creating a token: number of tokens, scopes, lifetime."""

import threading
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.utils import timezone

from core.api.scopes import API, PIPELINE
from core.errors import DomainError
from tokens import services
from tokens.models import Token
from tokens.policy.preview import change_policy
from tokens.tests.factories import TokenFactory, now_in_seconds

PAGE = "/profile/tokens/"
ROUTE = "/api/v1/tokens"
FORM = {"name": "nightly build", "scopes": ["pipeline"], "lifetime": "1w", "expires_at": ""}


@pytest.fixture
def signed_in(client, owner):
    client.force_login(owner)
    return client


def issue(owner, name="nightly build", chosen=(PIPELINE,), days=7):
    return services.issue_token(
        actor=owner, name=name, chosen=list(chosen), expires_at=now_in_seconds() + timedelta(days=days)
    )


def set_policy(owner, **fields):
    for name, value in fields.items():
        setattr(owner.organization, name, value)
    owner.organization.save()


# Number of tokens


@pytest.mark.each_database
def test_token_over_the_limit_is_refused(owner):
    set_policy(owner, max_live_tokens=2)
    issue(owner, "one")
    issue(owner, "two")

    with pytest.raises(DomainError, match="2 live tokens"):
        issue(owner, "three")
    assert Token.objects.count() == 2


@pytest.mark.parametrize(
    "ended",
    [
        {"revoked_at": timezone.now()},
        {"created_at": now_in_seconds() - timedelta(days=40)},
        {"created_at": now_in_seconds() - timedelta(minutes=11), "revealed_at": None},
    ],
    ids=["expired early", "expired", "never shown in time"],
)
@pytest.mark.each_database
def test_ended_tokens_do_not_count(owner, ended):
    set_policy(owner, max_live_tokens=1)
    TokenFactory(owner=owner, **ended)

    issue(owner)


def test_pending_token_counts(owner):
    set_policy(owner, max_live_tokens=1)
    TokenFactory(owner=owner, revealed_at=None)

    with pytest.raises(DomainError):
        issue(owner)


def test_tokens_of_others_do_not_count(owner, member):
    set_policy(owner, max_live_tokens=1)
    TokenFactory(owner=member)

    issue(owner)


@pytest.mark.django_db(transaction=True)
def test_simultaneous_requests_do_not_exceed_the_limit(owner):
    set_policy(owner, max_live_tokens=3)
    results = []
    barrier = threading.Barrier(6)

    def request(number):
        try:
            barrier.wait()
            issue(owner, f"token {number}")
            results.append("made")
        except DomainError:
            results.append("too many")
        finally:
            connection.close()

    threads = [threading.Thread(target=request, args=[number]) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(results) == ["made"] * 3 + ["too many"] * 3
    assert Token.objects.live().count() == 3


def test_page_says_what_to_do_at_the_limit(signed_in, owner):
    set_policy(owner, max_live_tokens=1)
    TokenFactory(owner=owner)

    answer = signed_in.post(PAGE, FORM)

    assert answer.status_code == 400
    assert "Expire one that you no longer need" in answer.content.decode()
    assert 'value="nightly build"' in answer.content.decode()


def test_api_answers_with_a_conflict_at_the_limit(signed_in, owner):
    set_policy(owner, max_live_tokens=1)
    TokenFactory(owner=owner)

    answer = signed_in.post(ROUTE, {"name": "one more", "scopes": ["api"]}, content_type="application/json")

    assert (answer.status_code, answer.json()["code"]) == (409, "too_many_tokens")


# Scopes


def test_scope_that_is_not_allowed_is_refused_and_named(owner):
    set_policy(owner, allowed_scopes="api-readonly pipeline")

    with pytest.raises(ValidationError, match="API Access"):
        issue(owner, chosen=[API, PIPELINE])
    assert not Token.objects.exists()


@pytest.mark.each_database
def test_policy_that_changed_during_the_request_applies(owner, administrator):
    assert owner.organization.allowed_scopes
    change_policy(actor=administrator, changes={"allowed_scopes": "api-readonly"})

    with pytest.raises(ValidationError):
        issue(owner)


def test_page_disables_scopes_that_are_not_allowed_and_says_why(signed_in, owner):
    set_policy(owner, allowed_scopes="pipeline")

    cards = {card["id"]: card for card in signed_in.get(PAGE).context["scope_cards"]}

    assert [scope for scope, card in cards.items() if card["is_allowed"]] == ["pipeline"]
    assert cards["api"]["note"] == "Not allowed by your organization"


def test_scope_that_is_not_allowed_is_an_error_beside_the_scopes(signed_in, owner):
    set_policy(owner, allowed_scopes="api")

    answer = signed_in.post(PAGE, FORM)

    assert answer.status_code == 400
    assert "does not allow" in answer.context["form"].errors["scopes"][0]
    assert not Token.objects.exists()


def test_scope_that_is_not_allowed_is_a_field_error_of_the_api(signed_in, owner):
    set_policy(owner, allowed_scopes="api")

    answer = signed_in.post(ROUTE, {"name": "n", "scopes": ["api", "pipeline"]}, content_type="application/json")

    assert answer.status_code == 400
    assert "Pipeline Access" in answer.json()["errors"]["scopes"][0]
    assert not Token.objects.exists()


# Lifetime


@pytest.mark.parametrize(
    ("days", "offered", "chosen"),
    [
        (366, ["1d", "1w", "1mo", "2mo", "3mo", "custom"], "1mo"),
        (20, ["1d", "1w", "custom"], "1w"),
        (1, ["1d", "custom"], "1d"),
    ],
)
def test_lifetimes_over_the_maximum_are_not_offered(signed_in, owner, days, offered, chosen):
    set_policy(owner, max_token_lifetime_days=days)

    lifetime = signed_in.get(PAGE).context["form"]["lifetime"]

    assert [value for value, _ in lifetime.field.widget.choices] == offered
    assert lifetime.initial == chosen
    assert bool(lifetime.help_text) is (days < 366)
