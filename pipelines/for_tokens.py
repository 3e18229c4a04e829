"""What tokens can do with pipelines (accounts/pipelines_for_tokens.py)."""

import uuid
from collections.abc import Collection
from contextlib import suppress
from typing import Any

from django.db.models import Q

from accounts.models import User
from accounts.pipelines_for_tokens import NamedPipeline, OfferedPipeline, PipelinesForTokens
from core import ids as id_texts
from core.db.locks import lock_all
from core.text import is_printable
from core.types import AccessToken
from pipelines.access import PipelineAction
from pipelines.models import Pipeline, TokenPipeline
from pipelines.querysets import PipelineQuerySet


class PipelinesOfPortal(PipelinesForTokens):
    def offered_to(self, person: User, *, most: int) -> list[OfferedPipeline]:
        rows: Any = Pipeline.objects.visible_to(person).with_allowed(person, can_run=PipelineAction.RUN)
        rows = rows.order_by("name", "pk")
        return [OfferedPipeline(*values) for values in rows.values_list("pk", "name", "can_run")[:most]]

    def count_seen_by(self, person: User) -> int:
        return Pipeline.objects.visible_to(person).count()

    def seen_by(self, person: User, ids: Collection[uuid.UUID]) -> list[NamedPipeline]:
        return _named(Pipeline.objects.visible_to(person).filter(pk__in=ids)) if ids else []

    def found_by(self, person: User, words: Collection[str]) -> dict[str, NamedPipeline]:
        ids = {word: found for word in words if (found := _id_in(word))}
        names = [word for word in words if is_printable(word)]
        wanted = Q(pk__in=ids.values()) | Q(name__in=names)
        rows = _named(Pipeline.objects.visible_to(person).filter(wanted)) if names else []
        by_id, by_name = {row.id: row for row in rows}, {row.name: row for row in rows}
        matches = ((word, by_id.get(ids[word]) if word in ids else by_name.get(word)) for word in words)
        return {word: row for word, row in matches if row is not None}

    def limit(self, token: AccessToken, *, actor: User, ids: Collection[uuid.UUID]) -> list[NamedPipeline]:
        # Locked, so that none of them is deleted before the rows that refer to it are committed.
        rows = lock_all(Pipeline.objects.visible_to(actor).filter(pk__in=ids).only("name"))
        TokenPipeline.objects.bulk_create(TokenPipeline(token_id=token.pk, pipeline=row) for row in rows)
        return sorted((NamedPipeline(row.pk, row.name) for row in rows), key=lambda pipeline: pipeline.name)


def _named(rows: PipelineQuerySet) -> list[NamedPipeline]:
    return [NamedPipeline(*values) for values in rows.order_by("name", "pk").values_list("pk", "name")]


def _id_in(word: str) -> uuid.UUID | None:
    with suppress(ValueError):
        return id_texts.read(word)
    return None
