"""Encrypts the secrets of two-factor again after the key was changed."""

from argparse import ArgumentParser
from typing import Any

from allauth.mfa.models import Authenticator
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from accounts.security import two_factor_secrets
from core.encryption import SecretUnreadable


class Command(BaseCommand):
    help = (
        "Encrypts the secrets of authenticator apps with the first key of MFA_SECRETS_KEYS. Put the new key there "
        "before the old one, restart, run this, and only then remove the old key. What no key opens is named and left "
        "as it is."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
        parser.add_argument(
            "--accept-unbound",
            action="store_true",
            help="also convert values of versions before secrets were bound to their owner, which the update could not "
            "read. Only right after the update: whoever could write to the database can have moved such a value",
        )

    def handle(self, *args: Any, dry_run: bool, accept_unbound: bool, **options: Any) -> None:
        done, unreadable = 0, 0
        apps = Authenticator.objects.filter(type=Authenticator.Type.TOTP)
        for pk in apps.order_by("pk").values_list("pk", flat=True):
            try:
                done += self._encrypt(pk, dry_run=dry_run, accept_unbound=accept_unbound)
            except SecretUnreadable:
                unreadable += 1
                self.stderr.write(f"No key opens authenticator {pk}.")
        said = "would be encrypted" if dry_run else "encrypted"
        self.stdout.write(f"{done} secret{'' if done == 1 else 's'} of two-factor {said} anew.")
        if unreadable:
            raise CommandError(f"{unreadable} could not be read. Is a key missing in MFA_SECRETS_KEYS?")

    @transaction.atomic
    def _encrypt(self, pk: int, *, dry_run: bool, accept_unbound: bool) -> bool:
        """Locked: a code that is entered in the same moment notes in the row that it was used."""
        row = Authenticator.objects.select_for_update().filter(pk=pk).first()
        if row is None:
            return False
        row.data["secret"] = two_factor_secrets.seal_anew(row, accept_unbound=accept_unbound)
        if not dry_run:
            row.save(update_fields=["data"])
        return True
