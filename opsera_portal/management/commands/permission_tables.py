"""The tables of `docs/roles-and-rules.md`, made from what the code itself reads."""

import re
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from opsera_portal import permission_tables

TABLES = {
    "site-roles": permission_tables.site_roles,
    "privileges": permission_tables.privileges,
    "pipeline-actions": permission_tables.pipeline_actions,
}


class Command(BaseCommand):
    help = "Writes who may do what into a document, between the marks that it has for it: <!-- table site-roles -->."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("document", type=Path, help="the file, for example docs/roles-and-rules.md")
        parser.add_argument("--check", action="store_true", help="change nothing, and fail where it would")

    def handle(self, *args: Any, document: Path, check: bool, **options: Any) -> None:
        before = document.read_text()
        after = with_tables(before)
        if after == before:
            self.stdout.write(f"{document} is up to date.")
        elif check:
            raise CommandError(f"{document} is not what the code says: run manage.py permission_tables {document}")
        else:
            document.write_text(after)
            self.stdout.write(f"Wrote the tables into {document}.")


def with_tables(text: str) -> str:
    for name, table in TABLES.items():
        marked = re.compile(rf"(<!-- table {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        if not marked.search(text):
            raise CommandError(f"The document has no place for the table {name}.")
        written = f"\n{table().as_markdown()}\n\n"
        text = marked.sub(lambda found, written=written: found[1] + written + found[2], text)  # type: ignore[misc]
    return text
