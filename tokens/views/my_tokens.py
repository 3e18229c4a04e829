"""The list of my tokens, and the form that creates one."""

from collections.abc import Sequence
from typing import Any, cast
from urllib.parse import urlencode

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django_tables2 import SingleTableMixin

from accounts.models import ServiceAccount, User
from accounts.pipelines_for_tokens import NamedPipeline, pipelines_for_tokens
from accounts.privileges import Privilege
from accounts.security.reauthentication import ask_again, is_recent
from accounts.services_for_tokens import TokenService, services_for_tokens
from auditlog import usage
from core.api.scopes import PIPELINE, SCOPES, Scope
from core.db.expressions import number_of
from core.pages.forms import refusals_in
from core.pages.views import FilteredListMixin, SectionMixin
from core.pages.widgets import MOST_CHOICES
from tokens import services
from tokens.ended_in_use import listed_in_use
from tokens.expiry import notices
from tokens.filters import OwnTokenPageFilter, offer_services
from tokens.form_links import FilledForm, filled_by, limited_to
from tokens.forms import CUSTOM, TokenForm, ways_to_choose
from tokens.lifetimes import Lifetime, as_typed, end_of, longest_lifetime, now_in_seconds
from tokens.models import Token
from tokens.names import name_key
from tokens.pipeline_choice import MOST_PIPELINES
from tokens.review.models import ReviewItem
from tokens.tables import TokenTable
from tokens.views.networks import networks_of_policy
from tokens.views.owners import OwnTokensMixin
from tokens.views.scope_notes import pipelines_named_in, scopes_with


class TokenListView(SectionMixin, OwnTokensMixin, SingleTableMixin, FilteredListMixin):
    """My tokens, below the form that creates one."""

    table_class = TokenTable
    filterset_class = OwnTokenPageFilter
    template_name = "tokens/token_list.html"
    section = "profile"
    current_tab = "tokens:token_list"
    # Asked only after the form is valid: a mistyped name is no reason to sign in again.
    privilege = Privilege.CREATE_TOKEN

    def may_create(self) -> bool:
        return True

    def get_queryset(self) -> QuerySet[Token]:
        # Django knows the owner of these rows, so it makes no query for them.
        tokens = self.owner.tokens.with_pipelines(seen_by=self.person)
        return tokens.select_related("organization", "revoked_by")

    @cached_property
    def services(self) -> Sequence[TokenService]:
        """Those that the owner of the tokens can use."""
        return services_for_tokens().offered_to(self.owner)

    def get_filterset(self, filterset_class: Any) -> Any:
        filterset = super().get_filterset(filterset_class)
        offer_services(filterset, "for_service", self.services)
        return filterset

    def get_table_kwargs(self) -> dict[str, Any]:
        if not self.is_readable:
            return {"empty_text": _("Correct the marked filter to see tokens.")}
        return {"empty_text": _("No token matches.") if self.narrowing() else no_tokens_yet()}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        form, filled = kwargs.pop("form", None), None
        if form is None:
            filled = self._filled_by_link()
            form = TokenForm(owner=self.owner, initial=filled.initial if filled else self._as_replacement())
        named = {} if form.chosen_service else pipelines_named_in(form)
        pipelines = None if form.chosen_service else pipeline_choice(form, named)
        scopes = scopes_with(form, named, numbers=pipelines and pipelines["numbers"])
        to_confirm, answers_for_accounts = self._asked_of_person()
        return super().get_context_data(
            form=form,
            owner=self.owner,
            may_create=self.may_create(),
            account=self.account,
            service_accounts=self.account is None and answers_for_accounts,
            form_url=self.list_url,
            name_url=self.name_url,
            notes_url=self.notes_url,
            filled=filled if filled and filled.says_more_than_service else None,
            service=form.chosen_service,
            service_field=form["service"],
            service_choices=service_choices(form, self.services, self.list_url),
            **scopes,
            pipeline_choice=pipelines,
            can_run_one=pipelines is not None
            and pipelines["some_can_run"]
            and can_choose(PIPELINE, scopes["scope_cards"]),
            needing_approval=needing_approval(form, scopes["scope_cards"]),
            lifetime_choices=lifetime_choices(form),
            **networks_of_policy(form.policy, self.request),
            latest_end=now_in_seconds() + longest_lifetime(form.policy, self.owner),
            **notices.warnings_about(Token.objects.owned_by(self.owner)),
            to_confirm=to_confirm,
            ended_in_use=listed_in_use(usage.of(self.owner)),
            **kwargs,
        )

    def _asked_of_person(self) -> tuple[int, bool]:
        """How many tokens wait for the person's answer in a review campaign, for a service account only its own, and
        whether they are responsible for any service account. One query."""
        items = ReviewItem.objects.asked_of(self.person).waiting()
        items = items if self.account is None else items.filter(owner=self.account)
        own = User.objects.filter(pk=self.person.pk)
        is_responsible = Exists(ServiceAccount.responsible.through.objects.filter(user=OuterRef("pk")))
        found: tuple[int, bool] = own.values_list(number_of(items), is_responsible).get()
        return found

    def _filled_by_link(self) -> FilledForm | None:
        return None if "like" in self.request.GET else filled_by(self.request.GET, owner=self.owner)

    def _as_replacement(self) -> dict[str, Any]:
        """The scopes, the pipelines and a similar name of the token whose id is in ``?like=``, to replace it."""
        try:
            model = self.get_queryset().filter(pk=self.request.GET.get("like", "")).first()
        except ValidationError:
            return {}
        if model is None:
            return {}
        name, now = services.free_name_like(owner=self.owner, name=model.name), timezone.now()
        filled = {
            "name": name,
            "service": service.slug if (service := model.known_service) else "",
            "scopes": [scope.id for scope in model.scopes],
            "networks": model.networks,
            "max_uses": model.max_uses,
            "not_before": as_typed(model.not_before) if model.not_before and not model.has_started(now) else "",
        }
        return filled if (pipelines := model.pipeline_ids) is None else filled | limited_to(pipelines)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        form = TokenForm(request.POST, owner=self.owner)
        if form.is_valid() and not is_recent(request):
            # `accounts/security/kept_forms.py` fills in the form afterwards.
            return ask_again(request, then=request.path)
        if form.is_valid() and (token := self._issue(form)):
            # Its page says that it waits, and for what.
            page = "tokens:token_reveal" if token.waits_until is None else "tokens:token_detail"
            return redirect(page, pk=token.pk)
        self.filterset = self.get_filterset(self.get_filterset_class())
        self.object_list = self.filterset.qs
        context = self.get_context_data(form=form, filter=self.filterset, object_list=self.object_list)
        return self.render_to_response(context, status=400)

    def _issue(self, form: TokenForm) -> Token | None:
        name = form.cleaned_data["name"]
        with refusals_in(form):
            return services.issue_token(
                actor=self.person,
                owner=self.account,
                name=name,
                description=form.cleaned_data["description"],
                chosen=form.cleaned_data["scopes"],
                pipelines=form.cleaned_data["pipelines"],
                networks=form.cleaned_data["networks"],
                max_uses=form.cleaned_data["max_uses"],
                not_before=form.cleaned_data["not_before"],
                expires_at=form.cleaned_data["expires_at"],
                service=form.cleaned_data["service"],
                approval_reason=form.cleaned_data.get("approval_reason", ""),
                request=self.request,
            )
        if form.has_error("name") and self._is_pending(name):
            form.add_error(
                "name", _("It has not been shown yet: press “Show it now” in the list, or use another name.")
            )
        return None

    def _is_pending(self, name: str) -> bool:
        return Token.objects.owned_by(self.owner).pending().filter(live_name_key=name_key(name)).exists()


def no_tokens_yet() -> SafeString:
    """With a link to the first field of the form, which then has the focus."""
    return format_html(
        '{} <a href="#id_name">{}</a> {}',
        _("No tokens here."),
        _("Create one with the form above."),
        _("It is shown once; send it as a bearer token."),
    )


def pipeline_choice(form: TokenForm, named: dict[str, NamedPipeline]) -> dict[str, Any]:
    """Which pipelines the form offers: ``choices``, or if there are too many for a list, a ``text`` of their names.

    Only those that the person can see. ``which`` are the two ways to choose. ``some_only_read``: whether a token can
    only read one of the offered pipelines, because the person can't run it. ``some_can_run``: whether it can run one.
    ``numbers``: how many a token that reaches all of them can run and read; ``None`` if there are too many for a list.
    """
    chosen, which, field = form["pipelines"].value() or [], form["which_pipelines"], form["pipelines"].auto_id
    offered = pipelines_for_tokens().offered_to(form.owner, most=MOST_CHOICES + 1)
    return {
        "which": [
            {"id": value, "label": label, "checked": value == which.value(), "input_id": f"{which.auto_id}_{value}"}
            for value, label in ways_to_choose(form.owner)
        ],
        "choices": [
            {
                "id": str(pipeline.id),
                "name": pipeline.name,
                "can_run": pipeline.can_run,
                "checked": str(pipeline.id) in chosen,
                "input_id": f"{field}_{pipeline.id}",
            }
            for pipeline in offered[:MOST_CHOICES]
        ],
        "is_typed": len(offered) > MOST_CHOICES,
        "numbers": (
            None
            if len(offered) > MOST_CHOICES
            else {"run": sum(pipeline.can_run for pipeline in offered), "read": len(offered)}
        ),
        "some_only_read": not all(pipeline.can_run for pipeline in offered),
        "some_can_run": any(pipeline.can_run for pipeline in offered),
        "text": "\n".join(named[word].name if word in named else word for word in chosen),
        "most": MOST_PIPELINES,
    }


def service_choices(form: TokenForm, offered: Sequence[TokenService], list_url: str) -> list[dict[str, Any]]:
    """What a new token can be for, each with a link to the form for that; empty if the owner can use no service."""
    if not offered:
        return []
    chosen = form.chosen_service and form.chosen_service.pk
    portal = {"label": _("The portal's API"), "slug": "", "url": list_url, "is_chosen": chosen is None}
    return [portal] + [
        {
            "label": service.name,
            "slug": service.slug,
            "url": f"{list_url}?{urlencode({'service': service.slug})}",
            "is_chosen": service.pk == chosen,
        }
        for service in offered
    ]


def can_choose(scope: Scope, cards: Sequence[dict[str, Any]]) -> bool:
    return any(card["is_open"] for card in cards if card["id"] == scope.id)


def needing_approval(form: TokenForm, cards: Sequence[dict[str, Any]]) -> str:
    """Which of the tokens that the owner can create need approval: also with a scope that was sent although the form
    doesn't offer it."""
    if "approval_reason" not in form.fields:
        return ""
    sent = form["scopes"].value() or [] if form.is_bound else []
    offered = [scope for scope in SCOPES if scope.id in sent or can_choose(scope, cards)]
    return " ".join(form.approval_rules(offered))


def lifetime_choices(form: TokenForm) -> list[dict[str, Any]]:
    """The lifetimes that the policy allows, with the end of a token that is created now; ``None`` for a date."""
    now, field = now_in_seconds(), form["lifetime"]
    return [
        {
            "id": value,
            "label": label,
            "checked": value == field.value(),
            "ends_at": None if value == CUSTOM else end_of(Lifetime(value), start=now),
            "input_id": f"{field.auto_id}_{value}",
        }
        for value, label in cast(forms.ChoiceField, field.field).widget.choices
    ]
