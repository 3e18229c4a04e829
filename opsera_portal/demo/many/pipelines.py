"""60 pipelines: names and texts of every length, one with 30 steps, and one with many access rules."""

from collections.abc import Iterator, Sequence

from django.utils import timezone

from accounts.models import Group, User
from opsera_portal.demo import echo
from opsera_portal.demo.data import give_secret
from opsera_portal.demo.many import names
from pipelines import step_secrets
from pipelines.access import ItemRole, may_be_owner
from pipelines.models import NAME_MAX_LENGTH, TAG_MAX_LENGTH, TAGS_LIMIT, AccessRule, Pipeline, Step

PIPELINES, STEPS, RULES, NOTIFIED = 60, 30, 45, 20
# Of the other pipelines. Each ninth has none.
STEPS_EACH, WITHOUT_STEPS = 4, 9
# The positions of approvals.
GATES = {2, *range(10, STEPS + 1, 10)}

UNBROKEN_NAME = names.filled("build_and_release_of_every_service_", NAME_MAX_LENGTH)
LONG_NAME = names.filled(
    "Build, test, sign and publish every service of the platform, then tell all teams. ", NAME_MAX_LENGTH
)
DESCRIPTION = names.filled("Builds each service, tests it, and puts it on the servers after an approval. ", 2000)
INSTRUCTIONS = names.filled(
    "Check the report: https://reports.example.com/quality/gates/platform-services?build=last. ", 500
)
LONG_PATH = names.filled("/job/platform-services/job/deploy-to-production/buildWithParameters", 900)
LONG_QUERY = names.filled("&parameter=value-of-this-parameter", 1000)


def add_pipelines(people: Sequence[User], groups: Sequence[Group], *, echo_port: int) -> list[Pipeline]:
    """The first one has 30 steps, the longest name, many tags, many access rules and notified people."""
    organization = people[0].own_organization
    owners = [person for person in people if may_be_owner(person) and person.joined_at]
    taken = Pipeline.objects.filter(organization=organization).values_list("name", flat=True)
    ordinary = (f"Service {number:02}: build and deploy" for number in range(1, PIPELINES))
    wanted = [UNBROKEN_NAME, LONG_NAME, *names.PIPELINES, *ordinary][:PIPELINES]
    pipelines = [
        Pipeline(
            organization=organization,
            owner=owners[number % len(owners)],
            name=name,
            description=DESCRIPTION[: 2000 if number < 2 else 77 * (number % 3)].strip(),
            tags=list(_tags(number)),
        )
        for number, name in enumerate(names.unused(wanted, taken))
    ]
    Pipeline.objects.bulk_create(pipelines)
    Step.objects.bulk_create(
        step for number, pipeline in enumerate(pipelines) for step in _steps(pipeline, number, echo_port)
    )
    AccessRule.objects.bulk_create(_rules(pipelines, people, groups))
    pipelines[0].notified_people.set(owners[:NOTIFIED])
    return pipelines


def _tags(number: int) -> Iterator[str]:
    if number == 0:
        yield from (names.filled(f"{tag}-{place}-", TAG_MAX_LENGTH) for place, tag in enumerate(names.TAGS))
        yield from (f"team-{place}" for place in range(TAGS_LIMIT - len(names.TAGS)))
    elif number % 4:
        yield names.TAGS[number % len(names.TAGS)]
        yield f"team-{number % 12}"


def _steps(pipeline: Pipeline, number: int, echo_port: int) -> Iterator[Step]:
    count = STEPS if number == 0 else 0 if number % WITHOUT_STEPS == 0 else STEPS_EACH
    for position in range(1, count + 1):
        name = names.PIPELINES[position % len(names.PIPELINES)] if position % 3 == 0 else f"Step {position}"
        if number == 0 and position in {1, 2}:
            name = UNBROKEN_NAME if position == 1 else LONG_NAME
        step = Step(pipeline=pipeline, position=position, name=name)
        if position in GATES:
            step.kind, step.instructions = Step.Kind.APPROVAL, INSTRUCTIONS[: 500 // position].strip()
        else:
            _make_call(step, echo_port, is_long=number == 0 and position % 4 == 3)
        yield step


def _make_call(step: Step, echo_port: int, *, is_long: bool) -> None:
    """All calls reach the demo's own endpoint, as those of the demo do."""
    step.url = f"http://{echo.ADDRESS}:{echo_port}/services/{step.position}?branch=main"
    step.method = Step.Method.values[step.position % len(Step.Method.values)]
    step.headers = {"Accept": "application/json"}
    step.body = '{"from": "the demo"}'
    if is_long:
        step.url = f"http://{echo.ADDRESS}:{echo_port}{LONG_PATH}?branch=main{LONG_QUERY}"
        step.headers |= {f"X-Parameter-{number}": names.filled("value-", 200) for number in range(8)}
        step.body = '{"text": "' + names.filled("A long text in a body. ", 2000) + '"}'
    give_secret(step)
    if step.position % 7 == 0:
        step.secret_query = {"token": step_secrets.MISSING}


def _rules(pipelines: Sequence[Pipeline], people: Sequence[User], groups: Sequence[Group]) -> Iterator[AccessRule]:
    roles = list(ItemRole)
    for number in range(RULES):
        subject = {"group": groups[number]} if number % 3 else {"user": people[number]}
        yield AccessRule(pipeline=pipelines[0], role=roles[number % len(roles)], **subject)
    for number, pipeline in enumerate(pipelines[1:]):
        if number % 3 == 0:
            yield AccessRule(pipeline=pipeline, group=groups[number % len(groups)], role=roles[number % len(roles)])
            yield AccessRule(pipeline=pipeline, user=people[number], role=roles[(number + 1) % len(roles)])


def lock(pipeline: Pipeline, by: User) -> None:
    pipeline.locked_at, pipeline.locked_by_email = timezone.now(), by.email
    pipeline.save(update_fields=["locked_at", "locked_by_email"])
