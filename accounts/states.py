"""How a person's state is shown."""

from dataclasses import dataclass

from accounts.models import UserState


@dataclass(frozen=True)
class StateLook:
    sign: str
    label: str
    tone: str


USER_LOOKS: dict[str, StateLook] = {
    UserState.ACTIVE: StateLook("●", "Active", "good"),
    UserState.INVITED: StateLook("◌", "Invited", "waiting"),
    UserState.DEACTIVATED: StateLook("⊘", "Deactivated", "bad"),
}
