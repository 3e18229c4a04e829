"""The API operations for the usage of tokens."""

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.roles import SiteRole
from accounts.tests.factories import UserFactory
from auditlog.tests.test_logs import use
from tokens.tests.factories import TokenFactory, bearer

pytestmark = pytest.mark.each_database

REVOKED = {"status": 401, "code": "revoked"}


@pytest.fixture
def session(api, owner):
    api.force_login(owner)
    return api


def as_text(moment):
    return moment.isoformat().replace("+00:00", "Z")


def test_usage_of_a_token_has_days_and_addresses(session, owner):
    first_at, last_at = timezone.now() - timedelta(days=3), timezone.now()
    token = TokenFactory(owner=owner)
    use(token, first_at, ip="192.0.2.1")
    use(token, last_at, ip="192.0.2.1", status=403, code="forbidden")
    use(TokenFactory(owner=owner), last_at)

    body = session.get(f"/api/v1/tokens/{token.pk}/usage").json()

    assert set(body) == {"id", "days", "addresses", "after_end", "is_complete"}
    assert body["id"] == str(token.pk)
    assert len(body["days"]) == 30
    assert body["days"][-4] == {"date": first_at.date().isoformat(), "allowed": 1, "refused": 0}
    assert body["days"][-1] == {"date": last_at.date().isoformat(), "allowed": 0, "refused": 1}
    assert body["addresses"] == [
        {
            "ip": "192.0.2.1",
            "host_name": "",
            "first_at": as_text(first_at),
            "last_at": as_text(last_at),
            "uses": 2,
            "refused": 1,
            "is_new": False,
        }
    ]
    assert body["after_end"] is None
    assert body["is_complete"] is True


def test_unused_token_has_empty_usage(session, owner):
    body = session.get(f"/api/v1/tokens/{TokenFactory(owner=owner).pk}/usage").json()

    assert (body["addresses"], body["after_end"]) == ([], None)
    assert {(day["allowed"], day["refused"]) for day in body["days"]} == {(0, 0)}


def test_usage_contains_uses_after_the_end(session, owner):
    at = timezone.now() - timedelta(hours=1)
    token = TokenFactory(owner=owner, name="old laptop", revoked_at=at - timedelta(hours=1))
    use(token, at, ip="192.0.2.9", user_agent="Postman", **REVOKED)
    after_end = {
        "uses": 1,
        "first_at": as_text(at),
        "last_at": as_text(at),
        "last_ip": "192.0.2.9",
        "last_method": "GET",
        "last_target": "/api/v1/me",
        "last_user_agent": "Postman",
        "addresses": [{"ip": "192.0.2.9", "first_at": as_text(at), "last_at": as_text(at), "uses": 1}],
    }
    whose = {"id": str(token.pk), "name": "old laptop", "owner_id": str(owner.pk), "owner_email": owner.email}

    assert session.get(f"/api/v1/tokens/{token.pk}/usage").json()["after_end"] == after_end
    assert session.get("/api/v1/me/usage").json()["ended_in_use"] == [after_end | whose]


def test_own_usage_omits_tokens_of_others_and_the_organizations_includes_them(api, organization, owner, stranger):
    auditor = UserFactory(organization=organization, site_role=SiteRole.AUDITOR)
    for person in (auditor, owner, stranger):
        use(TokenFactory(owner=person, revoked_at=timezone.now() - timedelta(hours=1)), **REVOKED)
    api.force_login(auditor)

    def answered(path):
        body = api.get(path).json()
        assert set(body) == {"days", "ended_in_use", "is_complete"}
        return sum(day["refused"] for day in body["days"]), {row["owner_email"] for row in body["ended_in_use"]}

    assert answered("/api/v1/me/usage") == (1, {auditor.email})
    assert answered("/api/v1/organization/usage") == (2, {auditor.email, owner.email})


def test_another_persons_token_and_a_missing_one_get_the_same_answer(api, owner, administrator):
    api.force_login(administrator)
    theirs = api.get(f"/api/v1/tokens/{TokenFactory(owner=owner).pk}/usage")
    nobodys = api.get(f"/api/v1/tokens/{owner.pk}/usage")

    assert theirs.status_code == nobodys.status_code == 403
    assert theirs.json() | {"request_id": ""} == nobodys.json() | {"request_id": ""}


def test_usage_request_itself_is_counted_in_the_next_answer(api, owner):
    headers = bearer(TokenFactory(owner=owner, scope="api-readonly"))

    counts = [api.get("/api/v1/me/usage", headers=headers).json()["days"][-1]["allowed"] for _ in range(3)]

    assert counts == [0, 1, 2]


@pytest.mark.parametrize("path", ["/api/v1/me/usage", "/api/v1/organization/usage"])
def test_parameters_are_refused(api, administrator, path):
    api.force_login(administrator)

    assert api.get(path, {"days": 90}).status_code == 400
