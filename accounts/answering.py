"""Who answers for a service account: the people who get the mails about its tokens."""

import uuid
from collections import defaultdict
from collections.abc import Iterable

from accounts.models import ServiceAccount, User
from accounts.roles import SiteRole


def people_answering_for(owners: Iterable[User]) -> dict[uuid.UUID, list[User]]:
    """For each owner of tokens, who is told about them: a person themselves.

    For a service account, the active people who are responsible for it and have joined; if there are none, the active
    Administrators of its organization. One query for all service accounts, and one for the Administrators; none for
    people.
    """
    found: dict[uuid.UUID, list[User]] = {}
    accounts = {}
    for owner in owners:
        if owner.is_service_account:
            accounts[owner.pk] = owner
        else:
            found[owner.pk] = [owner]
    if not accounts:
        return found
    responsible = defaultdict(list)
    links = ServiceAccount.responsible.through.objects.filter(serviceaccount__in=accounts)
    reached = links.filter(user__is_active=True, user__joined_at__isnull=False)
    for link in reached.select_related("user").order_by("user__email"):
        responsible[link.serviceaccount_id].append(link.user)
    orphans = [account for pk, account in accounts.items() if pk not in responsible]
    administrators = _administrators_of({account.organization_id for account in orphans if account.organization_id})
    orphaned = {account.pk: administrators[account.organization_id] for account in orphans}
    return found | dict(responsible) | orphaned


def _administrators_of(organization_ids: set[uuid.UUID]) -> dict[uuid.UUID | None, list[User]]:
    found: dict[uuid.UUID | None, list[User]] = defaultdict(list)
    if organization_ids:
        people = (
            User.objects.people()
            .active()
            .filter(organization__in=organization_ids, site_role=SiteRole.ADMINISTRATOR, joined_at__isnull=False)
        )
        for person in people.order_by("email"):
            found[person.organization_id].append(person)
    return found
