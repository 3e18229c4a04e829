"""Filters of the organization's people and groups."""

from typing import ClassVar

from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from accounts.models import Group, Notification, ServiceAccount, ServiceAccountState, User, UserState, WebhookDelivery
from accounts.notifications.kinds import CHOICES
from accounts.querysets import UserQuerySet
from accounts.roles import SiteRole
from core.filters import ChoiceFilter, RowFilter, RowSearchFilter, SearchFilter, StrictFilterSet
from core.http.request_context import person_of


def groups_offered(request: HttpRequest) -> QuerySet[Group]:
    groups: QuerySet[Group] = Group.objects.readable_by(person_of(request)).only("name")
    return groups


class UserFilter(StrictFilterSet):
    api_help: ClassVar = {"q": "Part of the name or e-mail address.", "group": "The id of a group."}

    q = SearchFilter(label=_("Name or e-mail"), method="filter_text")
    site_role = ChoiceFilter(label=_("Site role"), choices=SiteRole.choices, empty_label=_("Any role"))
    state = ChoiceFilter(label=_("State"), choices=UserState.choices, method="filter_state", empty_label=_("Any state"))
    group = RowFilter(label=_("Group"), field_name="member_groups", queryset=groups_offered, empty_label=_("Any group"))

    def filter_text(self, queryset: QuerySet[User], name: str, value: str) -> QuerySet[User]:
        return queryset.filter(Q(name__icontains=value) | Q(email__icontains=value))

    def filter_state(self, queryset: UserQuerySet, name: str, value: str) -> UserQuerySet:
        if value == UserState.DEACTIVATED:
            return queryset.deactivated()
        invited = queryset.invited()
        return invited if value == UserState.INVITED else queryset.active().exclude(pk__in=invited.values("pk"))


class UserPageFilter(UserFilter):
    """The same filters. If there are too many groups for a select, people type the name of one."""

    group = RowSearchFilter(
        label=_("Group"),
        field_name="member_groups",
        queryset=groups_offered,
        empty_label=_("Any group"),
        source="accounts:suggested_groups",
        error_messages={"no_such_name": _("No group has this name.")},
    )


class GroupFilter(StrictFilterSet):
    api_help: ClassVar = {"q": "Part of the name."}

    q = SearchFilter(label=_("Name"), field_name="name", lookup_expr="icontains")


class ServiceAccountFilter(StrictFilterSet):
    api_help: ClassVar = {"q": "Part of the name, of the handle, or of the name or address of a responsible person."}

    q = SearchFilter(label=_("Name or responsible person"), method="filter_text")
    site_role = ChoiceFilter(
        label=_("Site role"),
        choices=[role for role in SiteRole.choices if role[0] != SiteRole.ADMINISTRATOR],
        empty_label=_("Any role"),
    )
    state = ChoiceFilter(
        label=_("State"), choices=ServiceAccountState.choices, method="filter_state", empty_label=_("Any state")
    )

    def filter_text(self, queryset: QuerySet[User], name: str, value: str) -> QuerySet[User]:
        people = User.objects.people().filter(Q(name__icontains=value) | Q(email__icontains=value))
        responsible = ServiceAccount.responsible.through.objects.filter(user__in=people.order_by().values("pk"))
        by_person = Q(pk__in=responsible.values("serviceaccount"))
        return queryset.filter(Q(name__icontains=value) | Q(email__icontains=value) | by_person)

    def filter_state(self, queryset: UserQuerySet, name: str, value: str) -> UserQuerySet:
        if value == ServiceAccountState.DEACTIVATED:
            return queryset.deactivated()
        orphaned = value == ServiceAccountState.ORPHANED
        return queryset.active().filter(orphaned_at__isnull=not orphaned)


class NotificationFilter(StrictFilterSet):
    api_help: ClassVar = {"kind": "What happened.", "state": "Only unread ones, or only those that were read."}

    kind = ChoiceFilter(label=_("Kind"), choices=CHOICES, empty_label=_("Any kind"))
    state = ChoiceFilter(
        label=_("State"),
        choices=[
            ("unread", pgettext_lazy("notifications", "Unread")),
            ("read", pgettext_lazy("notifications", "Read")),
        ],
        method="filter_state",
        empty_label=_("Any state"),
    )

    def filter_state(self, queryset: QuerySet[Notification], name: str, value: str) -> QuerySet[Notification]:
        return queryset.filter(read_at__isnull=value == "unread")


class DeliveryFilter(StrictFilterSet):
    """The page of a webhook. The API lists all of its deliveries."""

    state = ChoiceFilter(label=_("State"), choices=WebhookDelivery.State.choices, empty_label=_("Any state"))
