"""How a service is doing, from the authentication log by the index `tokenuse_service_newest`.

A busy service has millions of entries, so only the newest are counted, and the numbers say if there are more.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Avg, Count, F, Func, OuterRef, Q, Subquery
from django.utils import timezone

from auditlog.models import TokenUse
from gateway.models import Service
from gateway.querysets import ServiceQuerySet

WEEK, DAY = timedelta(days=7), timedelta(days=1)
MOST_COUNTED = 10_000
MOST_COUNTED_IN_LIST = 100
_REFUSED = Q(outcome=TokenUse.Outcome.REFUSED)


@dataclass(frozen=True)
class Health:
    """``is_complete``: whether all entries of the last 7 days were counted."""

    last_use: datetime | None
    day: int
    day_refused: int
    week: int
    week_refused: int
    average_ms: int | None
    is_complete: bool


def of(service: Service) -> Health:
    """In two queries."""
    now = timezone.now()
    newest = TokenUse.objects.filter(service=service.pk).order_by("-at", "-id")
    last_use = newest.values_list("at", flat=True).first()
    in_day = Q(at__gte=now - DAY)
    counted = newest.filter(at__gte=now - WEEK)[:MOST_COUNTED].aggregate(
        day=Count("id", filter=in_day),
        day_refused=Count("id", filter=in_day & _REFUSED),
        week=Count("id"),
        week_refused=Count("id", filter=_REFUSED),
        # Uses that a service reported later took no time here.
        average=Avg("duration_ms", filter=Q(reported_at__isnull=True)),
    )
    average = counted.pop("average")
    return Health(
        last_use=last_use,
        average_ms=None if average is None else round(average),
        is_complete=counted["week"] < MOST_COUNTED,
        **counted,
    )


def with_health(services: ServiceQuerySet) -> ServiceQuerySet:
    """With ``last_use``, and ``lately_refused``: of the newest uses in 7 days. A hundred services are one query."""
    of_service = TokenUse.objects.filter(service=OuterRef("pk")).order_by("-at", "-id")
    newest = TokenUse.objects.filter(service=OuterRef(OuterRef("pk")), at__gte=timezone.now() - WEEK)
    newest = newest.order_by("-at", "-id")[:MOST_COUNTED_IN_LIST]
    refused = TokenUse.objects.filter(_REFUSED, pk__in=newest.values("pk")).order_by()
    counted = refused.annotate(count=Func(F("pk"), function="COUNT"))
    return services.annotate(
        last_use=Subquery(of_service.values("at")[:1]), lately_refused=Subquery(counted.values("count"))
    )
