from collections import Counter
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Model, QuerySet
from django.forms import BaseInlineFormSet, ModelForm
from django.forms.fields import InvalidJSONInput
from django.http import HttpRequest

from accounts.models import User
from opsera_portal.admin_site import PortalModelAdmin
from opsera_portal.request_context import person_of
from pipelines import services
from pipelines.models import Pipeline, Step


class JSONField(forms.JSONField):
    """JSON as it is typed here, whatever is typed: too deep, numbers too long, or half a character."""

    def to_python(self, value: Any) -> Any:
        try:
            return super().to_python(value)
        except (ValueError, RecursionError):
            raise ValidationError(self.error_messages["invalid"], code="invalid") from None

    def bound_data(self, data: Any, initial: Any) -> Any:
        return InvalidJSONInput(data or "")


class PipelineForm(ModelForm[Pipeline]):
    """The owner decides the organization, which is set before the check, so that a taken name is a message."""

    def _get_validation_exclusions(self) -> set[str]:
        excluded: set[str] = super()._get_validation_exclusions()  # type: ignore[misc]
        return excluded - {"organization"} if self.instance.organization_id else excluded

    def clean_owner(self) -> User:
        owner: User = self.cleaned_data["owner"]
        if self.instance._state.adding:
            self.instance.organization = owner.own_organization
        return owner


class StepFormSet(BaseInlineFormSet[Step, Pipeline, ModelForm[Step]]):
    def clean(self) -> None:
        """Django compares each step with those in the database, and not with each other."""
        super().clean()
        filled_in = [form.cleaned_data for form in self.forms if form.is_valid() and form.cleaned_data]
        positions = Counter(step["position"] for step in filled_in if not step.get("DELETE"))
        for position, count in positions.items():
            if count > 1:
                raise ValidationError(f"{count} steps have position {position}. Give each a position of its own.")


class StepInline(admin.StackedInline[Step, Pipeline]):
    model = Step
    formset = StepFormSet
    formfield_overrides = {models.JSONField: {"form_class": JSONField}}
    extra = 0
    fields = ["position", "name", "kind", "method", "url", "headers", "body", "expected_status"]

    # Whoever may change a pipeline here may change its steps.
    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return person_of(request).is_staff

    has_add_permission = has_view_permission
    has_change_permission = has_view_permission
    has_delete_permission = has_view_permission


@admin.register(Pipeline)
class PipelineAdmin(PortalModelAdmin):
    """Pipelines of the organization with their steps, for its Administrators."""

    may_change = True
    list_display = ["name", "organization", "owner", "run_count", "updated_at"]
    search_fields = ["name", "description"]
    fields = ["name", "description", "tags", "owner"]
    form = PipelineForm
    formfield_overrides = {models.JSONField: {"form_class": JSONField}}
    inlines = [StepInline]

    def has_add_permission(self, request: HttpRequest) -> bool:
        # An operator belongs to no organization, and a pipeline belongs to one.
        return super().has_module_permission(request) and not person_of(request).is_superuser

    def get_queryset(self, request: HttpRequest) -> QuerySet[Pipeline]:
        return Pipeline.objects.visible_to(person_of(request)).select_related("organization", "owner")

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "owner":
            kwargs["queryset"] = User.objects.of_organization_of(person_of(request))
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def save_model(self, request: HttpRequest, obj: Pipeline, form: ModelForm[Pipeline], change: bool) -> None:
        services.save_pipeline(actor=person_of(request), pipeline=obj, is_new=not change, request=request)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        """Steps that change make room first, so that two can exchange their positions."""
        changed = formset.save(commit=False)
        Step.objects.filter(pk__in=[step.pk for step in [*changed, *formset.deleted_objects]]).delete()
        for step in changed:
            step.save()
