"""API operations for tokens and for "who am I". They use the querysets and services of the pages."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

from django.utils.decorators import method_decorator
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import User
from accounts.privileges import Privilege
from accounts.roles import Ability
from auditlog import usage
from auditlog.api.serializers import TokenUseSerializer
from auditlog.api.views.base import LogListViewSet
from auditlog.filters import OneTokenUseFilter
from auditlog.models import TokenUse
from auditlog.open_use import token_in_use
from core.api import idempotency, scopes
from core.api.changes import do_even_if_refused, hold_until_committed
from core.api.etags import seen_by, with_etag
from core.api.operations import CHANGE_API, READ_API, ROTATE_ITSELF, Operation
from core.api.paging import MAX_PAGE_SIZE, KeysetPagination, SmallPages
from core.api.problems import Forbidden, TokenRefused
from core.api.serializers import represent
from core.api.views import ApiViewSet
from core.http.request_context import person_of
from tokens import replacement, seen, services
from tokens.access_review import reviewed_tokens
from tokens.allowed_operations import OperationCounter
from tokens.api.serializers import (
    AccessReviewSerializer,
    EditTokenBody,
    ExpireTokenBody,
    ExpireTokensBody,
    IssuedTokenSerializer,
    IssueTokenBody,
    MeSerializer,
    NarrowerTokenSerializer,
    OrganizationTokenSerializer,
    Outcome,
    ReplaceTokenBody,
    RotateTokenBody,
    TokenOutcomesSerializer,
    TokenSerializer,
    TokenUsageSerializer,
    UnusedRightsSerializer,
    UsageSerializer,
)
from tokens.ended_in_use import ended_in_use, listed_in_use
from tokens.filters import (
    AccessReviewFilter,
    OrganizationTokenFilter,
    OrganizationUnusedScopesFilter,
    TokenFilter,
    UnusedScopesFilter,
    days_chosen,
)
from tokens.keys.ring import signing_lock
from tokens.models import NEWEST_FIRST, Token
from tokens.narrowing import PERIODS, narrowing
from tokens.unused_rights import shown_tokens, unused_rights


def may_read_tokens(user: User) -> bool:
    return user.may(Ability.READ_TOKENS)


def may_own_tokens(user: User) -> bool:
    return user.may(Ability.OWN_TOKENS)


def may_expire_tokens(user: User) -> bool:
    return user.may(Ability.EXPIRE_TOKENS)


@sensitive_variables()
def issued_answer(request: Request, *, actor: User, owner: User | None, fields: Mapping[str, Any]) -> Response:
    """Creates a token and shows it, unless it waits for approval. ``owner``: the service account that it is for.
    ``fields``: of `IssueTokenBody`."""
    token, signed_jwt = services.issue_and_reveal_token(
        actor=actor,
        owner=owner,
        name=fields["name"],
        description=fields["description"],
        chosen=fields["scopes"],
        expires_at=fields["expires_at"],
        pipelines=fields["pipelines"],
        networks=fields["networks"],
        max_uses=fields["max_uses"],
        not_before=fields["not_before"],
        service=fields["service"],
        approval_reason=fields["approval_reason"],
        request=request._request,
    )
    answer = {**represent(TokenSerializer, token), "token": signed_jwt or None}
    return Response(answer, status=201, headers={"Cache-Control": "no-store"})


class TokenViewSet(ApiViewSet):
    """A person's own tokens. One token: also of a service account whose tokens they manage."""

    operations: ClassVar[dict[str, Operation]] = {
        "list": Operation(_("List my tokens"), READ_API, only_reads=True),
        "retrieve": Operation(_("See one of my tokens"), READ_API, only_reads=True, has_etag=True),
        # Closed to tokens: a thief could make the mails and logs that warn the owner look harmless.
        "partial_update": Operation(_("Change the name or the description of one of my tokens"), has_etag=True),
        "usage": Operation(_("See how one of my tokens is used"), READ_API, only_reads=True),
        "narrower": Operation(_("See a narrower token that would be enough"), READ_API, only_reads=True),
        "create": replace(Privilege.CREATE_TOKEN.operation(), shows_secret=True),
        "replace": replace(Privilege.REPLACE_TOKEN.operation(), shows_secret=True),
        "expire": Operation(_("Expire a token"), CHANGE_API),
    }
    serializer_class = TokenSerializer
    filterset_class = TokenFilter
    pagination_class = KeysetPagination
    keyset = NEWEST_FIRST

    def get_queryset(self) -> Any:
        if self.action == "expire":
            return Token.objects.revocable_by(self.person).for_token_table()
        if self.action in ("retrieve", "partial_update", "usage", "replace"):
            return Token.objects.managed_by(self.person).for_token_table()
        return Token.objects.owned_by(self.person).for_token_table()

    @extend_schema(operation_id="token_list")
    def list(self, request: Request) -> Response:
        return self.page_of(self.get_queryset())

    @extend_schema(operation_id="token_retrieve", responses=TokenSerializer)
    def retrieve(self, request: Request, pk: str) -> Response:
        return self._token(self.get_object())

    @extend_schema(operation_id="token_change", request=EditTokenBody, responses=TokenSerializer)
    def partial_update(self, request: Request, pk: str) -> Response:
        """Changes the name or the description. Log entries keep the name that the token had then.

        A token that has ended keeps its name: 409 with the code `already_ended`.
        """
        token, body = self.get_object(), self.read_body(EditTokenBody)
        services.edit_token(actor=self.person, token=token, seen=seen_by(request), request=request._request, **body)
        return self._token(self.get_object())

    def _token(self, token: Token) -> Response:
        return with_etag(Response(represent(TokenSerializer, token)), seen.of_texts(token))

    @extend_schema(operation_id="token_usage", responses=TokenUsageSerializer)
    def usage(self, request: Request, pk: str) -> Response:
        """Uses of one token per day for 30 days, by address, and since the token ended."""
        token = self.get_object()
        uses = usage.of_token(token.pk, reader=self.person)
        answer = {
            "id": token.pk,
            "days": usage.days(uses),
            "addresses": usage.with_host_names(usage.addresses(uses)[:MAX_PAGE_SIZE]),
            "after_end": next(iter(listed_in_use(uses)), None),
            "is_complete": uses.is_complete,
        }
        return Response(TokenUsageSerializer(answer).data)

    @extend_schema(operation_id="token_narrower", responses=NarrowerTokenSerializer)
    def narrower(self, request: Request, pk: str) -> Response:
        """What the token did in the last 30 and 90 days, and the narrowest token that could have done the same.

        The uses of the tokens that it replaced in this time are included.
        """
        token = self.get_object()
        periods = [narrowing(token, days=days, reader=self.person) for days in PERIODS]
        return Response(NarrowerTokenSerializer({"id": token.pk, "periods": periods}).data)

    @extend_schema(operation_id="token_create", request=IssueTokenBody, responses={201: IssuedTokenSerializer})
    @method_decorator(sensitive_variables())
    def create(self, request: Request) -> Response:
        """Creates a token and shows it, only this once. For people in a browser session, not for tokens.

        If the organization's policy asks for approval of such a token, give `approval_reason`. Then the state is
        `waiting` and `token` is null. After the approval, the portal shows the token once on its page.
        """
        body = IssueTokenBody(data=request.data, context={"owner": self.person})
        body.is_valid(raise_exception=True)
        return issued_answer(request, actor=self.person, owner=None, fields=body.validated_data)

    @extend_schema(operation_id="token_replace", request=ReplaceTokenBody, responses={201: IssuedTokenSerializer})
    @method_decorator(sensitive_variables())
    def replace(self, request: Request, pk: str) -> Response:
        """Creates a token with the same name, scopes and limits, and shows it, only this once.

        It lives as long as the old one was to live, or as long as the policy allows. The old one works on for
        `overlap_hours`; meanwhile, answers to it have the header `Deprecation`. 409 with the code `already_replaced`
        for a token that was replaced before, `approval_needed` if a token like it needs approval now and this one has
        none, and `service_closed` if its service is switched off or its owner may not use it. For people in a browser
        session, not for tokens.
        """
        token, body = self.get_object(), self.read_body(ReplaceTokenBody)
        new, signed_jwt = replacement.replace_and_reveal_token(token=token, request=request._request, **body)
        answer = {**represent(TokenSerializer, new), "token": signed_jwt}
        return Response(answer, status=201, headers={"Cache-Control": "no-store"})

    @extend_schema(operation_id="token_expire", request=ExpireTokenBody, responses=TokenSerializer)
    def expire(self, request: Request, pk: str) -> Response:
        """Permanently expires one of your tokens. Administrators and Security Managers can expire everyone's.

        Someone else's token needs a `reason`. Its owner gets a mail.
        """
        body = self.read_body(ExpireTokenBody)
        return Response(_expire(request, self.get_object(), body["reason"]))


class CurrentTokenViewSet(ApiViewSet):
    """The token that makes the request."""

    operations: ClassVar[dict[str, Operation]] = {
        "retrieve": Operation(_("See the token in use"), any_token=True, only_reads=True),
        "expire": Operation(_("Expire the token in use"), any_token=True),
        "rotate": Operation(
            _("Replace the token in use"),
            ROTATE_ITSELF,
            shows_secret=True,
            role_allows=may_own_tokens,
            changes_only_itself=True,
        ),
    }
    serializer_class = TokenSerializer
    queryset = Token.objects.none()

    @extend_schema(operation_id="token_current", responses=TokenSerializer)
    def retrieve(self, request: Request) -> Response:
        return Response(represent(TokenSerializer, _token_in_use(request)))

    @extend_schema(operation_id="token_current_expire", request=ExpireTokenBody, responses=TokenSerializer)
    def expire(self, request: Request) -> Response:
        """Permanently expires the token that makes this request."""
        body = self.read_body(ExpireTokenBody)
        return Response(_expire(request, _token_in_use(request), body["reason"]))

    @extend_schema(operation_id="token_current_rotate", request=RotateTokenBody, responses={201: IssuedTokenSerializer})
    @method_decorator(sensitive_variables())
    def rotate(self, request: Request) -> Response:
        """Creates a token with the same name, scopes and limits in the place of the one in use, and shows it, only this
        once.

        Call it once for each token, and store the new one before you use it. A token that was replaced and calls this
        again gets 409 or 401 with the code `token_reused`, and all tokens that replaced it expire: someone may have a
        copy. With an `Idempotency-Key`, a repeated request gets 409 or 401 without this consequence. Use a new random
        key for each call, never one that is derived from the token or the date: others could know it.
        """
        token = _token_in_use(request)
        if token.replaced_at is not None:
            raise self._reuse_of(token)
        body = self.read_body(RotateTokenBody)
        hold_until_committed(request._request, signing_lock())
        try:
            new, signed_jwt = replacement.rotate_token(token=token, request=request._request, **body)
        except replacement.TokenReused:
            raise self._reuse_of(token) from None
        answer = {**represent(TokenSerializer, new), "token": signed_jwt}
        return Response(answer, status=201, headers={"Cache-Control": "no-store"})

    def perform_authentication(self, request: Request) -> None:
        """A replaced token that tries to rotate has consequences, also if it has ended and is refused for that."""
        try:
            super().perform_authentication(request)
        except TokenRefused:
            token: Any = token_in_use(request._request)
            if self.action != "rotate" or token is None or token.replaced_at is None:
                raise
            limited_by = token.pk if token.is_limited else None
            if scopes.ROTATE not in token.scopes or idempotency.was_carried_out(request, token.owner_id, limited_by):
                raise
            refused = self._reuse_of(token)
            raise TokenRefused(refused.code, str(refused)) from None

    def _reuse_of(self, token: Token) -> replacement.TokenReused:
        """The family ends after this request was refused, in the transaction of its log entry."""
        request = self.request._request
        do_even_if_refused(request, partial(replacement.end_family, token, request=request))
        return replacement.TokenReused()


class TokenLogViewSet(LogListViewSet):
    """The log of one of a person's own tokens."""

    operations: ClassVar[dict[str, Operation]] = {
        "list": Operation(_("Read the log of one of my tokens"), READ_API, only_reads=True),
    }
    serializer_class = TokenUseSerializer
    filterset_class = OneTokenUseFilter

    def get_queryset(self) -> Any:
        return Token.objects.owned_by(self.person)

    @cached_property
    def entries(self) -> Any:
        return TokenUse.objects.of(self.person).filter(token_id=self.get_object().pk).with_services()

    @extend_schema(operation_id="token_activity")
    def list(self, request: Request, pk: str) -> Response:
        """All uses of one token, including refused ones, newest first. With `after`, in the order they become final."""
        return self.page_of(self.entries)


class OrganizationTokenViewSet(ApiViewSet):
    """The metadata of all tokens of the organization, for roles that read it."""

    operations: ClassVar[dict[str, Operation]] = {
        "list": Operation(_("List the organization's tokens"), READ_API, only_reads=True, role_allows=may_read_tokens),
        "expire": Operation(_("Expire several tokens"), CHANGE_API, role_allows=may_expire_tokens),
    }
    serializer_class = OrganizationTokenSerializer
    filterset_class = OrganizationTokenFilter
    pagination_class = KeysetPagination
    keyset = NEWEST_FIRST

    def get_queryset(self) -> Any:
        return Token.objects.of_organization_readable_by(self.person).for_token_table()

    @extend_schema(operation_id="organization_token_list")
    def list(self, request: Request) -> Response:
        return self.page_of(self.get_queryset())

    @extend_schema(
        operation_id="organization_token_expire",
        request=ExpireTokensBody,
        responses=TokenOutcomesSerializer,
    )
    def expire(self, request: Request) -> Response:
        """Permanently expires up to 1000 tokens, and gives the result for each.

        All or nothing: if one of them does not exist, or belongs to another organization, nothing is changed. Each
        owner gets one mail.
        """
        body = self.read_body(ExpireTokensBody)
        ended = services.revoke_tokens(
            actor=self.person, token_ids=body["ids"], reason=body["reason"], request=request._request
        )
        ended_now = {token.pk for token in ended}
        rows = [
            {"id": str(token_id), "outcome": Outcome.EXPIRED if token_id in ended_now else Outcome.ALREADY_ENDED}
            for token_id in body["ids"]
        ]
        return Response({"count": len(rows), "data": rows, "next": None})


class AccessReviewViewSet(ApiViewSet):
    """Who has which live tokens, with what they can do, for roles that read everyone's tokens."""

    operations: ClassVar[dict[str, Operation]] = {
        "list": Operation(
            _("Review the organization's live tokens"), READ_API, only_reads=True, role_allows=may_read_tokens
        ),
    }
    serializer_class = AccessReviewSerializer
    filterset_class = AccessReviewFilter
    pagination_class = KeysetPagination
    keyset = NEWEST_FIRST

    def get_queryset(self) -> Any:
        return reviewed_tokens(self.person).for_token_table().with_pipelines(seen_by=self.person)

    @extend_schema(operation_id="organization_access_review")
    def list(self, request: Request) -> Response:
        """Every live token with its owner and how many operations it can do, the newest first.

        Includes live tokens that don't work now: of deactivated people, blocked by policy, or not shown yet. An access
        rule of a pipeline can allow less.
        """
        return self.page_of(self.get_queryset(), counter=OperationCounter())


class UnusedScopesViewSet(ApiViewSet):
    """What a person's own tokens have and don't use."""

    operations: ClassVar[dict[str, Operation]] = {
        "list": Operation(_("See which scopes my tokens don't use"), READ_API, only_reads=True),
    }
    serializer_class = UnusedRightsSerializer
    filterset_class = UnusedScopesFilter
    # Each row reads up to 2,000 entries of a log.
    pagination_class = SmallPages
    keyset = NEWEST_FIRST

    def get_queryset(self) -> Any:
        return self._shown(Token.objects.owned_by(self.person))

    @extend_schema(operation_id="token_unused_scopes")
    def list(self, request: Request) -> Response:
        """For each of your live tokens: the fewest scopes that open what it did in the last 90 or 30 days, and which
        of its chosen pipelines it did not use. The newest token first."""
        return self._rights()

    def _shown(self, tokens: Any) -> Any:
        return shown_tokens(tokens).for_token_table().with_pipelines(seen_by=self.person)

    def _rights(self) -> Response:
        page = self.paginate_queryset(self.narrowed(self.get_queryset()))
        found = unused_rights(page or [], days=days_chosen(self.request.query_params))
        return self.get_paginated_response(UnusedRightsSerializer(found, many=True).data)


class OrganizationUnusedScopesViewSet(UnusedScopesViewSet):
    """The same for everyone's tokens, for roles that read them."""

    operations: ClassVar[dict[str, Operation]] = {
        "list": Operation(
            _("See which scopes the organization's tokens don't use"),
            READ_API,
            only_reads=True,
            role_allows=may_read_tokens,
        ),
    }
    filterset_class = OrganizationUnusedScopesFilter

    def get_queryset(self) -> Any:
        return self._shown(Token.objects.of_organization_readable_by(self.person))

    @extend_schema(operation_id="organization_unused_scopes")
    def list(self, request: Request) -> Response:
        """For each live token of the organization: the fewest scopes that open what it did in the last 90 or 30 days,
        and which of its chosen pipelines it did not use. The newest token first."""
        return self._rights()


class OrganizationUsageViewSet(ApiViewSet):
    """How the organization's tokens are used, for roles that read them."""

    operations: ClassVar[dict[str, Operation]] = {
        "retrieve": Operation(
            _("See how the organization's tokens are used"), READ_API, only_reads=True, role_allows=may_read_tokens
        ),
    }
    serializer_class = UsageSerializer
    queryset = Token.objects.none()

    @extend_schema(operation_id="organization_usage", responses=UsageSerializer)
    def retrieve(self, request: Request) -> Response:
        """Uses of everyone's tokens per day for 30 days, and tokens that have ended but are still in use."""
        return _usage(usage.readable_org_entries(self.person))


class MeViewSet(ApiViewSet):
    operations: ClassVar[dict[str, Operation]] = {
        "retrieve": Operation(_("Ask who I am"), any_token=True, only_reads=True),
        "usage": Operation(_("See how my tokens are used"), READ_API, only_reads=True),
    }
    serializer_class = MeSerializer
    queryset = User.objects.none()

    @extend_schema(operation_id="me", responses=MeSerializer)
    def retrieve(self, request: Request) -> Response:
        """The person, their site role and organization, and the token in use."""
        user = self.person
        organization = user.own_organization
        token: Any = request.auth
        return Response(
            {
                "user": {
                    "id": str(user.pk),
                    "email": user.email,
                    "name": user.name,
                    "is_service_account": bool(user.is_service_account),
                },
                "site_role": user.site_role,
                "organization": {
                    "id": str(organization.pk),
                    "name": organization.name,
                    "account": organization.slug,
                },
                "token": represent(TokenSerializer, token) if token else None,
            }
        )

    @extend_schema(operation_id="me_usage", responses=UsageSerializer)
    def usage(self, request: Request) -> Response:
        """Uses of your tokens per day for 30 days, and tokens that have ended but are still in use."""
        return _usage(usage.of(self.person))


def _usage(uses: usage.Uses) -> Response:
    in_use = usage.with_last_uses(uses, ended_in_use(uses))
    answer = {"days": usage.days(uses), "ended_in_use": in_use, "is_complete": uses.is_complete}
    return Response(UsageSerializer(answer).data)


def _token_in_use(request: Request) -> Token:
    if not isinstance(request.auth, Token):
        raise Forbidden("This is for the token in use, and a browser session uses none.")
    return request.auth


def _expire(request: Request, token: Token, reason: str) -> dict[str, Any]:
    ended = services.revoke_token(actor=person_of(request), token=token, reason=reason, request=request._request)
    return represent(TokenSerializer, ended)
