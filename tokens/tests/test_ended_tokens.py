"""Pages say when a token really ended, not when it would have expired."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from core.pages.templatetags.portal import exact
from tokens import jwt
from tokens.models import Token
from tokens.tests.factories import TokenFactory, now_in_seconds

LISTS = ["/profile/tokens/", "/organization/tokens/"]

# By name: what was done to the token, and when pages say that it ended.
ENDED = {
    "early": ({"created_at": -20, "expires_at": 10, "revoked_at": -8}, "8 days ago"),
    # Created 3 days ago, ended 10 minutes later.
    "not shown": ({"created_at": -3, "expires_at": 60, "revealed_at": None}, "2 days ago"),
    "by time": ({"created_at": -40, "expires_at": -5}, "5 days ago"),
    "not shown for a day": ({"created_at": -9, "expires_at": -8, "revealed_at": None}, "8 days ago"),
    "live": ({"created_at": -1, "expires_at": 22}, "in 22 days"),
    "pending": ({"created_at": 0, "expires_at": 7, "revealed_at": None}, "in 7 days"),
}
BEFORE_THEIR_TIME = ("early", "not shown", "not shown for a day")


@pytest.fixture
def tokens(administrator):
    now = now_in_seconds()
    return {
        name: TokenFactory(
            owner=administrator,
            name=name,
            **{field: days if days is None else now + timedelta(days=days) for field, days in times.items()},
        )
        for name, (times, _) in ENDED.items()
    }


@pytest.fixture
def signed_in(client, administrator):
    client.force_login(administrator)
    return client


def words(html):
    return " ".join(re.sub(r'<span class="moment-exact">.*?</span>|<[^>]*>', " ", html).split())


def state_cell(page, token):
    row = re.search(rf'<tr [^>]*data-token="{token.pk}".*?</tr>', page, re.DOTALL)[0]
    return words(re.search(r'data-column="state"[^>]*>(.*?)</td>', row, re.DOTALL)[1])


@pytest.mark.parametrize("where", LISTS)
def test_list_says_when_each_token_ended(signed_in, tokens, where):
    page = signed_in.get(where).content.decode()

    cells = {name: state_cell(page, token) for name, token in tokens.items()}
    assert cells == {
        "early": "⊘ Expired early 8 days ago",
        "not shown": "○ Expired 2 days ago",
        "by time": "○ Expired 5 days ago",
        "not shown for a day": "○ Expired 8 days ago",
        "live": "● Active expires in 22 days",
        "pending": "◌ Not revealed 10 minutes left to show it",
    }


@pytest.mark.parametrize("where", LISTS)
def test_list_has_the_exact_time_of_each_end(signed_in, tokens, where):
    page = signed_in.get(where).content.decode()

    for name in ("early", "by time", "live"):
        token = tokens[name]
        assert f'title="{exact(token.ended_at or token.expires_at)}"' in page


@pytest.mark.parametrize("where", LISTS)
def test_list_says_once_when_a_token_ends_that_is_being_replaced_or_ends_soon(signed_in, administrator, where):
    now = now_in_seconds()
    soon = TokenFactory(owner=administrator, created_at=now - timedelta(days=28), expires_at=now + timedelta(days=2))
    replaced = TokenFactory(
        owner=administrator, created_at=now - timedelta(days=9), expires_at=now + timedelta(days=3), replaced_at=now
    )
    page = signed_in.get(where).content.decode()

    for token, said in ((soon, "◐ Expires soon expires in 2 days"), (replaced, "◑ Being replaced expires in 3 days")):
        assert state_cell(page, token) == said


@pytest.mark.parametrize(("sort", "step"), [("expires_at", 1), ("-expires_at", -1)])
@pytest.mark.each_database
def test_list_is_sorted_by_when_tokens_ended(signed_in, tokens, sort, step):
    names = [row.record.name for row in signed_in.get("/organization/tokens/", {"sort": sort}).context["table"].rows]

    assert names == ["not shown for a day", "early", "by time", "not shown", "pending", "live"][::step]


@pytest.mark.parametrize("name", ENDED)
def test_end_is_the_first_thing_that_ended_the_token(tokens, name):
    token = Token.objects.get(pk=tokens[name].pk)

    assert (token.ended_at is not None) is token.has_ended
    assert token.ended_before_its_time is (name in BEFORE_THEIR_TIME)


def test_token_has_ended_although_the_clock_of_another_server_is_ahead(owner):
    token = TokenFactory(owner=owner, revoked_at=timezone.now() + timedelta(seconds=5))

    assert token.ended_at == token.revoked_at


@pytest.mark.parametrize("name", ENDED)
def test_page_of_a_token_says_when_it_ended_and_would_have_expired(signed_in, tokens, name):
    page = signed_in.get(f"/profile/tokens/{tokens[name].pk}/").content.decode()

    figure = words(re.findall(r'<div class="figure">(.*?)</div>', page, re.DOTALL)[-1])
    label = {"live": "Expires", "pending": "Expires", "early": "Expired early"}.get(name, "Expired")
    assert figure.startswith(f"{label} {ENDED[name][1]}")
    assert ("Would have expired on" in figure) is (name in BEFORE_THEIR_TIME)


def test_timeline_says_that_a_token_was_not_shown(signed_in, tokens):
    events = signed_in.get(f"/profile/tokens/{tokens['not shown'].pk}/").context["timeline"]

    assert [event["label"] for event in events] == [
        "Created",
        "Expired because it was not shown",
        "Would have expired",
    ]
    assert events[1]["at"] == events[0]["at"] + timedelta(minutes=10)


@pytest.mark.parametrize("name", BEFORE_THEIR_TIME)
def test_found_token_never_expires_after_it_has_ended(signed_in, tokens, name):
    answer = signed_in.post("/tokens/lookup/", {"token": jwt.encode(tokens[name])[0]})

    facts = words(re.search(r'<dl class="summary">(.*?)</dl>', answer.content.decode(), re.DOTALL)[1])
    assert "Would have expired" in facts
    assert re.search(rf"(Expired early|Expired) {ENDED[name][1]}", facts)


@pytest.mark.parametrize("name", BEFORE_THEIR_TIME)
def test_page_of_a_token_that_cannot_be_shown_says_when_it_ended(signed_in, tokens, name):
    page = signed_in.get(f"/profile/tokens/{tokens[name].pk}/reveal/").content.decode()

    label = "Expired early" if name == "early" else "Expired"
    assert f"{label} {ENDED[name][1]}" in words(page)
    assert "Expires" not in words(page)
