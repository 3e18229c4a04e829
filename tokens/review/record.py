"""The record of a campaign as a CSV file: the same bytes for everyone, so that its digest proves it later."""

import csv
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from auditlog.actions import Action
from auditlog.exports import csv_head, harmless_text
from auditlog.models import Activity
from core.api.serializers import utc_text
from tokens.review.models import ReviewCampaign, ReviewItem

# Items that are read together.
PART = 1000
# Version 1 of the file. A later version must have a number in the campaign's row, and leave the files of earlier
# campaigns as they are: the activity log has their digests.
COLUMNS = (
    "token_id",
    "token_name",
    "owner_name",
    "owner_email",
    "scopes",
    "expires_at",
    "last_used_at",
    "answer",
    "answered_by",
    "answered_at",
    "note",
)
# With a mark for spreadsheets, as in the file of the access review.
HEAD = csv_head(COLUMNS, has_mark=True)


# How far the time of the entry in the activity log can be from the time when the campaign was sealed.
ENTRY_WITHIN = timedelta(minutes=1)


@dataclass(frozen=True)
class Check:
    """``digest``: of the record as it is stored now. ``sealed``: what the activity log says; empty if the entry is not
    there any more, or not yet. ``is_pending``: the worker still writes the record of a canceled campaign."""

    digest: str
    sealed: str
    is_pending: bool

    @property
    def matches(self) -> bool:
        return self.digest == self.sealed


def csv_lines(campaign: ReviewCampaign) -> Iterator[bytes]:
    """The lines of all items, in the order of their ids, without the head."""
    after = 0
    items = ReviewItem.objects.filter(campaign=campaign).select_related("token").order_by("pk")
    while some := list(items.filter(pk__gt=after)[:PART]):
        after = some[-1].pk
        text = io.StringIO(newline="")
        csv.writer(text).writerows(map(_cells, some))
        yield text.getvalue().encode()


def file_name(campaign: ReviewCampaign) -> str:
    return f"review-campaign-{campaign.organization.slug}-{campaign.starts_at:%Y-%m-%d}.csv"


def digest_of(campaign: ReviewCampaign) -> str:
    """SHA-256 of the file, as `sha256sum` shows it."""
    digest = hashlib.sha256(HEAD)
    for lines in csv_lines(campaign):
        digest.update(lines)
    return digest.hexdigest()


def check(campaign: ReviewCampaign) -> Check:
    """Compares the stored record with the digest in the activity log, which is sealed."""
    return Check(digest_of(campaign), _sealed(campaign), campaign.is_record_pending)


def _sealed(campaign: ReviewCampaign) -> str:
    """Searches only the entries of that moment: no index has the target."""
    if campaign.sealed_at is None:
        return ""
    sealing = Activity.objects.filter(
        organization=campaign.organization_id,
        at__range=(campaign.sealed_at - ENTRY_WITHIN, campaign.sealed_at + ENTRY_WITHIN),
        action__in=[Action.REVIEW_FINISHED, Action.REVIEW_CANCELLED],
        target_id=str(campaign.pk),
    )
    entries = [entry.details for entry in sealing.order_by("-at", "-id") if isinstance(entry.details, dict)]
    return next((str(details["digest"]) for details in entries if details.get("digest")), "")


def _cells(item: ReviewItem) -> list[Any]:
    return [
        item.token_id,
        harmless_text(item.token_name),
        harmless_text(item.owner_name),
        harmless_text(item.owner_email),
        item.scope,
        utc_text(item.expires_at),
        utc_text(item.last_used_at) if item.last_used_at else "",
        item.state.value,
        harmless_text(item.answered_by_email),
        utc_text(item.answered_at) if item.answered_at else "",
        harmless_text(item.note),
    ]
