from typing import Any, ClassVar, cast

from django import forms
from django.contrib import admin
from django.contrib.auth.forms import BaseUserCreationForm
from django.contrib.auth.password_validation import validate_password
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts import seen, services
from accounts.forms import PolicyForm
from accounts.models import (
    POLICY_FIELDS,
    Group,
    Notification,
    Organization,
    OrganizationProvider,
    ServiceAccount,
    User,
    Webhook,
    WebhookDelivery,
)
from accounts.privileges import Privilege
from accounts.security.reauthentication import ask_again, is_recent
from accounts.states import ACCOUNT_BADGES, USER_BADGES
from accounts.tables import DELIVERY_BADGES, webhook_badge
from core.admin_site import PortalModelAdmin, ReadOnlyAdmin, SeenModelForm
from core.http.request_context import person_of
from core.pages.seen import FIELD
from core.pages.templatetags.portal import badge
from core.service_accounts import handle_of


class RecentSignInAdmin(PortalModelAdmin):
    """Asks again who is there before a form opens or a bulk action runs that changes people or organizations.

    ``privileges``: those that its forms use. `accounts/security/kept_forms.py` fills in the form afterwards.
    """

    privileges: ClassVar[tuple[Privilege, ...]]

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        if not is_recent(request):
            return ask_again(request, then=request.path)
        return super().changeform_view(request, *args, **kwargs)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        if not is_recent(request):
            return ask_again(request, then=request.path)
        return super().delete_view(request, *args, **kwargs)

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        if request.method == "POST" and not is_recent(request):
            return ask_again(request, then=request.path)
        return super().changelist_view(request, *args, **kwargs)


class OrganizationForm(PolicyForm):
    """``version``: the version of the policy that the page was opened with."""

    version = forms.CharField(required=False, widget=forms.HiddenInput)

    class Meta(PolicyForm.Meta):
        fields: ClassVar[tuple[str, ...]] = ("name", "slug", *POLICY_FIELDS)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["version"] = self.instance.policy_version

    def policy(self) -> dict[str, Any]:
        return {field: self.cleaned_data[field] for field in POLICY_FIELDS}

    def changes(self) -> dict[str, Any]:
        return {"name": self.cleaned_data["name"], **self.policy()}


class OrganizationAdmin(RecentSignInAdmin):
    """Operators create organizations; Administrators see and change the policy of their own.

    `tokens/policy/admin.py` adds what a change of the policy would do to tokens, and `opsera_portal/admin.py` registers
    that.
    """

    privileges = (Privilege.CREATE_ORGANIZATION, Privilege.CHANGE_POLICY)
    may_change = True
    list_display = ["name", "slug", "max_token_lifetime_days", "log_retention_days", "created_at"]
    search_fields = ["name", "slug"]
    form = OrganizationForm
    hidden_fields: ClassVar[tuple[str, ...]] = ("version",)

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return [(None, {"fields": ["name", "slug", *self.hidden_fields]}), ("Policy", {"fields": POLICY_FIELDS})]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return person_of(request).is_superuser

    def get_queryset(self, request: HttpRequest) -> QuerySet[Organization]:
        organizations = super().get_queryset(request)
        return (
            organizations
            if person_of(request).is_superuser
            else organizations.filter(pk=person_of(request).organization_id)
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> list[str]:
        # Every token contains the slug, as `account`, so it never changes.
        return ["slug"] if obj else []

    def save_model(self, request: HttpRequest, obj: Organization, form: Any, change: bool) -> None:
        if change:
            self.save_changes(request, obj, form)
            return
        created = services.create_organization(
            actor=person_of(request),
            name=form.cleaned_data["name"],
            slug=form.cleaned_data["slug"],
            policy=form.policy(),
            request=request,
        )
        obj.pk = created.pk

    def save_changes(self, request: HttpRequest, obj: Organization, form: Any) -> None:
        services.save_policy(
            actor=person_of(request),
            organization=obj,
            changes=form.changes(),
            version=form.cleaned_data["version"] or None,
            request=request,
        )


class NewUserForm(BaseUserCreationForm[User]):
    class Meta:
        model = User
        fields = ["email", "name", "site_role", "organization"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "organization" in self.fields:
            self.fields["organization"].required = True


class ChangeUserForm(SeenModelForm):
    new_password = forms.CharField(
        required=False,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="Only if the person lost their password. If this is empty, the password stays. A new one ends all "
        "their sessions.",
    )

    class Meta:
        model = User
        fields = ["email", "name", "site_role", "is_active"]

    def fingerprint_of(self, instance: User) -> str:
        return seen.of_user_in_admin(instance)

    def clean_new_password(self) -> str:
        password: str = self.cleaned_data["new_password"]
        if password:
            validate_password(password, self.instance)
        return password

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        try:
            services.check_administrator_stays(
                User.objects.get(pk=self.instance.pk),
                is_active=cleaned.get("is_active", self.instance.is_active),
                site_role=cleaned.get("site_role", self.instance.site_role),
            )
        except services.LastAdministrator as error:
            raise forms.ValidationError(error.message) from None
        return cleaned


class ChangeOneselfForm(ChangeUserForm):
    """Without password and e-mail address: the portal's own pages change these after a check."""

    new_password = None  # type: ignore[assignment]


# The fields of a person that fields of the form with another name change.
CHANGED_BY = {"new_password": "password"}


@admin.register(User)
class UserAdmin(RecentSignInAdmin):
    """People are deactivated, never deleted, because log entries and tokens refer to them."""

    privileges = (Privilege.EDIT_PERSON, Privilege.CHANGE_ROLE, Privilege.ACTIVATE)
    may_add = True
    may_change = True
    list_display = ["email", "name", "organization", "site_role", "state_badge", "last_login"]
    list_filter = ["site_role", "is_active"]
    search_fields = ["email", "name"]
    list_select_related = ["organization"]
    readonly_fields = ["organization_name", "is_superuser", "last_login", "created_at", "erase_link"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        users: QuerySet[User] = User.objects.people().visible_to(person_of(request))
        return users

    def get_form(self, request: HttpRequest, obj: Model | None = None, change: bool = False, **kwargs: Any) -> Any:
        if obj is None:
            kwargs["form"] = NewUserForm
        else:
            kwargs["form"] = ChangeOneselfForm if obj == request.user else ChangeUserForm
        return super().get_form(request, obj, change, **kwargs)

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        if obj is None:
            passwords = ["password1", "password2"]
            organization = ["organization"] if person_of(request).is_superuser else []
            return ["email", "name", "site_role", *organization, *passwords]
        return [
            "email",
            "name",
            "organization_name",
            "site_role",
            "is_active",
            *([] if obj == request.user else ["new_password"]),
            *self.readonly_fields[1:],
            FIELD,
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> list[str]:
        return [*self.readonly_fields, *(["email"] if obj == request.user else [])]

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        is_erased = isinstance(obj, User) and obj.erased_at is not None
        return not is_erased and super().has_change_permission(request, obj)

    @admin.display(description="State", ordering="is_active")
    def state_badge(self, user: User) -> SafeString:
        return badge(USER_BADGES[user.state])

    @admin.display(description="Erase")
    def erase_link(self, user: User) -> SafeString | str:
        """The page asks for the person's address. Operators have a command, because they have no pages."""
        if user.erased_at is not None:
            return f"Erased at {user.erased_at:%Y-%m-%d %H:%M} UTC"
        if user.is_active:
            return "Deactivate the person first."
        address = reverse("accounts:organization_user_erase", args=[user.pk])
        said = '<a href="{}">Erase this person…</a> Operators: manage.py erase_person'
        return format_html(said, address)

    @admin.display(description="Organization")
    def organization_name(self, user: User) -> str:
        return str(user.organization or "–")

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        actor, fields = person_of(request), form.cleaned_data
        if change:
            changed = [field for field in form.changed_data if field != FIELD]
            changes = {CHANGED_BY.get(field, field): fields[field] for field in changed}
            after = services.change_user(actor=actor, user=obj, seen=fields[FIELD], request=request, **changes)
            form.saved(seen.of_user_in_admin(after))
        else:
            named = {name: fields[name] for name in ("email", "name", "site_role", "organization") if name in fields}
            obj.pk = services.create_user(actor=actor, password=fields["password1"], request=request, **named).pk


@admin.register(ServiceAccount)
class ServiceAccountAdmin(PortalModelAdmin):
    """Read-only: the portal's own pages change them, and create their tokens."""

    list_display = ["name", "handle", "organization", "site_role", "state_badge"]
    search_fields = ["user__name", "user__email"]
    fields = ["name", "handle", "organization", "site_role", "state_badge", "description", "responsible"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[ServiceAccount]:
        accounts = User.objects.service_accounts().in_organization(person_of(request))
        rows: QuerySet[ServiceAccount] = ServiceAccount.objects.filter(user__in=accounts.order_by().values("pk"))
        return rows.select_related("user__organization").order_by("user__name")

    @admin.display(description="Name", ordering="user__name")
    def name(self, row: ServiceAccount) -> str:
        return row.user.name

    @admin.display(description="Handle")
    def handle(self, row: ServiceAccount) -> str:
        return handle_of(row.user.email)

    @admin.display(description="Site role", ordering="user__site_role")
    def site_role(self, row: ServiceAccount) -> str:
        return str(row.user.get_site_role_display())

    @admin.display(description="State")
    def state_badge(self, row: ServiceAccount) -> SafeString:
        return badge(ACCOUNT_BADGES[row.user.account_state])


class GroupForm(SeenModelForm):
    """Checks that the name is free in the organization, and offers only its people as members."""

    organization: Organization

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.instance.organization = self.organization
        members = cast("forms.ModelMultipleChoiceField[User]", self.fields["members"])
        members.queryset = User.objects.filter(organization=self.organization)

    def fingerprint_of(self, instance: Group) -> str:
        return seen.of_group(instance)

    def _get_validation_exclusions(self) -> set[str]:
        excluded: set[str] = super()._get_validation_exclusions()  # type: ignore[misc]
        return excluded - {"organization"}


@admin.register(Group)
class GroupAdmin(PortalModelAdmin):
    may_add = True
    may_change = True
    may_delete = True
    list_display = ["name", "organization", "member_count"]
    search_fields = ["name"]
    list_select_related = ["organization"]
    form = GroupForm

    def get_queryset(self, request: HttpRequest) -> QuerySet[Group]:
        return Group.objects.in_organization(person_of(request)).prefetch_related("members")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return super().has_add_permission(request) and not person_of(request).is_superuser

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return ["name", "members", *([FIELD] if obj else [])]

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = cast("type[GroupForm]", super().get_form(request, obj, change, **kwargs))
        form.organization = obj.organization if obj else person_of(request).own_organization
        return form

    @admin.display(description="Members")
    def member_count(self, group: Group) -> str:
        return format_html("{}", len(group.members.all()))

    def save_model(self, request: HttpRequest, obj: Group, form: Any, change: bool) -> None:
        actor, name, members = person_of(request), form.cleaned_data["name"], form.cleaned_data["members"]
        if change:
            group = services.change_group(
                actor=actor, group=obj, name=name, members=members, seen=form.cleaned_data[FIELD], request=request
            )
            form.saved(seen.of_group(group))
        else:
            obj.pk = services.create_group(actor=actor, name=name, members=members, request=request).pk

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Nothing is left to save: the services have saved the members too."""

    def delete_model(self, request: HttpRequest, obj: Group) -> None:
        services.delete_group(actor=person_of(request), group=obj, request=request)


@admin.register(OrganizationProvider)
class OrganizationProviderAdmin(RecentSignInAdmin, ReadOnlyAdmin):
    """Without the client secret. Administrators change it on the organization's page, and operators can remove it."""

    privileges = (Privilege.REMOVE_SINGLE_SIGN_ON,)
    may_delete = True
    list_display = ["name", "organization", "issuer", "is_enabled", "creates_people", "last_failure_at"]
    search_fields = ["name", "issuer", "organization__name"]
    list_select_related = ["organization"]
    exclude = ("sealed_secret",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[OrganizationProvider]:
        return OrganizationProvider.objects.manageable_by(person_of(request))

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> list[str]:
        return [name for name in super().get_readonly_fields(request, obj) if name != "sealed_secret"]

    def delete_model(self, request: HttpRequest, obj: OrganizationProvider) -> None:
        services.remove_provider(actor=person_of(request), organization=obj.organization, request=request)


@admin.register(Notification)
class NotificationAdmin(ReadOnlyAdmin):
    """Operators see what everyone was told, Administrators what people of their organization were told."""

    list_display = ["at", "person", "kind", "token_name", "is_in_portal", "read_at"]
    list_filter = ["kind"]
    search_fields = ["person__email", "token_name"]
    list_select_related = ["person"]
    show_full_result_count = False
    list_per_page = 50
    ordering = ["-at", "-pk"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Notification]:
        return Notification.objects.for_admin(person_of(request))


@admin.register(Webhook)
class WebhookAdmin(ReadOnlyAdmin):
    """The portal's own pages change them."""

    list_display = ["created_at", "organization", "host", "description", "state_badge"]
    search_fields = ["description", "organization__name"]
    list_select_related = ["organization"]
    # Even encrypted, a secret is nobody's business here.
    exclude = ["secret", "previous_secret"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Webhook]:
        return Webhook.objects.manageable_by(person_of(request))

    @admin.display(description="State")
    def state_badge(self, webhook: Webhook) -> SafeString:
        return badge(webhook_badge(webhook))


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(ReadOnlyAdmin):
    list_display = ["created_at", "webhook", "type", "state_badge", "attempts", "last_status", "last_error"]
    list_filter = ["state"]
    search_fields = ["type", "webhook__description"]
    list_select_related = ["webhook"]
    show_full_result_count = False
    list_per_page = 50
    ordering = ["-created_at", "-pk"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[WebhookDelivery]:
        return WebhookDelivery.objects.manageable_by(person_of(request))

    @admin.display(description="State", ordering="state")
    def state_badge(self, row: WebhookDelivery) -> SafeString:
        return badge(DELIVERY_BADGES[row.state])
