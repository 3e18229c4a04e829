"""What Administrators do with webhooks. Pages and API call these.

A webhook sends what happens in an organization to somewhere else, and outlives the token or the session that created
it. So creating and changing one asks again who you are, and tokens can't do it.
"""

from collections.abc import Sequence
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy, ngettext
from django.views.decorators.debug import sensitive_variables

from accounts.models import User, Webhook, WebhookDelivery
from accounts.privileges import Privilege, require_proof
from accounts.roles import Ability
from accounts.services.guard import allowed
from accounts.webhooks import delivery, outbox, signatures
from accounts.webhooks.events import EVENTS, TEST, payload
from auditlog.actions import Action
from auditlog.record import record
from core.db.locks import lock_if_exists
from core.db.uuid7 import uuid7
from core.errors import DomainError, NotAllowed, errors_of
from core.text import NOT_PRINTABLE, composed, is_printable

MOST_WEBHOOKS = 20
DESCRIPTION_LENGTH = 100


class TooManyWebhooks(DomainError):
    code = "too_many_webhooks"


class NotWaitingAgain(DomainError):
    code = "already_waiting"
    message = gettext_lazy("This event is already waiting to be sent.")


class TestIsWaiting(DomainError):
    code = "test_already_waiting"
    message = gettext_lazy(
        "A test event is already waiting to be sent. To send it now, pause the webhook and resume it."
    )


class IsPaused(DomainError):
    code = "webhook_paused"
    message = gettext_lazy("This webhook is paused. Resume it first.")


@sensitive_variables()
def create_webhook(
    *, actor: User, url: str, events: Sequence[str], description: str = "", request: HttpRequest | None = None
) -> tuple[Webhook, str]:
    """Returns the webhook and its secret, which is shown this once. Raises ``NotAllowed``, ``TooManyWebhooks``, or
    ``ValidationError`` by field."""
    require_proof(Privilege.CHANGE_WEBHOOKS, request)
    values = _checked(url=url, events=events, description=description)
    with transaction.atomic():
        # It locks the organization, so that two at once count each other.
        person = allowed(actor, Ability.MANAGE_ORGANIZATION)
        organization = person.own_organization
        if Webhook.objects.filter(organization=organization).count() >= MOST_WEBHOOKS:
            raise TooManyWebhooks(
                ngettext(
                    "An organization can have %(count)s webhook. Delete one first.",
                    "An organization can have %(count)s webhooks. Delete one first.",
                    MOST_WEBHOOKS,
                )
                % {"count": MOST_WEBHOOKS}
            )
        webhook, secret = Webhook(organization=organization, **values), signatures.new_secret()
        webhook.secret = signatures.seal(secret, webhook.pk)
        webhook.save(force_insert=True)
        details = {"url": webhook.host, "events": webhook.event_ids}
        record(actor=actor, action=Action.WEBHOOK_CREATED, target=webhook, request=request, **details)
    return webhook, secret


def change_webhook(*, actor: User, webhook: Webhook, request: HttpRequest | None = None, **changes: Any) -> Webhook:
    """Changes ``url``, ``events`` and ``description``: those that are given. Raises what `create_webhook` raises."""
    require_proof(Privilege.CHANGE_WEBHOOKS, request)
    values = _checked(**changes)
    with transaction.atomic():
        locked = _locked(actor, webhook)
        changed = [name for name, value in values.items() if getattr(locked, name) != value]
        for name in changed:
            setattr(locked, name, values[name])
        if changed:
            locked.save(update_fields=changed)
            # Without the URL: its path can contain a secret of the receiver.
            details = {"fields": changed, "url": locked.host, "events": locked.event_ids}
            record(actor=actor, action=Action.WEBHOOK_CHANGED, target=locked, request=request, **details)
    return locked


@sensitive_variables()
def replace_secret(*, actor: User, webhook: Webhook, request: HttpRequest | None = None) -> tuple[Webhook, str]:
    """Returns the new secret, which is shown this once. The old one also signs for a day."""
    require_proof(Privilege.CHANGE_WEBHOOKS, request)
    with transaction.atomic():
        locked, secret = _locked(actor, webhook), signatures.new_secret()
        locked.previous_secret, locked.previous_secret_until = locked.secret, timezone.now() + signatures.OVERLAP
        locked.secret = signatures.seal(secret, locked.pk)
        locked.save(update_fields=["secret", "previous_secret", "previous_secret_until"])
        record(actor=actor, action=Action.WEBHOOK_SECRET_REPLACED, target=locked, request=request)
    return locked, secret


def pause_webhook(*, actor: User, webhook: Webhook, request: HttpRequest | None = None) -> Webhook:
    """Nothing is sent until it is resumed. What happens meanwhile is not sent later; what waits already is."""
    require_proof(Privilege.CHANGE_WEBHOOKS, request)
    with transaction.atomic():
        locked = _locked(actor, webhook)
        if not locked.is_paused:
            locked.paused_at = timezone.now()
            locked.save(update_fields=["paused_at"])
            record(actor=actor, action=Action.WEBHOOK_PAUSED, target=locked, request=request)
    return locked


def resume_webhook(*, actor: User, webhook: Webhook, request: HttpRequest | None = None) -> Webhook:
    """What waits is sent now, and tried for three days from now on."""
    require_proof(Privilege.CHANGE_WEBHOOKS, request)
    with transaction.atomic():
        locked = _locked(actor, webhook)
        if locked.is_paused:
            locked.paused_at = locked.failing_since = None
            locked.save(update_fields=["paused_at", "failing_since"])
            now = timezone.now()
            waiting = locked.deliveries.filter(state=WebhookDelivery.State.WAITING)
            waiting.update(next_attempt_at=now, expires_at=now + outbox.LASTS)
            record(actor=actor, action=Action.WEBHOOK_RESUMED, target=locked, request=request)
    return locked


def delete_webhook(*, actor: User, webhook: Webhook, request: HttpRequest | None = None) -> None:
    """With its deliveries, which can be many: most are removed before, in short transactions. If that is interrupted,
    the webhook is paused and can be deleted again."""
    require_proof(Privilege.CHANGE_WEBHOOKS, request)
    with transaction.atomic():
        locked = _locked(actor, webhook)
        if not locked.is_paused:
            locked.paused_at = timezone.now()
            locked.save(update_fields=["paused_at"])
    delivery.remove(locked.deliveries.all())
    with transaction.atomic():
        locked = _locked(actor, webhook, blocks_references=True)
        record(actor=actor, action=Action.WEBHOOK_DELETED, target=locked, request=request, url=locked.host)
        locked.delete()


def send_test_event(*, actor: User, webhook: Webhook) -> WebhookDelivery:
    """Puts an event of the type `test` into the outbox. Raises ``NotAllowed``, ``IsPaused`` or ``TestIsWaiting``."""
    with transaction.atomic():
        locked = _locked(actor, webhook)
        if locked.is_paused:
            raise IsPaused
        if locked.deliveries.filter(type=TEST, state=WebhookDelivery.State.WAITING).exists():
            raise TestIsWaiting
        sent = {"webhook_id": str(locked.pk), "requested_by": actor.email}
        row = outbox.delivery(locked, uuid7(), TEST, payload(TEST, timezone.now(), sent))
        row.save(force_insert=True)
    return row


def send_again(*, actor: User, row: WebhookDelivery) -> WebhookDelivery:
    """Sends an event that was delivered or given up once more, with the same id. Raises ``NotAllowed``, ``IsPaused`` or
    ``NotWaitingAgain``. If two people do it at once, it is sent once."""
    with transaction.atomic():
        webhook = _locked(actor, row.webhook)
        if webhook.is_paused:
            raise IsPaused
        now = timezone.now()
        ended = WebhookDelivery.objects.filter(pk=row.pk, webhook=webhook)
        ended = ended.exclude(state=WebhookDelivery.State.WAITING)
        again = {"state": WebhookDelivery.State.WAITING, "attempts": 0, "ended_at": None, "next_attempt_at": now}
        if not ended.update(**again, expires_at=now + outbox.LASTS):
            raise NotWaitingAgain
    row.refresh_from_db()
    return row


def _locked(actor: User, webhook: Webhook, *, blocks_references: bool = False) -> Webhook:
    person = allowed(actor, Ability.MANAGE_ORGANIZATION)
    found = Webhook.objects.manageable_by(person)
    locked: Webhook | None = lock_if_exists(found, webhook.pk, blocks_references=blocks_references)
    if locked is None:
        raise NotAllowed
    return locked


def _checked(**values: Any) -> dict[str, Any]:
    """The given values as they are stored. Raises ``ValidationError`` by field."""
    if "url" in values:
        with errors_of("url"):
            try:
                delivery.check_url(values["url"])
            except ValueError as error:
                raise ValidationError(str(error)) from None
    if "events" in values:
        chosen = set(values["events"])
        with errors_of("events"):
            if not chosen or chosen - EVENTS.keys():
                raise ValidationError(gettext("Choose at least one of the events in the list."))
        values["events"] = " ".join(event for event in EVENTS if event in chosen)
    if "description" in values:
        values["description"] = composed(values["description"]).strip()
        with errors_of("description"):
            if len(values["description"]) > DESCRIPTION_LENGTH or not is_printable(values["description"]):
                raise ValidationError(NOT_PRINTABLE)
    return values
