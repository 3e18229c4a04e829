"""Tokens that were created but not shown yet: row and page offer to show them in time."""

from datetime import timedelta

import pytest
import time_machine
from django.utils import timezone

from tokens.models import Token
from tokens.tests.factories import TokenFactory

LIST, ORGANIZATION = "/profile/tokens/", "/organization/tokens/"
SHOW = "Show it now"


@pytest.fixture
def pending(owner):
    return TokenFactory(owner=owner, name="nightly", revealed_at=None)


def page_of(token):
    return f"{LIST}{token.pk}/"


def test_row_and_page_of_a_pending_token_offer_to_show_it_and_say_until_when(client, owner, pending):
    client.force_login(owner)
    row, page = client.get(LIST).text, client.get(page_of(pending)).text

    for html in (row, page):
        assert f'href="{page_of(pending)}reveal/"' in html
        assert SHOW in html
    assert "10 minutes left to show it" in row
    assert "in 10 minutes" in page


def test_row_of_an_approved_token_says_the_full_hours_left_to_show_it(client, owner, pending):
    Token.objects.update(approved_at=timezone.now() - timedelta(minutes=1))
    client.force_login(owner)

    assert "23 hours left to show it" in client.get(LIST).text


def test_link_shows_the_token_once(client, owner, pending):
    client.force_login(owner)

    assert "This is the only time you will see it" in client.get(f"{page_of(pending)}reveal/").text
    assert SHOW not in client.get(LIST).text
    assert SHOW not in client.get(page_of(pending)).text


@pytest.mark.parametrize(
    "fields",
    [
        {"revealed_at": timezone.now()},
        {"revoked_at": timezone.now()},
        {"created_at": timezone.now() - timedelta(minutes=11)},
    ],
    ids=["shown", "expired early", "too late"],
)
def test_link_is_missing_if_the_token_cannot_be_shown(client, owner, fields):
    token = TokenFactory(owner=owner, **({"revealed_at": None} | fields))
    client.force_login(owner)

    assert SHOW not in client.get(LIST).text
    assert SHOW not in client.get(page_of(token)).text


def test_only_the_owner_gets_the_link(client, administrator, pending):
    client.force_login(administrator)

    assert SHOW not in client.get(ORGANIZATION).text
    assert SHOW not in client.get(page_of(pending)).text


def test_token_can_be_shown_after_a_lost_answer(client, owner):
    client.force_login(owner)
    sent = {"name": "nightly", "scopes": "api", "lifetime": "1w", "submission": "a" * 32}
    lost = client.post(LIST, sent)

    again = client.post(LIST, sent)
    other_form = client.post(LIST, sent | {"submission": "b" * 32})

    assert again.url == lost.url
    assert other_form.status_code == 400
    assert "It has not been shown yet: press “Show it now” in the list" in other_form.text
    assert "This is the only time you will see it" in client.get(again.url).text
    assert Token.objects.count() == 1


def test_api_says_until_when_a_pending_token_can_be_shown(client, owner, pending):
    client.force_login(owner)
    until = pending.created_at + timedelta(minutes=10)

    answer = client.get(f"/api/v1/tokens/{pending.pk}").json()
    assert (answer["state"], answer["can_be_revealed_until"]) == ("pending", until.isoformat().replace("+00:00", "Z"))
    with time_machine.travel(until + timedelta(seconds=1)):
        answer = client.get(f"/api/v1/tokens/{pending.pk}").json()
        assert (answer["state"], answer["can_be_revealed_until"]) == ("expired", None)


# Returning to a list


@pytest.mark.parametrize("where", ["/profile/tokens/?state=active&sort=name", "/organization/tokens/?q=a&page=1"])
def test_list_keeps_filters_order_and_page_after_a_token_is_expired(client, administrator, where):
    token = TokenFactory(owner=administrator, name="a")
    client.force_login(administrator)
    link = link_in(client.get(where).text, "data-expire")

    page = client.get(link)
    back = value_of(page.text, "next")
    answer = client.post(page_of(token) + "expire/", {"next": back})

    assert link.startswith(page_of(token) + "expire/?next=")
    assert answer.url == f"{where}#token-{token.pk}"
    assert f'href="{where.replace("&", "&amp;")}"' in page.text  # Cancel


@pytest.mark.parametrize("where", ["/profile/tokens/?state=active", "/organization/tokens/?state=live"])
@pytest.mark.parametrize("row", [0, 1, 2])
def test_list_leads_to_the_next_row_if_its_filters_hide_the_expired_token(client, administrator, where, row):
    tokens = [TokenFactory(owner=administrator, name=name) for name in "abc"]
    client.force_login(administrator)
    page = client.get(f"{where}&sort=name").text
    link = link_in(page, f'data-expire="{tokens[row].pk}"')

    asked = client.get(link).text
    sent = {name: value_of(asked, name) for name in ("next", "next_row")}
    answer = client.post(page_of(tokens[row]) + "expire/", sent)

    next_row = tokens[(1, 2, 1)[row]]
    assert answer.url == f"{where}&sort=name#name-{next_row.pk}"
    assert f'id="name-{next_row.pk}"' in page


def test_list_keeps_order_and_page_after_many_tokens_are_expired(client, administrator, owner):
    where = "/organization/tokens/?q=nightly&sort=name"
    TokenFactory(owner=owner, name="nightly")
    client.force_login(administrator)

    matching = link_in(client.get(where).text, 'id="expire-matching"')
    asked = client.get(matching)
    answer = client.post(matching, {"reason": "found", "count": value_of(asked.text, "count")})

    assert answer.url == where


@pytest.mark.parametrize("address", ["https://evil.example/", "//evil.example/", "/logout/", "/api/v1/tokens", "x"])
def test_no_action_redirects_to_another_site(client, owner, address):
    token = TokenFactory(owner=owner)
    client.force_login(owner)

    assert "evil" not in client.get(f"{page_of(token)}expire/", {"next": address}).text
    assert client.post(f"{page_of(token)}expire/", {"next": address}).url == f"{LIST}#token-{token.pk}"


def link_in(html, mark):
    tag = next(tag for tag in html.split("<a ") if mark in tag.partition(">")[0])
    return tag.partition('href="')[2].partition('"')[0].replace("&amp;", "&")


def value_of(html, name):
    tag = html.partition(f'name="{name}"')[2]
    return tag.partition('value="')[2].partition('"')[0].replace("&amp;", "&")
