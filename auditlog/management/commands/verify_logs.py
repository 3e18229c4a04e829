"""Verifies both logs against their seals."""

import re
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from auditlog.models import Seal
from auditlog.seals.keys import KeyMissing
from auditlog.seals.known_heads import known_head
from auditlog.seals.verification import Verification
from core.progress import Progress


def head(text: str) -> str:
    if not re.fullmatch(r"[1-9][0-9]{0,17}:[0-9a-f]{64}", text):
        raise ArgumentTypeError("give a head as this command prints it, NUMBER:MAC")
    return text


class Command(BaseCommand):
    help = (
        "Checks every entry of both logs against the seals. Names each entry that was changed, removed or inserted, "
        "and each block that is missing or not genuine; the exit code is then 1. Also prints the head of each chain. "
        "Pass an earlier head with --expect to detect that the end of the chain was cut off. The worker keeps the "
        "latest head in its data directory; if the command finds it, it expects it too."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--log", choices=Seal.Log.values, help="only this log")
        parser.add_argument(
            "--expect", metavar="NUMBER:MAC", type=head, help="an earlier head of the log that --log names"
        )
        parser.add_argument("--quiet", action="store_true", help="print nothing if both logs are intact")

    def handle(self, *args: Any, log: str | None, expect: str | None, quiet: bool, **options: Any) -> None:
        if expect and not log:
            raise CommandError("--expect also needs --log, to say which log had this head.")
        logs = [Seal.Log(log)] if log else list(Seal.Log)
        try:
            found = sum(self._verify(one, expect, quiet) for one in logs)
        except KeyMissing as error:
            raise CommandError(str(error)) from None
        if found:
            raise CommandError("The logs are not as they were when they were sealed.")

    def _verify(self, log: Seal.Log, expected: str | None, quiet: bool) -> int:
        """Returns the number of findings."""
        heads = [head for head in (expected, known_head(log)) if head]
        progress = Progress(self.stderr)
        verification = Verification(log)
        verification.progress = lambda: progress.say(f"{log.label}: {verification.entries:,} entries")
        found = 0
        for found, finding in enumerate(verification.findings(expected=heads), start=1):  # noqa: B007
            progress.clear()
            self.stdout.write(f"{log.label}: {finding}")
        progress.clear()
        if found or not quiet:
            self._sum_up(verification)
        return found

    def _sum_up(self, read: Verification) -> None:
        self.stdout.write(
            f"{read.log.label}: {read.entries:,} entries in {read.blocks:,} blocks are proven, "
            f"{read.waiting:,} wait to be sealed, {read.pruned:,} were removed because of their age."
        )
        if read.erased:
            self.stdout.write(
                f"{read.log.label}: in {read.erased:,} of them, the names of an erased person were replaced."
            )
        if read.head:
            self.stdout.write(f"{read.log.label}: the head is {read.head}")
