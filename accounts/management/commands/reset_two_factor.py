"""Removes the second factors of a person whom no Administrator can help."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.models import User
from accounts.services import NothingToReset, reset_two_factor_on_the_machine


class Command(BaseCommand):
    help = (
        "Removes a person's authenticator app, passkeys and recovery codes, and signs them out everywhere. Use it for "
        "operators, and for the only Administrator of an organization; everyone else can ask their Administrator. "
        "Make sure that the request comes from that person: afterwards their password is enough to sign in. They get "
        "a mail."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("email", nargs="?", help="e-mail address of the person")
        which.add_argument(
            "--email", dest="named", metavar="EMAIL", help="the same, for an address that begins with a dash"
        )
        parser.add_argument("--yes", action="store_true", help="do not ask")

    def handle(self, *args: Any, email: str | None, named: str | None, yes: bool, **options: Any) -> None:
        email = named or email or ""
        user = User.objects.people().filter(email=email.strip().lower()).first()
        if user is None:
            raise CommandError(f"Nobody has the address {email}.")
        if not yes and not self._confirmed(user):
            raise CommandError("Nothing was done.")
        try:
            reset_two_factor_on_the_machine(user=user)
        except NothingToReset as error:
            raise CommandError(error.message) from None
        self.stdout.write(f"The two-factor of {user.email} is removed, and they are signed out everywhere.")

    def _confirmed(self, user: User) -> bool:
        try:
            return input(f"Remove the two-factor of {user.name} <{user.email}>? [y/N] ").strip().lower() in {"y", "yes"}
        except (EOFError, KeyboardInterrupt):
            return False
