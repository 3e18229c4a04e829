"""Checks whether the scopes of a token and the role of its owner allow an operation.

This is the fourth check of a token (docs/product.md#how-a-token-is-checked). The fifth, for the object, is the queryset
of the view, which is the same as on the pages.
"""

from typing import Any

from rest_framework.exceptions import MethodNotAllowed, NotAuthenticated
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from core.api import scopes
from core.api.operations import Operation, operation_of
from core.api.problems import ClosedToTokens, Forbidden, InsufficientScope


class OperationPermission(BasePermission):
    def has_permission(self, request: Request, view: Any) -> bool:
        method = request.method or ""
        if not view.answers(method):
            raise MethodNotAllowed(method)
        operation = operation_of(view, getattr(view, "action_map", None), method)
        if operation is None:
            raise Forbidden("Nobody can use this operation.")
        if operation.is_public:
            return True
        if operation.is_for_services:
            if getattr(view, "service", None) is None:
                raise Forbidden
            return True
        if not request.user.is_authenticated:
            raise NotAuthenticated
        if getattr(request.user, "organization_id", None) is None:
            raise Forbidden("Operators belong to no organization, so the API has nothing for them.")
        token: Any = request.auth
        if token is None:
            allowed = operation.role_allows(request.user)
        else:
            self._check_scopes(operation, scopes.parse(token.scope))
            allowed = operation.is_open_to_token_of(request.user)
            if token.is_limited and operation.is_closed_to_limited:
                raise Forbidden("This token reaches only chosen pipelines, so it can't create one.")
        if not allowed:
            raise Forbidden
        if operation.prove is not None:
            operation.prove(request._request)
        return True

    def _check_scopes(self, operation: Operation, granted: frozenset[scopes.Scope]) -> None:
        if operation.is_closed_to_tokens:
            raise ClosedToTokens
        if not operation.is_open_to(granted):
            raise InsufficientScope(operation.scopes)
