"""The tables of `docs/roles-and-rules.md`, generated from what the code itself reads."""

from collections.abc import Callable, Mapping

from opsera_portal import permission_tables
from opsera_portal.management.generated import GeneratedPartsCommand

TABLES = {
    "table site-roles": permission_tables.site_roles,
    "table privileges": permission_tables.privileges,
    "table pipeline-actions": permission_tables.pipeline_actions,
}


class Command(GeneratedPartsCommand):
    help = "Writes the tables of who can do what into a document, between the marks that it has for them."
    example = "docs/roles-and-rules.md"

    def parts(self) -> Mapping[str, Callable[[], str]]:
        return {name: table().as_markdown for name, table in TABLES.items()}
