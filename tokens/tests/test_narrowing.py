"""What a token used, and the narrowest token that could have done the same."""

import uuid
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from accounts.roles import SiteRole
from accounts.tests.factories import UserFactory
from auditlog import journal
from auditlog.actions import Action
from auditlog.models import Activity
from auditlog.open_use import OpenUse
from core.api import scopes
from pipelines.models import TokenPipeline
from pipelines.tests.factories import PipelineFactory
from tokens import narrowing as module
from tokens.tests.factories import TokenFactory, bearer
from tokens.unused_rights import unused_rights

STATUS, RUN = "/api/v1/pipeline/status", "/api/v1/pipeline/run"


@pytest.fixture
def token(owner):
    return TokenFactory(owner=owner, scope="api", created_at=timezone.now() - timedelta(days=100))


def call(token, method, target, **options):
    """A logged use."""
    at = timezone.now() - timedelta(days=options.pop("days_ago", 0), seconds=1)
    opened = OpenUse(
        request_id=uuid.uuid4(), at=at, method=method, target=target, ip="192.0.2.1", user_agent="curl/8", token=token
    )
    journal.commit(opened, status=options.get("status", 200), code=options.get("code"))


def act(token, pipeline, action=Action.PIPELINE_STARTED):
    Activity.objects.create(
        actor=token.owner,
        actor_email=token.owner.email,
        organization=token.organization,
        account=token.organization.slug,
        type=action.type,
        action=action,
        target_id=str(pipeline.pk),
        target_name=pipeline.name,
        token=token,
        at=timezone.now(),
    )


def narrowing(token, *, days):
    return module.narrowing(token, days=days, reader=token.owner)


def enough(token, days=90):
    return ids_of(narrowing(token, days=days).scopes)


def ids_of(scopes):
    return [scope.id for scope in scopes]


# Scopes


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ([("GET", "/api/v1/pipelines")], ["pipeline-readonly"]),
        ([("HEAD", "/api/v1/pipelines")], ["pipeline-readonly"]),
        ([("POST", STATUS), ("GET", "/api/v1/runs")], ["pipeline-readonly"]),
        ([("POST", RUN), ("POST", STATUS)], ["pipeline"]),
        ([("GET", "/api/v1/tokens")], ["api-readonly"]),
        ([("POST", RUN), ("GET", "/api/v1/users")], ["api-readonly", "pipeline"]),
        ([("DELETE", f"/api/v1/pipelines/{'0' * 8}-0000-0000-0000-{'0' * 12}")], ["api"]),
    ],
)
def test_fewest_scopes_open_what_was_used_and_no_more_than_needed(token, calls, expected):
    for method, target in calls:
        call(token, method, target)

    assert enough(token) == expected


def test_suggestion_is_never_wider_than_the_token(owner):
    token = TokenFactory(owner=owner, scope="pipeline")
    call(token, "GET", "/api/v1/pipelines")

    assert enough(token) == ["pipeline-readonly"]


def test_scope_that_the_policy_forbids_is_not_suggested(organization, token):
    organization.allowed_scopes = "api api-readonly"
    organization.save()
    token.organization.refresh_from_db()
    call(token, "GET", "/api/v1/pipelines")

    assert enough(token) == ["api-readonly"]


@pytest.mark.parametrize(("days", "expected"), [(30, ["pipeline-readonly"]), (90, ["pipeline"])])
def test_older_uses_count_in_the_longer_period_only(token, days, expected):
    call(token, "POST", RUN, days_ago=40)
    call(token, "POST", STATUS, days_ago=2)
    call(token, "GET", "/api/v1/tokens", days_ago=95)

    assert enough(token, days) == expected


def test_refused_uses_and_unknown_addresses_do_not_count(token):
    call(token, "GET", "/api/v1/tokens", status=403, code="forbidden")
    call(token, "GET", "/api/v1/nothing-here")

    found = narrowing(token, days=90)

    assert found.used == []
    assert not found.is_less_than(token)


# Pipelines


@pytest.mark.each_database
def test_used_pipelines_are_those_in_addresses_and_those_acted_on(owner, token):
    read, read_too, started, _ = (PipelineFactory(owner=owner) for _ in range(4))
    call(token, "GET", f"/api/v1/pipelines/{read.pk}")
    call(token, "GET", f"/api/v1/pipelines/{str(read_too.pk).upper()}")
    call(token, "GET", "/api/v1/pipelines/7")
    call(token, "POST", RUN)
    act(token, started)
    act(TokenFactory(owner=owner), PipelineFactory(owner=owner))

    found = narrowing(token, days=90)

    assert {pipeline.id for pipeline in found.pipelines} == {read.pk, read_too.pk, started.pk}
    assert set(found.limit) == {read.pk, read_too.pk, started.pk}
    assert (found.started, found.visible, found.knows_all_pipelines) == (1, 5, True)
    assert len(found.used) == 2


@pytest.mark.parametrize("target", [STATUS, "/api/v1/runs", "/api/v1/pipelines"])
def test_read_pipelines_that_the_log_does_not_name_are_told(token, target):
    call(token, "GET" if target != STATUS else "POST", target)

    assert not narrowing(token, days=90).knows_all_pipelines


def test_pipelines_that_the_owner_cannot_see_any_more_are_left_out(member, token):
    pipeline = PipelineFactory(owner=member)
    pipeline.access_rules.create(user=member, role="manager")
    call(token, "GET", f"/api/v1/pipelines/{pipeline.pk}")

    found = narrowing(token, days=90)

    assert (found.pipelines, found.limit) == ([], None)


def test_limited_token_that_used_all_it_reaches_is_narrow_enough(owner):
    pipeline = PipelineFactory(owner=owner)
    token = TokenFactory(owner=owner, scope="pipeline-readonly", is_limited=True)
    TokenPipeline.objects.create(token=token, pipeline=pipeline)
    call(token, "GET", f"/api/v1/pipelines/{pipeline.pk}")

    assert not narrowing(token, days=90).is_less_than(token)


@pytest.mark.each_database
def test_token_that_rotates_keeps_its_scope_and_what_its_predecessors_used(client, owner, monkeypatch):
    before = TokenFactory(owner=owner, scope="api tokens:rotate", created_at=timezone.now() - timedelta(days=95))
    pipeline = PipelineFactory(owner=owner)
    call(before, "POST", RUN, days_ago=60)
    call(before, "GET", "/api/v1/users", days_ago=93)
    act(before, pipeline)
    token = before
    for days in (50, 40):
        call(token, "POST", "/api/v1/tokens/current/rotate", days_ago=days)
        new = TokenFactory(owner=owner, scope="api tokens:rotate", created_at=timezone.now() - timedelta(days=days))
        token.replaced_by, token.replaced_at = new, new.created_at
        token.save()
        token = new
    call(token, "GET", "/api/v1/pipelines", days_ago=1)

    assert enough(token) == ["pipeline", "tokens:rotate"]
    assert enough(token, 30) == ["pipeline-readonly", "tokens:rotate"]
    found = narrowing(token, days=90)
    assert (found.replaced, found.is_complete, [each.id for each in found.pipelines]) == (2, True, [pipeline.pk])
    client.force_login(owner)
    assert "the tokens that it replaced" in client.get(reverse("tokens:token_narrower", args=[token.pk])).text
    (listed,) = unused_rights([token], days=90)
    assert (listed.is_complete, ids_of(listed.enough)) == (False, ["pipeline-readonly", "tokens:rotate"])
    assert unused_rights([token], days=30)[0].is_complete

    monkeypatch.setattr(module, "MOST_PREDECESSORS", 1)
    assert (narrowing(token, days=90).replaced, narrowing(token, days=90).is_complete) == (1, False)
    monkeypatch.setattr(module, "MOST_PREDECESSORS", 2)
    monkeypatch.setattr(module, "MOST_ENTRIES", 2)
    assert not narrowing(token, days=90).is_complete


@pytest.mark.each_database
def test_only_the_newest_uses_are_read(token, monkeypatch):
    monkeypatch.setattr(module, "MOST_ENTRIES", 2)
    call(token, "GET", "/api/v1/tokens", days_ago=3)
    call(token, "POST", STATUS, days_ago=2)
    call(token, "POST", STATUS, days_ago=1)

    found = narrowing(token, days=90)

    assert not found.is_complete
    assert [scope.id for scope in found.scopes] == [scopes.PIPELINE_READONLY.id]


# Page and API


def test_page_leads_to_the_form_for_a_narrower_token(client, owner, token):
    pipeline = PipelineFactory(owner=owner, name="Nightly")
    call(token, "GET", f"/api/v1/pipelines/{pipeline.pk}")
    client.force_login(owner)
    page = reverse("tokens:token_narrower", args=[token.pk])
    assert page in client.get(reverse("tokens:token_detail", args=[token.pk])).text

    answer = client.get(page)
    form = client.get(answer.context["limited_url"]).context["form"]

    assert "Nightly" in answer.text
    assert (form["scopes"].value(), form["pipelines"].value()) == (["pipeline-readonly"], [str(pipeline.pk)])


@pytest.mark.parametrize(("query", "days"), [("", 90), ("?days=30", 30), ("?days=7", 90), ("?days=", 90)])
def test_page_has_two_periods(client, owner, token, query, days):
    client.force_login(owner)

    answer = client.get(reverse("tokens:token_narrower", args=[token.pk]) + query)

    assert answer.context["found"].days == days
    assert "It was not used in this time" in answer.text


def test_api_tells_the_same_for_both_periods(api, token):
    call(token, "POST", STATUS, days_ago=2)

    body = api.get(f"/api/v1/tokens/{token.pk}/narrower", headers=bearer(TokenFactory(owner=token.owner))).json()

    assert body["id"] == str(token.pk)
    assert [period["days"] for period in body["periods"]] == [90, 30]
    for period in body["periods"]:
        assert period["enough_scopes"] == ["pipeline-readonly"]
        assert [(used["method"], used["path"]) for used in period["used_operations"]] == [("POST", STATUS)]
        assert (period["used_pipelines"], period["knows_all_pipelines"]) == ([], False)


def test_nobody_else_sees_what_a_token_used(client, organization, token):
    client.force_login(UserFactory(organization=organization, site_role=SiteRole.ADMINISTRATOR))

    assert client.get(reverse("tokens:token_narrower", args=[token.pk])).status_code == 404
    assert client.get(f"/api/v1/tokens/{token.pk}/narrower").status_code == 403


def test_limited_token_learns_of_no_other_pipeline(api, owner, token):
    reached, other = PipelineFactory(owner=owner), PipelineFactory(owner=owner)
    for pipeline in (reached, other):
        call(token, "GET", f"/api/v1/pipelines/{pipeline.pk}")
        act(token, pipeline)
    limited = TokenFactory(owner=owner, scope="api", is_limited=True)
    TokenPipeline.objects.create(token=limited, pipeline=reached)

    answer = api.get(f"/api/v1/tokens/{token.pk}/narrower", headers=bearer(limited))

    period = answer.json()["periods"][0]
    assert (period["used_pipelines"], period["pipelines_visible"], period["pipelines_started"]) == (
        [str(reached.pk)],
        1,
        1,
    )
    assert str(other.pk) not in answer.text
