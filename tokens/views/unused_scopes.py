"""Which scopes and pipelines live tokens did not use lately: one's own, and those of the organization."""

from typing import Any, ClassVar

from django.core.exceptions import BadRequest
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from accounts.roles import Ability
from auditlog import exports
from auditlog.views.base import ExportView
from core.pages.views import KeysetTableMixin, MemberPageMixin, SectionMixin
from tokens.filters import OrganizationUnusedScopesFilter, UnusedScopesFilter, days_chosen
from tokens.models import NEWEST_FIRST, Token
from tokens.querysets import TokenQuerySet
from tokens.tables import OrganizationUnusedScopesTable, UnusedScopesTable
from tokens.unused_rights import COLUMNS, MOST_ENTRIES, csv_lines, shown_tokens, unused_rights


class UnusedScopesView(MemberPageMixin, KeysetTableMixin):
    """One's own tokens."""

    table_class: ClassVar[Any] = UnusedScopesTable
    filterset_class: ClassVar[Any] = UnusedScopesFilter
    template_name = "tokens/unused_scopes.html"
    keyset = NEWEST_FIRST
    export_url = ""
    back_view = "tokens:token_list"

    def get_queryset(self) -> TokenQuerySet:
        own = shown_tokens(Token.objects.owned_by(self.person))
        return own.for_token_table().with_pipelines(seen_by=self.person)

    def get_table_kwargs(self) -> dict[str, Any]:
        found = unused_rights(self.keyset_page.rows, days=days_chosen(self.request.GET))
        rights = {each.token.pk: each for each in found}
        return {**super().get_table_kwargs(), "person": self.person, "rights": rights}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(
            days=days_chosen(self.request.GET),
            most_entries=MOST_ENTRIES,
            back_url=reverse(self.back_view),
            is_own=not self.export_url,
            export_url=self._export_url() if self.export_url and self.is_readable else None,
            **kwargs,
        )

    def _export_url(self) -> str:
        query = self.narrowing().urlencode()
        return reverse(self.export_url) + (f"?{query}" if query else "")


class OrganizationUnusedScopesView(SectionMixin, UnusedScopesView):
    """Everyone's tokens, for roles that read them."""

    table_class = OrganizationUnusedScopesTable
    filterset_class = OrganizationUnusedScopesFilter
    section = "organization"
    current_tab = "tokens:organization_token_list"
    export_url = "tokens:organization_unused_scopes_export"
    back_view = "tokens:organization_token_list"

    def role_allows(self, user: User) -> bool:
        return user.may(Ability.READ_TOKENS)

    def get_queryset(self) -> TokenQuerySet:
        readable = shown_tokens(Token.objects.of_organization_readable_by(self.person))
        return readable.for_token_table().with_pipelines(seen_by=self.person)


class UnusedScopesExportView(MemberPageMixin, ExportView):
    """All tokens that match the filters as CSV. Unknown and invalid filters are refused, as for the access review."""

    http_method_names = ["get", "head", "options"]

    def role_allows(self, user: User) -> bool:
        return user.may(Ability.READ_TOKENS)

    def get(self, request: HttpRequest) -> HttpResponseBase:
        readable = shown_tokens(Token.objects.of_organization_readable_by(self.person))
        filterset = OrganizationUnusedScopesFilter(request.GET, readable)
        is_known = all(name in filterset.filters and len(values) == 1 for name, values in request.GET.lists())
        if not (is_known and filterset.is_valid()):
            raise BadRequest("The filters of this file cannot be read.")
        return exports.file_response(
            request,
            csv_lines(filterset.qs, days=days_chosen(request.GET), reader=self.person),
            name=f"unused-scopes-{self.person.own_organization.slug}-{timezone.now():%Y-%m-%d}.csv",
            file_format=exports.CSV,
            head=exports.csv_head(COLUMNS, has_mark=True),
        )
