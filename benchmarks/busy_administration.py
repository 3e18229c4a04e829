"""Fills what a big organization has beside its people and pipelines: service accounts with tokens, requests for
approval, trust rules, webhooks with deliveries, notifications, and mails that were not delivered."""

import uuid
from collections.abc import Sequence
from datetime import timedelta

from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.db import transaction
from django.utils import timezone

from accounts.mails import invitation_mail
from accounts.models import Group, Notification, ServiceAccount, User, Webhook, WebhookDelivery
from accounts.notifications.kinds import FIRST_USE
from core.models import OutgoingMail
from core.service_accounts import ENDING
from tokens.approval.models import ApprovalRequest, Decision
from tokens.models import Token, TrustRule
from tokens.names import name_key
from tokens.trust.issuers import GITHUB

SERVICE_ACCOUNTS, TOKENS_OF_ACCOUNT, RESPONSIBLE = 300, 5, 3
REQUESTS, WAITING = 1_000, 200
TRUST_RULES, WEBHOOKS, DELIVERIES_EACH = 200, 20, 1_000
NOTIFICATIONS_EACH, UNREAD_EACH, MAILS = 1_000, 150, 300
BATCH = 500


def fill(administrator: User, people: Sequence[User]) -> None:
    """The last of ``people`` is responsible for some of the service accounts, and requested some of the tokens."""
    accounts = _add_service_accounts(administrator, [*people[-RESPONSIBLE:], *people[:50]])
    _add_tokens(accounts)
    _add_trust_rules(accounts)
    _add_requests(administrator, people[-REQUESTS:])
    _add_webhooks(administrator)
    readers = User.objects.people().filter(organization=administrator.organization, email__in=_READERS)
    _add_notifications([*readers, people[-1]])
    _add_mails(people[:MAILS])


_READERS = ["admin@demo.example", "auditor@demo.example"]


def _add_service_accounts(administrator: User, people: Sequence[User]) -> list[User]:
    now = timezone.now()
    accounts: list[User] = User.objects.bulk_create(
        [
            User(
                email=f"deploy-{n}{ENDING}",
                name=f"Deploy {n}",
                site_role="user",
                organization=administrator.organization,
                is_service_account=True,
                joined_at=now,
                password=UNUSABLE_PASSWORD_PREFIX,
            )
            for n in range(SERVICE_ACCOUNTS)
        ],
        batch_size=BATCH,
    )
    ServiceAccount.objects.bulk_create(
        [ServiceAccount(user=account, description="Deploys.", created_by=administrator) for account in accounts],
        batch_size=BATCH,
    )
    responsible, members = ServiceAccount.responsible.through, Group.members.through
    responsible.objects.bulk_create(
        [
            responsible(serviceaccount_id=account.pk, user_id=people[(n + place) % len(people)].pk)
            for n, account in enumerate(accounts)
            for place in range(RESPONSIBLE)
        ],
        batch_size=BATCH,
    )
    groups = list(Group.objects.filter(organization=administrator.organization)[:10])
    members.objects.bulk_create(
        [members(group_id=groups[n % len(groups)].pk, user_id=account.pk) for n, account in enumerate(accounts)],
        batch_size=BATCH,
    )
    return accounts


def _token(owner: User, name: str, *, waits: bool = False) -> Token:
    now = timezone.now()
    return Token(
        owner=owner,
        organization=owner.own_organization,
        name=name,
        live_name_key=name_key(name),
        scope="pipeline",
        expires_at=now + timedelta(days=30),
        revealed_at=None if waits else now,
        waits_until=now + timedelta(days=5) if waits else None,
    )


def _add_tokens(accounts: Sequence[User]) -> None:
    tokens = [_token(account, f"deploy {n}") for account in accounts for n in range(TOKENS_OF_ACCOUNT)]
    Token.objects.bulk_create(tokens, batch_size=BATCH)


def _add_trust_rules(accounts: Sequence[User]) -> None:
    TrustRule.objects.bulk_create(
        TrustRule(
            organization=account.own_organization,
            account=account,
            name=f"Repository {n}",
            name_key=f"repository {n}",
            issuer=GITHUB,
            audience="portal",
            claims={"repository": f"opsera/repository-{n}", "ref": "refs/heads/main"},
            scope="pipeline",
        )
        for n, account in enumerate(accounts[:TRUST_RULES])
    )


def _add_requests(administrator: User, people: Sequence[User]) -> None:
    """The newest ones wait. The last person made more than a tenth of them."""
    now = timezone.now()
    askers = [people[-1] if n % 10 == 0 else person for n, person in enumerate(people)]
    tokens = [_token(asker, f"needs approval {n}", waits=n < WAITING) for n, asker in enumerate(askers)]
    Token.objects.bulk_create(tokens, batch_size=BATCH)
    ApprovalRequest.objects.bulk_create(
        [
            ApprovalRequest(
                organization=token.organization,
                token=token,
                asked_by=token.owner,
                asked_at=now - timedelta(minutes=n),
                reason="The archive server copies the log every night.",
                decision="" if token.waits_until else Decision.APPROVED,
                decided_by=None if token.waits_until else administrator,
                decided_at=None if token.waits_until else now,
            )
            for n, token in enumerate(tokens)
        ],
        batch_size=BATCH,
    )


def _add_webhooks(administrator: User) -> None:
    """Beside the demo's own webhook, up to the most that an organization can have."""
    now = timezone.now()
    one = Webhook.objects.filter(organization=administrator.organization).get()
    webhooks = Webhook.objects.bulk_create(
        Webhook(organization=one.organization, url=f"{one.url}/{n}", events=one.events, secret=one.secret)
        for n in range(WEBHOOKS - 1)
    )
    WebhookDelivery.objects.bulk_create(
        [
            WebhookDelivery(
                webhook=webhook,
                event_id=uuid.uuid4(),
                type="activity.token.issued",
                payload='{"type": "activity.token.issued", "data": {}}',
                state=WebhookDelivery.State.DELIVERED,
                created_at=now - timedelta(minutes=n),
                expires_at=now,
                attempts=1,
                last_status=200,
                ended_at=now,
            )
            for webhook in [one, *webhooks]
            for n in range(DELIVERIES_EACH)
        ],
        batch_size=BATCH,
    )


def _add_notifications(people: Sequence[User]) -> None:
    now = timezone.now()
    Notification.objects.bulk_create(
        [
            Notification(
                person=person,
                kind=FIRST_USE.id,
                once=f"benchmark {n}",
                at=now - timedelta(minutes=n),
                token_name=f"token {n}",
                details={"ip": "203.0.113.7"},
                read_at=None if n < UNREAD_EACH else now,
            )
            for person in people
            for n in range(NOTIFICATIONS_EACH)
        ],
        batch_size=BATCH,
    )


def _add_mails(people: Sequence[User]) -> None:
    with transaction.atomic():
        mails = invitation_mail.put_each((person.pk, [str(person.pk)]) for person in people)
        ids = [mail.pk for mail in mails]
        OutgoingMail.objects.filter(pk__in=ids).update(
            state=OutgoingMail.State.FAILED, last_error="550 5.1.1 no such mailbox", ended_at=timezone.now()
        )
