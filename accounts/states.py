"""The states of a person as pages show them."""

from accounts.models import UserState
from core.badges import Badge

USER_BADGES: dict[str, Badge] = {
    UserState.ACTIVE: Badge("●", UserState.ACTIVE.label, "good"),
    UserState.INVITED: Badge("◌", UserState.INVITED.label, "waiting"),
    UserState.DEACTIVATED: Badge("⊘", UserState.DEACTIVATED.label, "bad"),
}
