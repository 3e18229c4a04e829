"""Planning and canceling a campaign. Pages and API call these functions.

An organization has at most one campaign that is planned or open: a constraint decides between two at once.
"""

import calendar
from datetime import UTC, datetime, timedelta
from itertools import count

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy

from accounts.models import User
from accounts.privileges import Privilege, require_proof
from accounts.roles import Ability
from accounts.services.guard import allowed
from auditlog.actions import Action
from auditlog.record import record
from core.db.locks import lock_if_exists
from core.errors import DomainError, NotAllowed
from core.reading import zone_of
from tokens.review.models import DEFAULT_DAYS, FEWEST_DAYS, MOST_DAYS, MOST_MONTHS, ReviewCampaign
from tokens.review.starting import start

# How far ahead a start can be planned, and how far in the past a clock may be that says "now".
PLANNED_AT_MOST = timedelta(days=731)
CLOCKS_DIFFER = timedelta(minutes=5)
# The fewest days that so many months have. More months have more days than people can get to answer.
DAYS_OF_MONTHS = {1: 28, 2: 59}


class CampaignExists(DomainError):
    code = "campaign_exists"
    message = gettext_lazy(
        "Your organization has a review campaign that is planned or open. Cancel it, or wait until it is finished."
    )


class CampaignEnded(DomainError):
    code = "campaign_ended"
    message = gettext_lazy("This review campaign has ended already.")


def plan(
    *,
    actor: User,
    starts_at: datetime | None = None,
    answer_days: int = DEFAULT_DAYS,
    repeat_months: int | None = None,
    request: HttpRequest | None = None,
) -> ReviewCampaign:
    """Plans a campaign, and starts it at once if ``starts_at`` is ``None``. ``repeat_months``: how many months after
    its start the next one starts.

    Raises ``NotAllowed``, ``CampaignExists``, or ``ValidationError`` by field.
    """
    require_proof(Privilege.CHANGE_REVIEW_CAMPAIGNS, request)
    _check(starts_at, answer_days, repeat_months)
    first_at = starts_at or timezone.now()
    try:
        with transaction.atomic():
            person = allowed(actor, Ability.MANAGE_ORGANIZATION)
            campaign = ReviewCampaign.objects.create(
                organization=person.own_organization,
                planned_by=person,
                starts_at=first_at,
                series_at=first_at,
                answer_days=answer_days,
                repeat_months=repeat_months,
            )
            record_plan(campaign, actor=person, request=request)
            if starts_at is None:
                start(campaign.pk, request=request)
    except IntegrityError:
        if ReviewCampaign.objects.unfinished().filter(organization=actor.organization_id).exists():
            raise CampaignExists from None
        raise
    campaign.refresh_from_db()
    return campaign


def plan_next(ended: ReviewCampaign) -> None:
    """Plans the next campaign of a series. Call it in the transaction that ends ``ended``."""
    starts_at = next_start(ended)
    if starts_at is None:
        return
    following = ReviewCampaign.objects.create(
        organization_id=ended.organization_id,
        planned_by_id=ended.planned_by_id,
        starts_at=starts_at,
        series_at=ended.series_at,
        answer_days=ended.answer_days,
        repeat_months=ended.repeat_months,
    )
    record_plan(following, actor=following.planned_by, by="worker")


def cancel(*, actor: User, campaign: ReviewCampaign, request: HttpRequest | None = None) -> ReviewCampaign:
    """Ends a campaign without expiring a token. No further one is planned. Answers that were given stay.

    The worker writes its record then (`tokens.review.closing.seal_cancelled`), because that can be long.

    Raises ``NotAllowed`` or ``CampaignEnded``.
    """
    require_proof(Privilege.CHANGE_REVIEW_CAMPAIGNS, request)
    with transaction.atomic():
        person = allowed(actor, Ability.MANAGE_ORGANIZATION)
        found = lock_if_exists(ReviewCampaign.objects.manageable_by(person), campaign.pk)
        if found is None:
            raise NotAllowed
        if found.ended_at is not None:
            raise CampaignEnded
        found.ended_at, found.ended_by, found.is_cancelled = timezone.now(), person, True
        found.save(update_fields=["ended_at", "ended_by", "is_cancelled"])
        record(actor=person, action=Action.REVIEW_CANCELLED, target=found, request=request)
    return found


def record_plan(campaign: ReviewCampaign, *, actor: User, request: HttpRequest | None = None, by: str = "") -> None:
    record(
        actor=actor,
        action=Action.REVIEW_PLANNED,
        target=campaign,
        request=request,
        starts_at=campaign.starts_at.isoformat(),
        answer_days=campaign.answer_days,
        repeat_months=campaign.repeat_months,
        by=by,
    )


def next_start(ended: ReviewCampaign) -> datetime | None:
    """When the next campaign of the series starts: the first time of the series that is later than now, and than the
    last start. ``None`` if it is not repeated.

    All months are counted from the start of the series, in the time zone of the person who planned it. So a short month
    or summer time changes nothing in the months after it.
    """
    if ended.repeat_months is None:
        return None
    first_at = ended.series_at.astimezone(zone_of(ended.planned_by.time_zone))
    starts = (months_later(first_at, number * ended.repeat_months).astimezone(UTC) for number in count(1))
    passed = max(timezone.now(), ended.starts_at)
    return next(at for at in starts if at > passed)


def months_later(moment: datetime, months: int) -> datetime:
    """The same day and time so many months later, or the last day of that month."""
    years, month = divmod(moment.month - 1 + months, 12)
    year, month = moment.year + years, month + 1
    return moment.replace(year=year, month=month, day=min(moment.day, calendar.monthrange(year, month)[1]))


def _check(starts_at: datetime | None, answer_days: int, repeat_months: int | None) -> None:
    now = timezone.now()
    errors: dict[str, str] = {}
    if starts_at is not None and starts_at < now - CLOCKS_DIFFER:
        errors["starts_at"] = gettext("This time has passed. Leave it out to start now.")
    if starts_at is not None and starts_at > now + PLANNED_AT_MOST:
        errors["starts_at"] = gettext("Plan at most two years ahead.")
    if not FEWEST_DAYS <= answer_days <= MOST_DAYS:
        limits = {"fewest": FEWEST_DAYS, "most": MOST_DAYS}
        errors["answer_days"] = gettext("People need %(fewest)s to %(most)s days to answer.") % limits
    most_days = DAYS_OF_MONTHS.get(repeat_months or 0, MOST_DAYS)
    if most_days < answer_days <= MOST_DAYS:
        errors["answer_days"] = gettext(
            "The next campaign would start before this one ends. Give at most %(most)s days, or repeat it less often."
        ) % {"most": most_days}
    if repeat_months is not None and not 1 <= repeat_months <= MOST_MONTHS:
        errors["repeat_months"] = gettext("Repeat every 1 to %(most)s months.") % {"most": MOST_MONTHS}
    if errors:
        raise ValidationError(errors)
