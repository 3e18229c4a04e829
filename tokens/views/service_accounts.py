"""The tokens of a service account, for those who manage them."""

from typing import Any

from accounts.views.base import place_of_service_accounts
from tokens.services import may_create_for_accounts
from tokens.views.my_tokens import TokenListView
from tokens.views.names import TokenNameView
from tokens.views.owners import AccountTokensMixin
from tokens.views.scope_notes import ScopeNotesView


class ServiceAccountTokensView(AccountTokensMixin, TokenListView):
    """The same list and form as a person's own."""

    def may_create(self) -> bool:
        return self.owner.is_active and may_create_for_accounts(self.person, self.person.own_organization)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        self.section, self.current_tab = place_of_service_accounts(self.person)
        return super().get_context_data(**kwargs)


class ServiceAccountTokenNameView(AccountTokensMixin, TokenNameView):
    pass


class ServiceAccountScopeNotesView(AccountTokensMixin, ScopeNotesView):
    pass
