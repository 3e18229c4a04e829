"""The page of a person's own notifications."""

import uuid
from typing import Any

from django.contrib import messages
from django.core.exceptions import BadRequest
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.generic import View

from accounts.filters import NotificationFilter
from accounts.models import NEWEST_NOTIFICATIONS_FIRST, Notification
from accounts.notifications import reading
from accounts.notifications.querysets import NotificationQuerySet
from accounts.tables import NotificationTable
from core import ids
from core.errors import NotAllowed
from core.pages.addresses import back_to
from core.pages.views import KeysetTableMixin, MemberPageMixin, SectionMixin
from core.text import grouped


class NotificationListView(SectionMixin, MemberPageMixin, KeysetTableMixin):
    section = "profile"
    current_tab = "accounts:notification_list"
    template_name = "accounts/notification_list.html"
    table_class = NotificationTable
    filterset_class = NotificationFilter
    keyset = NEWEST_NOTIFICATIONS_FIRST

    def get_queryset(self) -> NotificationQuerySet:
        return Notification.objects.of(self.person)

    def _empty_text(self) -> str | None:
        text = super()._empty_text()
        if text is None and not self.narrowing():
            return _("No notifications yet. You are told here what happens to your tokens and your account.")
        return text

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        # Without the filters, because "Mark all as read" marks all.
        return super().get_context_data(newest=self.get_queryset().unread().first(), **kwargs)


class _MarkView(MemberPageMixin, View):
    http_method_names = ["post"]

    def back(self, request: HttpRequest) -> HttpResponseBase:
        return redirect(back_to(request, reverse("accounts:notification_list")))


class MarkReadView(_MarkView):
    def post(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponseBase:
        notification = get_object_or_404(Notification.objects.of(self.person), public_id=pk)
        reading.mark_read(actor=self.person, ids=[notification.public_id])
        return self.back(request)


class MarkAllReadView(_MarkView):
    """Marks what the person can have seen: ``until`` is the newest row when the page was opened."""

    def post(self, request: HttpRequest) -> HttpResponseBase:
        try:
            count = reading.mark_read_until(actor=self.person, until=ids.read(request.POST.get("until", "")))
        except (ValueError, NotAllowed):
            raise BadRequest("The newest notification to mark is missing or not yours.") from None
        said = ngettext(
            "%(count)s notification is marked as read.", "%(count)s notifications are marked as read.", count
        )
        messages.success(request, said % {"count": grouped(count)})
        return self.back(request)
