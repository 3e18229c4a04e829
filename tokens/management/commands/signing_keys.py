"""Lists, rotates and retires signing keys."""

import sys
from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from core.text import counted
from tokens.keys import retirement, rotation
from tokens.keys.ring import KeyRing, KeysFromEnvironment, are_from_environment, key_ring
from tokens.keys.signing_key import SigningKey
from tokens.management.bulk_expiry import expire, in_words
from tokens.services import REASON_MAX_LENGTH

_MINUTES = rotation.PUBLISHED_BEFORE // timedelta(minutes=1)


def _exact(key: SigningKey) -> str:
    return f"{key.signs_from:%Y-%m-%d %H:%M:%S} UTC"


class Command(BaseCommand):
    help = (
        "Lists, rotates or retires the keys that sign access tokens. `rotate` creates a new key and publishes it at "
        f"once. The key signs new tokens {_MINUTES} minutes later, when every service that verifies tokens can know "
        "it; with `rotate --now` it signs at once. Older keys keep verifying until their last token has expired. A "
        "day later the worker retires them; `retire-unused` does it now. `retire --key=ID` retires a key that no live "
        "token was signed with. If a key may have leaked, run `retire --key=ID --emergency --reason=...`: another key "
        "signs at once, this one is retired, and all of its tokens expire."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("action", choices=["list", "rotate", "retire", "retire-unused"], help="what to do")
        parser.add_argument("positional", nargs="?", metavar="ID", help="the same as --key=ID")
        parser.add_argument("--key", metavar="ID", help="the key to retire, as `list` shows it")
        parser.add_argument("--now", action="store_true", help="with `rotate`: the new key signs at once")
        parser.add_argument(
            "--emergency", action="store_true", help="with `retire`: retire the key now, and expire its live tokens"
        )
        parser.add_argument("--reason", default="", help="with `--emergency`: for the owners and the activity log")
        parser.add_argument("--no-input", action="store_true", help="do not ask")

    def handle(self, *args: Any, action: str, emergency: bool, now: bool, **options: Any) -> None:
        key = self._key(options["key"], options["positional"])
        if now and action != "rotate":
            raise CommandError("--now is for `rotate`.")
        if action == "rotate":
            self._rotate(now=now)
        elif action == "retire-unused":
            self._retire_unused()
        elif action == "list":
            self._list()
        elif not key:
            raise CommandError("Give the key to retire with --key=ID; `signing_keys list` shows the ids.")
        elif emergency:
            self._retire_at_once(key, options["reason"].strip(), ask=not options["no_input"] and sys.stdin.isatty())
        else:
            self._retire(key)

    def _key(self, by_option: str | None, by_position: str | None) -> str | None:
        if by_option and by_position and by_option != by_position:
            raise CommandError("Give only one key.")
        return by_option or by_position

    def _list(self) -> None:
        ring = key_ring()
        if are_from_environment():
            self.stdout.write("The keys come from TOKEN_SIGNING_KEYS, in this order:")
        else:
            self.stdout.write(f"The keys are kept in {settings.TOKEN_SIGNING_KEYS_DIR}:")
        for key in ring.keys:
            live = retirement.live_tokens_of(key.id)
            last = live.order_by("-expires_at").values_list("expires_at", flat=True).first()
            role = self._role(ring, key)
            needed = f"{in_words(live.count())}, the last until {last:%Y-%m-%d %H:%M} UTC" if last else "no live tokens"
            end = retirement.retires_at(ring, key)
            then = f"; retires after {end:%Y-%m-%d %H:%M} UTC" if end else ""
            self.stdout.write(f"  {key.id}  {key.algorithm}  {role}  {needed}{then}")

    def _role(self, ring: KeyRing, key: SigningKey) -> str:
        if key == ring.current:
            return "signs   "
        if ring.keys.index(key) < ring.keys.index(ring.current):
            return f"signs from {_exact(key)}"
        return "verifies"

    def _rotate(self, *, now: bool) -> None:
        try:
            new = rotation.rotate() if now else rotation.plan_rotation()
        except KeysFromEnvironment as error:
            raise CommandError(str(error)) from None
        except rotation.RotationUnfinished as error:
            raise CommandError(
                f"Nothing was changed, because the last rotation is not finished. {error.key.id} signs from "
                f"{_exact(error.key)} on; with `rotate --now` it signs at once."
            ) from None
        except OSError as error:
            raise CommandError(
                f"A key cannot be written to {settings.TOKEN_SIGNING_KEYS_DIR}: {error.strerror}."
            ) from None
        if now:
            self._say_signs_now(new)
            return
        self.stdout.write(
            f"Published {new.id} ({new.algorithm}). It signs new tokens from {_exact(new)} on, when every service that "
            "verifies tokens can know it. Until then the old key signs."
        )

    def _say_signs_now(self, new: SigningKey) -> None:
        self.stdout.write(
            f"New tokens are signed with {new.id} ({new.algorithm}) from now on. Services that verify tokens may not "
            f"know it for up to {_MINUTES} minutes."
        )

    def _retire_unused(self) -> None:
        retired = retirement.retire_unused()
        for key_id in retired:
            self.stdout.write(f"Retired {key_id}.")
        if not retired:
            self.stdout.write("No key can be retired yet. `signing_keys list` shows when each key retires.")

    def _retire(self, key_id: str) -> None:
        self._check_known(key_id)
        try:
            retirement.retire(key_id)
        except KeysFromEnvironment as error:
            raise CommandError(str(error)) from None
        except retirement.KeySigns:
            raise CommandError(
                "This key signs new tokens. Run `signing_keys rotate` first, and wait until the new key signs."
            ) from None
        except retirement.KeyNeeded as error:
            raise CommandError(
                f"{counted(error.count, 'live token needs', 'live tokens need')} this key. The worker retires it after "
                "they have expired. If the key may have leaked, use --emergency: then they stop working at once."
            ) from None
        self.stdout.write(f"Retired {key_id}.")

    def _retire_at_once(self, key_id: str, reason: str, *, ask: bool) -> None:
        tokens = retirement.live_tokens_of(key_id)
        # If the command was interrupted, the key may be gone while its tokens are still live.
        if not tokens.exists():
            self._check_known(key_id)
        if not reason:
            raise CommandError("Give a --reason: the owners of its tokens are told why.")
        if len(reason) > REASON_MAX_LENGTH:
            raise CommandError(f"The reason may have at most {REASON_MAX_LENGTH} characters.")
        if ask and not self._is_meant(tokens.count()):
            self.stdout.write("Nothing was changed.")
            return
        by_hand = self._remove(key_id)
        ended = expire(tokens, reason=reason, stderr=self.stderr)
        self.stdout.write(f"Expired {in_words(ended)}. Their owners get a mail.")
        if by_hand:
            raise CommandError(f"The key itself is still in use. {by_hand}")

    def _is_meant(self, count: int) -> bool:
        question = f"Retire this key and permanently expire {in_words(count)}? [y/N] "
        return input(question).strip().lower() in {"y", "yes"}

    def _remove(self, key_id: str) -> str:
        """Returns what the operator still has to do, if anything."""
        if key_ring().find(key_id) is None:
            return ""
        try:
            new = retirement.retire_at_once(key_id)
        except KeysFromEnvironment as error:
            return str(error)
        if new is not None:
            self._say_signs_now(new)
        self.stdout.write(f"Retired {key_id}: tokens signed with it are no longer accepted.")
        return ""

    def _check_known(self, key_id: str) -> None:
        if key_ring().find(key_id) is None:
            raise CommandError("There is no such key: `signing_keys list` shows all keys.")
