"""Warnings on pages about tokens that expire soon, and the form that creates a replacement."""

import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from auditlog.tests.test_logs import use
from tokens.expiry import notices
from tokens.names import MAX_LENGTH, clean_name, numbered
from tokens.tables import state_badge
from tokens.tests.factories import TokenFactory
from tokens.tests.test_expiry_notices import ending_in

TOKENS = "/profile/tokens/"
PAGES = pytest.mark.parametrize("page", ["/", TOKENS])


def warned_of(client, page):
    return [token.name for token in client.get(page).context["ending"]]


@PAGES
def test_pages_warn_about_tokens_that_expire_within_a_week_soonest_first(client, owner, page):
    for days in (5, 0.5, 20, -1):
        ending_in(owner, days=days, name=f"in {days}")
    client.force_login(owner)

    assert warned_of(client, page) == ["in 0.5", "in 5"]
    html = client.get(page).content.decode()
    assert 'id="expiring-tokens"' in html
    assert "Tokens expire soon" in html


@PAGES
def test_token_for_a_week_has_no_warning_on_its_first_day(client, owner, page):
    ending_in(owner, life=timedelta(days=7), days=6)
    ending_in(owner, life=timedelta(days=1), hours=20)
    client.force_login(owner)

    assert warned_of(client, page) == []
    assert 'id="expiring-tokens"' not in client.get(page).content.decode()


@PAGES
def test_warning_omits_tokens_of_others_and_ended_tokens(client, owner, member, stranger, page):
    ending_in(member, days=5)
    ending_in(stranger, days=5)
    ending_in(owner, days=5, revoked_at=timezone.now())
    ending_in(owner, days=5, revealed_at=None)
    client.force_login(owner)

    assert warned_of(client, page) == []


@PAGES
def test_person_without_expiry_mails_is_warned_on_pages(client, owner, page):
    owner.notification_choices = {"end_near": "off"}
    owner.save()
    ending_in(owner, days=5)
    client.force_login(owner)

    assert len(warned_of(client, page)) == 1


@PAGES
def test_warning_lists_five_tokens_and_counts_the_others(client, owner, page):
    for _ in range(7):
        ending_in(owner, days=5)
    client.force_login(owner)

    html = client.get(page).content.decode()

    assert html.count("Replace<span") == 5
    assert "And 2 more" in html


@PAGES
def test_pages_name_replaced_tokens_that_still_work_and_are_used_since(client, owner, page):
    now = timezone.now()
    for name, used, end in (("quiet", -2, 9), ("old one", 1, 9), ("other", 0.5, 9), ("ended", 1, -1)):
        TokenFactory(
            owner=owner,
            name=name,
            created_at=now - timedelta(days=9),
            replaced_at=now - timedelta(hours=3),
            last_used_at=now - timedelta(hours=3 - used),
            last_used_ip="203.0.113.7",
            expires_at=now + timedelta(hours=end, minutes=1),
        )
    client.force_login(owner)

    answer = client.get(page)

    assert [token.name for token in answer.context["replaced_in_use"]] == ["old one", "other"]
    assert "old one, last 2 hours ago from 203.0.113.7, expires in 9 hours, and 1 more" in answer.text


def an_hour_ago():
    return timezone.now() - timedelta(hours=1)


@PAGES
def test_pages_name_expired_tokens_that_are_still_used(client, owner, page):
    use(TokenFactory(owner=owner, name="old laptop", revoked_at=an_hour_ago()), status=401, code="revoked")
    client.force_login(owner)

    [found] = client.get(page).context["ended_in_use"]

    assert found.last.token_name == "old laptop"


@pytest.mark.parametrize(
    ("by_owner", "minutes", "times", "warns"),
    [(True, 14, 3, False), (True, 16, 1, True), (True, 14, 4, True), (False, 14, 1, True)],
)
def test_owner_who_checks_that_a_token_is_dead_is_not_warned(client, owner, by_owner, minutes, times, warns):
    token = TokenFactory(owner=owner, revoked_at=an_hour_ago(), revoked_by=owner if by_owner else None)
    for _ in range(times):
        use(token, token.revoked_at + timedelta(minutes=minutes), status=401, code="revoked")
    client.force_login(owner)

    pages = [client.get(page).context["ended_in_use"] for page in ("/", TOKENS)]
    own_page = client.get(f"/profile/tokens/{token.pk}/").context["after_end"]
    usage = client.get("/api/v1/me/usage").json()["ended_in_use"]
    own_usage = client.get(f"/api/v1/tokens/{token.pk}/usage").json()["after_end"]

    assert [bool(found) for found in (*pages, own_page, usage, own_usage)] == [warns] * 5


def test_warning_leads_to_the_page_that_replaces_the_token(client, owner):
    token = ending_in(owner, days=5, name="nightly build", scope="pipeline security-logs")
    client.force_login(owner)
    address = f"{TOKENS}{token.pk}/replace/"
    assert address in client.get("/").content.decode()

    made = client.post(address, {"overlap_hours": "24"})

    assert made.status_code == 302
    successor = owner.tokens.exclude(pk=token.pk).get()
    assert (successor.name, successor.scope) == ("nightly build", "pipeline security-logs")
    assert address not in client.get("/").content.decode()


def test_replacement_keeps_the_name_of_an_ended_token(client, owner):
    token = TokenFactory(owner=owner, name="nightly", revoked_at=timezone.now())
    client.force_login(owner)

    assert client.get(f"{TOKENS}?like={token.pk}").context["form"]["name"].value() == "nightly"


def test_replacement_skips_numbers_in_use_ignoring_case(client, owner):
    token = TokenFactory(owner=owner, name="nightly")
    for name in ("Nightly 2", "NIGHTLY 3"):
        TokenFactory(owner=owner, name=name)
    client.force_login(owner)

    assert client.get(f"{TOKENS}?like={token.pk}").context["form"]["name"].value() == "nightly 4"


@pytest.mark.parametrize("like", ["", "x", uuid.uuid4(), "\x00", "' OR 1=1 --"])
def test_form_stays_empty_if_the_token_is_unknown(client, owner, member, like):
    TokenFactory(owner=member)
    client.force_login(owner)

    answer = client.get(TOKENS, {"like": like})

    assert answer.status_code == 200
    assert not answer.context["form"]["name"].value()


def test_form_reveals_nothing_about_another_persons_token(client, owner, administrator):
    token = TokenFactory(owner=owner, name="secret plan")
    client.force_login(administrator)

    assert "secret plan" not in client.get(f"{TOKENS}?like={token.pk}").content.decode()


@pytest.mark.parametrize(
    ("name", "next_names"),
    [
        ("build", ["build 2", "build 3"]),
        ("build 2", ["build 3", "build 4"]),
        ("build 99", ["build 100", "build 101"]),
        ("build 2026", ["build 2026 2", "build 2026 3"]),
        ("2", ["2 2", "2 3"]),
        ("n" * MAX_LENGTH, ["n" * 48 + " 2", "n" * 48 + " 3"]),
        ("n" * 47 + " nn", ["n" * 47 + " 2", "n" * 47 + " 3"]),
    ],
)
def test_next_names_are_numbered_and_valid(name, next_names):
    names = numbered(name)

    assert next(names) == name
    assert [next(names), next(names)] == next_names
    assert all(clean_name(following) == following for following in next_names)


@pytest.mark.parametrize(
    ("life", "left", "expires_soon"),
    [
        (timedelta(days=1), timedelta(days=1), False),
        (timedelta(days=1), timedelta(hours=6, seconds=5), False),
        (timedelta(days=1), timedelta(hours=6), True),
        (timedelta(days=8), timedelta(days=6), False),
        (timedelta(days=8), timedelta(days=2), True),
        (timedelta(days=28), timedelta(days=7), True),
        (timedelta(days=90), timedelta(days=7, seconds=5), False),
        (timedelta(days=90), timedelta(days=7), True),
    ],
    ids=str,
)
def test_badge_overview_pages_mails_and_api_agree_on_what_expires_soon(client, owner, life, left, expires_soon):
    token = ending_in(owner, life=life, days=left / timedelta(days=1))
    client.force_login(owner)

    look = state_badge(token)
    row = next(row for row in client.get("/api/v1/tokens").json()["data"] if row["id"] == str(token.pk))
    told = {notice for notice in (1, 7) if notices.due(notice, at=timezone.now()).exists()}

    assert token.expires_soon is expires_soon
    assert look.label.startswith("Expires in") is expires_soon
    assert row["expires_soon"] is expires_soon
    assert client.get("/").context["expiring_soon_count"] == int(expires_soon)
    assert warned_of(client, TOKENS) == ([token.name] if expires_soon else [])
    assert not told or expires_soon


def test_warnings_on_the_tokens_page_come_after_the_form_in_one_line_each(client, owner):
    ending_in(owner, days=5, name="nightly")
    ending_in(owner, days=6, name="weekly")
    use(TokenFactory(owner=owner, name="old laptop", revoked_at=an_hour_ago()), status=401, code="revoked")
    client.force_login(owner)

    html = client.get(TOKENS).text

    places = [
        html.index(f'id="{mark}"') for mark in ("create-token", "expiring-tokens", "ended-in-use", "tokens-heading")
    ]
    assert places == sorted(places)
    first, second = (part.partition("</summary>")[0] for part in html.split("<summary>")[-2:])
    assert "nightly in 5 days, and 1 more" in first
    assert "old laptop, last just now" in second
