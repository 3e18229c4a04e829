"""People and groups that fields suggest, for people who can see the organization's people and groups."""

from collections.abc import Iterator

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from accounts import finding
from accounts.models import Group, User
from accounts.roles import Ability
from core.pages.suggestions import Suggestion, SuggestionsView


class SuggestedPeopleView(SuggestionsView):
    """Active people, for forms."""

    def role_allows(self, user: User) -> bool:
        return user.may(Ability.READ_USERS)

    def rows(self) -> Iterator[Suggestion]:
        return finding.suggested(User.objects.of_organization_readable_by(self.person).active())


class SuggestedAddressesView(SuggestedPeopleView):
    """Addresses of all people, for filters: deactivated people still have log entries and tokens."""

    def rows(self) -> Iterator[Suggestion]:
        people = User.objects.of_organization_readable_by(self.person).order_by("name", "email")
        for name, email, is_active in people.values_list("name", "email", "is_active"):
            hint = finding.hint_of(email)
            yield Suggestion(email, name, hint if is_active else f"{hint} · {_('Deactivated')}")


class SuggestedGroupsView(SuggestedPeopleView):
    def rows(self) -> Iterator[Suggestion]:
        return _groups(Group.objects.readable_by(self.person))


class SuggestedSubjectsView(SuggestionsView):
    """Groups and people for access rules. People who can't see the organization's groups get their own."""

    def rows(self) -> Iterator[Suggestion]:
        reads_all = self.person.may(Ability.READ_USERS)
        groups = Group.objects.readable_by(self.person) if reads_all else self.person.member_groups.all()
        yield from _groups(groups, hint=_("Group"))
        yield from finding.suggested(User.objects.of_organization_readable_by(self.person).active())


def _groups(groups: QuerySet[Group], hint: str = "") -> Iterator[Suggestion]:
    for name in groups.order_by("name").values_list("name", flat=True):
        yield Suggestion(name, name, hint)
