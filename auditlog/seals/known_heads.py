"""The end of each chain as this machine last saw it, kept beside the key and not in the database.

Without it, whoever can write to the database could cut off the end of a chain, change what it proved and let the worker
seal that anew. What `verify_logs --expect` does for an operator, this does for the worker's own machine.
"""

import logging
import os
import secrets
from pathlib import Path

from django.conf import settings

from auditlog.models import Seal

logger = logging.getLogger(__name__)


def known_head(log: Seal.Log) -> str:
    """The head, ``number:mac``, that the chain had here; empty where none was kept."""
    try:
        return _path(log).read_text().strip()
    except FileNotFoundError:
        return ""


def is_in_chain(log: Seal.Log, head: str) -> bool:
    number, _, mac = head.partition(":")
    return number.isdecimal() and Seal.objects.filter(log=log, number=number, mac=mac).exists()


def keep_head(log: Seal.Log) -> None:
    """Keeps the head of now, unless the chain no longer leads there from the one that was kept.

    That one stays, so that `verify_logs` goes on saying so until a person has decided (`docs/log-keeping.md`).
    """
    known = known_head(log)
    if known and not is_in_chain(log, known):
        logger.error("%s: block %s is not in the chain any more. See verify_logs.", log.label, known.partition(":")[0])
        return
    last = Seal.objects.filter(log=log).order_by("-number").values_list("number", "mac").first()
    if last is not None and (head := f"{last[0]}:{last[1]}") != known:
        _write(_path(log), head)


def _path(log: Seal.Log) -> Path:
    path: Path = settings.DATA_DIR / f"log-seal-head-{log}"
    return path


def _write(path: Path, text: str) -> None:
    """As a whole or not at all."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)
