"""The states of a person as pages show them."""

from accounts.models import UserState
from core.badges import Badge

USER_BADGES: dict[str, Badge] = {
    UserState.ACTIVE: Badge("●", "Active", "good"),
    UserState.INVITED: Badge("◌", "Invited", "waiting"),
    UserState.DEACTIVATED: Badge("⊘", "Deactivated", "bad"),
}
