"""Tokens that a second person must approve: asking, deciding, and what the state means everywhere."""

import threading
from datetime import timedelta

import pytest
import time_machine
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import Notification, Organization, User
from accounts.notifications.telling import name_of
from accounts.notifications.texts import page_about, sentence_of
from accounts.roles import SiteRole
from accounts.tests.factories import ServiceAccountFactory, UserFactory
from auditlog.models import Activity
from core.api.scopes import API, PIPELINE, SECURITY_LOGS
from core.errors import NotAllowed
from opsera_portal.tests.mails import delivered
from tokens import replacement, services
from tokens.approval import deciding, lapsing
from tokens.approval.asking import ApprovalNeeded
from tokens.approval.models import ApprovalRequest, Decision, RequestState
from tokens.approval.rules import why_needed
from tokens.filters import TokenFilter
from tokens.models import Token
from tokens.names import name_key
from tokens.states import TokenState
from tokens.tests.factories import ApprovalRequestFactory, TokenFactory, bearer, now_in_seconds

DAY, MINUTE, SECOND = timedelta(days=1), timedelta(minutes=1), timedelta(seconds=1)
LIST, ROTATE = "/organization/approvals/", "/api/v1/tokens/current/rotate"
WHY = "For the export to the archive."
CONCERNS_MAKER = ("approved", "rejected", "request_lapsed")


@pytest.fixture
def organization(organization):
    organization.approval_scopes = "security-logs"
    organization.approval_lifetime_days = 60
    organization.save()
    return organization


@pytest.fixture
def security(organization):
    return UserFactory(organization=organization, site_role=SiteRole.SECURITY_MANAGER, email="security@acme.example")


def issue(actor, *, chosen=(SECURITY_LOGS,), days=30, reason=WHY, name="archive", **given):
    return services.issue_token(
        actor=User.objects.get(pk=actor.pk),
        name=name,
        chosen=list(chosen),
        expires_at=now_in_seconds() + days * DAY,
        approval_reason=reason,
        **given,
    )


def actions():
    return list(Activity.objects.order_by("id").values_list("action", flat=True))


# Asking


def test_policy_says_which_tokens_need_approval():
    policy = Organization(approval_scopes="api security-logs", approval_lifetime_days=60)

    def why(*chosen, lifetime=60 * DAY, owner=None):
        return why_needed(policy, chosen=chosen, lifetime=lifetime, owner=owner or User())

    assert why(PIPELINE) == why(PIPELINE, owner=User(is_service_account=True)) == []
    assert why(API, PIPELINE) == ["Tokens with this scope need approval: API Access."]
    assert why(PIPELINE, lifetime=60 * DAY + SECOND) == ["Tokens that live longer than 60 days need approval."]
    policy.approval_for_service_accounts = True
    assert why(PIPELINE) == []
    assert why(PIPELINE, owner=User(is_service_account=True)) == ["Tokens of service accounts need approval."]


@pytest.mark.each_database
def test_token_waits_is_approved_and_is_then_shown_once(organization, owner, administrator, security):
    token = issue(owner)

    assert (token.state, token.can_be_revealed, token.waits_until) == (
        TokenState.WAITING,
        False,
        token.created_at + 7 * DAY,
    )
    with pytest.raises(services.CannotBeRevealed):
        services.reveal_token(actor=owner, token=token)
    asked = delivered()
    assert sorted(mail.to[0] for mail in asked) == sorted([administrator.email, security.email])
    assert all(WHY in mail.body and "Security Logs (Read Only)" in mail.body for mail in asked)

    approval = ApprovalRequest.objects.get()
    noticed = Notification.objects.of(security).get()
    assert sentence_of(noticed) == f"{name_of(owner)} asks you to approve the token “archive”."
    assert page_about(noticed) == ("tokens:organization_approval_detail", approval.pk)
    with time_machine.travel(token.created_at + 6 * DAY, tick=False):
        deciding.approve(actor=security, approval=approval, reason="Agreed on Monday.")
        token = Token.objects.get()
        assert (token.state, token.expires_at) == (TokenState.PENDING, token.created_at + 30 * DAY)
        assert token.can_be_revealed_until == token.approved_at + DAY
        told = delivered()[-1]
        assert told.to == [owner.email]
        assert f"/profile/tokens/{token.pk}/reveal/" in told.body
        assert "Agreed on Monday." in told.body
    with time_machine.travel(token.created_at + 7 * DAY - MINUTE, tick=False):
        services.reveal_token(actor=owner, token=token)
        with pytest.raises(services.CannotBeRevealed):
            services.reveal_token(actor=owner, token=token)
        assert Token.objects.get().state is TokenState.ACTIVE
    assert actions() == ["token.issued", "token.approval_requested", "token.approved", "token.revealed"]


def test_rejected_withdrawn_and_lapsed_tokens_free_their_name_and_work_never(organization, owner, security):
    organization.max_live_tokens = 1
    organization.save()
    ends = [
        lambda found: deciding.reject(actor=security, approval=found, reason="expired"),
        lambda found: deciding.withdraw(actor=owner, approval=found),
        lambda found: services.revoke_token(actor=owner, token=found.token),
    ]
    for end in ends:
        token = issue(owner)
        with pytest.raises(services.DomainError, match="allows each person 1 live token"):
            issue(owner, name="another", chosen=[PIPELINE])
        end(ApprovalRequest.objects.get(token=token))
    with time_machine.travel(now_in_seconds() - 8 * DAY, tick=False):
        lapsed = issue(owner)
    assert (Token.objects.get(pk=lapsed.pk).state, lapsed.ended_at) == (TokenState.EXPIRED, lapsed.waits_until)
    issue(owner)

    owner.notification_choices = {"rejected": "portal"}
    owner.save()
    for _ in range(2):
        lapsing.tell_lapsed(threading.Event())
    said = [(row.kind, sentence_of(row)) for row in Notification.objects.of(owner).filter(kind__in=CONCERNS_MAKER)]
    assert said == [
        ("request_lapsed", "Nobody approved or rejected the token “archive” in time, so your request has lapsed."),
        ("rejected", f"{name_of(security)} rejected the token “archive”: expired"),
    ]
    assert [mail.subject for mail in delivered()][-1] == "Nobody decided about your token “archive” in time"
    assert sorted(found.state for found in ApprovalRequest.objects.all()) == [
        "ended",
        "lapsed",
        "rejected",
        "waiting",
        "withdrawn",
    ]
    rejected = Token.objects.get(approval_request__decision=Decision.REJECTED)
    assert (rejected.state, rejected.revoked_by, rejected.revoke_reason) == (
        TokenState.REVOKED,
        security,
        "expired",
    )
    assert "expired" in next(mail.body for mail in delivered() if "rejected" in mail.subject)
    assert actions()[:3] == ["token.issued", "token.approval_requested", "token.rejected"]
    assert "token.request_withdrawn" in actions()


def test_reason_is_required_only_if_approval_is_needed(organization, owner):
    for wrong, said in (
        ("", "Say why you need it."),
        ("  ", "Say why"),
        ("x" * 501, "at most 500"),
        ("a\0b", "control"),
    ):
        with pytest.raises(ValidationError) as refused:
            issue(owner, reason=wrong)
        assert said in refused.value.message_dict["approval_reason"][0]
    assert not Token.objects.exists()

    assert issue(owner, chosen=[PIPELINE], reason="").state is TokenState.PENDING
    assert not ApprovalRequest.objects.exists()


def test_replacing_asks_again_only_if_the_token_was_not_approved(organization, owner, security):
    old = TokenFactory(owner=owner, scope="security-logs")
    assert not replacement.can_be_replaced(old)
    with pytest.raises(ApprovalNeeded):
        replacement.replace_token(actor=owner, token=old)

    token = issue(owner)
    deciding.approve(actor=security, approval=token.approval_request)
    services.reveal_token(actor=owner, token=Token.objects.get(pk=token.pk))
    for _ in range(2):
        token = replacement.replace_token(actor=owner, token=Token.objects.get(pk=token.pk))
        assert token.state is TokenState.PENDING
        services.reveal_token(actor=owner, token=token)
    assert ApprovalRequest.objects.count() == 1


def test_token_rotates_without_asking_again_only_if_it_was_approved(api, organization, owner):
    organization.allowed_scopes += " tokens:rotate"
    organization.approval_scopes = "tokens:rotate"
    organization.save()
    old = TokenFactory(owner=owner, scope="api tokens:rotate")
    approved = TokenFactory(owner=owner, scope="api tokens:rotate", approved_at=old.created_at)

    refused, answer = (api.post(ROTATE, headers=bearer(token)) for token in (old, approved))

    assert (refused.status_code, refused.json()["code"]) == (409, "approval_needed")
    assert Token.objects.get(pk=old.pk).is_active
    assert (answer.status_code, answer.json()["state"]) == (201, "active")
    assert Token.objects.get(pk=answer.json()["id"]).approved_at == approved.approved_at


@pytest.mark.parametrize(("scopes", "says"), [([], False), (["api"], False), (["security-logs"], True)])
def test_form_sent_again_names_no_scope_that_it_does_not_offer(client, owner, scopes, says):
    """As the fresh form. A User has nothing of security logs."""
    client.force_login(owner)

    hints = [client.get("/profile/tokens/").context["needing_approval"]]
    hints += [client.post("/profile/tokens/", {"scopes": scopes}).context["needing_approval"]]

    assert ["Security Logs" in hint for hint in hints] == [False, says]
    assert all("longer than 60 days" in hint for hint in hints)


# Service accounts


@pytest.mark.each_database
def test_token_of_a_service_account_is_approved_by_others_and_shown_to_its_maker(
    api, organization, owner, administrator, security
):
    organization.approval_for_service_accounts = True
    organization.save()
    answering = UserFactory(organization=organization, site_role=SiteRole.SECURITY_MANAGER)
    account = ServiceAccountFactory(organization=organization, name="CI deploy", responsible=[owner, answering])
    # It has a role that can approve, but no address.
    ServiceAccountFactory(organization=organization, site_role=SiteRole.SECURITY_MANAGER, responsible=[owner])
    starts = now_in_seconds() + 3 * DAY
    token = issue(owner, owner=account, chosen=[PIPELINE], not_before=starts)

    assert (token.state, token.owner, token.created_by) == (TokenState.WAITING, account, owner)
    asked = [mail for mail in delivered() if "approve" in mail.subject]
    assert sorted(mail.to[0] for mail in asked) == sorted([administrator.email, security.email])
    assert all("CI deploy" in mail.body for mail in asked)
    approval = ApprovalRequest.objects.get()
    for person in (owner, answering):
        with pytest.raises(NotAllowed):
            deciding.approve(actor=person, approval=approval)
    assert list(ApprovalRequest.objects.visible_to(owner)) == [approval]
    api.force_login(security)
    assert "CI deploy" in api.get(LIST).text
    assert "Works from" in api.get(f"{LIST}{approval.pk}/").text

    deciding.approve(actor=administrator, approval=approval)
    token.refresh_from_db()
    assert delivered()[-1].to == [owner.email]
    for person in (answering, administrator):
        with pytest.raises(services.CannotBeRevealed):
            services.reveal_token(actor=person, token=token)
    account.service_account.responsible.remove(owner)
    with pytest.raises(services.CannotBeRevealed):
        services.reveal_token(actor=owner, token=token)
    account.service_account.responsible.add(owner)
    services.reveal_token(actor=owner, token=token)
    assert Token.objects.get().state is TokenState.SCHEDULED
    with time_machine.travel(starts, tick=False):
        assert Token.objects.get().state is TokenState.ACTIVE


# Deciding


def test_nobody_decides_about_their_own_request_or_without_the_role(organization, administrator, security, owner):
    own = ApprovalRequestFactory(token__owner=security)
    made_for_other = ApprovalRequestFactory(token__owner=owner, asked_by=security)
    foreign = ApprovalRequestFactory()
    for approval, error in ((own, deciding.OwnRequest), (made_for_other, deciding.OwnRequest), (foreign, NotAllowed)):
        with pytest.raises(error):
            deciding.approve(actor=security, approval=approval)
    auditor = UserFactory(organization=organization, site_role=SiteRole.AUDITOR)
    for person in (owner, auditor):
        with pytest.raises(NotAllowed):
            deciding.reject(actor=person, approval=own, reason="no")
    with pytest.raises(NotAllowed):
        deciding.withdraw(actor=administrator, approval=own)
    with pytest.raises(ValidationError):
        deciding.reject(actor=administrator, approval=own, reason=" ")
    assert set(Token.objects.waiting()) == {own.token, made_for_other.token, foreign.token}
    assert set(ApprovalRequest.objects.visible_to(owner)) == {made_for_other}
    assert set(ApprovalRequest.objects.decidable_by(administrator)) == {own, made_for_other}


@pytest.mark.django_db(transaction=True)
@pytest.mark.each_database
def test_one_of_several_decisions_at_once_wins_and_the_others_learn_who(organization, owner, administrator, security):
    approval = ApprovalRequestFactory(token__owner=owner)
    decisions = [
        lambda: deciding.approve(actor=security, approval=approval),
        lambda: deciding.approve(actor=administrator, approval=approval),
        lambda: deciding.reject(actor=administrator, approval=approval, reason="no"),
        lambda: deciding.withdraw(actor=owner, approval=approval),
    ]
    barrier, results = threading.Barrier(len(decisions)), []

    def decide(decision):
        try:
            barrier.wait()
            results.append(decision())
        except deciding.AlreadyDecided as error:
            results.append(str(error))
        finally:
            connection.close()

    threads = [threading.Thread(target=decide, args=[decision]) for decision in decisions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    [won] = [result for result in results if isinstance(result, ApprovalRequest)]
    stored = ApprovalRequest.objects.get()
    assert (stored.decision, stored.decided_by) == (won.decision, won.decided_by)
    assert [result for result in results if result is not won] == [deciding.outcome_in_words(stored)] * 3
    assert stored.decided_by.email in deciding.outcome_in_words(stored)
    assert Activity.objects.count() == 1
    assert Token.objects.get().state is (TokenState.PENDING if stored.decision == "approved" else TokenState.REVOKED)


# Pages and API


def test_form_asks_for_the_reason_and_pages_show_the_request(client, organization, owner, security):
    sent = {"name": "archive", "scopes": "security-logs", "lifetime": "1w"}
    client.force_login(owner)
    refused = client.post("/profile/tokens/", sent)
    assert (refused.status_code, "Say why you need it." in refused.text) == (400, True)
    page = client.get(client.post("/profile/tokens/", sent | {"approval_reason": WHY}).url)
    assert "This token waits for approval" in page.text
    assert WHY in page.text
    token = Token.objects.get()
    assert "This token waits for approval" in client.get(f"/profile/tokens/{token.pk}/reveal/").text
    assert 'id="signed-jwt"' not in client.get(f"/profile/tokens/{token.pk}/reveal/").text

    client.force_login(security)
    assert "1 token waits for your approval" in " ".join(client.get("/").text.split())
    approval = ApprovalRequest.objects.get()
    page = client.get(f"{LIST}{approval.pk}/").text
    assert WHY in page
    assert "<code>GET /api/v1/logs/user/tokens</code>" in page
    assert "not active" not in page
    assert client.post(f"{LIST}{approval.pk}/reject/", {"reason": ""}).status_code == 400
    assert client.post(f"{LIST}{approval.pk}/approve/", {"reason": ""}).url == f"{LIST}{approval.pk}/"
    late = client.post(f"{LIST}{approval.pk}/reject/", {"reason": "no"})
    assert (late.status_code, "approved this request on" in late.text) == (409, True)
    assert 'id="awaited"' not in client.get("/").text

    client.force_login(owner)
    assert 'id="signed-jwt"' in client.get(f"/profile/tokens/{token.pk}/reveal/").text
    withdrawn = issue(owner, name="other")
    client.post(f"/profile/tokens/{withdrawn.pk}/withdraw/")
    assert Token.objects.get(pk=withdrawn.pk).state is TokenState.REVOKED


def test_api_answers_without_the_token_then_with_the_decision_once(api, organization, owner, security):
    api.force_login(owner)
    body = {"name": "archive", "scopes": ["security-logs"]}
    assert "approval_reason" in api.post("/api/v1/tokens", body).json()["errors"]
    answer = api.post("/api/v1/tokens", body | {"approval_reason": WHY})
    assert (answer.status_code, answer.json()["state"], answer.json()["token"]) == (201, "waiting", None)
    [row] = api.get("/api/v1/approvals").json()["data"]
    assert (row["state"], row["reason"], row["token"]["id"]) == ("waiting", WHY, answer.json()["id"])

    address = f"/api/v1/approvals/{row['id']}"
    headers = bearer(TokenFactory(owner=security))
    assert api.get(f"{address}", headers=headers).status_code == 200
    assert api.post(f"{address}/approve", {}, headers=headers).status_code == 403
    api.force_login(security)
    assert api.post(f"{address}/reject", {"reason": ""}).status_code == 400
    decided = api.post(f"{address}/approve", {"reason": "fine"}).json()
    assert (decided["state"], decided["decided_by"], decided["token"]["state"]) == (
        "approved",
        security.email,
        "pending",
    )
    again = api.post(f"{address}/reject", {"reason": "no"})
    assert (again.status_code, again.json()["code"]) == (409, "already_decided")
    assert security.email in again.json()["detail"]


@pytest.mark.each_database
def test_list_has_what_waits_first_and_costs_the_same_for_many(client, organization, owner, security):
    client.force_login(security)

    def queries():
        with CaptureQueriesContext(connection) as captured:
            page = client.get(LIST)
        assert page.status_code == 200
        return len(captured), [row.record.state for row in page.context["table"].rows]

    ApprovalRequestFactory(token__owner=owner)
    deciding.approve(actor=security, approval=ApprovalRequestFactory(token__owner=owner))
    few, states = queries()
    assert states == ["waiting", "approved"]
    for approval in ApprovalRequestFactory.create_batch(9, token__owner=owner)[::2]:
        deciding.reject(actor=security, approval=approval, reason="no")
    many, states = queries()
    assert many == few
    assert states == ["waiting"] * 5 + ["rejected"] * 5 + ["approved"]
    for state in RequestState:
        shown = client.get(LIST, {"state": state}).context["table"].rows
        assert {row.record.state for row in shown} <= {state}
    assert len(client.get(LIST, {"asked_by": owner.email, "q": "token"}).context["table"].rows) == 11


def test_policy_page_says_if_too_few_people_can_approve(client, organization, administrator):
    client.force_login(administrator)
    assert "so nobody can approve theirs" in client.get("/organization/policy/").text
    second = UserFactory(organization=organization, site_role=SiteRole.SECURITY_MANAGER)
    assert 'id="approvers"' not in client.get("/organization/policy/").text
    User.objects.update(site_role=SiteRole.AUDITOR)
    client.force_login(second)
    assert "Nobody can approve tokens" in client.get("/organization/policy/").text


# The state as property and as query

MOMENTS = st.sampled_from(
    [-31 * DAY, -7 * DAY - SECOND, -7 * DAY, -DAY, -10 * MINUTE, -SECOND, timedelta(0), SECOND, DAY]
)
MAYBE = st.none() | MOMENTS
WORLDS = st.lists(st.tuples(MOMENTS, MAYBE, MAYBE, MAYBE, MAYBE, st.booleans()), min_size=30, max_size=60)


@pytest.mark.each_database
@given(world=WORLDS)
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_state_of_a_token_agrees_with_the_queries_in_any_world(organization, owner, world):
    now = now_in_seconds()
    gone = User.objects.filter(organization=organization, is_active=False).first()
    gone = gone or UserFactory(organization=organization, is_active=False)
    with time_machine.travel(now, tick=False):
        Token.objects.all().delete()
        rows = []
        for number, (ends, waits, approved, revealed, revoked, is_gone) in enumerate(world):
            created = (
                now - 31 * DAY if ends < timedelta(0) else now - 8 * DAY * (number % 2) - 10 * MINUTE * (number % 3)
            )
            rows.append(
                Token(
                    owner=gone if is_gone else owner,
                    organization=organization,
                    name=f"token {number}",
                    live_name_key=None if revoked is not None else name_key(f"token {number}"),
                    scope="api",
                    created_at=created,
                    expires_at=max(now + ends, created + SECOND),
                    waits_until=None if waits is None else now + waits,
                    approved_at=None if waits is not None or approved is None else now + approved,
                    revealed_at=None if waits is not None or revealed is None else now + revealed,
                    revoked_at=None if revoked is None else now + revoked,
                )
            )
        Token.objects.bulk_create(rows)
        found = list(Token.objects.for_token_table())
        for state in TokenState:
            queried = set(TokenFilter({"state": state.id}, Token.objects.all()).qs)
            assert queried == {token for token in found if token.state is state}, state
        assert set(Token.objects.waiting()) == {token for token in found if token.waits_until and not token.has_ended}
        by_end = Token.objects.filter(revoked_at=None).by_end(is_descending=False)
        ends = [token.ended_at or token.expires_at for token in by_end]
        assert ends == sorted(ends)
