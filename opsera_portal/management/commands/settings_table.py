"""The tables of `docs/settings.md`, generated from the list in `opsera_portal/environment.py`."""

from collections.abc import Callable, Mapping

from opsera_portal.environment import as_markdown
from opsera_portal.management.generated import GeneratedPartsCommand


class Command(GeneratedPartsCommand):
    help = "Writes the tables of all settings from the environment into a document, between its marks."
    example = "docs/settings.md"

    def parts(self) -> Mapping[str, Callable[[], str]]:
        return {"settings": as_markdown}
