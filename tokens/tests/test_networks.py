"""Tokens that can be used only from chosen networks."""

import pytest
from django.core.exceptions import ValidationError
from django.urls import reverse

from auditlog.models import Activity, TokenUse
from core.networks import MOST_NETWORKS, clean_networks, is_inside, words_of
from tokens import replacement
from tokens.models import Token
from tokens.tests.factories import TokenFactory, bearer

ME, TOKENS, PAGE = "/api/v1/me", "/api/v1/tokens", "/profile/tokens/"


# The rules


@pytest.mark.parametrize(
    ("words", "stored"),
    [
        ([], ""),
        (["203.0.113.0/24"], "203.0.113.0/24"),
        (["203.0.113.7", "203.0.113.7/32"], "203.0.113.7"),
        (["2001:DB8:0::/32", " 10.0.0.0/8 "], "2001:db8::/32 10.0.0.0/8"),
        (["2001:db8::7/128"], "2001:db8::7"),
        (["::ffff:192.0.2.7"], "192.0.2.7"),
        (["::ffff:192.0.2.0/120"], "192.0.2.0/24"),
        (["10.0.0.0/255.0.0.0"], "10.0.0.0/8"),
        (["0.0.0.0/0", "::/0"], "0.0.0.0/0 ::/0"),
    ],
)
def test_networks_are_stored_in_canonical_form(words, stored):
    assert clean_networks(words) == stored
    assert clean_networks(stored.split()) == stored


@pytest.mark.parametrize(
    "word", ["", "x", "300.1.1.1", "10.0.0.0/33", "1.2.3", "fe80::1%eth0", "٣.1.1.1", "\x00", "10.0.0.0/8/8", "1" * 500]
)
def test_other_words_are_refused(word):
    with pytest.raises(ValidationError, match="is not an address or a network") as refused:
        clean_networks(["192.0.2.1", word])

    assert len(refused.value.message) < 200


def test_address_inside_of_a_network_names_the_network():
    with pytest.raises(ValidationError, match=r"For the whole network, write 10\.0\.0\.0/8"):
        clean_networks(["10.0.0.5/8"])


def test_number_is_limited():
    networks = [f"192.0.2.{number}" for number in range(MOST_NETWORKS + 1)]

    assert len(clean_networks(networks[1:]).split()) == MOST_NETWORKS
    with pytest.raises(ValidationError, match="at most 20 networks"):
        clean_networks(networks)


@pytest.mark.parametrize(
    ("networks", "address", "inside"),
    [
        ("", None, True),
        ("", "192.0.2.1", True),
        ("192.0.2.0/24", "192.0.2.255", True),
        ("192.0.2.0/24", "192.0.3.0", False),
        ("192.0.2.0/24", None, False),
        ("192.0.2.0/24 2001:db8::/32", "2001:db8:ffff::1", True),
        ("192.0.2.0/24 2001:db8::/32", "2001:db9::1", False),
        ("::/0", "192.0.2.1", False),
        ("0.0.0.0/0", "192.0.2.1", True),
    ],
)
def test_address_is_inside_of_one_of_the_networks(networks, address, inside):
    assert is_inside(networks, address) is inside


def test_words_are_separated_in_any_way():
    assert words_of(" 10.0.0.0/8,\r\n192.0.2.1;;::1 ") == ["10.0.0.0/8", "192.0.2.1", "::1"]


# The check


@pytest.mark.each_database
def test_token_works_only_from_its_networks_and_the_log_says_from_where(api, owner):
    token = TokenFactory(owner=owner, networks="192.0.2.0/24 2001:db8::/32")
    headers = bearer(token)

    statuses = {
        address: api.get(ME, headers=headers, REMOTE_ADDR=address).status_code
        for address in ("192.0.2.9", "2001:db8::9", "::ffff:192.0.2.9", "198.51.100.1", "::1")
    }

    assert statuses == {
        "192.0.2.9": 200,
        "2001:db8::9": 200,
        "::ffff:192.0.2.9": 200,
        "198.51.100.1": 401,
        "::1": 401,
    }
    entry = TokenUse.objects.get(ip="198.51.100.1")
    assert (entry.outcome, entry.reason) == ("refused", "network_not_allowed")


def test_refusal_names_the_address(api, owner):
    token = TokenFactory(owner=owner, networks="192.0.2.0/24")

    answer = api.get(ME, headers=bearer(token), REMOTE_ADDR="198.51.100.1")

    assert answer.json()["code"] == "network_not_allowed"
    assert "can't be used from 198.51.100.1" in answer.json()["detail"]
    assert "192.0.2" not in answer.content.decode()


def test_refused_use_does_not_count_as_a_use_of_the_token(api, owner):
    token = TokenFactory(owner=owner, networks="192.0.2.0/24")

    api.get(ME, headers=bearer(token), REMOTE_ADDR="198.51.100.1")

    token.refresh_from_db()
    assert token.last_used_at is None


# Creating


def test_api_creates_a_token_with_networks_in_canonical_form(client, api, owner):
    client.force_login(owner)
    body = {"name": "CI", "scopes": ["api"], "networks": ["192.0.2.0/24", "2001:DB8::/32"]}

    created = client.post(TOKENS, body, "application/json").json()

    assert created["networks"] == ["192.0.2.0/24", "2001:db8::/32"]
    headers = {"Authorization": f"Bearer {created['token']}"}
    assert api.get(ME, headers=headers, REMOTE_ADDR="192.0.2.1").json()["token"]["networks"] == created["networks"]
    assert Activity.objects.get(action="token.issued").details["networks"] == created["networks"]


@pytest.mark.parametrize(
    "networks",
    ["192.0.2.0/24", None, 7, [7], [None], ["x"], [""], ["192.0.2.1/24"], [["192.0.2.1"]], ["192.0.2.1"] * 21],
    ids=str,
)
def test_api_refuses_other_networks(client, owner, networks):
    client.force_login(owner)

    answer = client.post(TOKENS, {"name": "CI", "scopes": ["api"], "networks": networks}, "application/json")

    assert answer.status_code == 400
    assert "networks" in str(answer.json()["errors"])
    assert not Token.objects.exists()


def test_form_creates_a_token_with_networks(client, owner):
    client.force_login(owner)
    form = {"name": "CI", "scopes": ["api"], "lifetime": "1w", "networks": "192.0.2.0/24, 2001:DB8::/32"}

    assert client.post(PAGE, form).status_code == 302

    assert Token.objects.get().networks == "192.0.2.0/24 2001:db8::/32"


def test_form_keeps_wrong_networks_and_says_what_is_wrong(client, owner):
    client.force_login(owner)
    form = {"name": "CI", "scopes": ["api"], "lifetime": "1w", "networks": "10.0.0.5/8"}

    answer = client.post(PAGE, form)

    assert answer.status_code == 400
    assert "10.0.0.0/8" in answer.text
    assert "10.0.0.5/8" in answer.context["form"]["networks"].value()
    assert not Token.objects.exists()


def test_link_fills_in_networks_and_never_leaves_the_limit_out(client, owner):
    client.force_login(owner)

    right = client.get(f"{PAGE}?networks=192.0.2.0/24,198.51.100.7").context
    wrong = client.get(f"{PAGE}?networks=192.0.2.0/24,nonsense").context

    assert right["form"]["networks"].value() == "192.0.2.0/24 198.51.100.7"
    assert "nonsense" in wrong["form"]["networks"].value()
    assert "nonsense" in str(wrong["filled"].problems)


# Showing and copying


def test_page_names_the_networks_and_says_whether_the_reader_is_inside(client, owner):
    client.force_login(owner)
    page = reverse("tokens:token_detail", args=[TokenFactory(owner=owner, networks="192.0.2.0/24").pk])

    assert "192.0.2.0/24" in client.get(page).text
    assert "inside" in client.get(page, REMOTE_ADDR="192.0.2.1").text.partition('id="token-networks"')[2][:900]
    assert "outside" in client.get(page, REMOTE_ADDR="203.0.113.1").text.partition('id="token-networks"')[2][:900]
    assert "Only from 1 network" in client.get(PAGE).text


def test_similar_token_and_replacement_keep_the_networks(client, owner):
    client.force_login(owner)
    token = TokenFactory(owner=owner, networks="192.0.2.0/24 2001:db8::/32")

    similar = client.get(reverse("tokens:token_detail", args=[token.pk])).context["similar_url"]
    filled = [client.get(address).context["form"] for address in (similar, f"{PAGE}?like={token.pk}")]
    new = replacement.replace_token(actor=owner, token=token)

    assert [form["networks"].value() for form in filled] == [token.networks] * 2
    assert new.networks == token.networks
