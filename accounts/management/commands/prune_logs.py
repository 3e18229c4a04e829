"""Removes log entries that are older than their organization keeps them."""

import sys
import threading
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.log_retention import cuts_due
from accounts.models import Organization
from auditlog import retention
from auditlog.models import Seal
from auditlog.seals.blocks import ChainBroken
from auditlog.seals.keys import KeyMissing
from core.progress import Progress


def days(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 36_600:
        raise ArgumentTypeError("give a whole number of days, at least 1")
    return int(text)


class Command(BaseCommand):
    help = (
        "Removes entries of both logs that are older than their organization keeps them, and says how many. The "
        "worker does this once a day. Only sealed entries are removed, in short batches, so the portal keeps "
        "answering; `verify_logs` knows which entries were removed. On a terminal the command asks first. You can "
        "stop it with Ctrl-C; the next run removes the rest."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="remove nothing; say what would be removed")
        parser.add_argument(
            "--days", type=days, help="keep entries for this many days, instead of what each organization says"
        )
        parser.add_argument("--organization", metavar="SLUG", help="only this organization's entries")
        parser.add_argument("--no-input", action="store_true", help="do not ask")

    def handle(self, *args: Any, organization: str | None, **options: Any) -> None:
        if organization and not Organization.objects.filter(slug=organization).exists():
            raise CommandError(f"There is no organization {organization!r}.")
        cuts = [cut for log in Seal.Log for cut in cuts_due(log, days=options["days"], organization=organization)]
        if not cuts:
            self.stdout.write("There are no entries to remove.")
        elif options["dry_run"]:
            self._tell("Would remove", {cut: cut.entries().count() for cut in cuts})
        elif options["no_input"] or not sys.stdin.isatty() or self._is_meant(cuts):
            self._prune(cuts)
        else:
            self.stdout.write("Nothing was removed.")

    def _is_meant(self, cuts: Sequence[retention.Cut]) -> bool:
        self._tell("To be removed", {cut: cut.entries().count() for cut in cuts})
        return input("Remove them for good? [y/N] ").strip().lower() in {"y", "yes"}

    def _prune(self, cuts: Sequence[retention.Cut]) -> None:
        removed = dict.fromkeys(cuts, 0)
        progress = Progress(self.stderr)
        try:
            for log in Seal.Log:
                of_log = [cut for cut in cuts if cut.log == log]
                for cut, count in retention.prune(log, of_log, stopping=threading.Event()):
                    removed[cut] += count
                    progress.say(f"{log.label}, {cut.name}: {removed[cut]:,} removed")
        except KeyboardInterrupt:
            progress.clear()
            self.stdout.write("Interrupted. The next run removes the rest.")
        except (ChainBroken, KeyMissing) as error:
            raise CommandError(f"{error} Nothing is removed from a log that cannot be verified.") from None
        progress.clear()
        self._tell("Removed", removed)

    def _tell(self, what: str, counts: dict[retention.Cut, int]) -> None:
        for cut, count in counts.items():
            self.stdout.write(
                f"{what} from the {cut.log.label.lower()}, organization {cut.name}: "
                f"{count:,} older than {cut.before:%Y-%m-%d}."
            )
