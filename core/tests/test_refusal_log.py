"""The server's log has a line for each refused request of a signed-in person (pages and API)."""

import logging
import uuid

import pytest
from django.test import Client

from pipelines.tests.factories import PipelineFactory
from tokens.tests.factories import TokenFactory, bearer

LOGGER = "core.pages.middleware"


def lines(caplog):
    return [record.getMessage() for record in caplog.records if record.name == LOGGER]


@pytest.fixture
def strangers_pipeline(stranger):
    return PipelineFactory(owner=stranger)


def test_page_refused_to_a_role_is_logged_with_person_address_and_request(client, owner, caplog):
    client.force_login(owner)

    answer = client.get("/organization/users/", REMOTE_ADDR="192.0.2.7")

    assert lines(caplog) == [
        f"403 for person {owner.pk} from 192.0.2.7: GET /organization/users/ (request {answer.headers['X-Request-ID']})"
    ]
    assert caplog.records[-1].levelno == logging.WARNING


def test_request_for_an_invisible_object_is_logged(client, owner, caplog, strangers_pipeline):
    client.force_login(owner)

    client.get(f"/pipelines/{strangers_pipeline.pk}/")

    (line,) = lines(caplog)
    assert line.startswith(f"404 for person {owner.pk} ")


def test_operation_refused_to_a_session_is_logged(client, owner, caplog, strangers_pipeline):
    client.force_login(owner)

    client.get(f"/api/v1/pipelines/{strangers_pipeline.pk}")

    (line,) = lines(caplog)
    assert line.startswith(f"403 for person {owner.pk} ")


def test_forged_form_is_logged(owner, caplog):
    client = Client(enforce_csrf_checks=True)
    client.force_login(owner)

    client.post("/profile/security/expiry-mails/")

    (line,) = lines(caplog)
    assert "POST /profile/security/expiry-mails/" in line


def test_allowed_request_is_not_logged(client, owner, caplog):
    client.force_login(owner)

    client.get("/profile/")

    assert lines(caplog) == []


@pytest.mark.parametrize("address", ["/nothing-here/", "/organization/users/", "/api/v1/users"])
def test_stranger_cannot_fill_the_log(client, db, caplog, address):
    client.get(address)

    assert lines(caplog) == []


def test_refusal_of_a_token_is_only_in_the_authentication_log(api, owner, caplog):
    api.get("/api/v1/users", headers=bearer(TokenFactory(owner=owner)))

    assert lines(caplog) == []


def test_refusal_is_one_line_without_query_and_token(client, owner, caplog):
    client.force_login(owner)

    looks_like_a_token = ".".join(["eyJhbGciOiJFUzI1NiJ9", "eyJzdWIiOiIxIn0", "c2lnbmF0dXJl"])
    client.get(f"/nothing%0A{uuid.uuid4()}/{looks_like_a_token}?secret=word")

    (line,) = lines(caplog)
    assert "\n" not in line
    assert "secret" not in line
    assert "eyJ" not in line
