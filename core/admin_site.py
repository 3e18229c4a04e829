"""Django admin behind the portal's own sign-in, and what its pages share."""

from typing import Any, ClassVar
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from core.errors import DomainError, NotAllowed

# What the filters beside a list, and the dates above it, send.
FILTER_LOOKUPS = {"exact", "isnull", "gte", "lt", "year", "month", "day"}


class PortalAdminSite(admin.AdminSite):
    site_header = "Opsera Portal administration"
    site_title = "Opsera Portal"
    index_title = "Administration"
    enable_nav_sidebar = False

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """One sign-in for all: the portal's. Someone who is signed in and may not come here is refused."""
        if request.user.is_authenticated and not self.has_permission(request):
            raise PermissionDenied("Only Administrators and operators use the administration.")
        query = urlencode({"next": request.GET.get("next") or reverse("admin:index")})
        return redirect(f"{reverse('account_login')}?{query}")

    def password_change(  # type: ignore[override]
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """On the portal's own page, which asks for the present one."""
        return redirect("account_change_password")

    def get_urls(self) -> list[Any]:
        """Without the redirect to a row's own page, which knows rows by number and fails on our ids."""
        return [pattern for pattern in super().get_urls() if getattr(pattern, "name", "") != "view_on_site"]

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        """Our own pages only: those that libraries bring along would change sign-ins and sessions without an entry."""
        if admin_class is not None and issubclass(admin_class, PortalModelAdmin):
            super().register(model_or_iterable, admin_class, **options)


class PortalModelAdmin(admin.ModelAdmin[Any]):
    """Operators and Administrators come here (`User.is_staff`); which rows they meet is the querysets' to say.

    Closed unless a subclass opens it: nothing can be added, changed or deleted.
    """

    may_add: ClassVar[bool] = False
    may_change: ClassVar[bool] = False
    may_delete: ClassVar[bool] = False
    actions_on_top = True
    view_on_site = False

    def has_module_permission(self, request: HttpRequest) -> bool:
        return request.user.is_active and request.user.is_staff

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self.has_module_permission(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.may_add and self.has_module_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self.may_change and self.has_module_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self.may_delete and self.has_module_permission(request)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Only what the page's own filters ask for.

        By any other, such as `password__startswith`, a list would give away letter by letter what it does not show.
        """
        name, _, kind = lookup.partition("__")
        offered = [*self.get_list_filter(request), self.date_hierarchy]
        return name in offered and kind in FILTER_LOOKUPS and "\x00" not in value

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().changeform_view(request, *args, **kwargs)
        except NotAllowed:
            raise
        except DomainError as error:
            return self._refused(request, error.message)
        except IntegrityError:
            # The form had accepted it; somebody else took the name or the position at the same time.
            return self._refused(request, "Nothing was saved: someone else saved in the same moment. Try again.")

    def _refused(self, request: HttpRequest, message: str) -> HttpResponse:
        self.message_user(request, message, messages.ERROR)
        return redirect(request.path)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Without the bulk deletion: what may be deleted is deleted one by one, with its entry in the log."""
        return {name: action for name, action in super().get_actions(request).items() if name != "delete_selected"}


class ReadOnlyAdmin(PortalModelAdmin):
    """For history: everything is shown and nothing can be touched."""

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> list[str]:
        return [field.name for field in self.opts.fields]
