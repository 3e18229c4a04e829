"""`ETag` and `If-Match`: a client of the API notices that somebody has changed what it changes."""

import pytest

from opsera_portal.tests.test_changed_meanwhile import browsers, group, pipeline, second, step, step_form
from pipelines import services
from tokens.tests.factories import TokenFactory, bearer

__all__ = ["browsers", "group", "pipeline", "second", "step"]


def by_token(person):
    return bearer(TokenFactory(owner=person, scope="api"))


@pytest.fixture(params=["pipeline", "rules", "group", "user", "policy"])
def operation(request, pipeline, step, group, member):
    """Address, method, and two bodies."""
    return {
        "pipeline": (f"/api/v1/pipelines/{pipeline.pk}", "patch", [{"description": "1"}, {"description": "2"}]),
        "rules": (
            f"/api/v1/pipelines/{pipeline.pk}/access-rules",
            "put",
            [{"rules": [{"user_id": str(member.pk), "role": role}]} for role in ("user", "manager")],
        ),
        "group": (f"/api/v1/groups/{group.pk}", "patch", [{"name": "1"}, {"members": [str(member.pk)]}]),
        "user": (f"/api/v1/users/{member.pk}", "patch", [{"site_role": "guest"}, {"is_active": False}]),
        "policy": ("/api/v1/organization/policy", "patch", [{"max_live_tokens": 3}, {"log_retention_days": 90}]),
    }[request.param]


@pytest.fixture
def ask(api, administrator):
    api.force_login(administrator)

    def ask(method, address, body=None, etag=None):
        headers = {} if etag is None else {"If-Match": etag}
        return getattr(api, method)(address, body, headers=headers)

    return ask


def test_change_with_an_old_etag_is_refused(ask, operation):
    address, method, (first, second) = operation
    etag = ask("get", address)["ETag"]

    changed = ask(method, address, first, etag)
    refused = ask(method, address, second, etag)

    assert (changed.status_code, refused.status_code) == (200, 412)
    assert (refused.json()["code"], refused["Content-Type"]) == ("precondition_failed", "application/problem+json")
    assert ask("get", address)["ETag"] == changed["ETag"] != etag
    assert ask(method, address, second, changed["ETag"]).status_code == 200


def test_change_without_if_match_is_made_as_before(ask, operation):
    address, method, (first, second) = operation

    assert [ask(method, address, body).status_code for body in (first, second)] == [200, 200]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ("*", 200),
        ("{etag}", 200),
        ("W/{etag}", 200),
        ('"other", {etag}', 200),
        ('"other"', 412),
        ('""', 412),
        ("unquoted", 400),
        ("", 400),
        ('"a" "b"', 400),
    ],
)
def test_if_match_is_read_as_http_says(ask, group, sent, status):
    address = f"/api/v1/groups/{group.pk}"
    etag = ask("get", address)["ETag"]

    answer = ask("patch", address, {"name": "New"}, sent.replace("{etag}", etag))

    assert answer.status_code == status


def test_refused_change_changes_nothing_else(ask, pipeline, step):
    """Name, steps and people in one body: all or nothing."""
    address = f"/api/v1/pipelines/{pipeline.pk}"
    etag = ask("get", address)["ETag"]
    ask("patch", address, {"name": "First"})

    refused = ask("patch", address, {"name": "Second", "steps": [], "notified_people": []}, etag)

    assert refused.status_code == 412
    pipeline.refresh_from_db()
    assert (pipeline.name, pipeline.steps.count()) == ("First", 1)


def test_person_without_the_right_learns_nothing_from_if_match(api, pipeline, member):
    address = f"/api/v1/pipelines/{pipeline.pk}"
    headers = by_token(member) | {"If-Match": '"other"'}

    assert api.patch(address, {"name": "New"}, headers=headers).status_code == 403


def test_etag_stays_the_same_while_the_pipeline_is_used(api, ask, pipeline, step, administrator):
    address = f"/api/v1/pipelines/{pipeline.pk}"
    etag = ask("get", address)["ETag"]

    services.start_run(actor=administrator, pipeline=pipeline)
    services.lock_pipeline(actor=administrator, pipeline=pipeline)

    assert ask("get", address)["ETag"] == etag
    assert api.get(address, headers=by_token(administrator))["ETag"] == etag


def test_lists_and_me_have_no_etag(api, pipeline, administrator):
    for address in ("/api/v1/me", "/api/v1/pipelines", "/api/v1/groups", "/api/v1/users"):
        assert "ETag" not in api.get(address, headers=by_token(administrator))


# Page against API


def test_page_notices_a_change_by_api(api, administrator, browsers, pipeline, step):
    _first, second = browsers
    form = step_form(step)
    old = form.open(second)
    steps = [{"id": str(step.pk), "name": "By API", "url": "https://ci.example.com/api"}]

    changed = api.patch(f"/api/v1/pipelines/{pipeline.pk}", {"steps": steps}, headers=by_token(administrator))

    assert changed.status_code == 200
    assert form.send(second, old, 1).status_code == 409


def test_api_notices_a_change_on_the_page(ask, browsers, pipeline, step):
    _first, second = browsers
    address, form = f"/api/v1/pipelines/{pipeline.pk}", step_form(step)
    etag = ask("get", address)["ETag"]

    form.send(second, form.open(second), 1)

    assert ask("patch", address, {"description": "By API"}, etag).status_code == 412
