"""The first thing on an empty installation: an organization and its Administrator."""

import sys
import warnings
from argparse import ArgumentParser
from getpass import GetPassWarning, getpass
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from accounts.models import User
from accounts.services import set_up_organization


class Command(BaseCommand):
    help = "Creates an organization with its first Administrator. Asks for every value that you leave out."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--organization", help="name of the organization")
        parser.add_argument("--email", help="e-mail address of its Administrator")
        parser.add_argument("--name", help="name of its Administrator")
        password = parser.add_mutually_exclusive_group()
        password.add_argument("--password", help="leave this out: the command asks for it without showing it")
        password.add_argument("--password-stdin", action="store_true", help="read the password from standard input")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            organization = options["organization"] or input("Name of the organization: ")
            email = options["email"] or input("E-mail address of its Administrator: ")
            name = options["name"] or input("Name of its Administrator: ")
            if options["password_stdin"]:
                password = sys.stdin.readline().rstrip("\n")
            else:
                password = options["password"] or self._ask_password(User(email=email, name=name))
            validate_password(password, User(email=email, name=name))
            created, user = set_up_organization(
                name=organization, administrator={"email": email, "name": name, "password": password}
            )
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        except (EOFError, KeyboardInterrupt, GetPassWarning):
            raise CommandError(
                "Nothing was created: some values are missing. "
                "Without a terminal give --organization, --email, --name and --password-stdin."
            ) from None
        self.stdout.write(f"Created “{created}” with {user.email} as its Administrator.")

    def _ask_password(self, user: User) -> str:
        while True:
            password = _read_unseen("Password (at least 12 characters): ")
            try:
                validate_password(password, user)
            except ValidationError as error:
                self.stderr.write(" ".join(error.messages))
                continue
            if password == _read_unseen("Again: "):
                return password
            self.stderr.write("The two passwords differ.")


def _read_unseen(prompt: str) -> str:
    """Raises ``GetPassWarning`` if there is no terminal that can hide what is typed."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", GetPassWarning)
        return getpass(prompt)
