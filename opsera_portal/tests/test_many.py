"""What `manage.py demo --many` adds: as many rows as it says, once, and none that a service would have refused."""

from datetime import timedelta

import pytest
from django.db.models import F
from django.utils import timezone

from accounts.models import Group, User
from accounts.querysets import undelivered_mails_readable_by
from accounts.roles import SiteRole
from auditlog.actions import Action
from auditlog.models import Activity, TokenUse
from core.models import OutgoingMail
from core.text import is_printable
from opsera_portal.demo import data
from opsera_portal.demo.many import add_many
from opsera_portal.demo.many.people import LONG_EMAIL
from opsera_portal.demo.many.tokens import add_tokens
from opsera_portal.tests.worlds import created_once
from pipelines import runner
from pipelines.access import PipelineAction, may
from pipelines.models import RULES_LIMIT, AccessRule, Pipeline, Run, RunLogLine, Step, StepRun
from pipelines.run_states import OCCUPYING, RunOutcome, RunState, StepState
from pipelines.services.guard import errors_of
from tokens.models import Token
from tokens.names import clean_name, name_key
from tokens.states import TokenState
from tokens.tests.factories import TokenFactory

EVERYTHING = (
    User,
    Group,
    Token,
    Pipeline,
    Step,
    AccessRule,
    Run,
    StepRun,
    RunLogLine,
    TokenUse,
    Activity,
    OutgoingMail,
)


def fill():
    data.seed(echo_port=8001)
    before = {model: set(model.objects.values_list("pk", flat=True)) for model in EVERYTHING}
    accounts, added = add_many(echo_port=8001)
    return before, accounts, added


@pytest.fixture(scope="module")
def filled(django_db_setup, django_db_blocker):
    yield from created_once(django_db_blocker, fill)


@pytest.fixture
def many(db, filled):
    """Returns a queryset of the rows that `--many` has added to the demo."""
    before, _, _ = filled
    return lambda model: model.objects.exclude(pk__in=before[model])


@pytest.fixture
def administrator(many):
    return User.objects.get(email="admin@demo.example")


def test_it_adds_as_many_rows_as_it_says(many, filled, administrator):
    _, _, added = filled
    own = many(Token).owned_by(administrator)

    assert added == {
        "people": many(User).count(),
        "groups": many(Group).count(),
        "undelivered mails": undelivered_mails_readable_by(administrator).count(),
        "tokens of the Administrator": own.count(),
        "tokens of other people": many(Token).count() - own.count(),
        "pipelines": many(Pipeline).count(),
        "runs": many(Run).count(),
        "entries in the authentication log": many(TokenUse).count(),
        "entries in the activity log": many(Activity).count(),
    }
    assert (added["people"], added["groups"], added["pipelines"], own.count()) == (300, 200, 60, 51)
    assert many(Pipeline).filter(steps__position=30).count() == 1
    assert min(added.values()) >= 30


def test_second_time_adds_nothing(many):
    before = {model: set(model.objects.values_list("pk", flat=True)) for model in EVERYTHING}

    assert add_many(echo_port=8001) == ({}, {})
    assert {model: set(model.objects.values_list("pk", flat=True)) for model in EVERYTHING} == before


def test_only_the_demo_organization_gets_more_rows(many):
    for model in (User, Group, Token, Pipeline, Run, TokenUse, Activity):
        assert set(many(model).values_list("organization__slug", flat=True)) == {"demo"}


def test_people_have_all_roles_and_states(many):
    people = many(User)

    assert set(people.values_list("site_role", flat=True)) == set(SiteRole.values)
    assert {person.state.value for person in people} == {"active", "invited", "deactivated"}
    assert not Token.objects.filter(owner__in=people.invited()).exists()


def test_person_with_the_longest_address_can_sign_in(many, filled):
    _, accounts, _ = filled
    person = User.objects.get(email=LONG_EMAIL)

    assert (len(person.email), len(person.name)) == (254, 100)
    assert person.check_password(accounts[LONG_EMAIL])
    assert not many(User).get(email="person-1@many.example").has_usable_password()


def test_people_and_groups_have_allowed_names(many):
    for person in many(User):
        person.full_clean(exclude=["password"], validate_unique=False)
    for group in many(Group):
        group.clean_fields()
        assert is_printable(group.name)
    assert max(map(len, many(Group).values_list("name", flat=True))) == 50
    sizes = [group.member_count for group in many(Group).for_group_table()]
    assert (min(sizes), max(sizes)) == (0, 240)


def test_tokens_have_all_states_and_keep_the_limit(many, administrator):
    own = many(Token).owned_by(administrator)
    states = [token.state for token in own]

    assert set(states) == set(TokenState) - {TokenState.OWNER_DEACTIVATED}
    assert own.expiring_soon().count() == 6
    assert own.live().count() <= administrator.organization.max_live_tokens
    assert many(Token).filter(owner__is_active=False).exists()


def test_tokens_have_allowed_names_scopes_and_lifetimes(many):
    for token in many(Token).select_related("owner", "organization"):
        assert clean_name(token.name) == token.name
        assert token.live_name_key == (None if token.has_ended else name_key(token.name))
        assert set(token.scope.split()) <= set(token.organization.allowed_scopes.split())
        assert token.fits_policy == (token.state is not TokenState.BLOCKED_BY_POLICY)
        assert token.created_at <= (token.revealed_at or token.created_at) <= timezone.now()


@pytest.mark.parametrize(("limit", "in_use", "live"), [(10, 4, 10), (2, 3, 3), (1000, 1, 32)])
def test_owner_with_live_tokens_gets_no_more_than_the_policy_allows(many, limit, in_use, live):
    person = User.objects.get(email="person-1@many.example")
    Token.objects.owned_by(person).delete()
    person.organization.max_live_tokens = limit
    for number in range(in_use):
        TokenFactory(owner=person, name=f"script-{number:02}", live_name_key=f"script-{number:02}")

    assert len(add_tokens(person)) == 51
    assert Token.objects.owned_by(person).live().count() == live


def test_pipelines_and_steps_are_allowed(many):
    for pipeline in many(Pipeline):
        assert errors_of(pipeline) == {}
        assert may(pipeline.owner, PipelineAction.ADMINISTER, pipeline)
    for step in many(Step):
        assert errors_of(step, exclude=["secret_headers", "secret_query", "secret_body"]) == {}
    assert max(map(len, many(Pipeline).values_list("name", flat=True))) == 100
    assert max(len(pipeline.tags) for pipeline in many(Pipeline)) == 20
    assert max(map(len, many(Step).values_list("url", flat=True))) > 1900
    assert {step.kind for step in many(Step)} == set(Step.Kind.values)


def test_steps_call_only_the_endpoint_of_the_demo(many):
    data.seed(echo_port=9123)

    urls = many(Step).filter(kind="http_call").values_list("url", flat=True)
    assert {url.partition("/services/")[0].partition("/job/")[0] for url in urls} == {"http://127.0.0.2:9123"}


def test_access_rules_are_within_their_limit(many):
    [pipeline] = many(Pipeline).filter(steps__position=30)

    assert 40 <= pipeline.access_rules.count() <= RULES_LIMIT
    people = pipeline.notified_people.all()
    assert people
    assert all(may(person, PipelineAction.SEE, pipeline) for person in people)


def test_runs_and_steps_have_all_states(many):
    runs, results = many(Run), many(StepRun)

    assert set(runs.values_list("state", flat=True)) == set(RunState.values)
    assert set(runs.values_list("outcome", flat=True)) == {"", *RunOutcome.values}
    assert set(results.values_list("state", flat=True)) == set(StepState.values)
    assert runs.filter(pipeline=None).count() == 1
    for pipeline in many(Pipeline):
        assert pipeline.runs.filter(state__in=OCCUPYING).count() <= 1
        assert pipeline.run_count == pipeline.runs.count()


def test_finished_runs_have_an_end_and_no_secrets(many):
    finished = many(Run).filter(state=RunState.FINISHED)

    assert not finished.filter(finished_at=None).exists()
    assert not many(StepRun).filter(run__in=finished).exclude(secret_headers={}, secret_query={}).exists()
    assert not many(StepRun).filter(run__in=finished, state__in=["waiting", "running", "paused"]).exists()


def test_workers_leave_all_runs_as_they_are_except_continuing_ones(many):
    assert runner.recover_lost_runs() == 0

    found = many(Run).filter(pipeline__in=runner.pipelines_with_work(), state__in=["queued", *OCCUPYING])
    assert set(found.values_list("state", flat=True)) == {"continuing"}


@pytest.mark.parametrize("model", [TokenUse, Activity])
def test_log_entries_are_numbered_in_order_of_time(many, model):
    entries = list(model.objects.order_by("id").values_list("at", flat=True))

    assert entries == sorted(entries)
    assert entries[-1] <= timezone.now()


def test_logs_have_each_reason_and_each_action(many):
    uses = many(TokenUse)

    assert set(uses.values_list("reason", flat=True)) == set(TokenUse.Reason.values)
    assert set(many(Activity).values_list("action", flat=True)) == set(Action.values)
    assert uses.filter(ip="2001:db8:85a3:1234:5678:8a2e:1370:7334").exists()
    assert max(map(len, uses.values_list("user_agent", flat=True))) == 256
    assert max(map(len, uses.values_list("target", flat=True))) == 512
    assert not uses.filter(at__lt=F("token__created_at")).exists()
    for token in many(Token).exclude(last_used_at=None):
        assert token.last_used_at == TokenUse.objects.filter(token=token, outcome="allowed").first().at


def test_no_mail_is_ever_sent(many):
    mails = many(OutgoingMail)
    waiting = mails.filter(state=OutgoingMail.State.WAITING)

    assert set(mails.values_list("state", flat=True)) == {"waiting", "failed"}
    assert not mails.due(timezone.now() + timedelta(days=1)).exists()
    assert all(mail.next_attempt_at >= mail.expires_at for mail in waiting)
    assert {mail.person.state.value for mail in mails} == {"invited"}
