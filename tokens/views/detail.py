"""One token: its metadata, what it can do, and its log."""

from operator import itemgetter
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext, gettext_lazy, pgettext

from accounts.privileges import Privilege
from auditlog import usage
from auditlog.filters import OneTokenUseFilter
from auditlog.models import TokenUse
from auditlog.tables import OneTokenUseTable, OrganizationOneTokenUseTable
from auditlog.views.base import LogTableMixin
from core.badges import Badge
from core.networks import is_inside
from core.pages.forms import refusals_in
from core.pages.views import MemberPageMixin, SectionMixin
from tokens import seen, services
from tokens.allowed_operations import Verdict, by_title, open_to_tokens, verdicts
from tokens.approval.deciding import outcome_in_words
from tokens.approval.models import ApprovalRequest
from tokens.ended_in_use import listed_in_use
from tokens.form_links import form_link_like
from tokens.forms import EditTokenForm
from tokens.models import Token
from tokens.pipeline_choice import pipelines_seen_by
from tokens.replacement import can_be_replaced
from tokens.states import TokenState
from tokens.tables import state_badge
from tokens.views.networks import networks_of_policy
from tokens.views.places import back_link, is_managed, place_of

NEW_ADDRESS = Badge("◆", gettext_lazy("New address"), "warning")
ADDRESSES_SHOWN = 20


class TokenDetailView(SectionMixin, MemberPageMixin, LogTableMixin):
    """Metadata, what the token can do now, and its log. Its owner can change its name and its description."""

    # The whole log is a link away.
    page_size = 10
    filterset_class = OneTokenUseFilter
    template_name = "tokens/token_detail.html"

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        self.object = self._token(kwargs["pk"])
        return super().get(request, *args, **kwargs)

    def post(self, request: HttpRequest, pk: str) -> HttpResponseBase:
        self.object = self._token(pk)
        if not self.is_managed:
            raise PermissionDenied(gettext("Only its owner can change the name and the description of a token."))
        form = EditTokenForm(request.POST, token=self.object, request=request)
        if form.is_valid() and self._edit(form):
            messages.success(request, gettext("Saved."))
            return redirect("tokens:token_detail", pk=pk)
        self.filterset = self.get_filterset(self.get_filterset_class())
        self.object_list = self.filterset.qs
        context = self.get_context_data(filter=self.filterset, object_list=self.object_list, edit_form=form)
        answer: HttpResponseBase = self.render_to_response(context, status=form.refusal_status)
        return answer

    def _edit(self, form: EditTokenForm) -> bool:
        with refusals_in(form):
            edited = services.edit_token(
                actor=self.person, token=self.object, request=self.request, **form.cleaned_data
            )
            form.saved(seen.of_texts(edited))
        return form.is_valid()

    def _token(self, pk: Any) -> Token:
        can_expire = Exists(Token.objects.revocable_by(self.person).filter(pk=OuterRef("pk")))
        visible = Token.objects.visible_to(self.person).for_token_page().annotate(can_expire=can_expire)
        token: Token = get_object_or_404(visible, pk=pk)
        return token

    def get_queryset(self) -> QuerySet[TokenUse]:
        return self.uses.log.with_services()

    @property
    def is_own(self) -> bool:
        return bool(self.object.owner_id == self.person.pk)

    @cached_property
    def is_managed(self) -> bool:
        return is_managed(self.object, self.person)

    @property
    def reads_in_own_log(self) -> bool:
        """Whether the entries are on the person's own pages: also for those who answer for a service account."""
        return self.is_own or not self.person.may_read_organization_logs

    def get_table_class(self) -> type[OneTokenUseTable]:
        return OneTokenUseTable if self.reads_in_own_log else OrganizationOneTokenUseTable

    @property
    def whole_log_url(self) -> str:
        page = "token_use_list" if self.reads_in_own_log else "organization_token_use_list"
        return f"{reverse(f'auditlog:{page}')}?token_id={self.object.pk}"

    def get_export_url(self) -> str:
        page = "token_use_export" if self.reads_in_own_log else "organization_token_use_export"
        return reverse(f"auditlog:{page}")

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

    @cached_property
    def old_token(self) -> Token | None:
        """The token that this one replaces."""
        return getattr(self.object, "replaces", None)

    def _addresses_since_replacement(self) -> list[usage.AddressUses]:
        """From where the old token was used after this one replaced it, the last use first."""
        if (old := self.old_token) is None or old.replaced_at is None:
            return []
        if old.last_used_at is None or old.last_used_at < old.replaced_at:
            return []
        uses = usage.addresses(usage.of_token(old.pk, reader=self.person))
        since = [address for address in uses if address.last_at >= old.replaced_at]
        return usage.with_host_names(since[:ADDRESSES_SHOWN])

    def count_rows(self, *, up_to: int) -> int | None:
        # Already counted for the table of addresses.
        is_counted = self.uses.is_complete and not self.narrowing()
        return sum(address.total for address in self.addresses) if is_counted else None

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        token: Token = self.object
        self.section, self.current_tab = place_of(token, self.person)
        days = usage.days(self.uses)
        approval = approval_of(token)
        can_do, cannot_do = what_it_can_do(token)
        edit_form = kwargs.pop("edit_form", None)
        if edit_form is None and self.is_managed:
            edit_form = EditTokenForm(token=token, request=self.request)
        return super().get_context_data(
            token=token,
            edit_form=edit_form,
            days=days,
            uses_are_complete=self.uses.is_complete,
            addresses=usage.with_host_names(self.addresses[:ADDRESSES_SHOWN]),
            further_addresses=len(self.addresses[ADDRESSES_SHOWN:]),
            new_address=NEW_ADDRESS,
            after_end=next(iter(listed_in_use(self.uses)), None),
            state=state_badge(token),
            starts_at=token.not_before if token.state is TokenState.SCHEDULED else None,
            scopes=token.scopes,
            pipelines=pipelines_seen_by(self.person, token),
            is_own=self.is_own,
            **networks_of_policy(token.organization, self.request),
            is_managed=self.is_managed,
            created_by=token.created_by,
            is_inside=is_inside(token.networks, getattr(self.request, "client_address", None)),
            back=back_link(token, self.person),
            can_be_shown_until=token.can_be_revealed_until if token.is_made_by(self.person) else None,
            approval=approval,
            outcome=outcome_in_words(approval) if approval else "",
            can_withdraw=approval is not None and approval.is_waiting and approval.is_made_by(self.person),
            can_expire=not token.has_ended and token.can_expire,  # type: ignore[attr-defined]
            can_do=can_do,
            cannot_do=cannot_do,
            operation_count=len(can_do) + len(cannot_do),
            used=sum(day.total for day in days),
            address_count=len(self.addresses),
            similar_url=form_link_like(token) if self.is_managed else "",
            can_replace=self.is_managed and can_be_replaced(token),
            old=self.old_token,
            old_addresses=self._addresses_since_replacement(),
            closed_to_tokens=[gettext(privilege.value) for privilege in Privilege],
            timeline=timeline(token),
            whole_log_url=self.whole_log_url,
            **kwargs,
        )


def what_it_can_do(token: Token) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The operations that the token can do now, and the others, each with the reason."""
    return _by_verdict(token, otherwise=_why_not_now(token))


def what_it_could_do(token: Token) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The same once the token is active, for somebody who decides about it."""
    return _by_verdict(token, otherwise="")


def _by_verdict(token: Token, *, otherwise: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    rows = [
        {
            "title": verdict.title,
            "label": str(verdict.route.operation.limited_to or verdict.route.operation.label),
            "method": verdict.route.method,
            "path": verdict.route.path.replace("<id:pk>", "{id}"),
            "why_not": _why_not(verdict, otherwise),
        }
        for verdict in by_title(verdicts(token, open_to_tokens()))
    ]
    return [row for row in rows if not row["why_not"]], [row for row in rows if row["why_not"]]


def _why_not_now(token: Token) -> str:
    """Why the token can do nothing now; empty if it is active."""
    if token.state is TokenState.SCHEDULED:
        return gettext("The token's start time has not come.")
    return "" if token.state is TokenState.ACTIVE else gettext("The token is not active.")


def _why_not(verdict: Verdict, otherwise: str) -> str:
    """Why the token can't do it, or what is said ``otherwise``; empty if it can. The role first: if it doesn't allow
    the operation, other scopes don't help."""
    if not verdict.role_allows:
        return gettext("The owner's site role doesn't allow it.")
    if not verdict.scope_opens:
        return gettext("No scope of the token allows it.")
    if not verdict.limit_allows:
        return gettext("The token reaches only chosen pipelines, so it can't create one.")
    return otherwise


def approval_of(token: Token) -> ApprovalRequest | None:
    """The request for a token that needed approval. No query for others."""
    if token.waits_until is None and token.approved_at is None:
        return None
    return ApprovalRequest.objects.filter(token=token).for_approval_page().first()


def timeline(token: Token) -> list[dict[str, Any]]:
    events = [{"label": gettext("Created"), "at": token.created_at, "note": ""}]
    if token.approved_at and token.approved_at >= token.created_at:
        events.append({"label": gettext("Approved"), "at": token.approved_at, "note": ""})
    if token.revealed_at:
        note = pgettext("how often a token was shown", "once")
        events.append({"label": _shown_to(token), "at": token.revealed_at, "note": note})
    if token.not_before:
        label = gettext("Started") if token.has_started(timezone.now()) else gettext("Starts")
        events.append({"label": label, "at": token.not_before, "note": ""})
    if token.last_used_at:
        events.append({"label": gettext("Last used"), "at": token.last_used_at, "note": token.last_used_ip or ""})
    if token.replaced_at:
        events.append({"label": gettext("Replaced"), "at": token.replaced_at, "note": ""})
    if token.revoked_at:
        by = pgettext("who expired a token", "by %(person)s") % {"person": token.revoked_by} if token.revoked_by else ""
        note = ": ".join(filter(None, [by, token.revoke_reason]))
        event = {"label": gettext("Expired early"), "at": token.revoked_at, "note": note}
        # Without a person, it is the portal that gave the reason, in English.
        events.append(event | {"is_english": token.revoked_by is None})
    if token.ended_at and not token.revoked_at and token.ended_before_its_time:
        label = gettext("Expired because it was not shown")
        if token.waits_until is not None:
            label = gettext("Expired because nobody approved it")
        events.append({"label": label, "at": token.ended_at, "note": ""})
    note = gettext("All uses were taken") if token.is_used_up else ""
    events.append({"label": _label_of_end(token), "at": token.expires_at, "note": note})
    return sorted(events, key=itemgetter("at"))


def _shown_to(token: Token) -> str:
    if not token.owner.is_service_account:
        return gettext("Shown to its owner")
    return gettext("Shown to the person who created it") if token.created_by_id else gettext("Shown")


def _label_of_end(token: Token) -> str:
    if token.ended_before_its_time:
        return gettext("Would have expired")
    return gettext("Expired") if token.has_ended else gettext("Expires")
