"""The head of each chain as this machine last saw it, in the data directory and not in the database.

Without it, someone with write access to the database could cut off the end of a chain, change the entries that it
proved, and let the worker seal them again. An operator can do the same check with `verify_logs --expect`.
"""

import logging
from pathlib import Path

from django.conf import settings

from auditlog.models import Seal
from core.files import replace_private

logger = logging.getLogger(__name__)


def known_head(log: Seal.Log) -> str:
    """The head, ``number:mac``, that the chain last had here; empty if none is known."""
    try:
        return _path(log).read_text().strip()
    except FileNotFoundError:
        return ""


def is_in_chain(log: Seal.Log, head: str) -> bool:
    number, _, mac = head.partition(":")
    return number.isdecimal() and Seal.objects.filter(log=log, number=number, mac=mac).exists()


def keep_head(log: Seal.Log) -> None:
    """Saves the present head, unless the known one is missing from the chain.

    Then the known head stays, and `verify_logs` reports it until an operator decides (`docs/log-keeping.md`).
    """
    known = known_head(log)
    if known and not is_in_chain(log, known):
        logger.error("%s: block %s is no longer in the chain. See verify_logs.", log.label, known.partition(":")[0])
        return
    last = Seal.objects.filter(log=log).order_by("-number").values_list("number", "mac").first()
    if last is not None and (head := f"{last[0]}:{last[1]}") != known:
        replace_private(_path(log), head.encode())


def _path(log: Seal.Log) -> Path:
    path: Path = settings.DATA_DIR / f"log-seal-head-{log}"
    return path
