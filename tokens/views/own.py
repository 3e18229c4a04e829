"""The pages of access tokens: make one, see it once, look at it, end it."""

from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.functional import cached_property
from django.views.decorators.cache import cache_control
from django.views.decorators.debug import sensitive_variables
from django.views.generic import View
from django_filters.views import FilterView
from django_tables2 import SingleTableMixin

from accounts.models import User
from accounts.privileges import Privilege
from accounts.security.reauthentication import ask_again, is_recent
from auditlog import usage
from auditlog.filters import OneTokenUseFilter
from auditlog.models import TokenUse
from auditlog.tables import OneTokenUseTable, OrganizationOneTokenUseTable
from auditlog.views import LogTableMixin
from core.api import scopes
from core.api.operations import routes
from core.badges import Badge
from core.http.request_context import is_look_ahead, person_of
from core.pages.addresses import back_to
from core.pages.tabs import PROFILE_TABS
from core.pages.templatetags.portal import exact
from core.pages.views import MemberPageMixin, TabsMixin
from tokens import services
from tokens.examples import examples_of
from tokens.expiry import notices
from tokens.filters import TokenFilter
from tokens.forms import CUSTOM, ExpireTokenForm, TokenForm
from tokens.keys.ring import key_ring
from tokens.keys.rotation import JWKS_MAX_AGE
from tokens.lifetimes import InvalidExpiry
from tokens.models import Token
from tokens.names import name_key
from tokens.querysets import PENDING_LAPSES_AFTER
from tokens.states import TokenState
from tokens.tables import TokenTable, state_badge

NEW_ADDRESS = Badge("◆", "New address", "warning")
ADDRESSES_SHOWN = 20


class TokenListView(TabsMixin, MemberPageMixin, SingleTableMixin, FilterView):
    """My tokens, with the form that makes one above them."""

    table_class = TokenTable
    filterset_class = TokenFilter
    template_name = "tokens/token_list.html"
    tabs = PROFILE_TABS
    current_tab = "tokens:token_list"
    # Only once the form is right, so that nobody has to prove who they are for a mistyped name.
    privilege = Privilege.CREATE_TOKEN

    def get_queryset(self) -> QuerySet[Token]:
        return Token.objects.owned_by(self.person).for_token_table()

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        form = kwargs.pop("form", None) or TokenForm(owner=self.person, initial=self._in_place_of_another())
        return super().get_context_data(
            form=form,
            scope_cards=scope_cards(form, self.person),
            ending=notices.to_warn_of(self.person),
            ended_in_use=usage.after_end(usage.of(self.person)),
            **kwargs,
        )

    def _in_place_of_another(self) -> dict[str, Any]:
        """With ``?like=`` and the id of a token of mine, the form begins with its scopes and a name like its."""
        try:
            model = self.get_queryset().filter(pk=self.request.GET.get("like", "")).first()
        except ValidationError:
            return {}
        if model is None:
            return {}
        name = services.free_name_like(owner=self.person, name=model.name)
        return {"name": name, "scopes": [scope.id for scope in model.scopes]}

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        form = TokenForm(request.POST, owner=self.person)
        if form.is_valid() and not is_recent(request):
            # What was typed comes back afterwards: accounts/security/kept_forms.py.
            return ask_again(request, then=request.path)
        if form.is_valid() and (token := self._issue(form)):
            return redirect("tokens:token_reveal", pk=token.pk)
        self.filterset = self.get_filterset(self.get_filterset_class())
        self.object_list = self.filterset.qs
        context = self.get_context_data(form=form, filter=self.filterset, object_list=self.object_list)
        return self.render_to_response(context, status=400)

    def _issue(self, form: TokenForm) -> Token | None:
        try:
            return services.issue_token(
                actor=self.person,
                name=form.cleaned_data["name"],
                chosen=form.cleaned_data["scopes"],
                expires_at=form.cleaned_data["expires_at"],
                request=self.request,
            )
        except services.TokenNameTaken:
            form.add_error("name", self._who_has_the_name(form.cleaned_data["name"]))
        except services.TooManyTokens as error:
            form.add_error(None, str(error))
        except services.ScopesNotAllowed as error:
            # The form had let it pass: the policy changed in the same moment.
            form.add_error("scopes", str(error))
        except InvalidExpiry as error:
            # Likewise, or the end came.
            form.add_error("expires_at" if form.cleaned_data["lifetime"] == CUSTOM else "lifetime", str(error))
        return None

    def _who_has_the_name(self, name: str) -> str:
        if Token.objects.owned_by(self.person).pending().filter(live_name_key=name_key(name)).exists():
            return "Your token of this name was not shown yet. Press “Show it now” in the list, or use another name."
        return "One of your live tokens has this name already. Choose another one."


@method_decorator(cache_control(no_store=True, private=True), name="dispatch")
class TokenRevealView(MemberPageMixin, View):
    """Signs the token in the act of showing it, once. Any other visit finds that it has been shown.

    A look-ahead of the browser and a HEAD request show nothing, so they must not use up the one time.
    """

    http_method_names = ["get", "head", "options"]

    @method_decorator(sensitive_variables())
    def get(self, request: HttpRequest, pk: str) -> HttpResponse:
        token = get_object_or_404(Token.objects.visible_to(self.person).for_token_table(), pk=pk)
        if is_look_ahead(request):
            return shown_page(request, token)
        try:
            token, signed_jwt = services.reveal_token(actor=self.person, token=token, request=request)
        except services.CannotBeRevealed:
            token.refresh_from_db()
            return shown_page(request, token)
        context = {"token": token, "signed_jwt": signed_jwt, "examples": examples_of(token, signed_jwt)}
        return render(request, "tokens/token_reveal.html", context)


class TokenDetailView(TabsMixin, MemberPageMixin, LogTableMixin):
    """One token: its metadata, what it can do now, and its log."""

    page_size = 20
    filterset_class = OneTokenUseFilter
    template_name = "tokens/token_detail.html"
    tabs = PROFILE_TABS
    current_tab = "tokens:token_list"

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        self.object = get_object_or_404(Token.objects.visible_to(self.person).for_token_table(), pk=kwargs["pk"])
        return super().get(request, *args, **kwargs)

    def get_queryset(self) -> QuerySet[TokenUse]:
        return TokenUse.objects.visible_to(self.person).filter(token_id=self.object.pk)

    @property
    def is_own(self) -> bool:
        return bool(self.object.owner_id == self.person.pk)

    def get_table_class(self) -> type[OneTokenUseTable]:
        return OneTokenUseTable if self.is_own else OrganizationOneTokenUseTable

    def get_export_url(self) -> str:
        return reverse("auditlog:token_use_export" if self.is_own else "auditlog:organization_token_use_export")

    def get_export_query(self) -> QueryDict:
        query = super().get_export_query()
        query["token_id"] = str(self.object.pk)
        return query

    @cached_property
    def uses(self) -> usage.Uses:
        return usage.of_token(self.object.pk, reader=self.person)

    @cached_property
    def addresses(self) -> list[usage.AddressUses]:
        return usage.addresses(self.uses)

    def count_rows(self, *, up_to: int) -> int | None:
        # Counted already, for the table of its addresses.
        return None if self.narrowing() else sum(address.total for address in self.addresses)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        token: Token = self.object
        return super().get_context_data(
            token=token,
            days=usage.days(self.uses),
            addresses=self.addresses[:ADDRESSES_SHOWN],
            further_addresses=len(self.addresses[ADDRESSES_SHOWN:]),
            new_address=NEW_ADDRESS,
            after_end=next(iter(usage.after_end(self.uses)), None),
            state=state_badge(token),
            scopes=token.scopes,
            is_own=self.is_own,
            can_be_shown_until=token.can_be_revealed_until if self.is_own else None,
            can_expire=not token.has_ended and Token.objects.revocable_by(self.person).filter(pk=token.pk).exists(),
            operations=what_it_can_do(token),
            closed_to_tokens=[privilege.value for privilege in Privilege],
            timeline=timeline(token),
            **kwargs,
        )


class TokenExpireView(MemberPageMixin, View):
    """Asks once more, then ends the token."""

    def get(self, request: HttpRequest, pk: str) -> HttpResponse:
        token = self._token(pk)
        if token.has_ended:
            return self._had_ended(request, token)
        return self._confirm(request, token, self._form(token))

    def post(self, request: HttpRequest, pk: str) -> HttpResponseBase:
        token = self._token(pk)
        form = self._form(token, request.POST)
        if not form.is_valid():
            return self._confirm(request, token, form, status=400)
        try:
            services.revoke_token(actor=self.person, token=token, reason=form.cleaned_data["reason"], request=request)
        except services.AlreadyEnded:
            return self._had_ended(request, token)
        messages.success(request, f"“{token.name}” is expired. Scripts which use it get 401 from now on.")
        return redirect(self._list_of(token))

    def _had_ended(self, request: HttpRequest, token: Token) -> HttpResponse:
        messages.info(request, f"“{token.name}” had ended already.")
        return redirect(self._list_of(token))

    def _list_of(self, token: Token) -> str:
        """As the person left it."""
        return back_to(self.request, home_of(token, self.person))

    def _token(self, pk: str) -> Token:
        token: Token = get_object_or_404(Token.objects.revocable_by(self.person).for_token_table(), pk=pk)
        return token

    def _form(self, token: Token, data: QueryDict | None = None) -> ExpireTokenForm:
        return ExpireTokenForm(data, needs_reason=services.needs_reason(actor=self.person, token=token))

    def _confirm(self, request: HttpRequest, token: Token, form: ExpireTokenForm, status: int = 200) -> HttpResponse:
        context = {
            "token": token,
            "form": form,
            "cancel_url": self._list_of(token),
            "back_url": self._list_of(token),
            "uses_lately": uses_lately(token, self.person),
        }
        return render(request, "tokens/token_confirm_expire.html", context, status=status)


def jwks(request: HttpRequest) -> JsonResponse:
    """The public keys, with which other services verify tokens and cannot make any (RFC 7517)."""
    response = JsonResponse(key_ring().jwks(), content_type="application/jwk-set+json")
    # The same for everyone: scripts of every site may verify tokens with them.
    response["Access-Control-Allow-Origin"] = "*"
    response["Cache-Control"] = f"public, max-age={JWKS_MAX_AGE // timedelta(seconds=1)}"
    return response


def shown_page(request: HttpRequest, token: Token) -> HttpResponse:
    """What every visit of the reveal page but the first finds."""
    headline, explanation = _why_not_shown(token, person_of(request))
    context = {
        "token": token,
        "state": state_badge(token),
        "headline": headline,
        "explanation": explanation,
        "can_expire": not token.has_ended
        and Token.objects.revocable_by(person_of(request)).filter(pk=token.pk).exists(),
    }
    return render(request, "tokens/token_shown.html", context)


def _why_not_shown(token: Token, user: User) -> tuple[str, str]:
    if token.revealed_at is not None:
        return (
            "This token has been shown",
            f"It was shown once, on {exact(token.revealed_at)}, and is stored nowhere. "
            "If you have not saved it, or someone else may have seen it, expire it and make a new one.",
        )
    if token.owner_id != user.pk:
        return "This token can only be shown to its owner", "You see its metadata. It has not been shown yet."
    if token.can_be_revealed:
        minutes = int(PENDING_LAPSES_AFTER.total_seconds() // 60)
        return (
            "This token has not been shown yet",
            f"Open this page again to see it, at most {minutes} minutes after it was made.",
        )
    return (
        "This token can no longer be shown",
        "It was not looked at in time, or has ended, and nobody has ever seen it. Make a new one.",
    )


def uses_lately(token: Token, reader: User) -> int:
    """In the last 7 days, as far as the reader may see them."""
    last_days = usage.days(usage.of_token(token.pk, reader=reader))[-7:]
    return sum(day.total for day in last_days)


def home_of(token: Token, user: User) -> str:
    """The list that this person came from: their own tokens, or the organization's."""
    name = "tokens:token_list" if token.owner_id == user.pk else "tokens:organization_token_list"
    return reverse(name)


def scope_cards(form: TokenForm, user: User) -> list[dict[str, Any]]:
    """The scopes as cards, each with what the person's role leaves of it."""
    chosen = set(form["scopes"].value() or [])
    allowed = scopes.parse(user.own_organization.allowed_scopes)
    operations = [route.operation for route in routes()]
    cards = []
    for scope in scopes.SCOPES:
        opened = [operation for operation in operations if scope in operation.scopes]
        usable = [operation for operation in opened if operation.is_open_to_token_of(user)]
        cards.append(
            {
                "id": scope.id,
                "label": scope.label,
                "description": scope.description,
                "checked": scope.id in chosen,
                "is_allowed": scope in allowed,
                "note": f"Your role: {len(usable)} of {len(opened)} operations"
                if scope in allowed
                else "Not allowed by your organization",
                "input_id": f"id_scopes_{scope.id}",
            }
        )
    return cards


def what_it_can_do(token: Token) -> list[dict[str, Any]]:
    """Operation by operation: does a scope open it, does the owner's role allow it."""
    granted = scopes.parse(token.scope)
    is_active = token.state is TokenState.ACTIVE
    rows = []
    for route in routes():
        operation = route.operation
        if operation.is_closed_to_tokens:
            continue
        opens, allows = operation.is_open_to(granted), operation.is_open_to_token_of(token.owner)
        rows.append(
            {
                "label": operation.limited_to or operation.label,
                "method": route.method,
                "path": route.path.replace("<id:pk>", "{id}"),
                "scope_opens": opens,
                "role_allows": allows,
                "verdict": "Yes" if opens and allows and is_active else "No",
            }
        )
    return rows


def timeline(token: Token) -> list[dict[str, Any]]:
    events = [{"label": "Created", "at": token.created_at, "note": ""}]
    if token.revealed_at:
        events.append({"label": "Shown to its owner", "at": token.revealed_at, "note": "once"})
    if token.last_used_at:
        events.append({"label": "Last used", "at": token.last_used_at, "note": token.last_used_ip or ""})
    if token.revoked_at:
        by = f"by {token.revoked_by}" if token.revoked_by else ""
        note = ": ".join(filter(None, [by, token.revoke_reason]))
        events.append({"label": "Expired early", "at": token.revoked_at, "note": note})
    label = "Would have expired" if token.revoked_at else "Expired" if token.is_expired else "Expires"
    events.append({"label": label, "at": token.expires_at, "note": ""})
    return events
