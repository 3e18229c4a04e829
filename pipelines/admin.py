"""Pipelines and runs in Django admin, with the same querysets and services as everywhere else.

Steps and access rules are read-only here. The portal's pages change them, because they handle the secrets.
"""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Model, QuerySet
from django.forms.fields import InvalidJSONInput
from django.http import HttpRequest
from django.utils.safestring import SafeString

from accounts.models import User
from core.admin_site import PortalModelAdmin, ReadOnlyAdmin, SeenModelForm
from core.http.request_context import person_of
from core.pages.templatetags.portal import badge
from pipelines import seen, services
from pipelines.access import PipelineAction, may, may_be_owner
from pipelines.models import AccessRule, Pipeline, Run, Step, StepRun
from pipelines.run_states import LOCKED


class JSONField(forms.JSONField):
    """A JSON field that reports any invalid input as an error: too deep, numbers too long, or half a character."""

    def to_python(self, value: Any) -> Any:
        try:
            return super().to_python(value)
        except (ValueError, RecursionError):
            raise ValidationError(self.error_messages["invalid"], code="invalid") from None

    def bound_data(self, data: Any, initial: Any) -> Any:
        return InvalidJSONInput(data or "")


class PipelineForm(SeenModelForm):
    """The owner decides the organization. It is set before validation, so that a name in use becomes a form error."""

    def _get_validation_exclusions(self) -> set[str]:
        excluded: set[str] = super()._get_validation_exclusions()  # type: ignore[misc]
        return excluded - {"organization"} if self.instance.organization_id else excluded

    def fingerprint_of(self, instance: Pipeline) -> str:
        return seen.of_texts(instance)

    def clean_owner(self) -> User:
        owner: User = self.cleaned_data["owner"]
        if self.instance._state.adding:
            self.instance.organization = owner.own_organization
        if owner.pk != self.instance.owner_id and not may_be_owner(owner):
            raise ValidationError("Choose an active person whose role creates pipelines.")
        return owner


class ReadOnlyInline(admin.TabularInline[Any, Any]):
    """Related rows, read-only."""

    template = "admin/edit_inline/read_only.html"
    extra = 0
    can_delete = False
    # Django's are for rows that people add.
    media = forms.Media()

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> list[str]:
        return [str(field) for field in self.fields or []]

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return person_of(request).is_staff

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    has_change_permission = has_add_permission
    has_delete_permission = has_add_permission


class StepInline(ReadOnlyInline):
    model = Step
    fields = ["position", "name", "kind", "method", "public_url", "names_of_headers", "expected_status", "instructions"]

    @admin.display(description="Headers")
    def names_of_headers(self, step: Step) -> str:
        return ", ".join(step.header_names) or "–"


class AccessRuleInline(ReadOnlyInline):
    model = AccessRule
    fields = ["subject_name", "role"]


@admin.register(Pipeline)
class PipelineAdmin(PortalModelAdmin):
    """Pipelines of the organization, for its Administrators. Operators can only look."""

    list_display = ["name", "organization", "owner", "run_count", "lock_badge", "updated_at"]
    search_fields = ["name", "description"]
    form = PipelineForm
    formfield_overrides = {models.JSONField: {"form_class": JSONField}}
    inlines = [StepInline, AccessRuleInline]

    def has_add_permission(self, request: HttpRequest) -> bool:
        # An operator belongs to no organization, and a pipeline belongs to one.
        return super().has_module_permission(request) and not person_of(request).is_superuser

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        if obj is None:
            return self.has_add_permission(request)
        return may(person_of(request), PipelineAction.ADMINISTER, obj)

    has_delete_permission = has_change_permission

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        hidden = ["seen"] if obj is not None and self.has_change_permission(request, obj) else []
        return ["name", "description", "tags", "owner", *hidden]

    @admin.display(description="Lock")
    def lock_badge(self, pipeline: Pipeline) -> SafeString | str:
        return badge(LOCKED) if pipeline.is_locked else "–"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Pipeline]:
        return Pipeline.objects.visible_to(person_of(request)).select_related("organization", "owner")

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "owner":
            kwargs["queryset"] = User.objects.in_organization(person_of(request))
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def save_model(self, request: HttpRequest, obj: Pipeline, form: Any, change: bool) -> None:
        actor, data = person_of(request), form.cleaned_data
        fields = {name: data[name] for name in ("name", "description", "tags")}
        if change:
            saved = services.edit_pipeline(actor=actor, pipeline=obj, seen=data["seen"], request=request, **fields)
            form.saved(seen.of_texts(saved))
        else:
            saved = services.create_pipeline(actor=actor, request=request, **fields)
        if data["owner"].pk != saved.owner_id:
            services.transfer_pipeline(actor=actor, pipeline=saved, owner=data["owner"], request=request)
        # Django admin writes its history about this object and redirects to it.
        obj.pk = saved.pk

    def delete_model(self, request: HttpRequest, obj: Pipeline) -> None:
        services.delete_pipeline(actor=person_of(request), pipeline=obj, request=request)


class StepRunInline(ReadOnlyInline):
    model = StepRun
    fields = ["position", "name", "kind", "state_badge", "response_status", "message", "started_at", "finished_at"]

    @admin.display(description="State")
    def state_badge(self, step_run: StepRun) -> SafeString:
        return badge(step_run.badge)


@admin.register(Run)
class RunAdmin(ReadOnlyAdmin):
    """Runs, including those of deleted pipelines."""

    list_display = ["pipeline_name", "number", "state_badge", "starter", "requested_at", "finished_at"]
    list_filter = ["state", "outcome"]
    search_fields = ["pipeline_name", "started_by_email"]
    fields = [
        "pipeline_name",
        "pipeline_public_id",
        "number",
        "state_badge",
        "starter",
        "token_name",
        "requested_at",
        "started_at",
        "finished_at",
    ]
    inlines = [StepRunInline]
    ordering = ["-requested_at", "-id"]

    @admin.display(description="State", ordering="state")
    def state_badge(self, run: Run) -> SafeString:
        return badge(run.badge)

    @admin.display(description="Started by", ordering="started_by_email")
    def starter(self, run: Run) -> str:
        return run.started_by_email

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> list[str]:
        return [*super().get_readonly_fields(request, obj), "state_badge", "starter"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        return Run.objects.visible_to(person_of(request))
