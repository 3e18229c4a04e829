import re
import stat

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import Group, Organization, User
from accounts.roles import SiteRole
from auditlog import usage
from auditlog.models import ENDED_REASONS, Activity, TokenUse
from opsera_portal.demo import data
from opsera_portal.tests.worlds import created_once
from pipelines.access import PipelineAction, may
from pipelines.models import Pipeline, Run, Step, StepRun
from tokens.models import Token
from tokens.tests.factories import TokenFactory, bearer

EVERYTHING = [Organization, User, Group, Pipeline, Step, Run, StepRun, Token, TokenUse, Activity]


@pytest.fixture(scope="module")
def seeded(django_db_setup, django_db_blocker):
    yield from created_once(django_db_blocker, lambda: data.seed(echo_port=8001))


@pytest.fixture
def made(db, seeded):
    """The accounts of the existing demo. Changes that a test makes to the demo are undone."""
    return dict(seeded)


def everything():
    return {model.__name__: set(model.objects.values_list("pk", flat=True)) for model in EVERYTHING}


def test_password_is_never_read_as_an_option(settings):
    settings.DEMO_PASSWORD = ""

    # With base64url, one password in 64 would begin with a dash.
    assert all(re.fullmatch(r"[A-Za-z0-9]{16}", data.new_password()) for _ in range(1000))


@pytest.mark.slow
def test_demo_has_a_person_of_every_role(made):
    people = User.objects.people().filter(organization__slug="demo")

    assert {(person.email, person.site_role) for person in people} == {
        ("admin@demo.example", "administrator"),
        ("power@demo.example", "power_user"),
        ("user@demo.example", "user"),
        ("guest@demo.example", "guest"),
        ("security@demo.example", "security_manager"),
        ("auditor@demo.example", "auditor"),
        # A person who left, and a person who was invited and has not joined yet.
        ("left@demo.example", "user"),
        ("invited@demo.example", "user"),
    }
    assert {person.site_role for person in people} == set(SiteRole.values)


def test_a_second_organization_has_an_administrator(made):
    assert User.objects.get(organization__slug="other").email == "admin@other.example"


def test_everyone_signs_in_with_their_generated_password(made):
    people_without_password = {"left@demo.example", "invited@demo.example"}
    assert set(made) == {person.email for person in User.objects.people()} - people_without_password
    assert not any(User.objects.get(email=email).has_usable_password() for email in people_without_password)
    assert len(set(made.values())) == len(made)
    for email, password in made.items():
        assert User.objects.get(email=email).check_password(password)


@pytest.mark.parametrize("person", [*(f"{login}@demo.example" for login in data.PEOPLE), "admin@other.example"])
def test_first_pipeline_of_every_list_can_only_succeed(made, api, client, person):
    user = User.objects.get(email=person)
    client.force_login(user)

    [first, *_] = api.get("/api/v1/pipelines", headers=bearer(TokenFactory(owner=user))).json()["data"]
    [on_page, *_] = re.findall(r'<a href="/pipelines/([0-9a-f-]{36})/">', client.get("/pipelines/").content.decode())

    assert on_page == first["id"]
    pipeline = Pipeline.objects.get(pk=first["id"])
    assert not pipeline.is_locked
    steps = list(pipeline.steps.all())
    assert {(step.kind, step.expected_status) for step in steps} == {("http_call", 200)}
    assert not any("/status/" in step.url for step in steps)
    if user.site_role in {"administrator", "power_user", "user"}:
        assert may(user, PipelineAction.RUN, pipeline)


def test_person_of_the_demo_can_sign_in_with_the_form(made):
    client = Client()

    answer = client.post("/login/", {"login": "user@demo.example", "password": made["user@demo.example"]})
    assert (answer.status_code, answer.url) == (302, "/")


def test_second_run_of_the_demo_creates_nothing(made):
    before = everything()

    assert data.seed(echo_port=8001) == {}
    assert everything() == before
    assert all(before.values())


def test_missing_organization_is_created_again_and_the_other_stays(made):
    other = Organization.objects.get(slug="other")
    Step.objects.filter(pipeline__organization=other).delete()
    Pipeline.objects.filter(organization=other).delete()
    User.objects.filter(organization=other).delete()
    other.delete()
    demo_people = set(User.objects.values_list("pk", flat=True))

    assert set(data.seed(echo_port=8001)) == {"admin@other.example"}
    assert set(User.objects.filter(organization__slug="demo").values_list("pk", flat=True)) == demo_people


def test_steps_call_only_the_endpoint_of_the_demo(made):
    assert {step.url.rpartition(":")[0] for step in Step.objects.filter(kind="http_call")} == {"http://127.0.0.2"}
    for step in Step.objects.all():
        step.full_clean()


def test_steps_are_updated_to_a_new_port_of_the_endpoint(made):
    urls = Step.objects.filter(kind="http_call").order_by("url").values_list("url", flat=True)
    paths = [url.removeprefix("http://127.0.0.2:8001/") for url in urls]

    data.seed(echo_port=9123)

    assert list(urls.all()) == [f"http://127.0.0.2:9123/{path}" for path in paths]


def test_steps_with_other_hosts_are_not_changed(made):
    step = Step.objects.first()
    Step.objects.filter(pk=step.pk).update(url="https://jenkins.example.com:8001/build")

    data.seed(echo_port=9123)

    step.refresh_from_db()
    assert step.url == "https://jenkins.example.com:8001/build"


def test_demo_has_content_from_the_start(made):
    assert set(Run.objects.values_list("state", flat=True)) == {"queued"}
    assert {token.state.name for token in Token.objects.all()} == {"ACTIVE", "EXPIRED", "REVOKED", "WAITING"}
    assert set(TokenUse.objects.values_list("reason", flat=True)) == {
        "ok",
        "expired",
        "revoked",
        "insufficient_scope",
        "forbidden",
        "invalid_request",
        "path_not_allowed",
    }
    assert TokenUse.objects.filter(service__slug="dashboards", reason="ok").exists()


def test_no_entry_of_the_history_is_in_the_future(made):
    assert not TokenUse.objects.filter(at__gt=timezone.now()).exists()
    assert not Activity.objects.filter(at__gt=timezone.now()).exists()


@pytest.mark.parametrize("model", [TokenUse, Activity])
def test_entries_are_numbered_in_order_of_time(made, model):
    """Entries are in order of time, because usage counts and seals depend on it."""
    entries = list(model.objects.order_by("id").values_list("at", flat=True))

    assert 100 < len(entries) < 5000
    assert entries == sorted(entries)


def test_metadata_of_a_token_match_its_history(made):
    for token in Token.objects.filter(approval_request=None):
        uses = TokenUse.objects.filter(token=token)
        last = uses.first()
        assert (token.last_used_at, token.last_used_ip) == ((last.at, last.ip) if last else (None, None))
        assert not uses.filter(at__lt=token.revealed_at).exists()
        assert token.fits_policy
        ended_at = min(filter(None, [token.revoked_at, token.expires_at]))
        assert not uses.filter(at__gte=ended_at).exclude(reason__in=ENDED_REASONS).exists()
        assert not uses.filter(at__lt=ended_at, reason__in=ENDED_REASONS).exists()
        made_and_ended = (
            Activity.objects.filter(target_id=str(token.pk)).exclude(action="token.confirmed").order_by("at")
        )
        actions = ["token.issued", "token.revealed"] + ["token.replaced"] * bool(token.replaced_at)
        actions += ["token.revoked"] * bool(token.revoked_at)
        assert [entry.action for entry in made_and_ended] == actions
    for token in Token.objects.exclude(approval_request=None):
        assert not TokenUse.objects.filter(token=token).exists()
        assert token.approval_request.state.value == ("rejected" if token.revoked_at else "waiting")


def test_demo_has_a_token_that_is_being_replaced_and_one_that_replaces_itself(made):
    being_replaced = Token.objects.get(name="Build monitor", replaced_by__isnull=False)
    assert being_replaced.is_being_replaced
    assert being_replaced.replaced_by.is_active
    rotating = Token.objects.get(name="Weekly report", replaced_by__isnull=True)
    assert (rotating.rotates, rotating.is_active, rotating.replaces.has_ended) == (True, True, True)


def test_ordinary_user_of_the_demo_has_a_limited_token(made):
    token = Token.objects.get(name="Nightly trigger", owner__email="user@demo.example")
    [pipeline] = Pipeline.objects.filter(pk__in=token.pipeline_ids)

    assert pipeline.name == "Nightly build"
    assert may(token.owner, PipelineAction.RUN, pipeline)
    issued = Activity.objects.get(action="token.issued", target_id=str(token.pk))
    assert issued.details["pipelines"] == [{"name": "Nightly build", "id": str(pipeline.pk)}]


def test_demo_has_uses_that_the_overview_warns_about(made):
    user, security = (User.objects.get(email=f"{login}@demo.example") for login in ("user", "security"))

    own, all_uses = usage.of(user), usage.readable_org_entries(security)
    [mine] = usage.with_last_uses(own, usage.after_end(own))
    assert mine.last.token_name == "Old laptop"
    assert len(mine.addresses) == 2
    in_use = usage.with_last_uses(all_uses, usage.after_end(all_uses))
    assert {found.last.token_name for found in in_use} == {"Old laptop", "Staging trigger"}
    dashboard = Token.objects.get(name="Status dashboard")
    found = usage.addresses(usage.of_token(dashboard.pk, reader=user))
    assert {address.ip: address.is_new for address in found} == {"198.51.100.4": False, "192.0.2.200": True}


def test_file_of_accounts_is_readable_only_by_its_owner(tmp_path):
    path = tmp_path / "demo-accounts.txt"

    data.write_accounts({"user@demo.example": "password"}, path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == "user@demo.example  password\n"


def test_readable_file_of_accounts_becomes_private(tmp_path):
    path = tmp_path / "demo-accounts.txt"
    path.write_text("admin@demo.example  one\n")
    path.chmod(0o644)

    data.write_accounts({"user@demo.example": "two"}, path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == "admin@demo.example  one\nuser@demo.example  two\n"


def test_written_accounts_can_be_read_again(tmp_path):
    path = tmp_path / "demo-accounts.txt"
    assert data.read_accounts(path) == {}

    data.write_accounts({"user@demo.example": "two  words", "admin@demo.example": "one"}, path)
    data.write_accounts({"admin@demo.example": "new words"}, path)

    assert data.read_accounts(path) == {"user@demo.example": "two  words", "admin@demo.example": "new words"}
