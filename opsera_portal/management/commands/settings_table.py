"""The tables of `docs/settings.md`, made from the list in `opsera_portal/settings_reference.py`."""

from collections.abc import Callable, Mapping

from opsera_portal import settings_reference
from opsera_portal.management.generated import GeneratedPartsCommand


class Command(GeneratedPartsCommand):
    help = "Writes the tables of all settings from the environment into a document, between its marks."
    example = "docs/settings.md"

    def parts(self) -> Mapping[str, Callable[[], str]]:
        return {"settings": settings_reference.as_markdown}
