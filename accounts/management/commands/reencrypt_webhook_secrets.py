"""Encrypts the secrets of webhooks again after the key was changed."""

from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils import timezone

from accounts.models import Webhook
from accounts.webhooks.signatures import seal_again
from core.db.locks import lock_if_exists
from core.encryption import SecretUnreadable
from core.text import counted


class Command(BaseCommand):
    help = (
        "Encrypts the secrets of webhooks again, with the first key of WEBHOOK_SECRETS_KEYS. To change the key: put "
        "the new key before the old one, restart web server and worker, run this command, then remove the old key. "
        "Secrets that no key decrypts stay as they are; the command names their webhooks."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="change nothing; say what would be done")

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        done, unreadable = 0, 0
        for pk in Webhook.objects.order_by("pk").values_list("pk", flat=True):
            try:
                done += self._encrypt(pk, dry_run=dry_run)
            except SecretUnreadable:
                unreadable += 1
                self.stderr.write(f"No key opens the secret of webhook {pk}.")
        said = "would be encrypted" if dry_run else "encrypted"
        self.stdout.write(f"Secrets of {counted(done, 'webhook', 'webhooks')} {said} again.")
        if unreadable:
            raise CommandError(
                f"{unreadable} could not be read. Is a key missing in WEBHOOK_SECRETS_KEYS? Otherwise, replace the "
                "secrets of these webhooks."
            )

    @transaction.atomic
    def _encrypt(self, pk: UUID, *, dry_run: bool) -> bool:
        """Locked: somebody can replace the secret at the same moment."""
        row = lock_if_exists(Webhook.objects.all(), pk)
        if row is None:
            return False
        row.secret = seal_again(row.secret, row.pk)
        # A past secret may be encrypted with a key that was removed long ago. Nothing reads it any more.
        is_used = row.previous_secret_until is not None and timezone.now() < row.previous_secret_until
        row.previous_secret = seal_again(row.previous_secret, row.pk) if row.previous_secret and is_used else ""
        if not dry_run:
            row.save(update_fields=["secret", "previous_secret"])
        return True
