"""Review campaigns: owners confirm or expire their live tokens by a date, and the rest expires then."""

import hashlib
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from unittest.mock import Mock
from zoneinfo import ZoneInfo

import pytest
import time_machine
from django.core.exceptions import ValidationError
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.utils import timezone

from accounts.answering import people_answering_for
from accounts.models import Notification, User
from accounts.notifications.kinds import EXPIRED_UNCONFIRMED
from accounts.notifications.texts import page_about
from accounts.roles import SiteRole
from accounts.tests.factories import OrganizationFactory, ServiceAccountFactory, UserFactory
from auditlog.models import Activity
from core.api.problems import ClosedToTokens
from core.errors import DomainError, NotAllowed
from core.periodic_jobs import JobFailed
from opsera_portal.tests.mails import delivered
from pipelines.tests.factories import PipelineFactory, limit_to
from tokens import replacement, services
from tokens.keys.ring import signing_lock
from tokens.mails import EarlyEndMails, unconfirmed_mail
from tokens.models import Token
from tokens.review import answering, closing, planning, record, running, telling
from tokens.review.models import CampaignState, ReviewCampaign, ReviewItem
from tokens.tests.factories import ReviewItemFactory, TokenFactory, bearer

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
PAGES, MINE = "/organization/review-campaigns/", "/profile/tokens/to-confirm/"
API = "/api/v1/review-campaigns"


def work():
    running.run(threading.Event())


def actions():
    return list(Activity.objects.order_by("id").values_list("action", flat=True))


def close_batch(campaign, item):
    closing.close_batch(campaign.pk, [item.pk], EarlyEndMails(EXPIRED_UNCONFIRMED, unconfirmed_mail))


def at_once(*changes):
    barrier, errors = threading.Barrier(len(changes)), []

    def run(change):
        try:
            barrier.wait()
            change()
        except (DatabaseError, DomainError) as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[change]) for change in changes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def answers():
    return dict(ReviewItem.objects.order_by("id").values_list("token_name", "answer"))


def ids(*tokens):
    return [token.pk for token in tokens]


@pytest.mark.each_database
def test_campaign_from_its_start_to_its_sealed_record(owner, administrator):
    kept, unneeded, lost, gone = (TokenFactory(owner=owner, name=name) for name in ("kept", "no", "lost", "gone"))
    account = ServiceAccountFactory(organization=owner.organization, name="CI", responsible=[administrator])
    machine = TokenFactory(owner=account, name="=machine", scope="api tokens:rotate")
    TokenFactory(owner=owner, name="ended", revoked_at=timezone.now())
    TokenFactory(name="of another organization")
    TokenFactory(owner=owner, name="never shown", revealed_at=None)
    start = timezone.now()

    campaign = planning.plan(actor=administrator, starts_at=start + DAY, answer_days=7, repeat_months=1)
    work()
    assert (campaign.state, ReviewItem.objects.count()) == (CampaignState.PLANNED, 0)

    with time_machine.travel(start + DAY + MINUTE, tick=False):
        work()
        work()
        campaign.refresh_from_db()
        assert campaign.due_at == campaign.started_at + 7 * DAY
        later = TokenFactory(owner=owner, name="made later")
        assert set(answers()) == {"kept", "no", "lost", "gone", "=machine"}
        asked = {mail.to[0]: mail for mail in delivered()}
        assert sorted(asked) == sorted([owner.email, administrator.email])
        assert all(name in asked[owner.email].body for name in ("kept", "lost", f"{MINE}", "4 tokens wait"))
        assert "Service account: CI" in asked[administrator.email].body
        assert Notification.objects.filter(kind="review_waiting").count() == 2

        answering.confirm(actor=owner, token_ids=ids(kept), note="Nightly build.")
        answering.expire(actor=owner, token_ids=ids(unneeded))
        answering.confirm(actor=administrator, token_ids=ids(machine))
        services.revoke_token(actor=owner, token=gone)
        before = kept.expires_at
        kept.refresh_from_db()
        assert kept.expires_at == before
        for again in (kept, unneeded, gone):
            with pytest.raises(answering.AlreadyAnswered):
                answering.confirm(actor=owner, token_ids=ids(lost, again))
        with pytest.raises(NotAllowed):
            answering.confirm(actor=administrator, token_ids=ids(lost))

    with time_machine.travel(campaign.due_at - 2 * DAY - MINUTE, tick=False):
        work()
        work()
        assert [mail.to for mail in delivered()[2:]] == [[owner.email]]
        assert delivered()[2].subject.startswith("Your unconfirmed access tokens expire on ")
        assert Token.objects.live().filter(pk=lost.pk).exists()

    with time_machine.travel(campaign.due_at, tick=False):
        work()
        work()
        campaign.refresh_from_db()
        counts = ReviewItem.objects.counts()
        assert answers() == {
            "=machine": "confirmed",
            "gone": "ended",
            "kept": "confirmed",
            "lost": "lapsed",
            "no": "expired",
        }
        assert (counts.total, counts.waiting, counts.confirmed, counts.lapsed) == (5, 0, 2, 1)
        assert set(Token.objects.live().in_organization(owner).values_list("pk", flat=True)) == {
            kept.pk,
            machine.pk,
            later.pk,
        }
        assert Token.objects.get(pk=lost.pk).revoke_reason == closing.UNCONFIRMED
        assert delivered()[-1].subject == "Your access token “lost” has expired: nobody confirmed it"

        done = actions()
        assert [action for action in done if action.startswith("review.")] == [
            "review.planned",
            "review.started",
            "review.reminded",
            "review.finished",
            "review.planned",
        ]
        assert {"token.confirmed", "token.ended_in_review", "token.ended_unconfirmed"} < set(done)
        entry = Activity.objects.get(action="review.finished")
        assert entry.details["digest"] == campaign.digest
        assert entry.details["lapsed"] == 1

        following = ReviewCampaign.objects.unfinished().get()
        assert following.starts_at == planning.months_later(campaign.starts_at, 1)

    file = record.HEAD + b"".join(record.csv_lines(campaign))
    assert hashlib.sha256(file).hexdigest() == campaign.digest
    assert b"'=machine" in file
    assert record.check(campaign).matches
    ReviewItem.objects.filter(token=kept).update(note="Changed.")
    assert not record.check(campaign).matches


def test_only_one_campaign_is_planned_or_open(owner, administrator):
    TokenFactory(owner=owner)
    first = planning.plan(actor=administrator)

    with pytest.raises(planning.CampaignExists):
        planning.plan(actor=administrator, starts_at=timezone.now() + DAY)
    planning.cancel(actor=administrator, campaign=first)
    with pytest.raises(planning.CampaignEnded):
        planning.cancel(actor=administrator, campaign=first)
    with pytest.raises(NotAllowed):
        planning.plan(actor=owner)
    stranger = UserFactory(organization=OrganizationFactory(), site_role=SiteRole.ADMINISTRATOR)
    with pytest.raises(NotAllowed):
        planning.cancel(actor=stranger, campaign=planning.plan(actor=administrator))


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"answer_days": 6}, "answer_days"),
        ({"answer_days": 61}, "answer_days"),
        ({"answer_days": 29, "repeat_months": 1}, "answer_days"),
        ({"answer_days": 60, "repeat_months": 2}, "answer_days"),
        ({"repeat_months": 0}, "repeat_months"),
        ({"repeat_months": 25}, "repeat_months"),
        ({"starts_at": datetime(2020, 1, 1, tzinfo=UTC)}, "starts_at"),
        ({"starts_at": datetime(9999, 12, 31, tzinfo=UTC)}, "starts_at"),
    ],
)
def test_bad_plan_is_refused_by_field(administrator, given, field):
    with pytest.raises(ValidationError) as refused:
        planning.plan(actor=administrator, **given)

    assert list(refused.value.message_dict) == [field]


def test_months_are_counted_from_the_first_campaign_in_the_time_zone_of_its_planner():
    berlin = ZoneInfo("Europe/Berlin")
    first_at = datetime(2027, 1, 31, 0, 30, tzinfo=berlin)
    campaign = ReviewCampaign(
        planned_by=User(time_zone="Europe/Berlin"), series_at=first_at, starts_at=first_at, repeat_months=1
    )
    found = []
    for _ in range(3):
        with time_machine.travel(campaign.starts_at + 7 * DAY, tick=False):
            campaign.starts_at = planning.next_start(campaign)
        found.append(campaign.starts_at.astimezone(berlin))
    assert [f"{at:%m-%d %H:%M}" for at in found] == ["02-28 00:30", "03-31 00:30", "04-30 00:30"]
    with time_machine.travel(datetime(2027, 6, 1, tzinfo=UTC), tick=False):
        assert planning.next_start(campaign) == datetime(2027, 6, 30, 0, 30, tzinfo=berlin)


def test_token_does_not_escape_by_being_replaced(api, owner, administrator, monkeypatch):
    scope = "api tokens:rotate"
    rotates, replaced, kept = (TokenFactory(owner=owner, name=name, scope=scope) for name in ("a", "b", "c"))
    later = TokenFactory(owner=owner, name="e")
    earlier = TokenFactory(owner=owner, name="d", replaced_by=later, replaced_at=timezone.now(), live_name_key=None)
    planning.plan(actor=administrator)
    answering.confirm(actor=owner, token_ids=ids(kept, earlier))
    assert api.post("/api/v1/tokens/current/rotate", headers=bearer(rotates)).status_code == 201
    for token in (replaced, kept):
        replacement.replace_token(actor=owner, token=token, overlap_hours=24)

    now = timezone.now()
    ReviewCampaign.objects.update(told_at=now, reminded_at=now, due_at=now)
    monkeypatch.setattr(closing, "BATCH", 1)
    work()
    assert [mail.subject for mail in delivered()] == ["4 of your access tokens have expired: nobody confirmed them"]
    kept.refresh_from_db()
    assert set(Token.objects.live().values_list("pk", flat=True)) == {kept.pk, kept.replaced_by_id, earlier.pk}
    assert answers() == {"a": "lapsed", "b": "lapsed", "c": "confirmed", "d": "confirmed", "e": "lapsed"}
    assert ReviewItem.objects.get(token_name="c").token_id == kept.pk


def test_lost_race_changes_nothing(owner, administrator, monkeypatch):
    token = TokenFactory(owner=owner)
    with monkeypatch.context() as patch:
        patch.setattr(planning, "start", Mock(side_effect=IntegrityError))
        with pytest.raises(IntegrityError):
            planning.plan(actor=administrator)
    planning.plan(actor=administrator)
    monkeypatch.setattr(answering, "end_tokens", lambda *args, **kwargs: [])
    with pytest.raises(answering.AlreadyAnswered):
        answering.expire(actor=owner, token_ids=ids(token))
    assert answers() == {token.name: ""}


def test_campaign_that_fails_does_not_stop_the_others(owner, administrator, monkeypatch):
    broken = ReviewItemFactory(token=TokenFactory()).campaign
    token = TokenFactory(owner=owner)
    planning.plan(actor=administrator)
    answering.confirm(actor=owner, token_ids=ids(token))
    waits = running.finish_answered
    monkeypatch.setattr(
        running, "finish_answered", lambda campaign, stopping: 1 / (campaign != broken) and waits(campaign, stopping)
    )
    with pytest.raises(JobFailed):
        work()
    assert ReviewCampaign.objects.unfinished().get() == broken


def test_canceled_campaign_expires_nothing(client, owner, administrator):
    token = TokenFactory(owner=owner)
    campaign = planning.plan(actor=administrator, answer_days=7, repeat_months=3)
    work()
    campaign = planning.cancel(actor=administrator, campaign=campaign)
    telling.warn(campaign, threading.Event())
    telling._tell_owners(campaign, [owner.pk], is_warning=True)
    assert Notification.objects.get().kind == "review_waiting"
    client.force_login(owner)
    assert f'<a href="{MINE}">A review campaign' in client.get("/profile/notifications/").text
    client.force_login(administrator)
    page, check = f"{PAGES}{campaign.pk}/?check=1", f"{API}/{campaign.pk}/check"
    assert "The record is being written" in client.get(page).text
    assert {"is_pending": True, "sealed": ""}.items() <= client.get(check).json().items()

    work()
    assert 'id="check"' in client.get(page).text
    assert {"is_pending": False, "matches": True}.items() <= client.get(check).json().items()
    with time_machine.travel(timezone.now() + 8 * DAY, tick=False):
        work()
        assert Token.objects.live().filter(pk=token.pk).exists()
    assert answers() == {token.name: "unanswered"}
    assert not ReviewCampaign.objects.unfinished().exists()
    with pytest.raises(NotAllowed):
        answering.confirm(actor=owner, token_ids=ids(token))


def test_tokens_expire_only_after_a_warning(owner, administrator):
    """If no worker ran until the end, people still get their time to answer."""
    token = TokenFactory(owner=owner)
    campaign = planning.plan(actor=administrator, answer_days=7)

    with time_machine.travel(campaign.due_at + DAY, tick=False):
        work()
        campaign.refresh_from_db()
        assert campaign.due_at == timezone.now() + 3 * DAY
        assert Token.objects.live().filter(pk=token.pk).exists()
    with time_machine.travel(campaign.due_at, tick=False):
        work()
        assert not Token.objects.live().filter(pk=token.pk).exists()


def test_campaign_ends_early_when_nothing_waits(owner, administrator):
    token = TokenFactory(owner=owner)
    campaign = planning.plan(actor=administrator)
    answering.confirm(actor=owner, token_ids=ids(token))
    work()

    campaign.refresh_from_db()
    assert (campaign.state, ReviewItem.objects.counts().confirmed) == (CampaignState.FINISHED, 1)


@pytest.mark.django_db(transaction=True)
def test_confirmation_at_the_moment_of_the_end_is_decided_by_the_database(owner, administrator):
    TokenFactory(owner=owner)
    campaign = planning.plan(actor=administrator)
    now = timezone.now()
    ReviewCampaign.objects.update(due_at=now, reminded_at=now)
    item, confirmed = ReviewItem.objects.get(), []

    def confirm():
        with suppress(answering.AlreadyAnswered):
            confirmed.extend(answering.confirm(actor=owner, token_ids=[item.token_id]))

    at_once(confirm, *[lambda: close_batch(campaign, item)] * 2)

    item.refresh_from_db()
    assert item.answer == ("confirmed" if confirmed else "lapsed")
    assert Token.objects.live().filter(pk=item.token_id).exists() is bool(confirmed)
    closed = Activity.objects.filter(action__in=["token.confirmed", "token.ended_unconfirmed"])
    assert closed.count() == 1


@pytest.mark.django_db(transaction=True)
def test_replacement_at_the_start_or_the_end_does_not_escape(owner, administrator):
    token = TokenFactory(owner=owner)

    def replace():
        with suppress(services.AlreadyEnded), signing_lock(), transaction.atomic():
            new = replacement.replace_token(actor=owner, token=token, overlap_hours=0)
            services.reveal_token(actor=owner, token=new)

    at_once(replace, lambda: planning.plan(actor=administrator))
    item = ReviewItem.objects.get()
    token = Token.objects.live().get()
    assert item.token_id == token.pk
    now = timezone.now()
    ReviewCampaign.objects.update(due_at=now, reminded_at=now)
    at_once(replace, lambda: close_batch(item.campaign, item))
    assert not Token.objects.live().exists()
    item.refresh_from_db()
    assert item.answer == "lapsed"


def test_administrator_answers_if_nobody_responsible_can(administrator, owner, django_assert_num_queries):
    account = ServiceAccountFactory(organization=owner.organization, responsible=[owner], is_active=False)
    item = ReviewItemFactory(token=TokenFactory(owner=account, is_limited=True))

    assert not ReviewItem.objects.asked_of(administrator).exists()
    assert ReviewItem.objects.asked_of(owner).get() == item
    User.objects.filter(pk=owner.pk).update(joined_at=None)
    assert people_answering_for([account]) == {account.pk: [administrator]}
    listed = ReviewItem.objects.asked_of(administrator).for_item_table().get()
    with django_assert_num_queries(0):
        assert (listed, listed.token.pipeline_ids) == (item, [])


def test_pages_ask_and_show_the_answers(client, owner, administrator):
    kept = limit_to(TokenFactory(owner=owner, name="kept"), PipelineFactory(owner=owner, name="Nightly"))
    other = TokenFactory(owner=owner, name="other", replaced_at=timezone.now())
    client.force_login(administrator)
    for page in ("access-review", "tokens"):
        assert PAGES in client.get(f"/organization/{page}/").text
    assert client.post(f"{PAGES}new/", {"answer_days": "6"}).status_code == 400
    answer = client.post(f"{PAGES}new/", {"answer_days": "14", "starts_at": "", "repeat_months": "3"})
    campaign = ReviewCampaign.objects.get()
    assert answer.url == f"{PAGES}{campaign.pk}/"
    assert "planned or open" in client.post(f"{PAGES}new/", {"answer_days": "14"}).text

    assert "A review is running: 2 of 2 tokens wait" in client.get("/").text
    page = client.get(f"{PAGES}{campaign.pk}/").text
    assert ("Only “Nightly”" in page or "Only 1 pipeline" in page, "?state=waiting#review-items" in page) == (
        True,
        True,
    )

    client.force_login(owner)
    assert client.get(MINE).text.count("Being replaced") == 1
    assert "A review is running" not in client.get("/").text
    assert "2 tokens wait for your confirmation" in " ".join(client.get("/").text.split())
    assert 'id="to-confirm"' in client.get("/profile/tokens/").text
    assert "operations" in client.get(MINE).text
    assert "Select tokens first" in client.post(f"{MINE}confirm/", follow=True).text
    assert page_about(Notification(kind="review_waiting")) == ("tokens:tokens_to_confirm",)
    refused = client.post(f"{MINE}confirm/", {"id": [str(kept.pk)], "note": "a" * 201})
    assert (refused.status_code, refused.text.count(" checked")) == (400, 1)
    client.post(f"{MINE}confirm/", {"id": [str(kept.pk)], "note": "needed"})
    assert "Somebody has answered" in client.post(f"{MINE}expire/", {"id": str(kept.pk)}, follow=True).text
    asked = client.post(f"{MINE}expire/", {"only": str(other.pk), "note": "old"})
    assert "Expire 1 token?" in asked.text
    assert Token.objects.live().filter(pk=other.pk).exists()
    client.post(f"{MINE}expire/", {"id": str(other.pk), "note": "old", "sure": "1"})
    assert answers() == {"kept": "confirmed", "other": "expired"}
    again = client.post(f"{MINE}confirm/", {"only": str(kept.pk)})
    assert (again.status_code, "Nothing was changed" in again.text) == (400, True)
    for wrong in ("text", str(TokenFactory().pk)):
        assert client.post(f"{MINE}confirm/", {"id": wrong}).status_code == 404

    work()
    client.force_login(administrator)
    page = client.get(f"{PAGES}{campaign.pk}/?state=confirmed&check=1").text
    assert "matches the digest in the activity log" in page
    assert (f'data-token="{kept.pk}"' in page, f'data-token="{other.pk}"' in page) == (True, False)
    file = b"".join(client.get(f"{PAGES}{campaign.pk}/record/"))
    campaign.refresh_from_db()
    assert hashlib.sha256(file).hexdigest() == campaign.digest


def test_tokens_cannot_answer_and_bad_answers_are_refused(api, owner, administrator):
    token = TokenFactory(owner=owner)
    planning.plan(actor=administrator)
    address, body = "/api/v1/tokens/to-confirm/confirm", {"ids": [str(token.pk)]}

    assert api.post(address, body, content_type="application/json", headers=bearer(token)).status_code == 403
    api.force_login(owner)
    [listed] = api.get("/api/v1/tokens/to-confirm").json()["data"]
    assert listed["token"]["id"] == str(token.pk)
    wrong = [{}, {"ids": []}, {"ids": "x"}, {"ids": ["x"]}, body | {"note": "a\0"}, body | {"note": "a" * 201}]
    statuses = [api.post(address, data, content_type="application/json").status_code for data in wrong]
    assert statuses == [400] * 6
    assert api.post(address, body, content_type="application/json").json()["data"][0]["state"] == "confirmed"
    again = api.post(address, body, content_type="application/json")
    assert (again.status_code, again.json()["code"]) == (409, "already_answered")
    api.force_login(administrator)
    ReviewCampaign.objects.update(ended_at=timezone.now())
    for given in ({"starts_at": "text"}, {"starts_at": 5}, {"answer_days": "14"}, {"repeat_months": 0}, {"more": 1}):
        assert api.post(API, given, content_type="application/json").status_code == 400
    for given, status in (({"starts_at": "2026-01-01"}, 400), ({}, 201), ({}, 409)):
        assert api.post(API, given, content_type="application/json").status_code == status


def test_service_refuses_a_request_with_a_token(owner, administrator, monkeypatch):
    token = TokenFactory(owner=owner)
    planning.plan(actor=administrator)
    monkeypatch.setattr(answering, "token_in_use", lambda request: token)

    with pytest.raises(ClosedToTokens):
        answering.confirm(actor=owner, token_ids=ids(token))
