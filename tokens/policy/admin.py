"""The organization's page in Django admin, which shows what a change of the policy would do before it is saved."""

from collections.abc import Sequence
from typing import Any, ClassVar, cast

from django import forms
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, QueryDict

from accounts.admin import OrganizationAdmin, OrganizationForm
from accounts.models import Organization, User
from accounts.services import WouldLockOut
from core.http.request_context import person_of
from core.pages.forms import add_error
from tokens.policy.preview import Review, change_policy, review_policy
from tokens.policy.text import consequences


class ReviewedOrganizationForm(OrganizationForm):
    """``shown``: the fingerprint of the effect that the page has shown. Set ``request`` and ``actor`` in a subclass.

    ``to_confirm``: sentences about what the policy would do, if the person has to confirm it first. The form is then
    invalid, but not wrong.
    """

    request: ClassVar[HttpRequest]
    actor: ClassVar[User]
    review: Review
    to_confirm: Sequence[str] = ()
    shown = forms.CharField(required=False, widget=forms.HiddenInput)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if self.instance._state.adding or self.errors:
            return cleaned
        try:
            self.review = review_policy(
                actor=self.actor,
                organization=self.instance,
                changes=self.changes(),
                version=cleaned["version"] or None,
                request=self.request,
            )
        except WouldLockOut as error:
            add_error(self, error)
        else:
            self._check_shown(cleaned["shown"])
        return cleaned

    def _check_shown(self, shown: str) -> None:
        """Refuses a changed policy until the person has seen what it does and sends the form again."""
        fingerprint = self.review.effect.fingerprint
        if self.review.before.policy == self.review.after.policy or shown == fingerprint:
            return
        data = cast(QueryDict, self.data).copy()
        data["shown"] = fingerprint
        self.data = data
        self.to_confirm = list(consequences(self.review))
        raise forms.ValidationError("Confirm the new policy: save it again.")


class OrganizationPolicyAdmin(OrganizationAdmin):
    """Asks people to confirm a new policy: templates/admin/accounts/organization/change_form.html."""

    form = ReviewedOrganizationForm
    hidden_fields = ("version", "shown")

    def get_form(self, request: HttpRequest, obj: Model | None = None, change: bool = False, **kwargs: Any) -> Any:
        form = cast("type[ReviewedOrganizationForm]", super().get_form(request, obj, change, **kwargs))
        form.request, form.actor = request, person_of(request)
        return form

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Shows what a policy would do as a question. Django would show it below "Please correct the error"."""
        to_confirm = getattr(context["adminform"].form, "to_confirm", ())
        if to_confirm:
            context |= {"to_confirm": to_confirm, "errors": []}
        return super().render_change_form(request, context, *args, **kwargs)

    def save_changes(self, request: HttpRequest, obj: Organization, form: ReviewedOrganizationForm) -> None:
        change_policy(
            actor=person_of(request),
            organization=obj,
            changes=form.changes(),
            version=form.cleaned_data["version"] or None,
            shown=form.review.effect.fingerprint,
            request=request,
        )
