"""Backs the database up to a file."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from opsera_portal import backups


class Command(BaseCommand):
    help = (
        "Copies the database, as it is at one moment, into a new file with mode 0600. The portal can keep running. "
        "The file contains no sessions and no keys: back up the keys in the data directory separately, as "
        "docs/operations.md says. `restore_database` reads the file."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="the file to write; it must not exist yet")

    def handle(self, *args: Any, file: Path, **options: Any) -> None:
        try:
            backups.back_up(file)
        except backups.CopyFailed as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"Wrote {file} ({file.stat().st_size / 1024**2:.1f} MiB).")
