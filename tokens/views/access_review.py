"""The access review: who has which live tokens, with what they can do. As a page, and as a file with everything."""

from collections.abc import Sequence
from typing import Any

from django.core.exceptions import BadRequest
from django.core.paginator import Page, Paginator
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django_filters.views import FilterView

from accounts.models import User
from accounts.roles import Ability
from accounts.services_for_tokens import services_for_tokens
from auditlog import exports
from auditlog.views.base import ExportView
from core.pages.views import FilteredListMixin, MemberPageMixin, SectionMixin
from tokens import access_review
from tokens.allowed_operations import OperationCounter
from tokens.api.serializers import AccessReviewSerializer
from tokens.filters import AccessReviewFilter, offer_services
from tokens.querysets import TokenQuerySet
from tokens.tables import AccessReviewTable

# With four tokens each, a page has about as many rows as other lists.
PEOPLE_ON_A_PAGE = 10


class AccessReviewPageMixin(MemberPageMixin):
    def role_allows(self, user: User) -> bool:
        return user.may(Ability.READ_TOKENS)

    def get_queryset(self) -> TokenQuerySet:
        return access_review.reviewed_tokens(self.person)


class AccessReviewView(SectionMixin, AccessReviewPageMixin, FilteredListMixin, FilterView):
    """Live tokens by person: page by page, or with `all=1` as many people as one page can have, to print them."""

    filterset_class = AccessReviewFilter
    template_name = "tokens/organization_access_review.html"
    section = "organization"
    current_tab = "tokens:organization_token_list"

    def get_filterset(self, filterset_class: Any) -> Any:
        filterset = super().get_filterset(filterset_class)
        offer_services(filterset, "service", services_for_tokens().of_organization(self.person))
        return filterset

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        now = timezone.now()
        people = self._people()
        return super().get_context_data(
            summary=self.object_list.review_summary(unused_since=now - access_review.UNUSED_FOR),
            people=people,
            has_all=self.wants_all,
            all_url=self.narrowed_url(all="1"),
            pages_url=self.narrowed_url(),
            most_printed=access_review.MOST_PRINTED,
            table=self._table(list(people)),
            chips=self.chips(),
            created_at=now,
            person=self.person,
            unused_days=access_review.UNUSED_FOR.days,
            export_url=self._export_url() if self.is_readable else None,
            **kwargs,
        )

    @property
    def wants_all(self) -> bool:
        return bool(self.request.GET.get("all") == "1")

    def _people(self) -> Page[str]:
        owners = access_review.owners_of(self.object_list, self.person)
        if not self.wants_all:
            return Paginator(owners, PEOPLE_ON_A_PAGE).get_page(self.request.GET.get("page"))
        return Paginator(owners, access_review.how_many_fit(owners, self.object_list)).page(1)

    def _table(self, people: Sequence[str]) -> AccessReviewTable:
        tokens = access_review.tokens_of(people, self.object_list, self.person)
        wrong = {} if self.is_readable else {"empty_text": _("Correct the marked filter to see tokens.")}
        return AccessReviewTable(tokens, counter=OperationCounter(), **wrong)

    def _export_url(self) -> str:
        query = self.narrowing().urlencode()
        return reverse("tokens:organization_access_review_export") + (f"?{query}" if query else "")


class AccessReviewExportView(AccessReviewPageMixin, ExportView):
    """All live tokens that match the filters as CSV. Unknown and invalid filters are refused: without them, the file
    would have too many tokens."""

    def get(self, request: HttpRequest) -> HttpResponseBase:
        filterset = AccessReviewFilter(request.GET, self.get_queryset())
        is_known = all(name in filterset.filters and len(values) == 1 for name, values in request.GET.lists())
        if not (is_known and filterset.is_valid()):
            raise BadRequest("The filters of this file cannot be read.")
        serializer = AccessReviewSerializer(context={"counter": OperationCounter()})
        return exports.file_response(
            request,
            access_review.csv_lines(filterset.qs, self.person, serializer.to_representation),
            name=f"access-review-{self.person.own_organization.slug}-{timezone.now():%Y-%m-%d}.csv",
            file_format=exports.CSV,
            # People open this file in a spreadsheet; programs use the API.
            head=exports.csv_head(serializer.fields, has_mark=True),
        )
