"""Whose tokens a page is about: the person's own, or those of a service account."""

from typing import Any

from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.functional import cached_property

from accounts.models import User
from core.pages.views import MemberPageMixin


class OwnTokensMixin(MemberPageMixin):
    """A page about the tokens of one owner: the person themselves. `AccountTokensMixin`: of a service account."""

    @property
    def owner(self) -> User:
        return self.account or self.person

    @cached_property
    def account(self) -> User | None:
        """The service account that owns the tokens."""
        return None

    @property
    def list_url(self) -> str:
        return reverse("tokens:token_list")

    @property
    def name_url(self) -> str:
        return reverse("tokens:token_name")

    @property
    def notes_url(self) -> str:
        return reverse("tokens:scope_notes")


class AccountTokensMixin(OwnTokensMixin):
    """Of the service account in the address, for those who manage its tokens. It does not exist for others."""

    kwargs: dict[str, Any]

    @cached_property
    def account(self) -> User | None:
        accounts = User.objects.manageable_by(self.person).select_related("organization", "service_account")
        account: User = get_object_or_404(accounts, pk=self.kwargs["account_pk"])
        return account

    @property
    def list_url(self) -> str:
        return self._url("service_account_tokens")

    @property
    def name_url(self) -> str:
        return self._url("service_account_token_name")

    @property
    def notes_url(self) -> str:
        return self._url("service_account_scope_notes")

    def _url(self, name: str) -> str:
        return reverse(f"tokens:{name}", args=[self.owner.pk])
