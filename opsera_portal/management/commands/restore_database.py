"""Restores the database from a file."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from opsera_portal import backups

CONSEQUENCES = (
    "This replaces the whole database with {file}. Stop the web server and the worker first. All changes since the "
    "backup are lost: tokens that were expired early since then work again, and so do old passwords. Everyone has to "
    "sign in again."
)


class Command(BaseCommand):
    help = (
        "Replaces the whole database with a file from `backup_database`, or changes nothing if that fails. Asks "
        "first. Stop the web server and the worker before, and run `migrate` afterwards. Tokens that were expired "
        "after the backup work again: docs/operations.md says what to do."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="a file from backup_database")
        parser.add_argument("--no-input", action="store_true", help="do not ask")

    def handle(self, *args: Any, file: Path, no_input: bool, **options: Any) -> None:
        self.stdout.write(CONSEQUENCES.format(file=file))
        if not no_input and input("Type “restore” to continue: ").strip() != "restore":
            raise CommandError("Nothing was changed.")
        try:
            backups.restore(file)
        except backups.CopyFailed as error:
            raise CommandError(f"Nothing was changed. {error}") from None
        self.stdout.write(f"Restored {file}. Now run migrate, then start the web server and the worker.")
