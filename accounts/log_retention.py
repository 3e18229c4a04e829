"""Which log entries are past the retention of their organization, and the daily job that removes them.

`auditlog/retention.py` removes entries; it knows no organizations.
"""

import logging
import threading
from collections import Counter
from datetime import timedelta
from uuid import UUID

from accounts.models import Organization
from auditlog import retention
from auditlog.models import Seal
from auditlog.retention import Cut, Kept
from auditlog.seals.blocks import ChainBroken
from auditlog.seals.keys import KeyMissing
from core import periodic_jobs

logger = logging.getLogger(__name__)

EVERY = timedelta(days=1)


def cuts_due(log: Seal.Log, *, days: int | None = None, organization: str | None = None) -> list[Cut]:
    """What can be removed from the log now.

    ``days`` overrides the retention of each organization; ``organization`` is the slug of the only one to look at.
    """
    organizations = {found.pk: found for found in Organization.objects.all()}
    default_days = Organization().log_retention_days

    def kept(organization_id: UUID | None) -> Kept | None:
        found = organizations.get(organization_id) if organization_id else None
        if organization is not None and (found is None or found.slug != organization):
            return None
        if found is not None:
            return Kept(found.slug, days or found.log_retention_days)
        return Kept(f"{organization_id} (removed)" if organization_id else "none", days or default_days)

    return retention.cuts_due(log, kept)


def prune(log: Seal.Log, stopping: threading.Event) -> None:
    """Removes what is due; the worker's log says how much."""
    removed: Counter[Cut] = Counter()
    try:
        for cut, count in retention.prune(log, cuts_due(log), stopping=stopping):
            removed[cut] += count
    except (ChainBroken, KeyMissing) as error:
        raise periodic_jobs.JobFailed(f"{error} See verify_logs.") from error
    for cut, count in (+removed).items():
        logger.info("%s, organization %s: removed %d older than %s", log.label, cut.name, count, cut.before.date())
