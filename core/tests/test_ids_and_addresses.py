"""Ids ignore upper and lower case. An extra slash at the end and OPTIONS get a useful answer."""

import uuid
from datetime import timedelta

import pytest
from django.urls import URLResolver, converters, get_resolver, get_script_prefix, reverse, set_script_prefix
from django.utils import timezone

from auditlog.models import TokenUse
from core import ids
from core.pages.addresses import address_of
from pipelines.tests.factories import PipelineFactory
from tokens import jwt
from tokens.models import Token
from tokens.tests.factories import TokenFactory, bearer

pytestmark = pytest.mark.django_db
ME = "/api/v1/me"


@pytest.fixture
def token(owner):
    return TokenFactory(owner=owner)


@pytest.fixture
def headers(token):
    return bearer(token)


def patterns(resolver=None):
    for entry in (resolver or get_resolver()).url_patterns:
        yield entry
        if isinstance(entry, URLResolver):
            yield from patterns(entry)


# Ids


def test_every_address_accepts_ids_in_upper_case():
    used = {type(one) for entry in patterns() for one in getattr(entry.pattern, "converters", {}).values()}

    assert ids.IdConverter in used
    assert converters.UUIDConverter not in used


@pytest.mark.parametrize("view_name", ["tokens:token_detail", "tokens:token_expire", "pipelines:pipeline_detail"])
@pytest.mark.parametrize("prefix", ["/", "/portal/"])
def test_address_of_a_row_is_the_one_that_django_reverses(view_name, prefix):
    row_id, before = uuid.uuid4(), get_script_prefix()
    set_script_prefix(prefix)
    try:
        assert address_of(view_name, row_id) == reverse(view_name, args=[row_id])
    finally:
        set_script_prefix(before)


def test_api_address_accepts_an_id_in_upper_case(api, token, headers):
    for spelled in (str(token.pk).upper(), str(token.pk).title(), str(token.pk)):
        answer = api.get(f"/api/v1/tokens/{spelled}", headers=headers)
        assert (answer.status_code, answer.json()["id"]) == (200, str(token.pk))


def test_page_accepts_an_id_in_upper_case(client, owner, token):
    client.force_login(owner)

    answer = client.get(f"/profile/tokens/{str(token.pk).upper()}/")

    assert answer.status_code == 200
    assert f"/profile/tokens/{token.pk}/" in answer.content.decode()


def test_body_and_query_accept_an_id_in_upper_case(api, administrator):
    headers = bearer(TokenFactory(owner=administrator))
    pipeline = PipelineFactory(owner=administrator)
    use = api.get(ME, headers=headers).headers["X-Request-ID"]

    body = api.post("/api/v1/pipeline/status", {"pipelineId": str(pipeline.pk).upper()}, format="json", headers=headers)
    query = api.get("/api/v1/logs/user/tokens", {"request_id": use.upper()}, headers=headers)

    assert body.status_code == 200
    assert query.json()["count"] == 1


def other_forms(of):
    return {
        "braces": f"{{{of}}}",
        "urn": f"urn:uuid:{of}",
        "without hyphens": of.hex,
        "hyphens elsewhere": f"{of.hex[:4]}-{of.hex[4:]}",
        "a space": f"{of} ",
        "full width": str(of).translate({ord(c): ord(c) + 0xFEE0 for c in "0123456789abcdef"}),
        "a NUL": f"{of}\x00",
    }


@pytest.mark.parametrize("form", other_forms(uuid.uuid4()))
def test_other_forms_of_an_id_are_refused_everywhere(api, owner, token, headers, form):
    pipeline = PipelineFactory(owner=owner)

    in_address = api.get(f"/api/v1/tokens/{other_forms(token.pk)[form].replace(' ', '%20')}", headers=headers)
    in_body = api.post(
        "/api/v1/pipeline/status", {"pipelineId": other_forms(pipeline.pk)[form]}, format="json", headers=headers
    )

    assert in_address.status_code == 404
    assert (in_body.status_code, list(in_body.json()["errors"])) == (400, ["pipelineId"])


# A slash at the end


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_slash_at_the_end_redirects_and_keeps_the_method(api, headers, method):
    answer = api.generic(method, "/api/v1/pipelines/?page_size=1&q=a%20b", headers=headers)

    assert (answer.status_code, answer.headers["Location"]) == (308, "/api/v1/pipelines?page_size=1&q=a%20b")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert TokenUse.objects.get().status == 308


def test_redirect_names_the_right_address(api, headers):
    assert "Use /api/v1/me" in api.get(f"{ME}/", headers=headers).json()["detail"]


def test_post_through_the_redirect_is_carried_out_once(api, owner, headers):
    pipeline = PipelineFactory(owner=owner)
    sent = {"pipelineId": str(pipeline.pk)}

    moved = api.post("/api/v1/pipeline/status/", sent, format="json", headers=headers)
    answer = api.post(moved.headers["Location"], sent, format="json", headers=headers)

    assert answer.status_code == 200
    assert list(TokenUse.objects.order_by("pk").values_list("status", flat=True)) == [308, 200]


@pytest.mark.parametrize(
    ("path", "leads_to"),
    [
        ("/api/v1/me//", ME),
        ("/api/v1/tokens/{id}/", "/api/v1/tokens/{id}"),
        ("/api/v1/", None),
        ("/api/v1//evil.example/", None),
        ("/api/v1/nothing/", None),
        ("/api/v1/me/x/", None),
        ("/api/v1/me%0d%0aX-Evil:1/", None),
    ],
)
def test_slash_redirects_only_to_addresses_of_operations(api, token, headers, path, leads_to):
    answer = api.get(path.format(id=token.pk), headers=headers)

    assert answer.headers.get("Location") == (leads_to and leads_to.format(id=token.pk))
    assert answer.status_code == (308 if leads_to else 404)


def test_slash_redirect_refuses_invalid_tokens(api, owner):
    refused = bearer(TokenFactory(owner=owner, revoked_at=timezone.now()))

    assert api.get(f"{ME}/").status_code == 308
    assert api.get(f"{ME}/", headers=refused).status_code == 401
    assert api.get(f"{ME}/", headers={"Authorization": "Bearer junk"}).status_code == 401


# OPTIONS


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        (ME, {"GET", "HEAD", "OPTIONS"}),
        ("/api/v1/tokens", {"GET", "HEAD", "POST", "OPTIONS"}),
        ("/api/v1/pipeline/run", {"POST", "OPTIONS"}),
        ("/api/v1/tokens/00000000-0000-4000-8000-000000000001", {"GET", "HEAD", "OPTIONS"}),
        ("/api/schema/", {"GET", "HEAD", "OPTIONS"}),
        ("/login/", {"GET", "HEAD", "POST", "OPTIONS"}),
    ],
)
def test_options_answers_204_with_the_methods(api, path, methods):
    answer = api.options(path)

    assert (answer.status_code, answer.content) == (204, b"")
    assert methods <= set(answer.headers["Allow"].split(", "))


def test_options_ignores_query_body_and_object(api, headers):
    answer = api.generic(
        "OPTIONS", "/api/v1/tokens/00000000-0000-4000-8000-000000000001?x=1", b"{", "application/json", headers=headers
    )

    assert answer.status_code == 204


def test_options_with_a_token_is_logged(api, owner, headers):
    refused = bearer(TokenFactory(owner=owner, revoked_at=timezone.now()))

    assert api.options(ME, headers=headers).status_code == 204
    assert api.options(ME, headers=refused).status_code == 401
    assert list(TokenUse.objects.order_by("pk").values_list("method", "status")) == [("OPTIONS", 204), ("OPTIONS", 401)]


def test_options_counts_toward_the_limit_of_the_address(api, settings):
    from core.setting_readers import Rate

    settings.API_LIMIT_ADDRESS = Rate(2, 86400)

    assert [api.options(ME).status_code for _ in range(3)] == [204, 204, 429]


def test_options_of_a_page_requires_sign_in(client):
    assert client.options("/profile/tokens/").status_code == 302


# Clocks


@pytest.mark.parametrize(("ahead", "status"), [(0, 200), (5, 200), (9, 200), (60, 401)])
def test_new_token_is_accepted_if_the_clock_is_a_few_seconds_behind(api, owner, ahead, status):
    token = TokenFactory(owner=owner)
    Token.objects.filter(pk=token.pk).update(created_at=timezone.now() + timedelta(seconds=ahead))
    token.refresh_from_db()

    assert api.get(ME, headers=bearer(token)).status_code == status


def test_expired_token_has_no_leeway(api, owner):
    now = timezone.now()
    token = TokenFactory(owner=owner, created_at=now - timedelta(days=1), expires_at=now - timedelta(seconds=1))

    assert api.get(ME, headers=bearer(token)).json()["code"] == "expired"
    assert jwt.NOT_BEFORE_LEEWAY.total_seconds() == 10
