"""Why a logged use of a token was refused, where the log can't say it alone: from the operation, and from the site role
and the token as they are now."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from django.utils.translation import gettext

from accounts.models import User
from accounts.pipelines_for_tokens import NamedPipeline, pipelines_for_tokens
from auditlog.models import TokenUse
from core.api import scopes
from core.api.operations import Operation, object_at, operation_at
from core.api.scopes import Scope
from tokens.models import Token
from tokens.scope_cards import least_scope, without_included

_ABOUT_RIGHTS = (TokenUse.Reason.INSUFFICIENT_SCOPE, TokenUse.Reason.FORBIDDEN)


@dataclass(frozen=True)
class Refusal:
    """A refusal because of a scope or a right.

    ``token``: ``None`` if the reader can't see it. ``owner``: ``None`` if they were removed.
    """

    entry: TokenUse
    reader: User
    operation: Operation | None
    owner: User | None
    token: Token | None

    @property
    def is_for_its_scope(self) -> bool:
        """Whether a token with other scopes could do it. False also if this token could do it now."""
        operation = self.operation
        if self.entry.reason != TokenUse.Reason.INSUFFICIENT_SCOPE or operation is None or not operation.scopes:
            return False
        return self._role_allows and not operation.is_open_to(scopes.parse(self.entry.scope))

    @property
    def needed_scopes(self) -> Sequence[Scope]:
        """Those that allow the operation, if the token has none of them."""
        return self.operation.scopes if self.operation and self.is_for_its_scope else ()

    @property
    def least_scope(self) -> Scope | None:
        """The scope to add. ``None`` if the policy allows none of those that would be enough."""
        if self.operation is None or self.owner is None or not self.is_for_its_scope:
            return None
        return least_scope(self.operation, self.owner)

    @property
    def scopes_with_least(self) -> list[Scope]:
        """Those of the token and the one to add, without those that another one includes."""
        added = self.least_scope
        return without_included({*scopes.parse(self.entry.scope), added}) if added else []

    @cached_property
    def pipeline(self) -> NamedPipeline | None:
        """The pipeline that the request was for, if its owner can use it and the token's limit doesn't include it.
        ``None`` if the reader can't see it, or if the path doesn't name it."""
        if self.entry.reason != TokenUse.Reason.FORBIDDEN or self.token is None or self.owner is None:
            return None
        if self.operation is None or self.operation.is_closed_to_limited or not self._role_allows:
            return None
        named = object_at("pipelines/<id:pk>", self.entry.target)
        if named is None or named in (self.token.pipeline_ids or [named]):
            return None
        people = {self.owner, self.reader}
        seen = [pipelines_for_tokens().seen_by(person, [named]) for person in people]
        return seen[0][0] if all(seen) else None

    @property
    def explanation(self) -> str:
        """The one cause, if it is known. Otherwise empty: what the log says about its reason is all there is."""
        if self.operation is None:
            return ""
        if self.operation.is_closed_to_tokens:
            return gettext("No token can do this, whatever its scopes. Sign in to the portal to do it.")
        if not self._role_allows:
            return self._about_the_role()
        if self.is_for_its_scope:
            return self._about_the_policy()
        return self._about_the_object() if self.entry.reason == TokenUse.Reason.FORBIDDEN else ""

    @property
    def _role_allows(self) -> bool:
        if self.operation is None or self.owner is None:
            return True
        return self.operation.is_open_to_token_of(self.owner)

    def _about_the_role(self) -> str:
        if self.owner == self.reader:
            role = self.reader.get_site_role_display()
            return gettext("Your role %(role)s can't do this with any token. Ask an Administrator.") % {"role": role}
        return gettext(
            "The role of the token's owner can't do this with any token. An Administrator can change the role."
        )

    def _about_the_policy(self) -> str:
        if self.owner is None or self.least_scope is not None:
            return ""
        return gettext(
            "None of the token's scopes allows this operation, and your organization's policy allows no scope that "
            "does. Ask an Administrator."
        )

    def _about_the_object(self) -> str:
        if self.token is None:
            return ""
        if not self.token.is_limited:
            return gettext(
                "Its scopes allow the operation, but the token's owner isn't allowed to do this with that object, or "
                "the object does not exist. A token can never do more than its owner."
            )
        if self.operation is not None and self.operation.is_closed_to_limited:
            return gettext("The token reaches only chosen pipelines, so it can't create one.")
        if self.pipeline is None:
            return ""
        text = gettext("The token is limited to other pipelines; this request was for “%(name)s”.")
        return text % {"name": self.pipeline.name}


@dataclass(frozen=True)
class ServiceRefusal:
    """The same for a use of a service, by its rules as they are now."""

    entry: TokenUse
    token: Token | None
    pipeline: None = None

    @cached_property
    def least_scope(self) -> Scope | None:
        return scope_missing_at_service(self.entry)

    @property
    def needed_scopes(self) -> list[Scope]:
        return [self.least_scope] if self.least_scope else []

    @property
    def scopes_with_least(self) -> list[Scope]:
        if self.least_scope is None:
            return []
        return list(self.entry.service.chosen(f"{self.entry.scope} {self.least_scope.id}"))

    @property
    def explanation(self) -> str:
        is_forbidden = self.entry.reason == TokenUse.Reason.FORBIDDEN
        return self.token.service_closed_because if is_forbidden and self.token else ""


def refusal_of(entry: TokenUse, *, reader: User) -> Refusal | ServiceRefusal | None:
    """``None`` if the entry is about something else. Three queries."""
    if entry.reason not in _ABOUT_RIGHTS:
        return None
    visible = Token.objects.visible_to(reader).for_token_page()
    if entry.service_id is not None:
        return ServiceRefusal(entry, token=visible.filter(pk=entry.token_id, service=entry.service_id).first())
    return Refusal(
        entry,
        reader,
        operation=operation_at(entry.method, entry.target),
        owner=User.objects.select_related("organization").filter(pk=entry.owner_id).first(),
        token=visible.filter(pk=entry.token_id).first(),
    )


def scope_missing_at_service(entry: TokenUse) -> Scope | None:
    """The scope that the rules of the service ask for now, if the token was refused because it doesn't have it."""
    if entry.reason != TokenUse.Reason.INSUFFICIENT_SCOPE or not entry.service_id or entry.service is None:
        return None
    needed: Scope | None = entry.service.scope_for(entry.method, entry.target)
    return needed if needed and needed.id not in entry.scope.split(" ") else None
