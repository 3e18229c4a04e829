"""Base of commands that write generated parts into a document, between the marks that it has for them."""

from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

MARK = "<!-- {name} -->\n"
END = "<!-- end -->"


class GeneratedPartsCommand(BaseCommand):
    """``parts``: the text of each part, by the name in its mark. ``example``: the document that has the marks."""

    example = ""

    def parts(self) -> Mapping[str, Callable[[], str]]:
        raise NotImplementedError

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("document", type=Path, help=f"the file, for example {self.example}")
        parser.add_argument("--check", action="store_true", help="change nothing; fail if the file is out of date")

    def handle(self, *args: Any, document: Path, check: bool, **options: Any) -> None:
        name = self.__module__.rpartition(".")[2]
        before = document.read_text()
        after = with_parts(before, self.parts())
        if after == before:
            self.stdout.write(f"{document} is up to date.")
        elif check:
            raise CommandError(f"{document} is not what the code says: run manage.py {name} {document}")
        else:
            document.write_text(after)
            self.stdout.write(f"Updated {document}.")


def with_parts(text: str, parts: Mapping[str, Callable[[], str]]) -> str:
    """The document with each part between its marks. Raises ``CommandError`` if a mark is missing."""
    for name, part in parts.items():
        before, mark, rest = text.partition(MARK.format(name=name))
        _, end, after = rest.partition(END)
        if not (mark and end):
            raise CommandError(f"The document has no mark for the part “{name}”: {MARK.format(name=name)}{END}")
        text = f"{before}{mark}\n{part()}\n\n{end}{after}"
    return text


def markdown_table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
