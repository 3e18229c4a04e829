"""Undelivered mails as Administrators see them: the page, the API, the person's row and page, Django admin."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.mails import invitation_mail, password_reset_answer
from accounts.tests.factories import OperatorFactory, UserFactory
from core.models import OutgoingMail
from tokens.tests.factories import TokenFactory, bearer

PAGE = "/organization/mails/"
API = "/api/v1/organization/mails"
ERROR = "The mail server answers 550 5.1.1 <b>No such user</b>"


def undelivered(person, *, state="failed", error=ERROR, age=timedelta(hours=2), **fields):
    row = invitation_mail.put(person.pk, str(person.pk))
    values = {"state": state, "last_error": error, "created_at": timezone.now() - age, "attempts": 3, **fields}
    OutgoingMail.objects.filter(pk=row.pk).update(**values)
    return row


@pytest.fixture
def invited(organization):
    return UserFactory(organization=organization, email="ina@acme.example", name="Ina", joined_at=None, password="!")


def page_of(client, person, path=PAGE):
    client.force_login(person)
    return client.get(path)


def api_of(api, person):
    token = TokenFactory(owner=person, scope="api-readonly")
    return api.get(API, headers=bearer(token)).json()["data"]


def test_page_shows_recipient_kind_time_and_error(client, administrator, invited):
    undelivered(invited)

    page = page_of(client, administrator).content.decode()

    for words in ("Ina", invited.email, "Invitation", "2 hours ago", "550 5.1.1 &lt;b&gt;No such user", "Given up"):
        assert words in page


def test_api_shows_the_same(api, administrator, invited):
    row = undelivered(invited)

    [shown] = api_of(api, administrator)

    assert shown["id"] == str(row.pk)
    assert (shown["user_id"], shown["email"]) == (str(invited.pk), invited.email)
    assert (shown["mail"], shown["state"], shown["attempts"]) == ("Invitation", "failed", 3)
    assert (shown["next_attempt_at"], shown["last_error"]) == (None, ERROR)


def test_waiting_mail_shows_its_next_attempt(api, administrator, invited):
    undelivered(invited, state="waiting")

    assert api_of(api, administrator)[0]["next_attempt_at"] is not None


def test_untried_mail_is_shown_after_a_minute(client, administrator, invited):
    undelivered(invited, state="waiting", error="", age=timedelta(seconds=30))
    assert "No undelivered mail" in page_of(client, administrator).content.decode()
    OutgoingMail.objects.update(created_at=timezone.now() - timedelta(seconds=90))

    assert "Is the worker running?" in page_of(client, administrator).content.decode()


def test_sent_mail_is_not_shown(client, api, administrator, invited):
    undelivered(invited, state="sent", error="")

    assert "No undelivered mail" in page_of(client, administrator).content.decode()
    assert api_of(api, administrator) == []


def test_mails_of_other_organizations_are_not_shown(client, api, administrator, stranger):
    undelivered(stranger)
    password_reset_answer.put(None, None, "192.0.2.7")
    OutgoingMail.objects.update(last_error="away")

    assert "No undelivered mail" in page_of(client, administrator).content.decode()
    assert api_of(api, administrator) == []


def test_undelivered_mails_are_shown_with_their_person(client, api, administrator, invited):
    undelivered(invited)

    rows = page_of(client, administrator, "/organization/users/").content.decode()
    page = client.get(f"/organization/users/{invited.pk}/").content.decode()
    shown = api.get(f"/api/v1/users/{invited.pk}", headers=bearer(TokenFactory(owner=administrator))).json()

    assert "Invitation not delivered, created 2 hours ago: The mail server answers 550" in rows
    assert "Invitation not delivered: The mail server answers 550" in page
    assert "Created" in page
    assert "<b>No such" not in rows + page
    assert [mail["last_error"] for mail in shown["undelivered_mails"]] == [ERROR]


def test_second_invitation_replaces_the_old_mail(client, administrator, invited):
    undelivered(invited)
    client.force_login(administrator)
    invitation_mail.put(invited.pk, str(invited.pk))

    assert "No undelivered mail" in client.get(PAGE).content.decode()


def test_query_count_of_the_lists_is_constant(client, administrator, organization):
    def queries(path):
        with CaptureQueriesContext(connection) as captured:
            assert client.get(path).status_code == 200
        return len(captured)

    client.force_login(administrator)
    for person in UserFactory.create_batch(2, organization=organization, joined_at=None):
        undelivered(person)
    few = [queries(path) for path in (PAGE, "/organization/users/")]
    for person in UserFactory.create_batch(18, organization=organization, joined_at=None):
        undelivered(person)

    assert [queries(path) for path in (PAGE, "/organization/users/")] == few


def test_mails_are_read_only_in_django_admin(client, administrator, invited, stranger):
    mine, other = undelivered(invited), undelivered(stranger)
    base = "/admin/core/outgoingmail/"

    listed = page_of(client, administrator, base).content.decode()
    assert str(mine.pk) in listed
    assert str(other.pk) not in listed
    assert client.post(f"{base}{mine.pk}/change/", {"last_error": ""}).status_code == 403
    assert client.post(f"{base}add/", {}).status_code == 403
    assert client.post(f"{base}{mine.pk}/delete/", {"post": "yes"}).status_code == 403


def test_operator_sees_every_mail(client, settings, invited, stranger):
    settings.OPERATOR_TWO_FACTOR = False
    rows = [undelivered(invited), undelivered(stranger)]

    listed = page_of(client, OperatorFactory(), "/admin/core/outgoingmail/").content.decode()

    assert all(str(row.pk) in listed for row in rows)
