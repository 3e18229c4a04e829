"""Webhooks: what is put into the outbox, how it is signed and delivered, and who manages them."""

import base64
import hashlib
import hmac
import ipaddress
import json
import subprocess
import threading
import uuid
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import time_machine
from cryptography.fernet import Fernet
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import transaction
from django.utils import timezone

from accounts.models import Notification, Webhook, WebhookDelivery
from accounts.notifications.kinds import FIRST_USE
from accounts.notifications.telling import News, tell
from accounts.roles import SiteRole
from accounts.tests.factories import UserFactory
from accounts.webhooks import delivery, outbox, services, signatures
from accounts.webhooks.events import EVENTS
from auditlog.actions import Action
from auditlog.models import Activity
from auditlog.record import record
from core.errors import NotAllowed
from tokens import jwt
from tokens.tests.factories import TokenFactory, bearer

NOW = datetime(2026, 5, 3, 12, tzinfo=UTC)
# From the specification.
EXAMPLE = {
    "secret": "whsec_plJ3nmyCDGBKInavdOK15jsl",
    "message_id": "msg_loFOjxBNrRLzqYUf",
    "timestamp": 1731705121,
    "payload": '{"event_type":"ping","data":{"success":true}}',
}


def test_signature_is_that_of_the_example_of_standard_webhooks():
    assert signatures.signature(**EXAMPLE) == "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0="
    with pytest.raises(ValueError, match="Not a secret"):
        signatures.signature(**EXAMPLE | {"secret": "whsec_ä"})


def recipe(language):
    text = (settings.BASE_DIR / "docs/webhooks.md").read_text()
    return text.partition(f"```{language}\n")[2].partition("```")[0]


def test_recipes_of_receivers_accept_the_example_and_nothing_else():
    headers = {
        "webhook-id": EXAMPLE["message_id"],
        "webhook-timestamp": str(EXAMPLE["timestamp"]),
        "webhook-signature": f"v1,old {signatures.signature(**EXAMPLE)}",
    }
    body, secret, now = EXAMPLE["payload"], EXAMPLE["secret"], EXAMPLE["timestamp"] + 10
    cases = [
        (headers, body, secret, now),
        (headers, body + " ", secret, now),
        (headers, body, signatures.new_secret(), now),
        (headers, body, secret, now + 1000),
        (headers | {"webhook-signature": "v1,"}, body, secret, now),
    ]
    written = {}
    exec(recipe("python"), written)
    python = [written["is_from_the_portal"](given, body.encode(), *rest) for given, body, *rest in cases]
    assert python == [True, False, False, False, False]
    results = f"{json.dumps(cases)}.map((values) => isFromThePortal(...values))"
    script = f"{recipe('javascript')}; console.log(JSON.stringify({results}))"
    answer = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout) == python


def test_pauses_grow_and_reach_three_days():
    pauses = [delivery.pause_after(attempts) for attempts in range(1, 12)]
    assert pauses == sorted(pauses)
    assert sum(pauses[:6], timedelta()) < outbox.LASTS < sum(pauses[:9], timedelta())


@pytest.mark.parametrize(
    ("url", "is_accepted"),
    [
        ("https://hooks.example.com/portal?a=b", True),
        ("http://127.0.0.2:9000/", True),
        ("http://127.0.0.3/", False),
        ("http://hooks.example.com/", False),
        ("https://user:pass@hooks.example.com/", False),
        ("ftp://127.0.0.2/", False),
        ("https://", False),
        ("https://hooks.example.com/\0", False),
        ("https://hooks.example.com/" + "x" * 2048, False),
        ("", False),
    ],
)
def test_url_must_be_https_unless_the_operator_allows_the_address(settings, url, is_accepted):
    settings.HTTP_STEP_ALLOWED_NETWORKS = [ipaddress.ip_network("127.0.0.2/32")]
    try:
        delivery.check_url(url)
    except ValueError:
        assert not is_accepted
    else:
        assert is_accepted


class Receiver:
    """A server that keeps the requests and answers with the next of ``statuses``, or 204."""

    def __init__(self):
        self.requests, self.statuses = [], []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                receiver.requests.append((dict(self.headers), body))
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 204)
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.2", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=[0.01], daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.2:{self.server.server_address[1]}/hook"

    @property
    def types(self):
        return [json.loads(body)["type"] for _, body in self.requests]


@pytest.fixture(scope="module")
def server():
    receiver = Receiver()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


@pytest.fixture
def receiver(server, settings):
    settings.HTTP_STEP_ALLOWED_NETWORKS = [ipaddress.ip_network("127.0.0.2/32")]
    server.requests.clear()
    server.statuses.clear()
    return server


@pytest.fixture
def reading(db):
    """The worker has begun to read."""
    outbox.fill()


def send():
    outbox.fill()
    delivery.send_due(threading.Event())


def create(actor, receiver, *events, **fields):
    webhook, secret = services.create_webhook(
        actor=actor, url=receiver.url, events=events or list(EVENTS), **{"description": "Events"} | fields
    )
    return webhook, secret


def is_signed(request, secret):
    headers, body = request
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{body}".encode()
    expected = f"v1,{base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()}"
    return expected in headers["webhook-signature"].split(" ")


@pytest.mark.each_database
def test_events_of_the_organization_are_sent_once_in_order_and_signed(
    reading, receiver, administrator, owner, stranger
):
    webhook, secret = create(administrator, receiver)
    services.create_webhook(actor=administrator, url=receiver.url, events=["leaked"])
    token = TokenFactory(owner=owner, name="Nightly")
    leaked = jwt.encode(token)[0]
    record(actor=owner, action=Action.TOKEN_ISSUED, target=token, message=f"pasted {leaked} here")
    record(actor=stranger, action=Action.SIGNED_IN, target=stranger)
    for person in (owner, stranger):
        with transaction.atomic():
            tell([News(FIRST_USE, person.pk, "1", token.pk, token.name, {"ip": "192.0.2.1"})])

    for _ in range(2):
        send()

    assert receiver.types == [
        "activity.webhook.created",
        "activity.webhook.created",
        "activity.token.issued",
        "notification.first_use",
    ]
    assert all(is_signed(request, secret) for request in receiver.requests)
    assert len({headers["webhook-id"] for headers, _ in receiver.requests}) == 4
    bodies = [body for _, body in receiver.requests]
    assert "pasted [token] here" in bodies[2]
    assert not any(leaked in body or "whsec_" in body or webhook.secret in body for body in bodies)
    assert json.loads(bodies[3])["data"] == {
        "id": str(Notification.objects.get(person=owner).public_id),
        "kind": "first_use",
        "user_id": str(owner.pk),
        "user_email": owner.email,
        "token_id": str(token.pk),
        "token_name": "Nightly",
        "details": {"ip": "192.0.2.1"},
    }
    # A second worker that reads the same entries again adds no row.
    rows = WebhookDelivery.objects.count()
    for model in (Activity, Notification):
        outbox._put(list(model.objects.order_by("pk")), outbox._active_webhooks())
    assert WebhookDelivery.objects.count() == rows == 4


@pytest.mark.each_database
def test_failed_event_is_tried_again_and_given_up_after_three_days(reading, receiver, administrator, organization):
    another = UserFactory(organization=organization, site_role=SiteRole.ADMINISTRATOR)
    with time_machine.travel(NOW, tick=False) as clock:
        webhook, _ = create(administrator, receiver, "activity")
        receiver.statuses += [500, 302]
        send()
        row = WebhookDelivery.objects.get()
        assert (row.state, row.attempts, row.last_status) == ("waiting", 1, 500)
        assert NOW + timedelta(seconds=5) <= row.next_attempt_at <= NOW + timedelta(seconds=6)
        send()
        assert len(receiver.requests) == 1
        clock.shift(timedelta(seconds=7))
        send()
        row.refresh_from_db()
        assert (row.attempts, row.last_status, "redirects" in row.last_error) == (2, 302, True)

        # What comes meanwhile does not wait for it.
        record(actor=administrator, action=Action.SIGNED_IN, target=administrator)
        send()
        assert receiver.types == ["activity.webhook.created"] * 2 + ["activity.authentication.signed_in"]
        webhook.refresh_from_db()
        assert webhook.failing_since is None

        receiver.statuses += [503] * 30
        while WebhookDelivery.objects.get(pk=row.pk).state == "waiting":
            clock.move_to(WebhookDelivery.objects.get(pk=row.pk).next_attempt_at)
            delivery.send_due(threading.Event())
        row.refresh_from_db()
        webhook.refresh_from_db()
        assert (row.state, row.ended_at - NOW) == ("failed", timedelta(days=3))
        assert 8 <= row.attempts <= 12
        # Since its last success, it has not failed for three days yet.
        assert not webhook.is_paused
        told = Notification.objects.filter(kind="webhook_failed")
        assert {row.person_id for row in told} == {administrator.pk, another.pk}
        assert {row.details["outcome"] for row in told} == {"given_up"}

        record(actor=administrator, action=Action.SIGNED_OUT, target=administrator)
        send()
        clock.shift(timedelta(days=3, minutes=10))
        send()
        webhook.refresh_from_db()
        assert webhook.is_paused
        assert told.filter(details__outcome="paused").count() == 2
        # What happens while it is paused is not sent later, and what waits is sent after it is resumed.
        receiver.statuses.clear()
        receiver.requests.clear()
        record(actor=administrator, action=Action.SIGNED_IN, target=administrator)
        send()
        assert receiver.requests == []
        services.resume_webhook(actor=administrator, webhook=webhook)
        send()
        assert receiver.types == ["activity.webhook.resumed"]
        services.send_again(actor=administrator, row=row)
        with pytest.raises(services.NotWaitingAgain):
            services.send_again(actor=administrator, row=row)
        send()
        row.refresh_from_db()
        assert (row.state, row.attempts) == ("delivered", 1)
        assert receiver.requests[-1][0]["webhook-id"] == f"evt_{row.event_id}"
        clock.shift(timedelta(days=31))
        delivery.forget_old(threading.Event())
        assert not WebhookDelivery.objects.exists()


def test_each_webhook_gets_one_call_in_a_sweep(reading, receiver, administrator, stranger, monkeypatch):
    monkeypatch.setattr(delivery, "AT_ONCE", 1)
    stranger.site_role = SiteRole.ADMINISTRATOR
    stranger.save()
    busy, failing, quiet = (
        create(actor, receiver, "leaked", description=name)[0]
        for actor, name in ((administrator, "busy"), (administrator, "failing"), (stranger, "quiet"))
    )
    for webhook, event_type in [(busy, "busy")] * 3 + [(failing, "failing")] * 2 + [(quiet, "quiet")]:
        outbox.delivery(webhook, uuid.uuid4(), event_type, json.dumps({"type": event_type})).save()
    receiver.statuses += [204, 500]

    delivery.send_due(threading.Event())

    assert receiver.types == ["busy", "failing", "quiet", "busy", "busy"]


@pytest.mark.each_database
def test_delivery_is_taken_by_one_of_two_workers_and_again_after_the_lease(reading, receiver, administrator):
    create(administrator, receiver, "activity")
    outbox.fill()
    with time_machine.travel(timezone.now(), tick=False) as clock:
        assert delivery._claim_next(set()) is not None
        # The first worker was killed.
        assert delivery._claim_next(set()) is None
        clock.shift(delivery.LEASE + timedelta(seconds=1))
        delivery.send_due(threading.Event())
    assert len(receiver.requests) == 1
    assert WebhookDelivery.objects.get().attempts == 2


def test_replaced_secret_signs_for_another_day(reading, receiver, administrator):
    with time_machine.travel(NOW, tick=False) as clock:
        webhook, old = create(administrator, receiver, "leaked")
        _, new = services.replace_secret(actor=administrator, webhook=webhook)
        for _ in range(2):
            services.send_test_event(actor=administrator, webhook=webhook)
            send()
            clock.shift(timedelta(days=1))
    both, one = receiver.requests
    assert [is_signed(request, secret) for request in (both, one) for secret in (old, new)] == [True, True, False, True]
    assert receiver.types == ["test", "test"]
    webhook.refresh_from_db()
    assert old not in webhook.previous_secret + webhook.secret
    # A secret that was moved to another webhook is not used.
    other, _ = create(administrator, receiver, "leaked")
    Webhook.objects.filter(pk=other.pk).update(secret=webhook.secret)
    services.send_test_event(actor=administrator, webhook=other)
    send()
    assert len(receiver.requests) == 2
    assert "can't read the secret" in WebhookDelivery.objects.get(webhook=other).last_error


def test_secrets_are_read_with_the_new_key_after_the_command(receiver, administrator, settings, capsys):
    webhook, _ = create(administrator, receiver, "leaked")
    _, secret = services.replace_secret(actor=administrator, webhook=webhook)
    old, new = signatures.BOX.key_of_the_file(), Fernet.generate_key().decode()
    before = Webhook.objects.values("secret", "previous_secret").get()
    settings.WEBHOOK_SECRETS_KEYS = (new,)
    with pytest.raises(CommandError, match="1 could not be read"):
        call_command("reencrypt_webhook_secrets")
    settings.WEBHOOK_SECRETS_KEYS = (new, old)
    call_command("reencrypt_webhook_secrets", "--dry-run")
    assert Webhook.objects.values("secret", "previous_secret").get() == before

    call_command("reencrypt_webhook_secrets")

    settings.WEBHOOK_SECRETS_KEYS = (new,)
    webhook.refresh_from_db()
    signed = signatures.headers_for(webhook, event_id=webhook.pk, payload="{}", at=timezone.now())
    both = signed["webhook-signature"].split()
    stamp = int(signed["webhook-timestamp"])
    assert (len(both), both[0]) == (2, signatures.signature(secret, signed["webhook-id"], stamp, "{}"))
    said = capsys.readouterr()
    assert said.err == f"No key opens the secret of webhook {webhook.pk}.\n"
    assert "Secrets of 1 webhook encrypted again." in said.out

    Webhook.objects.update(previous_secret="sealed with a key that is gone", previous_secret_until=timezone.now())
    call_command("reencrypt_webhook_secrets")
    assert Webhook.objects.get().previous_secret == ""


def test_only_administrators_of_the_organization_manage_webhooks(
    receiver, administrator, owner, organization, stranger, monkeypatch
):
    webhook, _ = create(administrator, receiver)
    row = services.send_test_event(actor=administrator, webhook=webhook)
    with pytest.raises(services.TestIsWaiting):
        services.send_test_event(actor=administrator, webhook=webhook)
    stranger.site_role = SiteRole.ADMINISTRATOR
    stranger.save()
    for person in (owner, stranger, UserFactory(organization=organization, site_role=SiteRole.POWER_USER)):
        for refused in (
            lambda person=person: services.change_webhook(actor=person, webhook=webhook, events=["leaked"]),
            lambda person=person: services.replace_secret(actor=person, webhook=webhook),
            lambda person=person: services.pause_webhook(actor=person, webhook=webhook),
            lambda person=person: services.delete_webhook(actor=person, webhook=webhook),
            lambda person=person: services.send_test_event(actor=person, webhook=webhook),
            lambda person=person: services.send_again(actor=person, row=row),
        ):
            with pytest.raises(NotAllowed):
                refused()
        assert not Webhook.objects.manageable_by(person).exists()
    for values in ({"events": []}, {"events": ["unknown"]}, {"description": "x" * 101}, {"description": "\0"}):
        with pytest.raises(ValidationError) as error:
            services.create_webhook(actor=administrator, url=receiver.url, **{"events": ["leaked"]} | values)
        assert error.value.message_dict.keys() == values.keys()
    services.pause_webhook(actor=administrator, webhook=webhook)
    with pytest.raises(services.IsPaused):
        services.send_test_event(actor=administrator, webhook=webhook)
    monkeypatch.setattr(delivery, "BATCH", 1)
    for _ in range(services.MOST_WEBHOOKS - 1):
        create(administrator, receiver)
    with pytest.raises(services.TooManyWebhooks):
        create(administrator, receiver)
    services.delete_webhook(actor=administrator, webhook=webhook)
    assert not WebhookDelivery.objects.exists()
    logged = Activity.objects.filter(type="webhook").order_by("id").values_list("action", flat=True)
    assert [logged[0], *logged[1:2], logged[len(logged) - 1]] == [
        "webhook.created",
        "webhook.paused",
        "webhook.deleted",
    ]


def test_tokens_read_urls_without_their_paths(api, client, receiver, administrator):
    webhook, _ = create(administrator, receiver)
    client.force_login(administrator)
    for path in ("/api/v1/webhooks", f"/api/v1/webhooks/{webhook.pk}"):
        with_token = api.get(path, headers=bearer(TokenFactory(owner=administrator, scope="api-readonly")))
        assert f'"url":"{receiver.url.removesuffix("/hook")}"' in with_token.text
        assert f'"url":"{receiver.url}"' in client.get(path).text
