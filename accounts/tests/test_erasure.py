"""An Administrator erases a deactivated person: their name is nowhere any more, and the seals still prove the logs."""

import threading
from datetime import timedelta
from io import StringIO

import pytest
import time_machine
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from accounts import erasure, log_retention, services
from accounts.erasure import Erased
from accounts.models import Erasure, Notification, OrganizationProvider, ServiceAccount, User, WebhookDelivery
from accounts.notifications.telling import name_of
from accounts.roles import SiteRole
from accounts.tests.factories import GroupFactory, ServiceAccountFactory, UserFactory, WebhookFactory
from accounts.tests.factors import add_passkey
from accounts.webhooks import outbox
from accounts.webhooks.events import payload_of
from auditlog.actions import Action
from auditlog.models import Activity, Seal, TokenUse
from auditlog.record import record
from auditlog.seals import sealing
from auditlog.seals.verification import Verification
from core.models import OutgoingMail
from pipelines.tests.factories import PipelineFactory, RunFactory
from tokens.tests.factories import ApprovalRequestFactory, TokenFactory, bearer

pytestmark = [pytest.mark.django_db, pytest.mark.each_database]

NAME, EMAIL, EARLIER = "Greta Gone", "greta@acme.example", "greta.old@acme.example"
SUBJECT = "id-of-greta-at-the-provider"


@pytest.fixture
def greta(api, administrator, organization):
    """A person whose name is in all kinds of rows. Sealed and unsealed entries name her."""
    greta = UserFactory(organization=organization, email=EARLIER, name=NAME, site_role=SiteRole.USER)
    services.change_user(actor=administrator, user=greta, email=EMAIL)
    greta.refresh_from_db()
    for _ in range(3):
        api.get("/api/v1/me", headers=bearer(TokenFactory(owner=greta, description=f"of {NAME}")))
    ApprovalRequestFactory(token__owner=greta, reason=f"{NAME} needs it.")
    decided = {"decision": "approved", "decided_by": greta, "decided_at": timezone.now()}
    ApprovalRequestFactory(token__owner=administrator, decision_reason=f"Agreed with {EMAIL}.", **decided)
    group = GroupFactory(organization=organization)
    services.add_member(actor=administrator, group=group, user=greta)
    run = RunFactory(pipeline=PipelineFactory(owner=administrator), started_by=greta, started_by_email=greta.email)
    run.log("run", "queued", f"Requested by {EMAIL.upper()}.")
    seal()
    record(actor=administrator, action=Action.GROUP_CHANGED, target=group, added=[EMAIL, f"not-{EMAIL}"])
    add_passkey(greta)
    told = {"kind": "expired_early", "details": {"actor": name_of(greta), "reason": f"Asked by {EMAIL}"}}
    for number, person in enumerate([administrator, greta]):
        Notification.objects.create(person=person, once=number, **told)
    account = ServiceAccountFactory(organization=organization, responsible=[administrator])
    ServiceAccount.objects.filter(user=account).update(description=f"{NAME}{'.' * 490}")
    OrganizationProvider.objects.create(organization=organization, last_failure=f"No member has {EMAIL}: {SUBJECT}")
    said = {"by": "single sign-on", "subject": SUBJECT, "claims": {"groups": [SUBJECT]}}
    record(actor=greta, action=Action.USER_ROLE_CHANGED, target=greta, **said)
    exchanged = {"claims": {"actor": [NAME.upper()], "user_email": [EMAIL]}}
    record(actor=account, action=Action.TOKEN_EXCHANGED, target=TokenFactory(owner=account), **exchanged)
    webhook = WebhookFactory(organization=organization, description=f"Chat of {NAME}")
    for row in (
        Notification.objects.first(),
        Activity.objects.last(),
        Activity.objects.filter(actor=greta).first() or Activity.objects.last(),
    ):
        payload = payload_of(row)
        outbox.delivery(webhook, row.public_id, "x", payload).save()
    OutgoingMail.objects.create(kind="x", person=greta, email=EMAIL, expires_at="2030-01-01T00:00Z")
    services.set_active(actor=administrator, user=greta, is_active=False)
    return greta


def seal():
    for log in Seal.Log:
        assert list(sealing.seal_due(log, threading.Event(), at_once=True)) is not None


def findings():
    return [finding for log in Seal.Log for finding in Verification(log).findings()]


def finish():
    """What the worker does; it is stopped after each part of the work."""
    for _ in range(20):
        row = Erasure.objects.filter(ended_at=None).first()
        if row is None:
            return
        stopping, part = threading.Event(), row.part
        for _ in erasure.run(row, stopping):
            if row.part != part:
                stopping.set()
    pytest.fail("It does not end.")


def tables_with(*words):
    """The tables in which one of the words still is."""
    found = set()
    for model in apps.get_models(include_auto_created=True):
        with connection.cursor() as cursor:
            cursor.execute(f'SELECT * FROM "{model._meta.db_table}"')
            text = str(cursor.fetchall()).lower().replace(f"not-{EMAIL}", "")
        if any(word.lower() in text for word in words):
            found.add(model._meta.label)
    return found


def test_name_is_nowhere_and_the_seals_prove_every_entry(client, administrator, greta):
    before = TokenUse.objects.count(), Activity.objects.count()
    client.force_login(administrator)
    page = f"/organization/users/{greta.pk}/"
    assert f"{page}erase/" in client.get(page).content.decode()
    assert "can&#x27;t be undone" in client.get(f"{page}erase/").content.decode()
    assert client.post(f"{page}erase/", {"confirm": "other@acme.example"}).status_code == 400
    assert client.post(f"{page}erase/", {"confirm": EMAIL.upper()}).status_code == 302
    greta.refresh_from_db()
    assert greta.name.startswith("Erased person ")
    assert greta.email.endswith("@erased.invalid")
    assert "so far" in client.get(page).content.decode()

    # Requests that have read the old name may still be running.
    erasure.run_due(threading.Event())
    assert Erasure.objects.get().part == ""
    finish()
    assert tables_with(NAME, EMAIL, EARLIER, SUBJECT) == set()
    assert findings() == []
    verified = [Verification(log) for log in Seal.Log]
    assert [list(each.findings()) for each in verified] == [[], []]
    assert [each.erased > 0 for each in verified] == [True, True]
    assert (TokenUse.objects.count(), Activity.objects.count() - 2) == before
    row = Erasure.objects.get()
    assert (row.words, row.forged) == ([], 0)
    assert "Done" in client.get(page).content.decode()
    entry = Activity.objects.get(action="user.erased")
    assert (entry.actor, entry.target_name) == (administrator, greta.email)
    added = Activity.objects.filter(action="group.changed").latest("id")
    assert added.details["added"] == [greta.email, f"not-{EMAIL}"]

    [told] = Notification.objects.filter(kind="expired_early")
    assert (told.person, told.details["actor"]) == (administrator, f"{greta.name} ({greta.email})")
    assert all(greta.email in payload for payload in WebhookDelivery.objects.values_list("payload", flat=True))

    assert client.get(f"/admin/accounts/user/{greta.pk}/change/").context["has_change_permission"] is False
    # It is for good.
    for wanted in ({"is_active": True}, {"name": NAME}):
        with pytest.raises(services.PersonErased):
            services.change_user(actor=administrator, user=greta, **wanted)
    with pytest.raises(services.PersonErased):
        services.erase_person(actor=administrator, user=greta, confirm=greta.email)


def test_log_is_pruned_and_proven_after_an_erasure(administrator, greta):
    services.erase_person(actor=administrator, user=greta, confirm=EMAIL)
    finish()
    with time_machine.travel(timezone.now() + timedelta(days=500), tick=False):
        seal()
        for log in Seal.Log:
            log_retention.prune(log, threading.Event())
        assert not TokenUse.objects.exists()
        assert findings() == []
    assert not Seal.objects.filter(kind=Seal.Kind.ERASED).exclude(entries=None).exists()


def test_forged_and_restored_entries_are_still_reported(administrator, greta):
    forged, restored = TokenUse.objects.order_by("id")[:2]
    seal()
    raw(f"UPDATE auditlog_tokenuse SET status = 418 WHERE id = {forged.pk}")
    services.erase_person(actor=administrator, user=greta, confirm=EMAIL)
    finish()

    assert Erasure.objects.get().forged == 1
    [finding] = findings()
    assert f"Entry {forged.pk} " in finding
    assert "was changed" in finding
    # The old name, put back.
    raw(f"UPDATE auditlog_tokenuse SET owner_email = '{EMAIL}' WHERE id = {restored.pk}")
    assert len(findings()) == 2
    # A block that allows another change can't be forged without the key.
    block = Seal.objects.filter(kind=Seal.Kind.ERASED).latest("id")
    Seal.objects.filter(pk=block.pk).update(entries=bytes(24))
    assert any("other records" in finding for finding in findings())


def raw(sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)


def test_only_a_deactivated_person_who_owns_nothing_is_erased(api, administrator, owner, stranger):
    api.force_login(administrator)

    def erase(user, confirm):
        return api.post(f"/api/v1/users/{user.pk}/erase", {"confirm": confirm}, format="json")

    answer = erase(owner, owner.email)
    assert (answer.status_code, "Deactivate" in answer.json()["detail"]) == (409, True)
    PipelineFactory(owner=owner, name="Deploy")
    services.set_active(actor=administrator, user=owner, is_active=False)
    answer = erase(owner, owner.email)
    assert (answer.status_code, "Deploy" in answer.json()["detail"]) == (409, True)
    assert erase(owner, "x").status_code == 400
    assert erase(stranger, stranger.email).status_code == 403
    assert not User.objects.exclude(erased_at=None).exists()


def test_operator_erases_with_a_command(greta, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda question: "no")
    with pytest.raises(CommandError, match="Nothing was done"):
        call_command("erase_person", EMAIL)
    out = StringIO()
    call_command("erase_person", EMAIL, "--yes", stdout=out)
    assert "were replaced in" in out.getvalue()
    assert (findings(), tables_with(EMAIL)) == ([], set())
    with pytest.raises(CommandError, match="Nobody"):
        call_command("erase_person", EMAIL, "--yes")


def test_claim_of_an_exchange_is_replaced_if_it_is_the_name_or_the_address():
    long = f"{'ada' * 20}@{'acme' * 12}.example"
    erased = Erased(User(email="e@erased.invalid", name="Erased person 1"), ["ada@acme.example", long, "Ada"])
    said = {
        "actor": ["ada"],
        "user_login": ["ada-b"],
        "user_email": ["ADA@acme.example", long[:100]],
        "run_id": [7, None],
    }

    found = erased.details({"claims": said, "reason": "Ada asked."}, actor_email="")

    assert found == {
        "claims": said | {"actor": ["Erased person 1"], "user_email": ["e@erased.invalid"] * 2},
        "reason": "Ada asked.",
    }
    assert erased.details({"claims": ["Ada"]}, actor_email="") == {"claims": ["Ada"]}


def test_only_whole_words_are_replaced():
    erased = Erased(User(email="e@erased.invalid", name="Erased person 1"), ["a.b@acme.example", "Ada B"])
    for text, expected in (
        ("a.b@acme.example", "e@erased.invalid"),
        ("Mail to A.B@ACME.example.", "Mail to e@erased.invalid."),
        ("xa.b@acme.example a.b@acme.example.org -a.b@acme.example", None),
        ("ada b and Ada Bell", "Erased person 1 and Ada Bell"),
    ):
        assert erased.text(text) == (expected or text)
    assert erased.value({"Ada B": ["Ada B", 1, None, {"x": "a.b@acme.example"}]}) == {
        "Ada B": ["Erased person 1", 1, None, {"x": "e@erased.invalid"}]
    }
