"""The pages of the two logs, a person's own and the organization's: each as a list, entry by entry, and as a file."""

import uuid
from contextlib import suppress
from typing import Any, ClassVar

from django import forms
from django.apps import apps
from django.core.exceptions import BadRequest
from django.db.models import QuerySet
from django.http import HttpRequest, QueryDict
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.views.generic import DetailView, View
from rest_framework.serializers import ModelSerializer

from auditlog import detail_texts, exports, usage
from auditlog.actions import ActionType
from auditlog.api.serializers import ActivitySerializer, TokenUseSerializer
from auditlog.filters import (
    ActivityFilter,
    LogFilter,
    OrganizationActivityFilter,
    OrganizationTokenUseFilter,
    TokenUseFilter,
)
from auditlog.models import NEWEST_FIRST, Activity, LogEntry, TokenUse
from auditlog.reason_texts import EXPLANATIONS
from auditlog.tables import (
    ActivityTable,
    OrganizationActivityTable,
    OrganizationTokenUseTable,
    TokenUseTable,
    outcome_badge,
)
from core.api import scopes
from core.pages import errors
from core.pages.tabs import ORGANIZATION_TABS, PROFILE_TABS
from core.pages.views import KeysetTableMixin, MemberPageMixin, TabsMixin

# Tokens among which a person chooses by name. Who has more names one by its id.
MAX_TOKEN_CHOICES = 200
# Actions that the page of a use shows. No request does more; a page must not depend on it.
MAX_RELATED = 50


class LogPageMixin(TabsMixin, MemberPageMixin):
    """A page of a person's own log. ``log`` is what the URL names of its pages begin with."""

    tabs = PROFILE_TABS
    prefix = "auditlog:"
    is_own = True
    log: ClassVar[str]
    model: ClassVar[type[LogEntry]]
    filterset_class: ClassVar[type[LogFilter]]
    serializer_class: ClassVar[type[ModelSerializer[Any]]]

    def readable(self, model: type[LogEntry]) -> QuerySet[Any]:
        """The entries of either log that this kind of page shows."""
        entries: QuerySet[Any] = model.objects.of(self.person)  # type: ignore[attr-defined]
        return entries

    def get_queryset(self) -> QuerySet[Any]:
        return self.readable(self.model)

    def url(self, page: str, *args: Any) -> str:
        return reverse(f"{self.prefix}{self.log}_{page}", args=args)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        self.current_tab = f"{self.prefix}{self.log}_list"
        return super().get_context_data(**kwargs)


class OrganizationLogMixin(LogPageMixin):
    """A page of everyone's log, for those whose role reads it."""

    tabs = ORGANIZATION_TABS
    prefix = "auditlog:organization_"
    is_own = False

    def role_allows(self, user: Any) -> bool:
        return bool(user.may_read_organization_logs)

    def readable(self, model: type[LogEntry]) -> QuerySet[Any]:
        entries: QuerySet[Any] = model.objects.readable_org_entries(self.person)  # type: ignore[attr-defined]
        return entries


class LogTableMixin(KeysetTableMixin):
    """A table with entries of a log, and the ways to the same entries as a file."""

    keyset = NEWEST_FIRST

    def get_searched(self) -> QuerySet[Any] | None:
        searched: QuerySet[Any] | None = self.filterset_class.searched(self.request.GET, self.get_queryset())
        return searched

    def get_table_kwargs(self) -> dict[str, Any]:
        return {**super().get_table_kwargs(), "narrowing": self.narrowing().dict()}

    def count_rows(self, *, up_to: int) -> int | None:
        # The index of a token's entries does not tell whose they are.
        return None if "token_id" in self.get_export_query() else super().count_rows(up_to=up_to)

    def get_export_url(self) -> str:
        raise NotImplementedError

    def get_export_query(self) -> QueryDict:
        """What narrows the file: the same as the table."""
        return self.narrowing()

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        query, files = self.get_export_query(), []
        for file_format, label in exports.FORMATS if self.is_readable else []:
            query["format"] = file_format
            url = f"{self.get_export_url()}?{query.urlencode()}"
            files.append({"format": file_format, "label": label, "url": url})
        return super().get_context_data(files=files, **kwargs)


class LogListView(LogPageMixin, LogTableMixin):
    template_name = "auditlog/log_list.html"

    def get_export_url(self) -> str:
        return self.url("export")


class LogDetailView(LogPageMixin, DetailView[Any]):
    """One entry: every field in words."""

    context_object_name = "entry"
    slug_url_kwarg = "public_id"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        list_url = self.url("list")
        return super().get_context_data(
            list_url=list_url,
            token_uses_url=self.token_uses_url(),
            address_url=f"{list_url}?ip={self.object.ip}",
            request_url=f"{list_url}?request_id={self.object.request_id}",
            token_url=self.token_url(self.object.token_id),
            **kwargs,
        )

    def token_uses_url(self) -> str:
        return f"{reverse(f'{self.prefix}token_use_list')}?token_id={self.object.token_id}"

    def token_url(self, token_id: uuid.UUID | None) -> str | None:
        """The token's own page, where the reader may open it. This floor knows tokens by model name only."""
        tokens = apps.get_model("tokens", "Token").objects.visible_to(self.person)
        if token_id is None or not tokens.filter(pk=token_id).exists():
            return None
        return reverse("tokens:token_detail", args=[token_id])


class LogExportView(LogPageMixin, View):
    """The filtered log as a file. What cannot be read or is unknown is refused: left out, it would export too much."""

    http_method_names = ["get", "head", "options"]

    def get(self, request: HttpRequest) -> HttpResponseBase:
        filterset = self.filterset_class(request.GET, self.get_queryset())
        file_format = request.GET.get("format", exports.CSV)
        # Here people open files in Excel; programs ask the API.
        has_mark = {"true": True, "false": False}.get(request.GET.get("bom", str(file_format == exports.CSV).lower()))
        known = {*filterset.filters, "format", "bom"}
        is_known = all(name in known and len(values) == 1 for name, values in request.GET.lists())
        is_mark_possible = has_mark is False or (has_mark and file_format == exports.CSV)
        if not (is_known and filterset.is_valid() and file_format in exports.CONTENT_TYPES and is_mark_possible):
            raise BadRequest("The filters or the format of this file cannot be read.")
        try:
            return exports.response(
                request,
                filterset.qs,
                searched=self.filterset_class.searched(request.GET, self.get_queryset()),
                serializer_class=self.serializer_class,
                file_format=file_format,
                is_own=self.is_own,
                has_mark=bool(has_mark),
            )
        except exports.TooManyExports:
            return errors.too_many_requests(
                request,
                "Several files are being written already. Try again in a moment.",
                retry_after=exports.TRY_AGAIN_SECONDS,
            )


# The authentication log


class TokenUseMixin(LogPageMixin):
    log = "token_use"
    model = TokenUse
    filterset_class = TokenUseFilter
    serializer_class = TokenUseSerializer


class TokenUseListView(TokenUseMixin, LogListView):
    """Every use of all my tokens."""

    table_class = TokenUseTable
    extra_context = {
        "heading": "Authentication log",
        "intro": "Every use of your tokens, refused uses included. Check here that you are the only one who uses them.",
    }

    def get_filterset(self, filterset_class: Any) -> Any:
        return offering_tokens(super().get_filterset(filterset_class), self.person)


class OrganizationTokenUseListView(OrganizationLogMixin, TokenUseMixin, LogListView):
    """Every use of every token in the organization."""

    filterset_class = OrganizationTokenUseFilter
    table_class = OrganizationTokenUseTable
    extra_context = {
        "heading": "Authentication log",
        "intro": "Every use of every token in your organization, refused uses included.",
    }

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        # Beside some of the entries, a chart of all of them would contradict the table.
        shows_all = not self.narrowing() and not self.request.GET.get("cursor")
        days = usage.days(usage.readable_org_entries(self.person)) if shows_all else None
        return super().get_context_data(days=days, **kwargs)


class TokenUseDetailView(TokenUseMixin, LogDetailView):
    template_name = "auditlog/tokenuse_detail.html"
    slug_field = "request_id"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        entry: TokenUse = self.object
        return super().get_context_data(
            outcome=outcome_badge(entry),
            explanation=EXPLANATIONS[entry.reason],
            scopes=[scope for scope in scopes.SCOPES if scope in scopes.parse(entry.scope)],
            activity=self.readable(Activity).filter(request_id=entry.request_id)[:MAX_RELATED],
            activity_view=f"{self.prefix}activity_detail",
            **kwargs,
        )


class OrganizationTokenUseDetailView(OrganizationLogMixin, TokenUseDetailView):
    pass


class TokenUseExportView(TokenUseMixin, LogExportView):
    pass


class OrganizationTokenUseExportView(OrganizationLogMixin, TokenUseExportView):
    filterset_class = OrganizationTokenUseFilter


# The activity log


class ActivityMixin(LogPageMixin):
    log = "activity"
    model = Activity
    filterset_class = ActivityFilter
    serializer_class = ActivitySerializer


class ActivityListView(ActivityMixin, LogListView):
    """What I did, and what my scripts did in my name."""

    table_class = ActivityTable
    extra_context = {
        "heading": "Activity log",
        "intro": "What you did, and what scripts did with your tokens.",
    }

    def get_filterset(self, filterset_class: Any) -> Any:
        return offering_tokens(super().get_filterset(filterset_class), self.person)


class OrganizationActivityListView(OrganizationLogMixin, ActivityMixin, LogListView):
    """What everyone did, and scripts in their name."""

    filterset_class = OrganizationActivityFilter
    table_class = OrganizationActivityTable
    extra_context = {
        "heading": "Activity log",
        "intro": "Who did what in your organization: sign-ins, tokens, roles and pipelines.",
    }


class ActivityDetailView(ActivityMixin, LogDetailView):
    template_name = "auditlog/activity_detail.html"
    slug_field = "public_id"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        entry: Activity = self.object
        use = self.readable(TokenUse).filter(request_id=entry.request_id).first()
        return super().get_context_data(
            details=detail_texts.in_words(entry.details),
            use=use,
            use_url=reverse(f"{self.prefix}token_use_detail", args=[use.request_id]) if use else None,
            target_url=self.target_url(),
            **kwargs,
        )

    def target_url(self) -> str | None:
        """The page of the token that this was done to, where it was a token."""
        if self.object.type == ActionType.TOKEN:
            with suppress(ValueError):
                return self.token_url(uuid.UUID(self.object.target_id))
        return None


class OrganizationActivityDetailView(OrganizationLogMixin, ActivityDetailView):
    pass


class ActivityExportView(ActivityMixin, LogExportView):
    pass


class OrganizationActivityExportView(OrganizationLogMixin, ActivityExportView):
    filterset_class = OrganizationActivityFilter


def offering_tokens(filterset: LogFilter, person: Any) -> LogFilter:
    """The filter set with the person's own tokens to choose from by name, unless there are too many."""
    tokens = apps.get_model("tokens", "Token").objects.owned_by(person)
    found = tokens.order_by("-created_at").values_list("pk", "name", "created_at")[: MAX_TOKEN_CHOICES + 1]
    if len(found) <= MAX_TOKEN_CHOICES:
        names = {str(pk): f"{name} ({created_at:%Y-%m-%d})" for pk, name, created_at in found}
        chosen = filterset.data.get("token_id")
        if chosen and chosen not in names:
            names[chosen] = chosen
        filterset.form.fields["token_id"].widget = forms.Select(choices=[("", "Any token"), *names.items()])
    return filterset
