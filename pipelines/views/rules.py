"""Access rules of a pipeline."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _

from accounts.roles import Ability
from core.pages.confirm import confirm_page
from core.pages.forms import add_error, refusals_as_messages, refusals_in
from core.pages.seen import SeenForm
from core.seen import ChangedMeanwhile
from pipelines import seen, services
from pipelines.access import ItemRole, PipelineAction, may_grant, rule_gives_less
from pipelines.forms import AccessRuleForm, RoleForm, roles_to_grant
from pipelines.models import AccessRule, Pipeline
from pipelines.rule_texts import message_after_saving, note_on
from pipelines.views.base import PipelinePage


class AccessRulePage(PipelinePage):
    action = PipelineAction.EDIT_ACCESS_RULES

    def rule(self, pipeline: Pipeline, rule_pk: Any) -> AccessRule:
        return get_object_or_404(pipeline.access_rules.select_related("user", "group", "pipeline"), pk=rule_pk)

    def after_change(self, pipeline: Pipeline) -> HttpResponseBase:
        """Redirects to the rules, unless the person's own change removed their right to see them."""
        seen = Pipeline.objects.allowing(self.person, PipelineAction.EDIT_ACCESS_RULES)
        if seen.filter(pk=pipeline.pk).exists():
            return redirect("pipelines:access_rule_list", pk=pipeline.pk)
        return self.home(pipeline)

    def confirm(self, rule: AccessRule) -> None:
        level = messages.WARNING if rule_gives_less(rule) else messages.SUCCESS
        messages.add_message(self.request, level, message_after_saving(rule, self.person))

    def page(
        self,
        pipeline: Pipeline,
        *,
        form: AccessRuleForm | None = None,
        refused: AccessRule | None = None,
        role_form: SeenForm | None = None,
        status: int = 200,
    ) -> HttpResponse:
        """``role_form``: shown again in the row of the rule ``refused``, with what was chosen."""
        rules = list(pipeline.access_rules.for_rules_table())
        context = {
            "pipeline": pipeline,
            "rules": [
                {
                    "rule": rule,
                    "name": rule.user.name if rule.user and self.person.may(Ability.READ_USERS) else "",
                    "note": note_on(rule, self.person),
                    "may_change": may_grant(self.allowed, ItemRole(rule.role)),
                    "role": role_form["role"].value() if role_form and rule == refused else rule.role,
                    "seen": role_form["seen"].value() if role_form and rule == refused else seen.of_rule(rule),
                }
                for rule in rules
            ],
            "roles": roles_to_grant(self.allowed),
            "form": form or self.form(pipeline, now=seen.of_rules(pipeline, rules)),
            "role_form": role_form,
        }
        return render(self.request, "pipelines/access_rule_list.html", context, status=status)

    def form(self, pipeline: Pipeline, data: Any = None, *, now: str) -> AccessRuleForm:
        return AccessRuleForm(
            data, pipeline=pipeline, person=self.person, allowed=self.allowed, now=now, request=self.request
        )


class AccessRuleListView(AccessRulePage):
    """The access rules, and the form that adds one."""

    def get(self, request: HttpRequest, pk: str) -> HttpResponse:
        return self.page(self.find(pk))

    def post(self, request: HttpRequest, pk: str) -> HttpResponseBase:
        pipeline = self.find(pk)
        form = self.form(pipeline, request.POST, now=seen.of_rules(pipeline, pipeline.access_rules.all()))
        if form.is_valid():
            subject, role = form.cleaned_data["who"], ItemRole(form.cleaned_data["role"])
            with refusals_in(form):
                rule = services.set_access_rule(
                    actor=self.person,
                    pipeline=pipeline,
                    subject=subject,
                    role=role,
                    seen=form.cleaned_data["seen"],
                    request=request,
                )
                form.saved(seen.of_rules(pipeline, pipeline.access_rules.all()))
                self.confirm(rule)
                return self.after_change(pipeline)
        return self.page(pipeline, form=form, status=form.refusal_status)


class AccessRuleUpdateView(AccessRulePage):
    """Changes the role of a rule."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest, pk: str, rule_pk: str) -> HttpResponseBase:
        pipeline = self.find(pk)
        rule = self.rule(pipeline, rule_pk)
        form = RoleForm(request.POST, now=seen.of_rule(rule), request=request)
        if not form.is_valid():
            messages.error(request, _("Choose one of the roles."))
            return self.after_change(pipeline)
        role = ItemRole(form.cleaned_data["role"])
        with refusals_as_messages(request):
            try:
                changed = services.change_access_rule(
                    actor=self.person,
                    pipeline=pipeline,
                    rule=rule,
                    role=role,
                    seen=form.cleaned_data["seen"],
                    request=request,
                )
            except ChangedMeanwhile as error:
                add_error(form, error)
                return self.page(pipeline, refused=rule, role_form=form, status=form.refusal_status)
            form.saved(seen.of_rule(changed))
            self.confirm(changed)
        return self.after_change(pipeline)


class AccessRuleRemoveView(AccessRulePage):
    def get(self, request: HttpRequest, pk: str, rule_pk: str) -> HttpResponse:
        pipeline = self.find(pk)
        rule = self.rule(pipeline, rule_pk)
        consequences = [_("It takes effect with their next request, in sessions and with tokens.")]
        if not pipeline.access_rules.exclude(pk=rule.pk).exists():
            consequences.append(
                _(
                    "This is the last rule. Without rules every User of your organization can see and run "
                    "“%(pipeline)s”, and Guests can see it."
                )
                % {"pipeline": pipeline.name}
            )
        return confirm_page(
            request,
            question=_("Remove the role of %(subject)s?") % {"subject": rule.subject_name},
            consequences=consequences,
            button=_("Remove"),
            cancel_url=reverse("pipelines:access_rule_list", args=[pipeline.pk]),
        )

    def post(self, request: HttpRequest, pk: str, rule_pk: str) -> HttpResponseBase:
        pipeline = self.find(pk)
        rule = self.rule(pipeline, rule_pk)
        with refusals_as_messages(request):
            services.remove_access_rule(actor=self.person, pipeline=pipeline, rule=rule, request=request)
            messages.success(
                request, _("%(subject)s no longer has a role on this pipeline.") % {"subject": rule.subject_name}
            )
        return self.after_change(pipeline)
