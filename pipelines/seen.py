"""Fingerprints of what forms and the API show of a pipeline (`core/seen.py`).

Each stands only for what its form saves: a person who edits a step is not stopped because someone renamed the pipeline.
"""

import uuid
from collections.abc import Iterable
from typing import Any

from core.seen import fingerprint
from pipelines.models import AccessRule, Pipeline, Step


def of_texts(pipeline: Pipeline) -> str:
    """Name, description and tags."""
    return fingerprint("pipeline texts", pipeline.pk, *_texts(pipeline))


def of_notified_people(pipeline: Pipeline, ids: Iterable[uuid.UUID]) -> str:
    return fingerprint("notified people", pipeline.pk, _in_order(ids))


def of_step(step: Step) -> str:
    """Its content, with encrypted secrets, and not its position, which has buttons of its own."""
    return fingerprint("step", step.pk, _content(step))


def of_rule(rule: AccessRule) -> str:
    return fingerprint("access rule", rule.pk, rule.role)


def of_rules(pipeline: Pipeline, rules: Iterable[AccessRule]) -> str:
    roles = sorted([str(rule.user_id or rule.group_id), rule.role] for rule in rules)
    return fingerprint("access rules", pipeline.pk, roles)


def of_definition(pipeline: Pipeline) -> str:
    """All that `PATCH /pipelines/{id}` changes. Reads steps and notified people, unless they were prefetched."""
    steps = [[step.pk, _content(step)] for step in pipeline.steps.all()]
    people = _in_order(person.pk for person in pipeline.notified_people.all())
    return fingerprint("pipeline", pipeline.pk, *_texts(pipeline), steps, people)


def _texts(pipeline: Pipeline) -> list[Any]:
    return [pipeline.name, pipeline.description, pipeline.tags]


def _content(step: Step) -> dict[str, Any]:
    return {name: value for name, value in step.definition().items() if name != "position"}


def _in_order(ids: Iterable[uuid.UUID]) -> list[str]:
    return sorted(map(str, ids))
