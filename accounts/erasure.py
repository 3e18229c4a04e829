"""Replaces the name and the addresses of an erased person everywhere, as a job of the worker.

`services.erase_person` gives the person's own row its pseudonym, in one transaction with everything that belongs to
their sign-in. Copies are elsewhere: in both logs, and in rows of other apps. This module goes through them in parts and
batches, and notes how far it is, so that it goes on after a restart. Doing a batch twice is harmless.
"""

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any

from allauth.account.models import EmailAddress
from django.db.models import F, QuerySet
from django.utils import timezone

from accounts.models import Erasure, ServiceAccount, User
from accounts.provider_rules import LOGGED_CHARACTERS
from accounts.signin.single_sign_on.provider import METHOD
from auditlog import erasure
from auditlog.actions import Action
from auditlog.erasure import NotSealedYet, Progress
from auditlog.models import Activity, Seal
from auditlog.seals.blocks import ChainBroken
from auditlog.seals.keys import KeyMissing
from core import periodic_jobs
from core.db.sqlite_turns import job_transaction

EVERY = timedelta(seconds=30)
LONGEST_REQUEST = timedelta(minutes=1)
SHORTEST_NAME = 5
ROWS_AT_ONCE = 200


@dataclass(frozen=True)
class Erased:
    """The person with their pseudonym, and what it replaces."""

    person: User
    words: list[str]

    def text(self, text: str) -> str:
        """The text with the pseudonym, also in upper case, but not where it is a part of another word or address."""
        return self._pattern.sub(lambda match: self._instead(match[0]), text) if self._in_texts else text

    def value(self, value: Any) -> Any:
        """The same for all texts in a JSON value."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.value(each) for each in value]
        if isinstance(value, dict):
            return {key: self.value(each) for key, each in value.items()}
        return value

    def details(self, details: Any, *, actor_email: str) -> Any:
        """The details of a log entry. Those of a sign-in of this person also lose what their provider said about them:
        its id of them, and claims."""
        new = self._with_claims(self.value(details))
        is_theirs = actor_email.lower() in {self.person.email, *(word.lower() for word in self.words)}
        if is_theirs and isinstance(new, dict) and new.get("by") == METHOD:
            return {key: value for key, value in new.items() if key not in {"subject", "claims"}}
        return new

    def _with_claims(self, details: Any) -> Any:
        """Claims of a job that exchanged its identity for a token can name the person who started it. A claim is one
        value, so a name of one word is found there, too."""
        if not isinstance(details, dict) or not isinstance(details.get("claims"), dict):
            return details
        return details | {"claims": {name: self._claim(value) for name, value in details["claims"].items()}}

    def _claim(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._claim(each) for each in value]
        is_theirs = isinstance(value, str) and value.lower() in self._as_claims
        return self._instead(value) if is_theirs else value

    @cached_property
    def _as_claims(self) -> set[str]:
        return {text.lower() for word in self.words for text in (word, word[:LOGGED_CHARACTERS])}

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        # The longest first: an address can begin with another one.
        choices = "|".join(re.escape(word) for word in sorted(self._in_texts, key=len, reverse=True))
        return re.compile(rf"(?<![\w.+@-])(?:{choices})(?![\w@-]|\.\w)", re.IGNORECASE)

    @cached_property
    def _in_texts(self) -> list[str]:
        """A name of one word could be any word of a text."""
        return [word for word in self.words if "@" in word or (len(word.split()) > 1 and len(word) >= SHORTEST_NAME)]

    def _instead(self, found: str) -> str:
        return self.person.email if "@" in found else self.person.name


# Erases a person from the rows of another app, in batches; yields after each how many rows it changed.
Part = Callable[[Erased], Iterator[int]]
_parts: dict[str, Part] = {}
# These come after the logs, because their rows are copies of log entries.
_parts_after_logs: dict[str, Part] = {}
# Say what keeps a person from being erased, such as pipelines that they own.
_owned: list[Callable[[User], list[str]]] = []


def register(
    name: str, part: Part, *, owned: Callable[[User], list[str]] | None = None, copies_logs: bool = False
) -> None:
    """``owned``: the names of what the person still owns in this app, for which someone else must be found first.
    ``copies_logs``: the rows are copies of log entries, so the logs come before them."""
    (_parts_after_logs if copies_logs else _parts)[name] = part
    if owned is not None:
        _owned.append(owned)


def replace_in_rows(
    erased: Erased, rows: QuerySet[Any], names: list[str], *, replace: Callable[[Any], Any] | None = None
) -> Iterator[int]:
    """Replaces the words in these columns of text or JSON, and yields after each batch how many rows were changed.

    ``replace`` returns what a value becomes, if that is more than ``erased.value``. A text that gets too long for its
    column is cut.
    """
    replaced = replace or erased.value
    lengths = {name: getattr(rows.model._meta.get_field(name), "max_length", None) for name in names}
    ordered = rows.order_by("pk")
    after: Any = None
    while True:
        left = ordered if after is None else ordered.filter(pk__gt=after)
        some = list(left.values("pk", *names)[:ROWS_AT_ONCE])
        if not some:
            return
        after = some[-1]["pk"]
        changed = {row["pk"]: new for row in some if (new := _changes(replaced, row, lengths))}
        if changed:
            with job_transaction():
                for pk, values in changed.items():
                    rows.model._default_manager.filter(pk=pk).update(**values)
        yield len(changed)


def _changes(replaced: Callable[[Any], Any], row: dict[str, Any], lengths: Mapping[str, int | None]) -> dict[str, Any]:
    changed = {name: new for name in lengths if (new := replaced(row[name])) != row[name]}
    return {name: new[: lengths[name]] if isinstance(new, str) else new for name, new in changed.items()}


def erase_service_accounts(erased: Erased) -> Iterator[int]:
    """In what people wrote about service accounts."""
    rows = ServiceAccount.objects.filter(user__organization=erased.person.organization)
    yield from replace_in_rows(erased, rows, ["description"])


def still_owned_by(person: User) -> list[str]:
    return [name for owned in _owned for name in owned(person)]


def words_of(person: User) -> list[str]:
    """The person's name and their addresses."""
    waiting = EmailAddress.objects.filter(user=person).values_list("email", flat=True)
    return sorted({person.email, *waiting}) + ([person.name] if person.name else [])


def _earlier_addresses(person: User) -> set[str]:
    """Read by the worker, because no index serves it."""
    changes = Activity.objects.filter(target_id=str(person.pk), action=Action.EMAIL_CHANGED)
    details = changes.values_list("details", flat=True)
    return {each.get(side, "") for each in details for side in ("from", "to")} - {""}


def run_due(stopping: threading.Event) -> None:
    """Goes on with all erasures, the oldest first. By then, no request is left that has read the old name."""
    begun = Erasure.objects.filter(ended_at=None, asked_at__lte=timezone.now() - LONGEST_REQUEST)
    for row in begun.order_by("pk").select_related("person"):
        try:
            for _ in run(row, stopping):
                pass
        except (ChainBroken, KeyMissing, NotSealedYet) as error:
            raise periodic_jobs.JobFailed(f"An erasure stopped: {error}") from error


def run(row: Erasure, stopping: threading.Event) -> Iterator[int]:
    """Erases in batches, and yields after each how many rows and entries were changed so far."""
    if not row.part:
        _note(row, words=sorted({*row.words, *_earlier_addresses(row.person)}))
    erased = Erased(row.person, row.words)
    parts = _parts | _parts_after_logs
    names = [*_parts, *Seal.Log.values, *_parts_after_logs]
    for name in names[names.index(row.part) if row.part in names else 0 :]:
        if name != row.part:
            _note(row, part=name, last_id=0)
        steps = _rows(parts[name], erased) if name in parts else _entries(Seal.Log(name), erased, row, stopping)
        for step in steps:
            _note(
                row, last_id=step.last_id, rewritten=F("rewritten") + step.rewritten, forged=F("forged") + step.forged
            )
            yield row.rewritten
            if stopping.is_set():
                return
    if not stopping.is_set():
        # Nothing is left that could say who it was.
        _note(row, words=[], ended_at=timezone.now())


def _rows(part: Part, erased: Erased) -> Iterator[Progress]:
    for changed in part(erased):
        yield Progress(0, changed, 0)


def _entries(log: Seal.Log, erased: Erased, row: Erasure, stopping: threading.Event) -> Iterator[Progress]:
    person = erased.person

    def of_use(entry: Any) -> dict[str, Any]:
        return {} if entry["owner_email"] == person.email else {"owner_email": person.email}

    def of_action(entry: Any) -> dict[str, Any]:
        new = {name: erased.value(value) for name, value in entry.items()}
        new["details"] = erased.details(entry["details"], actor_email=entry["actor_email"])
        return {name: value for name, value in new.items() if value != entry[name]}

    if log == Seal.Log.AUTHENTICATION:
        return erasure.rewrite(log, "owner_id", person.pk, of_use, after=row.last_id, stopping=stopping)
    # Others' entries name the person too: who was added to a group, whose pipeline it was.
    return erasure.rewrite(
        log, "organization_id", person.organization_id, of_action, after=row.last_id, stopping=stopping
    )


def _note(row: Erasure, **values: Any) -> None:
    Erasure.objects.filter(pk=row.pk).update(**values)
    row.refresh_from_db(fields=[*values])
