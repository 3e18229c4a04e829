"""Replaces the name and the addresses of an erased person in pipelines, runs and their logs (`accounts/erasure.py`)."""

from collections.abc import Iterator

from accounts.erasure import Erased, replace_in_rows
from accounts.models import User
from pipelines.models import Pipeline, Run, RunLogLine, StepRun


def erase(erased: Erased) -> Iterator[int]:
    here = erased.person.organization
    yield from replace_in_rows(erased, Pipeline.objects.filter(organization=here), ["locked_by_email"])
    yield from replace_in_rows(
        erased, Run.objects.filter(organization=here), ["started_by_email", "continued_by_email"]
    )
    yield from replace_in_rows(erased, StepRun.objects.filter(run__organization=here), ["decided_by_email", "message"])
    yield from replace_in_rows(erased, RunLogLine.objects.filter(run__organization=here), ["message", "answer"])


def owned(person: User) -> list[str]:
    return list(Pipeline.objects.filter(owner=person).order_by("name").values_list("name", flat=True))
