"""What a person is told: who is told where, the page and its bell, the API, and the daily mail."""

import threading
import uuid
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.core import mail
from django.db import transaction
from django.utils import timezone

from accounts.models import Notification, Organization
from accounts.notifications import jobs, texts
from accounts.notifications.kinds import FIRST_USE, KINDS, LEAKED, ROLE_CHANGED, Channel, channel_for
from accounts.notifications.telling import News, next_digest, tell
from accounts.tests.factories import OperatorFactory, UserFactory
from opsera_portal.tests.mails import delivered
from tokens.tests.factories import TokenFactory, bearer

PAGE = "/profile/notifications/"
LIST = "/api/v1/me/notifications"


def told(person, kind=FIRST_USE, once="1", **fields):
    """Tells a person and returns the row."""
    with transaction.atomic():
        tell([News(kind, person.pk, once, **{"token_name": "Nightly", "details": {"ip": "192.0.2.1"}} | fields)])
    return Notification.objects.filter(person=person, kind=kind.id, once=once).first()


@pytest.mark.parametrize("chosen", [None, [], "off", {"leaked": "off"}, {"leaked": "loud"}, {"leaked": ["off"]}, {}])
def test_unknown_choice_counts_as_the_default(chosen):
    assert channel_for(chosen, LEAKED) == Channel.PORTAL_AND_MAIL


def test_security_stays_in_the_portal():
    for kind in KINDS:
        assert kind.default in kind.channels
        assert (Channel.OFF in kind.channels) != kind.is_security
        assert not kind.is_security or all(channel.is_in_portal for channel in kind.channels)


def test_mail_is_added_and_removed_without_another_change():
    assert [channel.with_mail(False) for channel in Channel] == ["portal", "portal", "portal", "off", "off", "off"]
    assert [channel.with_mail(True) for channel in Channel] == [
        "portal_and_mail",
        "portal_and_digest",
        "portal_and_mail",
        "mail",
        "digest",
        "mail",
    ]


@pytest.mark.parametrize(
    ("now", "zone", "expected"),
    [
        ("2026-05-03T05:59", "Europe/Berlin", "2026-05-03T06:00"),
        ("2026-05-03T06:00", "Europe/Berlin", "2026-05-04T06:00"),
        ("2026-05-03T07:00", "", "2026-05-03T08:00"),
        ("2026-05-03T23:30", "Asia/Tokyo", "2026-05-04T23:00"),
        # The clocks change in the night.
        ("2026-10-24T09:00", "Europe/Berlin", "2026-10-25T07:00"),
        ("2026-05-03T07:00", "Mars/Olympus", "2026-05-03T08:00"),
    ],
)
def test_daily_mail_is_due_at_eight_in_the_time_zone_of_the_person(now, zone, expected):
    def moment(text):
        return datetime.fromisoformat(text).replace(tzinfo=UTC)

    assert next_digest(moment(now), zone) == moment(expected)


@pytest.mark.each_database
def test_person_is_told_once_where_they_chose(owner, member, organization):
    owner.notification_choices = {"first_use": "mail"}
    owner.save()
    unreachable = [
        UserFactory(organization=organization, is_active=False),
        UserFactory(organization=organization, joined_at=None),
        OperatorFactory(),
    ]

    for person in (owner, owner, member, *unreachable):
        told(person)

    assert [message.to for message in delivered()] == [[owner.email]]
    [message] = mail.outbox
    assert message.subject == "“Nightly” was used for the first time, from 192.0.2.1."
    assert not Notification.objects.of(owner).exists()
    assert Notification.objects.of(member).get().digest_at is None
    assert Notification.objects.count() == 2


def test_daily_mail_has_everything_since_the_last_one_and_is_sent_once(owner):
    owner.notification_choices = {"first_use": "portal_and_digest"}
    owner.time_zone = "Europe/Berlin"
    owner.save()
    with time_machine.travel(datetime(2026, 5, 3, 12, tzinfo=UTC), tick=False) as clock:
        told(owner, once="1")
        told(owner, once="2", token_name="Weekly")
        jobs.put_digests(threading.Event())
        assert delivered() == []

        clock.move_to(datetime(2026, 5, 4, 6, 1, tzinfo=UTC))
        for _ in range(2):
            jobs.put_digests(threading.Event())

        [message] = delivered()
        assert message.subject == "Your day in the Opsera Portal"
        assert "“Nightly” was used" in message.body
        assert "“Weekly” was used" in message.body
        assert "http" in message.body

        # Switched off before the mail is sent.
        told(owner, once="3")
        owner.notification_choices = {"first_use": "portal"}
        owner.save()
        clock.shift(timedelta(days=1))
        jobs.put_digests(threading.Event())
        assert len(delivered()) == 1


@pytest.mark.django_db
def test_each_kind_has_a_sentence_whatever_its_details(owner):
    for kind in KINDS:
        for details in ({}, None, [], {"ip": None, "from": "guest", "to": "<b>", "reason": "expired", "actor": ""}):
            row = Notification(kind=kind.id, token_name="Nightly", details=details, person=owner)
            assert "%(" not in texts.sentence_of(row)
    row = Notification(kind=ROLE_CHANGED.id, details={"actor": "Dana", "from": "guest", "to": "power_user"})
    assert texts.sentence_of(row) == "Dana changed your site role from Guest to Power User."
    assert texts.sentence_of(Notification(kind="of_the_future")) == "of_the_future"


def test_page_lists_the_newest_first_and_marks_unread_ones(
    client, owner, member, stranger, django_assert_max_num_queries
):
    token = TokenFactory(owner=owner)
    first = told(owner, once="1", at=timezone.now() - timedelta(hours=1))
    second = told(owner, LEAKED, "2", token_id=token.pk, token_name="<b>Nightly</b>")
    other = told(member)
    client.force_login(stranger)
    assert "No notifications yet." in client.get(PAGE).text
    assert "No notification matches." in client.get(f"{PAGE}?kind=leaked").text
    client.force_login(owner)

    with django_assert_max_num_queries(12):
        page = client.get(PAGE).text

    rows = [part.partition('"')[0] for part in page.split('data-notification="')[1:]]
    assert rows == [str(second.public_id), str(first.public_id)]
    assert page.count('data-unread="true"') == 2
    assert f'href="/profile/tokens/{token.pk}/"' in page
    assert "<b>Nightly" not in page
    assert '<span class="bell-count">2</span>' in page
    assert str(first.public_id) not in client.get(f"{PAGE}?kind=leaked").text

    back = f"{PAGE}?state=unread"
    assert client.post(f"{PAGE}{first.public_id}/read/", {"next": back}).url == back
    assert client.post(f"{PAGE}{other.public_id}/read/").status_code == 404
    assert '<span class="bell-count">1</span>' in client.get("/profile/").text

    # What came after the page was opened stays unread.
    newer = told(owner, once="3")
    assert client.post(f"{PAGE}read-all/", {"until": second.public_id}).url == PAGE
    assert list(Notification.objects.of(owner).unread()) == [newer]
    for until in ("", "x", uuid.uuid4(), other.public_id):
        assert client.post(f"{PAGE}read-all/", {"until": until}).status_code == 400
    client.post(f"{PAGE}read-all/", {"until": newer.public_id})
    assert "bell-count" not in client.get(PAGE).text


def test_bell_counts_at_most_a_hundred_and_costs_no_query(client, owner, django_assert_num_queries):
    client.force_login(owner)
    with django_assert_num_queries(2):
        page = client.get("/profile/preferences/").text
    assert 'id="bell"' in page
    assert "bell-count" not in page
    with transaction.atomic():
        tell(News(FIRST_USE, owner.pk, str(number)) for number in range(150))

    with django_assert_num_queries(2):
        page = client.get("/profile/preferences/").text

    assert '<span class="bell-count">99+</span>' in page


def test_api_lists_and_marks_what_the_page_shows(api, owner, member):
    rows = [told(owner, once=str(number), token_id=uuid.uuid4()) for number in range(3)]
    other = told(member)
    api.force_login(owner)

    answer = api.get(f"{LIST}?page_size=2").json()
    [newest, _] = answer["data"]
    assert newest == {
        "id": str(rows[2].public_id),
        "at": newest["at"],
        "kind": "first_use",
        "is_security": False,
        "text": "“Nightly” was used for the first time, from 192.0.2.1.",
        "token_id": str(rows[2].token_id),
        "token_name": "Nightly",
        "details": {"ip": "192.0.2.1"},
        "read_at": None,
    }
    rest = api.get(answer["next"].partition("localhost")[2].lstrip(":0123456789") or answer["next"]).json()
    assert [row["id"] for row in rest["data"]] == [str(rows[0].public_id)]

    mine = str(rows[0].public_id)
    for body in ({}, [], {"ids": []}, {"ids": ["x"]}, {"until": "\0"}, {"ids": [mine], "until": mine}):
        assert api.post(f"{LIST}/read", body).status_code == 400, body
    for body in ({"ids": [mine, str(other.public_id)]}, {"until": str(other.public_id)}, {"ids": [str(uuid.uuid4())]}):
        assert api.post(f"{LIST}/read", body).status_code == 403, body
    assert api.post(f"{LIST}/read", {"ids": [str(rows[2].public_id)]}).json() == {"marked": 1}
    assert api.post(f"{LIST}/read", {"until": str(rows[1].public_id)}).json() == {"marked": 2}
    assert api.get(f"{LIST}?state=unread&kind=first_use").json()["count"] == 0

    # A thief could hide what warns the owner.
    api.logout()
    headers = bearer(TokenFactory(owner=member))
    assert api.get(LIST, headers=headers).json()["count"] == 1
    assert api.post(f"{LIST}/read", {"until": str(other.public_id)}, headers=headers).status_code == 403


def test_old_notifications_are_removed_with_the_logs_of_the_organization(owner, stranger):
    Organization.objects.filter(pk=owner.organization_id).update(log_retention_days=30)
    past = timezone.now() - timedelta(days=31)
    for person in (owner, stranger):
        told(person, at=past)
        told(person, once="2")

    jobs.prune(threading.Event())

    assert [Notification.objects.filter(person=person).count() for person in (owner, stranger)] == [1, 2]
