"""Tables of who can do what, generated from the data that the code uses, for the page and for docs/."""

from dataclasses import dataclass

from django.utils.translation import gettext as _

from accounts.privileges import Privilege
from accounts.roles import ROLES, Ability
from core.api.operations import routes
from pipelines.access import ALLOWED, PipelineAction, Standing


@dataclass(frozen=True)
class PermissionTable:
    """``columns``: the column headers after the first; ``rows``: a label, and for each column whether it is allowed."""

    corner: str
    columns: list[str]
    rows: list[tuple[str, list[bool]]]

    @property
    def labeled_rows(self) -> list[tuple[str, list[tuple[str, bool]]]]:
        """The rows, with the column header for each cell, for narrow screens."""
        return [(label, list(zip(self.columns, cells, strict=True))) for label, cells in self.rows]

    def as_markdown(self) -> str:
        lines = [
            f"| {self.corner} | {' | '.join(self.columns)} |",
            f"|---|{'---|' * len(self.columns)}",
        ]
        lines += [f"| {label} | {' | '.join('Yes' if cell else '–' for cell in cells)} |" for label, cells in self.rows]
        return "\n".join(lines)


def site_roles() -> PermissionTable:
    """What each site role allows in the organization."""
    return PermissionTable(
        corner=_("In the organization"),
        columns=[str(role.label) for role in ROLES],
        rows=[
            (_(ability.value).rstrip("."), [ability in description.abilities for description in ROLES.values()])
            for ability in Ability
        ],
    )


def privileges() -> PermissionTable:
    """What needs a recent proof of identity, and what a token can still do."""
    for_tokens = {route.operation.limited_to for route in routes() if route.operation.limited_to}
    return PermissionTable(
        corner=_("People whose site role allows it"),
        columns=[_("In a browser session"), _("Recent proof of identity required"), _("With a token")],
        rows=[
            *((_(privilege.value), [True, True, False]) for privilege in Privilege),
            *((label, [True, False, True]) for label in sorted(_(str(label)) for label in for_tokens)),
        ],
    )


def pipeline_actions() -> PermissionTable:
    """Who can do what with one pipeline."""
    return PermissionTable(
        corner=_("With a pipeline"),
        columns=[_(standing.value) for standing in Standing],
        rows=[(_(action.value), [action in ALLOWED[standing] for standing in Standing]) for action in PipelineAction],
    )
