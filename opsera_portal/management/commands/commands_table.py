"""The generated parts of `docs/commands.md`: each command's own help."""

from collections.abc import Callable, Mapping
from functools import partial

from opsera_portal import commands_reference
from opsera_portal.management.generated import GeneratedPartsCommand


class Command(GeneratedPartsCommand):
    help = "Writes the help of every management command into a document, between the marks that it has for each."
    example = "docs/commands.md"

    def parts(self) -> Mapping[str, Callable[[], str]]:
        names = commands_reference.our_commands()
        return {f"command {name}": partial(commands_reference.as_markdown, name) for name in names}
