"""The installation's signing keys: list them, rotate, retire."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from tokens import signing_keys
from tokens.models import Token


class Command(BaseCommand):
    help = (
        "Lists, rotates or retires the keys that sign access tokens. After `rotate` new tokens are signed with the new "
        "key at once, in every process; older keys go on verifying. `retire KEY` removes a key that no live token was "
        "signed with; with --force it removes any key, and its live tokens stop working."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("action", choices=["list", "rotate", "retire"])
        parser.add_argument("key", nargs="?", help="the id of the key to retire, as `list` shows it")
        parser.add_argument("--force", action="store_true", help="retire a key although live tokens need it")

    def handle(self, *args: Any, action: str, key: str | None, force: bool, **options: Any) -> None:
        if action == "rotate":
            new = signing_keys.rotate()
            self.stdout.write(f"New tokens are signed with {new.id} ({new.algorithm}) from now on.")
        elif action == "retire":
            self._retire(key, force)
        else:
            self._list()

    def _list(self) -> None:
        ring = signing_keys.key_ring()
        for key in ring.keys:
            live = Token.objects.live().filter(signing_key_id=key.id)
            last = live.order_by("-expires_at").values_list("expires_at", flat=True).first()
            role = "signs" if key is ring.current else "verifies"
            needed = (
                f"{live.count()} live tokens, the last until {last:%Y-%m-%d %H:%M} UTC" if last else "no live tokens"
            )
            self.stdout.write(f"{key.id}  {key.algorithm}  {role}  {needed}")

    def _retire(self, key_id: str | None, force: bool) -> None:
        ring = signing_keys.key_ring()
        key = ring.find(key_id)
        if key is None:
            raise CommandError("Name one of the keys that `signing_keys list` shows.")
        if key is ring.current:
            raise CommandError("This key signs. Run `signing_keys rotate` first.")
        live = Token.objects.live().filter(signing_key_id=key.id).count()
        if live and not force:
            raise CommandError(f"{live} live tokens need this key. With --force they stop working now.")
        signing_keys.retire(key.id)
        self.stdout.write(f"Retired {key.id}. {live} live tokens stopped working.")
