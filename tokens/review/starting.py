"""A campaign starts: the live tokens of this moment are its items."""

import uuid
from datetime import timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import F, Value
from django.http import HttpRequest
from django.utils import timezone

from accounts.models import Organization
from auditlog.actions import Action
from auditlog.record import record
from core.db.locks import lock, lock_if_exists
from tokens.models import Token
from tokens.review.models import ReviewCampaign, ReviewItem

# How long before the end people are warned.
WARNED_BEFORE = timedelta(days=3)


def start(campaign_id: uuid.UUID, *, request: HttpRequest | None = None) -> None:
    """Starts a planned campaign. Does nothing if another worker did, or somebody canceled it.

    Locks the organization first: no token is created, or replaced by another one, while the items are added.
    """
    with transaction.atomic():
        planned = ReviewCampaign.objects.unfinished().filter(started_at__isnull=True)
        found = planned.filter(pk=campaign_id).first()
        if found is None:
            return
        lock(Organization.objects.all(), found.organization_id)
        campaign = lock_if_exists(planned.select_related("planned_by", "organization"), campaign_id)
        if campaign is None:
            return
        now = timezone.now()
        campaign.started_at, campaign.due_at = now, now + timedelta(days=campaign.answer_days)
        campaign.reminds_at = campaign.due_at - WARNED_BEFORE
        campaign.save(update_fields=["started_at", "due_at", "reminds_at"])
        record(
            actor=campaign.planned_by,
            action=Action.REVIEW_STARTED,
            target=campaign,
            request=request,
            tokens=_add_items(campaign),
            due_at=campaign.due_at.isoformat(),
            by="" if request else "worker",
        )


def _add_items(campaign: ReviewCampaign) -> int:
    """One item for each live token, sorted by owner and name, in one statement. Returns how many.

    Without tokens that were not shown, because nobody has them yet: for example those that wait for approval. Without
    tokens of exchanges: each ends within an hour, and nobody could confirm it before.
    """
    shown = Token.objects.filter(organization=campaign.organization_id, revealed_at__isnull=False)
    tokens = shown.live().not_exchanged()
    copied = {
        "campaign": Value(campaign.pk, ReviewItem._meta.get_field("campaign").target_field),
        "token": F("pk"),
        "owner": F("owner_id"),
        "token_name": F("name"),
        "owner_name": F("owner__name"),
        "owner_email": F("owner__email"),
        "scope": F("scope"),
        "expires_at": F("expires_at"),
        "last_used_at": F("last_used_at"),
        "answer": Value(""),
        "answered_by_email": Value(""),
        "note": Value(""),
    }
    sources = {f"item_{name}": source for name, source in copied.items()}
    ordered = tokens.order_by("owner__email", "name", "pk").annotate(**sources)
    select, params = ordered.values_list(*sources).query.sql_with_params()
    columns = ", ".join(connection.ops.quote_name(_column(name)) for name in copied)
    table = connection.ops.quote_name(ReviewItem._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {table} ({columns}) {select}", params)
        return int(cursor.rowcount)


def _column(name: str) -> str:
    field: Any = ReviewItem._meta.get_field(name)
    return str(field.column)
