"""Expires many tokens for a command: shows progress, and Ctrl-C may interrupt it."""

from django.core.management.base import CommandError, OutputWrapper

from core.progress import Progress
from core.text import counted
from tokens.querysets import TokenQuerySet
from tokens.services import end_by_operator

INTERRUPTED = 130


def expire(tokens: TokenQuerySet, *, reason: str, stderr: OutputWrapper) -> int:
    """Ends those of ``tokens`` that are live; returns how many. Raises ``CommandError`` if it is interrupted."""
    progress, ended, count = Progress(stderr), 0, tokens.live().count()
    batches = end_by_operator(tokens, reason=reason)
    try:
        for number in batches:
            ended += number
            progress.say(f"{ended:,} of {count:,} tokens expired")
    except KeyboardInterrupt:
        batches.close()
        raise CommandError(
            f"Interrupted: {in_words(ended)} expired. Run the same command again to expire the rest.",
            returncode=INTERRUPTED,
        ) from None
    finally:
        progress.clear()
    return ended


def in_words(count: int) -> str:
    return counted(count, "live token", "live tokens")
