"""Encrypts the secrets of steps again after the key was changed."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from core.db.locks import lock_if_exists
from core.text import counted
from pipelines import step_secrets
from pipelines.models import HOLDS_SECRETS, Step, StepRun


class Command(BaseCommand):
    help = (
        "Encrypts the secrets of all steps, and of runs in progress, again, with the first key of STEP_SECRETS_KEYS. "
        "To change the key: put the new key before the old one, restart web server and worker, run this command, then "
        "remove the old key. Steps that no key decrypts stay as they are; the command names them."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="change nothing; say what would be done")
        parser.add_argument(
            "--accept-unbound",
            action="store_true",
            help="also convert old values, not yet bound to their step, that the upgrade could not read. Use it only "
            "right after the upgrade: someone with write access to the database could have moved such a value",
        )

    def handle(self, *args: Any, dry_run: bool, accept_unbound: bool, **options: Any) -> None:
        done, unreadable = 0, 0
        models: tuple[Any, ...] = (Step, StepRun)
        for model in models:
            for pk in model.objects.filter(HOLDS_SECRETS).values_list("pk", flat=True):
                with transaction.atomic():
                    step = lock_if_exists(model.objects.all(), pk)
                    if step is None:
                        continue
                    try:
                        secrets = {
                            place: step_secrets.encrypt_again(step, place, accept_unbound=accept_unbound)
                            for place in step_secrets.PLACES
                        }
                    except step_secrets.SecretUnreadable:
                        unreadable += 1
                        self.stderr.write(f"No key opens the secrets of {model.__name__} {pk}.")
                        continue
                    done += 1
                    if not dry_run:
                        model.objects.filter(pk=pk).update(**secrets)
        steps = counted(done, "step", "steps")
        self.stdout.write(f"Secrets of {steps} {'would be encrypted' if dry_run else 'encrypted'} again.")
        if unreadable:
            raise CommandError(
                f"{unreadable} could not be read. Is a key missing in STEP_SECRETS_KEYS? Values that were moved in the "
                "database cannot be read either: enter them again."
            )
