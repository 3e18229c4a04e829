"""The states of a person as pages show them."""

from accounts.models import ServiceAccountState, UserState
from core.badges import Badge

USER_BADGES: dict[str, Badge] = {
    UserState.ACTIVE: Badge("●", UserState.ACTIVE.label, "good"),
    UserState.INVITED: Badge("◌", UserState.INVITED.label, "waiting"),
    UserState.DEACTIVATED: Badge("⊘", UserState.DEACTIVATED.label, "bad"),
}

ACCOUNT_BADGES: dict[str, Badge] = {
    ServiceAccountState.ACTIVE: Badge("●", ServiceAccountState.ACTIVE.label, "good"),
    ServiceAccountState.ORPHANED: Badge("⚠", ServiceAccountState.ORPHANED.label, "warning"),
    ServiceAccountState.DEACTIVATED: Badge("⊘", ServiceAccountState.DEACTIVATED.label, "bad"),
}
