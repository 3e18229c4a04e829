"""The choice of pipelines that a limited token reaches. Fixed when the token is created."""

import uuid
from collections.abc import Collection, Iterable

from django.core.exceptions import ValidationError
from django.utils.translation import gettext, ngettext

from accounts.models import User
from accounts.pipelines_for_tokens import NamedPipeline, pipelines_for_tokens
from core.text import first_of
from tokens.models import Token

# At most so many can be chosen.
MOST_PIPELINES = 100
# How many unknown ones an error repeats, and how much of each.
_SHOWN, _SHOWN_CHARACTERS = 3, 40


def check_choice(ids: Iterable[uuid.UUID]) -> list[uuid.UUID]:
    """The ids, each once. Raises ``ValidationError`` if there are none or too many."""
    chosen = list(dict.fromkeys(ids))
    check_number(chosen)
    return chosen


def check_number(chosen: Collection[object]) -> None:
    if not chosen:
        raise ValidationError(gettext("Choose at least one pipeline."))
    if len(chosen) > MOST_PIPELINES:
        too_many = ngettext(
            "A token can be limited to at most %(limit)s pipeline.",
            "A token can be limited to at most %(limit)s pipelines.",
            MOST_PIPELINES,
        )
        raise ValidationError(too_many % {"limit": MOST_PIPELINES})


def chosen_by(person: User, words: Collection[str]) -> list[uuid.UUID]:
    """The ids of the pipelines that the words name, by id or by name. Raises ``ValidationError``."""
    check_number(words)
    found = pipelines_for_tokens().found_by(person, words)
    if unknown := [word for word in words if word not in found]:
        raise unknown_pipelines(unknown)
    return list(dict.fromkeys(found[word].id for word in words))


def unknown_pipelines(words: Iterable[str]) -> ValidationError:
    """The same for a pipeline that the person can't see, one that was deleted, and one that never existed."""
    return ValidationError(
        gettext("These pipelines don't exist, or you can't see them: %(pipelines)s.") % {"pipelines": listed(words)}
    )


def listed(words: Iterable[str]) -> str:
    """The first of them, shortened."""
    all_words = list(words)
    shown = [word if len(word) <= _SHOWN_CHARACTERS else f"{word[:_SHOWN_CHARACTERS]}…" for word in all_words]
    return first_of(shown, _SHOWN, total=len(shown))


def limit_token(token: Token, *, actor: User, ids: Collection[uuid.UUID]) -> list[NamedPipeline]:
    """Makes a new token reach only these pipelines. Call it in the transaction that creates the token.

    Raises ``ValidationError`` if the actor can't see one of them, or it was deleted meanwhile.
    """
    reached = pipelines_for_tokens().limit(token, actor=actor, ids=ids)
    if missing := set(ids) - {pipeline.id for pipeline in reached}:
        raise unknown_pipelines(str(pipeline_id) for pipeline_id in ids if pipeline_id in missing)
    return reached


def pipelines_seen_by(reader: User, token: Token) -> list[NamedPipeline]:
    """Those of the token's pipelines that the reader can see, by name."""
    return pipelines_for_tokens().seen_by(reader, token.pipeline_ids or [])
