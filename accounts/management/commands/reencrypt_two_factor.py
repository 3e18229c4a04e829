"""Encrypts the secrets of two-factor and of organizations' single sign-on again after the key was changed."""

from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from allauth.mfa.models import Authenticator
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from accounts.models import OrganizationProvider
from accounts.provider_secrets import seal_secret_again
from accounts.security import two_factor_secrets
from core.db.locks import lock_if_exists
from core.encryption import SecretUnreadable
from core.text import counted


class Command(BaseCommand):
    help = (
        "Encrypts the secrets of authenticator apps, and the client secrets of organizations' single sign-on, again, "
        "with the first key of MFA_SECRETS_KEYS. To change the key: put the new key before the old one, restart the "
        "portal, run this command, then remove the old key. Values that no key decrypts stay as they are; the command "
        "names them."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="change nothing; say what would be done")
        parser.add_argument(
            "--accept-unbound",
            action="store_true",
            help="also convert old values, not yet bound to their owner, that the upgrade could not read. Use it only "
            "right after the upgrade: someone with write access to the database could have moved such a value",
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
        providers = 0
        for pk in OrganizationProvider.objects.values_list("pk", flat=True):
            try:
                providers += self._encrypt_provider(pk, dry_run=dry_run)
            except SecretUnreadable:
                unreadable += 1
                self.stderr.write(f"No key opens the client secret of single sign-on {pk}.")
        said = "would be encrypted" if dry_run else "encrypted"
        self.stdout.write(f"{counted(done, 'secret', 'secrets')} of two-factor {said} again.")
        if providers:
            self.stdout.write(f"{counted(providers, 'client secret', 'client secrets')} {said} again.")
        if unreadable:
            raise CommandError(f"{unreadable} could not be read. Is a key missing in MFA_SECRETS_KEYS?")

    @transaction.atomic
    def _encrypt(self, pk: int, *, dry_run: bool, accept_unbound: bool) -> bool:
        """Locked: a code that is entered in the same moment notes in the row that it was used."""
        row = lock_if_exists(Authenticator.objects.all(), pk)
        if row is None:
            return False
        row.data["secret"] = two_factor_secrets.seal_again(row, accept_unbound=accept_unbound)
        if not dry_run:
            row.save(update_fields=["data"])
        return True

    @transaction.atomic
    def _encrypt_provider(self, pk: UUID, *, dry_run: bool) -> bool:
        row = lock_if_exists(OrganizationProvider.objects.all(), pk)
        if row is None:
            return False
        row.sealed_secret = seal_secret_again(row)
        if not dry_run:
            row.save(update_fields=["sealed_secret"])
        return True
