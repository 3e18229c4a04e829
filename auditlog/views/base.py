"""What the pages of both logs share: a list, one entry, and a file; of a person's own log and of the organization's."""

import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar
from urllib.parse import urlencode

from django.core.exceptions import BadRequest
from django.db.models import QuerySet
from django.http import HttpRequest, QueryDict
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.generic import DetailView, View
from rest_framework.serializers import ModelSerializer

from auditlog import address_names, exports
from auditlog.filters import LogFilter
from auditlog.models import NEWEST_FIRST, LogEntry
from auditlog.views.live import LiveTableMixin
from core.db.unreadable import mark_unreadable
from core.pages import errors
from core.pages.views import MemberPageMixin, SectionMixin
from core.reading import local
from core.text import Text


class LogPageMixin(SectionMixin, MemberPageMixin):
    """A page of a person's own log. ``log`` is the beginning of the URL names of its pages."""

    section = "profile"
    prefix = "auditlog:"
    is_own = True
    log: ClassVar[str]
    model: ClassVar[type[LogEntry]]
    filterset_class: ClassVar[type[LogFilter]]
    serializer_class: ClassVar[type[ModelSerializer[Any]]]

    def readable(self, model: type[LogEntry]) -> QuerySet[Any]:
        """The entries of ``model`` that the person can see on this page."""
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
    """A page of the organization's log, for people whose role can read it."""

    section = "organization"
    prefix = "auditlog:organization_"
    is_own = False

    def role_allows(self, user: Any) -> bool:
        return bool(user.may_read_organization_logs)

    def readable(self, model: type[LogEntry]) -> QuerySet[Any]:
        entries: QuerySet[Any] = model.objects.readable_org_entries(self.person)  # type: ignore[attr-defined]
        return entries


class LogTableMixin(LiveTableMixin):
    """A table with entries of a log, which can be live, and links to export the same entries."""

    keyset = NEWEST_FIRST

    def get_searched(self) -> QuerySet[Any] | None:
        searched: QuerySet[Any] | None = self.filterset_class.searched(self.request.GET, self.get_queryset())
        return searched

    def count_rows(self, *, up_to: int) -> int | None:
        # Counting by the index of the token or of the service would not check who can see its entries.
        is_by_other_index = {"token_id", "service"} & self.get_export_query().keys()
        return None if is_by_other_index else super().count_rows(up_to=up_to)

    def get_export_url(self) -> str:
        raise NotImplementedError

    def get_export_query(self) -> QueryDict:
        """The filters of the file: those of the table."""
        return self.narrowing()

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        query, files = self.get_export_query(), []
        for file_format, label in exports.FORMATS if self.is_readable else []:
            query["format"] = file_format
            url = f"{self.get_export_url()}?{query.urlencode()}"
            files.append({"format": file_format, "label": label, "url": url})
        return super().get_context_data(files=files, **kwargs)


class LogListView(LogPageMixin, LogTableMixin):
    """``lately``: labels of links to the entries of the last 24 hours, each with further filters."""

    template_name = "auditlog/log_list.html"
    lately: ClassVar[tuple[tuple[Text, Mapping[str, str]], ...]] = ((gettext_lazy("Last 24 hours"), {}),)

    def get_export_url(self) -> str:
        return self.url("export")

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        # As a person would type it: in their time zone.
        since = f"{local(timezone.now() - timedelta(days=1)):%Y-%m-%dT%H:%M}"
        live = {"live": "1"} if self.wants_live else {}
        presets = [
            {"label": label, "url": f"{self.request.path}?{urlencode({**filters, 'since_at': since, **live})}"}
            for label, filters in self.lately
        ]
        return super().get_context_data(presets=presets, **kwargs)


class LogDetailView(LogPageMixin, DetailView[Any]):
    """One entry with all of its fields. Outside of the organization's log: one's own, or that of a service account that
    the person is responsible for."""

    context_object_name = "entry"
    slug_url_kwarg = "public_id"

    def readable(self, model: type[LogEntry]) -> QuerySet[Any]:
        entries: QuerySet[Any] = model.objects.answered_for_by(self.person)  # type: ignore[attr-defined]
        return entries

    def get_object(self, queryset: QuerySet[Any] | None = None) -> Any:
        return mark_unreadable(super().get_object(queryset))

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        list_url = self.url("list")
        return super().get_context_data(
            list_url=list_url,
            token_uses_url=self.token_uses_url(),
            host_name=address_names.name_of(self.object.ip),
            address_url=f"{list_url}?ip={self.object.ip}",
            request_url=f"{list_url}?request_id={self.object.request_id}",
            token_url=self.token_url(self.object.token_id),
            **kwargs,
        )

    def token_uses_url(self) -> str:
        return f"{reverse(f'{self.prefix}token_use_list')}?token_id={self.object.token_id}"

    def token_url(self, token_id: uuid.UUID | None) -> str | None:
        """The token's own page, if the reader can open it. Subclasses that know tokens override this."""
        return None


class ExportView(View):
    """A view that answers with a file. 429 while the portal writes as many files as it can."""

    http_method_names = ["get", "head", "options"]

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            return super().dispatch(request, *args, **kwargs)
        except exports.TooManyExports:
            return errors.too_many_requests(
                request,
                _("The portal is writing as many files as it can at the same time. Try again in a moment."),
                retry_after=exports.TRY_AGAIN_SECONDS,
            )


class LogExportView(LogPageMixin, ExportView):
    """The filtered log as a file. Unknown and invalid filters are refused: without them, it would export too much."""

    def readable(self, model: type[LogEntry]) -> QuerySet[Any]:
        """With a token in the address, also one of a service account that the person is responsible for."""
        if self.request.GET.get("token_id"):
            entries: QuerySet[Any] = model.objects.answered_for_by(self.person)  # type: ignore[attr-defined]
            return entries
        return super().readable(model)

    def get(self, request: HttpRequest) -> HttpResponseBase:
        filterset = self.filterset_class(request.GET, self.get_queryset())
        file_format = request.GET.get("format", exports.CSV)
        # People open these files in Excel; programs use the API.
        has_mark = {"true": True, "false": False}.get(request.GET.get("bom", str(file_format == exports.CSV).lower()))
        known = {*filterset.filters, "format", "bom"}
        is_known = all(name in known and len(values) == 1 for name, values in request.GET.lists())
        is_mark_possible = has_mark is False or (has_mark and file_format == exports.CSV)
        if not (is_known and filterset.is_valid() and file_format in exports.CONTENT_TYPES and is_mark_possible):
            raise BadRequest("The filters or the format of this file cannot be read.")
        return exports.response(
            request,
            filterset.qs,
            searched=self.filterset_class.searched(request.GET, self.get_queryset()),
            serializer_class=self.serializer_class,
            file_format=file_format,
            is_own=self.is_own,
            has_mark=bool(has_mark),
        )
