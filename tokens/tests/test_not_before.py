"""Tokens that work only from a time on."""

from datetime import UTC, datetime, timedelta

import jwt as pyjwt
import pytest
import time_machine
from django.core.exceptions import ValidationError
from django.urls import reverse
from django.utils import timezone

from auditlog.models import Activity, TokenUse
from core.reading import zone_of
from tokens import replacement
from tokens.expiry import notices
from tokens.lifetimes import parse_start
from tokens.models import Token
from tokens.tests.factories import TokenFactory, bearer, now_in_seconds

ME, TOKENS, PAGE = "/api/v1/me", "/api/v1/tokens", "/profile/tokens/"
DAY, SECOND = timedelta(days=1), timedelta(seconds=1)
BERLIN = zone_of("Europe/Berlin")


# Reading a time


@pytest.mark.parametrize(
    ("text", "zone", "moment"),
    [
        ("", None, None),
        ("2026-12-31T08:00Z", None, datetime(2026, 12, 31, 8, tzinfo=UTC)),
        ("2026-12-31T08:00:09.7-05:00", BERLIN, datetime(2026, 12, 31, 13, 0, 9, tzinfo=UTC)),
        (" 2026-12-31T08:00 ", UTC, datetime(2026, 12, 31, 8, tzinfo=UTC)),
        ("2026-12-31", UTC, datetime(2026, 12, 31, tzinfo=UTC)),
        ("2026-12-31T08:00", BERLIN, datetime(2026, 12, 31, 7, tzinfo=UTC)),
        ("2026-07-31T08:00", BERLIN, datetime(2026, 7, 31, 6, tzinfo=UTC)),
        # It comes twice, before and after clocks are set back.
        ("2026-10-25T02:30", BERLIN, datetime(2026, 10, 25, 1, 30, tzinfo=UTC)),
    ],
)
def test_time_is_read_in_the_readers_zone(text, zone, moment):
    assert parse_start(text, zone=zone) == moment


@pytest.mark.parametrize(
    ("text", "zone", "says"),
    [
        ("2026-12-31T08:00", None, "Add the time zone"),
        ("2026-03-29T02:30", BERLIN, "no such time"),
        *[
            (text, UTC, "Enter a date and time")
            for text in (
                "soon",
                "2026-02-30T08:00",
                "2026-12-31T25:00",
                "2026-12-31T08:00 Europe/Berlin",
                "2026-12-31T08:00+99:00",
                "2026-12-31T08:00 01:00",
                "9999-12-31T23:59:59-14:00",
                "0001-01-01T00:00+14:00",
                "\x00",
            )
        ],
        ("0001-01-01T00:00", BERLIN, "Enter a date and time"),
    ],
)
def test_other_texts_are_refused(text, zone, says):
    with pytest.raises(ValidationError, match=says):
        parse_start(text, zone=zone)


# The check


@pytest.mark.each_database
def test_token_works_from_its_start_on(api, owner):
    start = now_in_seconds() + DAY
    token = TokenFactory(owner=owner, not_before=start)
    headers = bearer(token)

    assert pyjwt.decode(headers["Authorization"][7:], options={"verify_signature": False})["nbf"] == start.timestamp()
    with time_machine.travel(start - SECOND, tick=False):
        refused = api.get(ME, headers=headers)
    with time_machine.travel(start, tick=False):
        allowed = api.get(ME, headers=headers)

    says = f"The token works from {start:%Y-%m-%dT%H:%M:%S}Z on."
    assert (refused.status_code, refused.json()["code"], refused.json()["detail"]) == (401, "not_started", says)
    assert says in refused.headers["WWW-Authenticate"]
    assert (allowed.status_code, allowed.json()["token"]["not_before"]) == (200, f"{start:%Y-%m-%dT%H:%M:%S}Z")
    assert [use.reason for use in TokenUse.objects.order_by("id")] == ["not_started", "ok"]


def test_refused_use_takes_no_use_and_does_not_count_as_one(api, owner):
    token = TokenFactory(owner=owner, not_before=now_in_seconds() + DAY, max_uses=1)

    api.get(ME, headers=bearer(token))

    token.refresh_from_db()
    assert (token.use_count, token.last_used_at) == (0, None)


# Creating


def body(**fields):
    return {"name": "CI", "scopes": ["api"], "lifetime": "1w", **fields}


def test_api_creates_a_token_with_a_start(client, owner):
    client.force_login(owner)
    start = now_in_seconds() + DAY

    created = client.post(TOKENS, body(not_before=start.isoformat()), "application/json").json()

    assert (created["state"], created["not_before"]) == ("scheduled", f"{start:%Y-%m-%dT%H:%M:%SZ}")
    token = Token.objects.get()
    assert (token.not_before, token.expires_at) == (start, token.created_at + 7 * DAY)
    assert Activity.objects.get(action="token.issued").details["not_before"] == start.isoformat()
    (listed,) = client.get(TOKENS, {"state": "scheduled"}).json()["data"]
    assert listed["id"] == created["id"]
    assert client.get(TOKENS, {"state": "active"}).json()["data"] == []


def test_api_refuses_other_starts(client, owner):
    client.force_login(owner)
    now = now_in_seconds()
    wrong = [now - SECOND, now, now + 7 * DAY + SECOND, now + 3000 * DAY]

    for value in (*[moment.isoformat() for moment in wrong], "soon", "\x00", "2026-12-31T08:00 Mars", 7, ["x"], True):
        with time_machine.travel(now, tick=False):
            answer = client.post(TOKENS, body(not_before=value), "application/json")
        assert (answer.status_code, list(answer.json()["errors"])) == (400, ["not_before"]), value

    assert not Token.objects.exists()
    for value in (None, ""):
        # An empty text can be a variable that was not set.
        answer = client.post(TOKENS, body(name=f"CI {value}", not_before=value), "application/json")
        assert answer.status_code == (201 if value is None else 400)


def test_form_reads_the_start_in_the_persons_time_zone_and_keeps_a_wrong_one(client, owner):
    owner.time_zone = "Asia/Tokyo"
    owner.save()
    client.force_login(owner)
    start = now_in_seconds().replace(second=0) + DAY
    typed = start.astimezone(zone_of("Asia/Tokyo")).strftime("%Y-%m-%dT%H:%M")

    for wrong in ("2020-01-01T08:00", "nonsense"):
        refused = client.post(PAGE, body(not_before=wrong))
        assert refused.status_code == 400
        assert refused.context["form"]["not_before"].value() == wrong
        assert list(refused.context["form"].errors) == ["not_before"]
    # A browser shows nothing in a field for times if it can't read the value.
    assert 'type="text"' in str(refused.context["form"]["not_before"])
    assert "Asia/Tokyo" in refused.text
    assert client.post(PAGE, body(not_before=typed)).status_code == 302
    assert Token.objects.get().not_before == start


def test_link_fills_in_the_start_or_says_why_not(client, owner):
    owner.time_zone = "Asia/Tokyo"
    owner.save()
    client.force_login(owner)

    def filled(not_before):
        context = client.get(PAGE, {"not_before": not_before}).context
        return context["form"]["not_before"].value(), " ".join(context["filled"].problems)

    with time_machine.travel("2026-12-01T00:00Z"):
        assert filled("2026-12-31T20:00Z") == ("2027-01-01T05:00", "")
        assert filled("2020-01-01T00:00Z") == (None, "The start time was left out, because it has passed.")
        # The writer of the link may be in another time zone. The value stays, so that the form refuses it.
        assert filled("2026-12-31T20:00") == (
            "2026-12-31T20:00",
            "Add the time zone, such as Z for UTC: 2026-12-31T08:00Z.",
        )
        assert filled("soon")[0] == "soon"


# Showing, copying, replacing


@pytest.fixture
def scheduled(owner):
    return TokenFactory(owner=owner, not_before=now_in_seconds() + DAY)


def test_pages_say_when_the_token_starts(client, owner, scheduled):
    client.force_login(owner)

    listed = client.get(PAGE, {"state": "scheduled"}).text
    page = client.get(reverse("tokens:token_detail", args=[scheduled.pk]))

    assert "Not started" in listed
    assert "starts tomorrow" in listed or "starts in" in listed
    assert "This token has not started" in page.text
    assert "Starts" in [event["label"] for event in page.context["timeline"]]
    assert {row["why_not"] for row in page.context["cannot_do"] if "scope" not in row["why_not"]} >= {
        "The token's start time has not come."
    }
    assert page.context["can_do"] == []
    assert not page.context["can_replace"]


def test_similar_token_has_a_start_that_has_not_passed(client, owner, scheduled):
    client.force_login(owner)

    def similar():
        address = client.get(reverse("tokens:token_detail", args=[scheduled.pk])).context["similar_url"]
        forms = [client.get(url).context["form"] for url in (address, f"{PAGE}?like={scheduled.pk}")]
        return [form["not_before"].value() for form in forms]

    assert similar() == [scheduled.not_before.strftime("%Y-%m-%dT%H:%M:%S").removesuffix(":00")] * 2
    Token.objects.update(not_before=now_in_seconds() - SECOND)
    assert not any(similar())


def test_token_that_has_not_started_cannot_be_replaced(client, owner, scheduled):
    client.force_login(owner)

    answer = client.post(f"{TOKENS}/{scheduled.pk}/replace", {}, "application/json")

    assert (answer.status_code, answer.json()["code"]) == (409, "not_started")
    Token.objects.update(not_before=now_in_seconds() - SECOND)
    assert replacement.replace_token(actor=owner, token=scheduled).not_before is None


def test_owner_gets_no_notice_about_the_end_before_the_start(owner, scheduled):
    Token.objects.update(expires_at=scheduled.not_before + DAY)

    assert not any(notices.due(days, at=timezone.now()).exists() for days in (0, 1, 7, 30))
    assert not notices.warnings_about(Token.objects.owned_by(owner))["ending"]
    # In the last quarter of its lifetime.
    with time_machine.travel(scheduled.not_before + DAY / 1.5):
        assert notices.due(1, at=timezone.now()).exists()
