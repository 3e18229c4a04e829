"""Adds the demo to an existing database."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from core.text import grouped
from opsera_portal.demo import data
from opsera_portal.demo.many import add_many


class Command(BaseCommand):
    help = (
        "Creates the two demo organizations in the database if they are missing, as `serve --demo` does, and starts "
        "nothing. With --many it also adds, once, hundreds of rows with names and texts that are hard to show. Run "
        "`migrate` before. It refuses a database that has other organizations and no demo."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--many",
            action="store_true",
            help="also add 300 people, 200 groups, 60 pipelines, and tokens, runs, mails and log entries of every kind",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            data.check_database()
            created = data.seed(echo_port=settings.DEMO_ECHO_PORT)
            self._keep(created)
            self.stdout.write("Created the demo." if created else "The demo exists already.")
            if options["many"]:
                self._add_many()
        except data.NotTheDemo as error:
            raise CommandError(str(error)) from None
        except DatabaseError as error:
            raise CommandError(f"The database cannot be used: {str(error).splitlines()[0]}") from None
        self.stdout.write(f"The accounts are in {self._accounts}")

    def _add_many(self) -> None:
        created, added = add_many(echo_port=settings.DEMO_ECHO_PORT)
        self._keep(created)
        if not added:
            self.stdout.write("Nothing was added: the rows of --many exist already.")
        for kind, number in added.items():
            self.stdout.write(f"Added {grouped(number)} {kind}.")

    def _keep(self, created: dict[str, str]) -> None:
        if created:
            data.write_accounts(created, self._accounts)

    @property
    def _accounts(self) -> Any:
        return settings.DATA_DIR / "demo-accounts.txt"
