"""The worker checks requester and token again before a run begins or continues."""

from datetime import timedelta

import pytest
import time_machine

from accounts.models import Organization, User
from accounts.services import set_active
from auditlog.models import Activity
from opsera_portal.tests.mails import delivered
from pipelines import runner
from pipelines.models import Run
from pipelines.tests.stages import Stage, released
from tokens.models import Token
from tokens.services import revoke_token
from tokens.tests.factories import TokenFactory, bearer


@pytest.fixture
def token(member):
    return TokenFactory(owner=member, name="nightly build")


@pytest.fixture
def call(api):
    def call(stage, action, token):
        answer = api.post(f"/api/v1/pipeline/{action}", {"pipelineId": str(stage.pipeline.pk)}, headers=bearer(token))
        assert answer.status_code == 200, answer.json()
        stage.run = Run.objects.get(number=1)

    return call


def expire_early(token, administrator):
    revoke_token(actor=administrator, token=token, reason="found in a log")


def deactivate_owner(token, administrator):
    set_active(actor=administrator, user=token.owner, is_active=False)


def demote_owner(token, administrator):
    User.objects.filter(pk=token.owner_id).update(site_role="guest")


def shorten_lifetimes(token, administrator):
    Organization.objects.update(max_token_lifetime_days=7)


def refuse_scope(token, administrator):
    Organization.objects.update(allowed_scopes="pipeline")


def require_two_factor(token, administrator):
    Organization.objects.update(two_factor_roles="user")


def delete_record(token, administrator):
    Token.objects.filter(pk=token.pk).delete()


BLOCKED = "The token “nightly build” of member@acme.example is blocked by the policy of the organization."
ENDS = {
    expire_early: "The token “nightly build” of member@acme.example was expired early.",
    deactivate_owner: "member@acme.example can no longer run this pipeline: the account was deactivated.",
    demote_owner: "member@acme.example can no longer run this pipeline.",
    shorten_lifetimes: BLOCKED,
    refuse_scope: BLOCKED,
    require_two_factor: BLOCKED,
    delete_record: "The token “nightly build” of member@acme.example no longer exists.",
}


@pytest.mark.parametrize("end", ENDS)
def test_queued_run_whose_token_became_invalid_is_refused(owner, administrator, token, build_server, call, end):
    stage = Stage(owner, build_server, "/one")
    call(stage, "run", token)
    end(token, administrator)

    stage.work()

    assert build_server.called == []
    assert (stage.state, stage.steps) == ("finished failed", "skipped")
    assert stage.log[-1] == f"{ENDS[end]} It was not started."
    entry = Activity.objects.get(action="pipeline.run_refused")
    assert (entry.actor_email, entry.target_name) == ("member@acme.example", stage.pipeline.name)
    assert entry.details == {"run_number": 1, "with_token": "nightly build", "reason": stage.log[-1]}


def test_run_whose_token_expired_while_it_was_queued_starts(owner, token, build_server, call):
    stage = Stage(owner, build_server, "/one")
    call(stage, "run", token)

    with time_machine.travel(token.expires_at + timedelta(days=1), tick=False):
        stage.work()

    assert stage.state == "finished success"
    assert not Activity.objects.filter(action="pipeline.run_refused").exists()


def test_run_of_a_token_expired_early_is_refused_after_the_original_expiry_too(
    owner, administrator, token, build_server, call
):
    stage = Stage(owner, build_server, "/one")
    call(stage, "run", token)
    expire_early(token, administrator)

    with time_machine.travel(token.expires_at + timedelta(days=1), tick=False):
        stage.work()

    assert stage.state == "finished failed"


def test_refused_run_does_not_block_the_next_run(owner, administrator, token, build_server, call):
    stage = Stage(owner, build_server, "/one")
    call(stage, "run", token)
    second = stage.ask()
    expire_early(token, administrator)

    stage.work()

    second.refresh_from_db()
    assert (second.number, second.status) == (2, "success")
    assert build_server.called == ["/one"]


def test_run_requested_without_a_token_starts(owner, member, build_server):
    stage = Stage(owner, build_server, "/one")
    stage.ask(actor=member)

    stage.work()

    assert stage.state == "finished success"


# Runs that have begun


@pytest.mark.parametrize("end", [expire_early, deactivate_owner, shorten_lifetimes, delete_record])
def test_run_resumed_with_a_token_that_became_invalid_stays_halted(
    owner, administrator, token, build_server, call, mortality, end
):
    stage = Stage(owner, build_server, "/one", "/two", "/three")
    build_server.answers["/two"] = (500, "broken")
    stage.ask()
    stage.work()
    call(stage, "resume", token)
    end(token, administrator)

    stage.work()

    assert (stage.state, stage.steps) == ("halted failed", "success failed waiting")
    assert stage.log[-1].endswith("The run does not continue.")
    assert Activity.objects.filter(action="pipeline.run_refused").count() == 1
    stage.do("resume", actor=administrator)
    stage.work()
    assert (stage.state, stage.steps) == ("finished success", "success failed success")


def test_gate_approved_with_a_token_expired_early_waits_again(organization, owner, administrator, build_server, call):
    stage = Stage(owner, build_server, "gate", "/two")
    stage.ask()
    stage.work()
    token = TokenFactory(owner=administrator, name="approves")
    call(stage, "approve", token)
    expire_early(token, administrator)

    stage.work()

    assert (stage.state, stage.steps) == ("halted failed", "waiting waiting")
    assert "The token “approves” of admin@acme.example was expired early" in stage.log[-1]
    assert build_server.called == []
    stage.do("resume")
    stage.work()
    assert (stage.state, stage.steps) == ("paused", "paused waiting")
    stage.do("approve")
    stage.work()
    assert (stage.state, stage.steps) == ("finished success", "success success")


def test_approval_of_a_person_who_lost_the_right_does_not_count(owner, administrator, build_server):
    stage = Stage(owner, build_server, "gate", "/two")
    stage.ask()
    stage.work()
    stage.do("approve", actor=administrator)
    User.objects.filter(pk=administrator.pk).update(site_role="user")

    stage.work()

    assert (stage.state, stage.steps) == ("halted failed", "waiting waiting")
    assert "admin@acme.example can no longer approve gates of this pipeline." in stage.log[-1]


def test_run_approved_by_a_person_continues_after_its_token_was_expired_early(
    owner, administrator, token, build_server, call
):
    stage = Stage(owner, build_server, "/one", "gate", "/three")
    call(stage, "run", token)
    stage.work()
    expire_early(token, administrator)
    stage.do("approve")

    stage.work()

    assert stage.state == "finished success"


def test_run_that_lost_its_worker_halts_if_its_token_was_expired_early(
    owner, administrator, token, build_server, mortality
):
    stage = Stage(owner, build_server)
    released(stage, mortality)
    Run.objects.update(token=token, token_name=token.name, started_by=token.owner, started_by_email=token.owner.email)
    expire_early(token, administrator)
    stage.build_server.called.clear()

    stage.work()

    assert stage.state == "halted failed"
    assert build_server.called == []


def test_run_that_lost_its_worker_continues_if_its_token_is_valid(owner, token, build_server, mortality):
    stage = Stage(owner, build_server)
    released(stage, mortality)
    Run.objects.update(token=token, token_name=token.name, started_by=token.owner, started_by_email=token.owner.email)

    stage.work()

    assert stage.state == "finished success"


def test_running_run_finishes_although_its_token_is_expired_early(
    owner, administrator, token, build_server, call, in_thread
):
    stage = Stage(owner, build_server, "/one", "/two")
    call(stage, "run", token)
    run = runner._take_next(stage.pipeline.pk)
    expire_early(token, administrator)

    runner.execute(run)

    assert stage.state == "finished success"


def test_notified_people_learn_why_a_run_was_refused(owner, administrator, token, build_server, call):
    stage = Stage(owner, build_server, "/one")
    stage.pipeline.notified_people.add(owner)
    call(stage, "run", token)
    expire_early(token, administrator)
    stage.work()

    bodies = [message.body for message in delivered() if message.to == [owner.email]]
    assert any("was expired early. It was not started." in body for body in bodies)


def test_page_and_api_say_why_a_run_was_refused(client, api, owner, administrator, token, build_server, call):
    stage = Stage(owner, build_server, "/one")
    call(stage, "run", token)
    expire_early(token, administrator)
    stage.work()
    client.force_login(owner)

    page = client.get(f"/pipelines/{stage.pipeline.pk}/runs/1/").content.decode()

    said = "The token “nightly build” of member@acme.example was expired early. It was not started."
    assert said in page
    headers = bearer(TokenFactory(owner=owner))
    lines = api.post("/api/v1/pipeline/logs", {"pipelineId": str(stage.pipeline.pk)}, headers=headers).json()["data"]
    assert (lines[0]["message"], lines[0]["level"]) == (said, "error")
