"""Erases a person whom no Administrator can erase, or continues erasures without waiting for the worker."""

import threading
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts import erasure
from accounts.models import Erasure, User
from accounts.services import erase_on_the_machine
from auditlog.erasure import NotSealedYet
from auditlog.seals.blocks import ChainBroken
from auditlog.seals.keys import KeyMissing
from core.errors import DomainError
from core.progress import Progress


class Command(BaseCommand):
    help = (
        "Replaces the name and the address of a deactivated person by a pseudonym: at once where they sign in, then in "
        "both logs, in runs and their logs. This can't be undone. The seals of the logs still prove the entries "
        "afterwards: see verify_logs. If you stop it, the worker or the next call continues. Backups keep the name "
        "until they expire."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("email", nargs="?", help="e-mail address of the person")
        which.add_argument(
            "--email", dest="named", metavar="EMAIL", help="the same, for an address that begins with a dash"
        )
        which.add_argument("--continue", dest="goes_on", action="store_true", help="only continue what has begun")
        parser.add_argument("--yes", action="store_true", help="do not ask")

    def handle(
        self, *args: Any, email: str | None, named: str | None, goes_on: bool, yes: bool, **options: Any
    ) -> None:
        if not goes_on:
            self._begin(named or email or "", yes=yes)
        for row in Erasure.objects.filter(ended_at=None).order_by("pk").select_related("person"):
            progress = Progress(self.stderr)
            try:
                for count in erasure.run(row, threading.Event()):
                    progress.say(f"{row.person.name}: {count:,} places")
            except (ChainBroken, KeyMissing, NotSealedYet) as error:
                raise CommandError(f"{error} The worker continues it, or --continue.") from None
            progress.clear()
            self.stdout.write(f"{row.person.name}: name and address were replaced in {row.rewritten:,} places.")
            if row.forged:
                self.stdout.write(f"{row.forged:,} log entries had been changed and were left. See verify_logs.")

    def _begin(self, email: str, *, yes: bool) -> None:
        user = User.objects.filter(email=email.strip().lower()).first()
        if user is None:
            raise CommandError(f"Nobody has the address {email}.")
        if not yes and not self._confirmed(user):
            raise CommandError("Nothing was done.")
        try:
            erase_on_the_machine(user=user)
        except DomainError as error:
            raise CommandError(error.message) from None

    def _confirmed(self, user: User) -> bool:
        try:
            return input(f"Erase {user.name} for good? Enter {user.email} to confirm: ").strip().lower() == user.email
        except (EOFError, KeyboardInterrupt):
            return False
