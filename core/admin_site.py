"""Django admin behind the portal's own sign-in, and the base of its pages."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar
from urllib.parse import urlencode

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import IntegrityError
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext, gettext_lazy

from core.errors import DomainError
from core.http.request_context import person_of
from core.pages.forms import refusals_as_messages
from core.pages.seen import FIELD, SeenForm
from core.seen import ChangedMeanwhile, check_seen

# The lookups that the filters and dates of a list use.
FILTER_LOOKUPS = {"exact", "isnull", "gte", "lt", "year", "month", "day"}


def _scripts(*names: str) -> forms.Media:
    return forms.Media(js=[f"admin/js/{name}" for name in names])


# What the pages here need of Django's scripts. Django also loads jQuery on lists, and on every page what fills in the
# short name in an address: half of all bytes.
SCRIPTS_OF_LISTS = _scripts("actions.js")
SCRIPTS_OF_FORMS = _scripts("vendor/jquery/jquery.min.js", "jquery.init.js", "admin/RelatedObjectLookups.js")


class PortalAdminSite(admin.AdminSite):
    site_header = "Opsera Portal administration"
    site_title = "Opsera Portal"
    index_title = "Administration"
    enable_nav_sidebar = False

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Redirects to the portal's sign-in. Refuses signed-in people who aren't allowed to use the administration."""
        if request.user.is_authenticated and not self.has_permission(request):
            raise PermissionDenied(gettext("Only Administrators and operators can use the administration."))
        query = urlencode({"next": request.GET.get("next") or reverse("admin:index")})
        return redirect(f"{reverse('account_login')}?{query}")

    def password_change(  # type: ignore[override]
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Redirects to the portal's own page, which asks for the current password."""
        return redirect("account_change_password")

    def get_urls(self) -> list[Any]:
        """Without the redirect to a row's page on the site, which expects numbers and fails on our ids."""
        return [pattern for pattern in super().get_urls() if getattr(pattern, "name", "") != "view_on_site"]

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        """Only registers our own pages: those of libraries would change sign-ins and sessions without a log entry."""
        if admin_class is not None and issubclass(admin_class, PortalModelAdmin):
            super().register(model_or_iterable, admin_class, **options)


class SavedMeanwhile(DomainError):
    message = gettext_lazy("Nothing was saved, because someone else saved at the same time. Try again.")


@contextmanager
def constraints_as_refusals() -> Iterator[None]:
    """For a valid form whose name somebody else took, or whose object they changed, at the same time."""
    try:
        yield
    except (IntegrityError, ChangedMeanwhile):
        raise SavedMeanwhile from None


class SeenModelForm(SeenForm, forms.ModelForm[Any]):
    """A form of Django admin that notices that someone else has saved meanwhile. List ``seen`` among its fields."""

    page_request: ClassVar[HttpRequest | None] = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        instance = kwargs.get("instance")
        now = self.fingerprint_of(instance) if instance is not None else ""
        super().__init__(*args, now=now, request=self.page_request, **kwargs)

    def fingerprint_of(self, instance: Any) -> str:
        raise NotImplementedError

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        try:
            check_seen(cleaned.get(FIELD), self.initial.get(FIELD, ""))
        except ChangedMeanwhile as error:
            self.changed_meanwhile(error)
            raise ValidationError(error.message) from None
        return cleaned


class PortalModelAdmin(admin.ModelAdmin[Any]):
    """For operators and Administrators (`User.is_staff`). The querysets decide which rows they see.

    Nothing can be added, changed or deleted unless a subclass allows it.
    """

    may_add: ClassVar[bool] = False
    may_change: ClassVar[bool] = False
    may_delete: ClassVar[bool] = False
    actions_on_top = True
    view_on_site = False
    media = SCRIPTS_OF_FORMS

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return super().changelist_view(request, {"media": SCRIPTS_OF_LISTS, **(extra_context or {})})

    def get_list_display(self, request: HttpRequest) -> Any:
        """Without the organization for people who see only one."""
        columns = super().get_list_display(request)
        return columns if person_of(request).is_superuser else [name for name in columns if name != "organization"]

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
        """Only allows the lookups of the page's own filters.

        Others, such as `password__startswith`, would reveal hidden values letter by letter.
        """
        name, _, kind = lookup.partition("__")
        offered = [*self.get_list_filter(request), self.date_hierarchy]
        return name in offered and kind in FILTER_LOOKUPS and "\x00" not in value

    def get_form(self, request: HttpRequest, obj: Model | None = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        if issubclass(form, SeenModelForm):
            form.page_request = request
        return form

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        with refusals_as_messages(request), constraints_as_refusals():
            return super().changeform_view(request, *args, **kwargs)
        return redirect(request.path)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        with refusals_as_messages(request):
            return super().delete_view(request, *args, **kwargs)
        return redirect(request.path)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Without bulk deletion: rows are deleted one by one, each with its log entry."""
        return {name: action for name, action in super().get_actions(request).items() if name != "delete_selected"}


class ReadOnlyAdmin(PortalModelAdmin):
    """For history: shows all fields, and nothing can be changed."""

    media = forms.Media()

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> list[str]:
        return [field.name for field in self.opts.fields]
