"""Showing a new token once: the service, simultaneous requests, the page."""

import re
import threading
from datetime import timedelta
from html import unescape

import pytest
import time_machine
import yaml
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from accounts.roles import SiteRole
from accounts.tests.factories import UserFactory
from auditlog.models import Activity
from tokens import jwt, services
from tokens.keys.ring import key_ring
from tokens.models import Token
from tokens.tests.factories import TokenFactory


@pytest.fixture
def pending(owner):
    return TokenFactory(owner=owner, name="nightly", revealed_at=None)


def page_of(token):
    return reverse("tokens:token_reveal", args=[token.pk])


def shows_a_token(answer):
    return 'id="signed-jwt"' in answer.content.decode()


@pytest.mark.each_database
def test_token_is_signed_marked_and_recorded(owner, pending):
    token, signed_jwt = services.reveal_token(actor=owner, token=pending)

    assert jwt.decode(signed_jwt).token_id == pending.pk
    token.refresh_from_db()
    assert token.revealed_at is not None
    assert token.signing_key_id == key_ring().current.id
    assert Activity.objects.get().action == "token.revealed"


def test_claims_equal_the_metadata(owner, pending):
    _, signed_jwt = services.reveal_token(actor=owner, token=pending)
    import jwt as pyjwt

    header = pyjwt.get_unverified_header(signed_jwt)
    claims = pyjwt.decode(signed_jwt, options={"verify_signature": False})

    assert header == {"alg": "ES256", "kid": key_ring().current.id, "typ": "at+jwt"}
    assert claims == {
        "iss": "http://127.0.0.1:8000",
        "aud": "http://127.0.0.1:8000/api/v1",
        "sub": str(owner.pk),
        "jti": str(pending.pk),
        "iat": int(pending.created_at.timestamp()),
        "nbf": int(pending.created_at.timestamp()),
        "exp": int(pending.expires_at.timestamp()),
        "scope": "api",
        "account": "acme",
        "token_type": "personal_access",
    }


@pytest.mark.parametrize(
    "change",
    [
        {"revealed_at": timezone.now()},
        {"revoked_at": timezone.now(), "live_name_key": None},
        {"created_at": timezone.now() - timedelta(minutes=10)},
    ],
    ids=["shown before", "expired early", "lapsed"],
)
@pytest.mark.each_database
def test_token_that_cannot_be_shown_is_refused(owner, pending, change):
    Token.objects.filter(pk=pending.pk).update(**change)

    with pytest.raises(services.CannotBeRevealed):
        services.reveal_token(actor=owner, token=pending)


def test_only_the_owner_can_reveal_a_token(administrator, pending):
    with pytest.raises(services.CannotBeRevealed):
        services.reveal_token(actor=administrator, token=pending)
    pending.refresh_from_db()
    assert pending.revealed_at is None


@pytest.mark.django_db(transaction=True)
def test_one_of_many_simultaneous_requests_shows_the_token(owner):
    token = TokenFactory(owner=owner, revealed_at=None)
    shown = []
    barrier = threading.Barrier(6)

    def request():
        try:
            barrier.wait()
            shown.append(
                services.reveal_token(
                    actor=owner, token=Token.objects.select_related("owner", "organization").get(pk=token.pk)
                )
            )
        except services.CannotBeRevealed:
            pass
        finally:
            connection.close()

    threads = [threading.Thread(target=request) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(shown) == 1
    assert Activity.objects.filter(action="token.revealed").count() == 1


@pytest.mark.each_database
def test_page_shows_the_token_once(client, owner, pending):
    client.force_login(owner)

    first, second = client.get(page_of(pending)), client.get(page_of(pending))

    assert shows_a_token(first)
    assert not shows_a_token(second)
    assert "has already been shown" in second.content.decode()
    assert reverse("tokens:token_expire", args=[pending.pk]) in second.content.decode()
    for answer in (first, second):
        assert "no-store" in answer.headers["Cache-Control"]


@pytest.mark.parametrize(
    "look_ahead",
    [
        {"headers": {"Sec-Purpose": "prefetch"}},
        {"headers": {"Sec-Purpose": "prefetch;prerender"}},
        {"headers": {"Purpose": "prefetch"}},
        {"headers": {"X-Moz": "prefetch"}},
    ],
)
def test_preload_shows_nothing_and_does_not_count(client, owner, pending, look_ahead):
    client.force_login(owner)

    assert not shows_a_token(client.get(page_of(pending), **look_ahead))
    assert shows_a_token(client.get(page_of(pending)))


def test_head_request_does_not_count(client, owner, pending):
    client.force_login(owner)
    client.head(page_of(pending))

    assert shows_a_token(client.get(page_of(pending)))


def test_post_is_not_allowed(client, owner, pending):
    client.force_login(owner)

    assert client.post(page_of(pending)).status_code == 405


@pytest.mark.parametrize(
    ("role", "status", "may_expire"),
    [
        (SiteRole.ADMINISTRATOR, 200, True),
        (SiteRole.SECURITY_MANAGER, 200, True),
        (SiteRole.AUDITOR, 200, False),
        (SiteRole.POWER_USER, 404, False),
        (SiteRole.USER, 404, False),
        (SiteRole.GUEST, 404, False),
    ],
)
def test_another_person_never_sees_the_token(client, organization, pending, role, status, may_expire):
    client.force_login(UserFactory(organization=organization, site_role=role))

    answer = client.get(page_of(pending))

    assert answer.status_code == status
    assert not shows_a_token(answer)
    assert (reverse("tokens:token_expire", args=[pending.pk]) in answer.content.decode()) == may_expire
    pending.refresh_from_db()
    assert pending.revealed_at is None


def test_stranger_gets_404(client, stranger, pending):
    client.force_login(stranger)

    assert client.get(page_of(pending)).status_code == 404


def test_signed_out_visitor_is_sent_to_sign_in_and_does_not_count(client, pending):
    answer = client.get(page_of(pending))

    assert answer.status_code == 302
    assert answer.url.startswith("/login/")
    pending.refresh_from_db()
    assert pending.revealed_at is None


def test_page_says_that_the_time_to_show_it_is_over(client, owner, pending):
    client.force_login(owner)
    with time_machine.travel(timezone.now() + timedelta(minutes=11)):
        answer = client.get(page_of(pending))

    assert "can no longer be shown" in answer.content.decode()


def examples(page):
    return {example["id"]: example["text"] for example in page.context["examples"]}


def text_of(html):
    return unescape(re.sub(r"<[^>]+>", "", html))


def test_examples_contain_the_whole_token_and_show_it_cut(client, owner):
    client.force_login(owner)
    token = TokenFactory(owner=owner, scope="api", revealed_at=None)

    page = client.get(f"/profile/tokens/{token.pk}/reveal/")

    signed = page.context["signed_jwt"]
    with_token = {name for name, text in examples(page).items() if f'<span class="cut">{signed}</span>' in text}
    assert with_token == {"curl", "python", "javascript", "powershell", "postman"}
    assert signed not in text_of(examples(page)["github"])
    assert f"Bearer {signed}" in text_of(examples(page)["curl"])


def test_example_for_github_is_a_workflow_that_reads_the_token_from_a_secret(client, owner):
    client.force_login(owner)
    token = TokenFactory(owner=owner, scope="pipeline", revealed_at=None)

    workflow = yaml.safe_load(text_of(examples(client.get(f"/profile/tokens/{token.pk}/reveal/"))["github"]))

    [step] = workflow["jobs"]["call-portal"]["steps"]
    assert step["env"] == {"OPSERA_TOKEN": "${{ secrets.OPSERA_TOKEN }}"}
    assert step["run"].strip().endswith("/api/v1/pipelines")


def page_after_creating(client, owner, scope):
    client.force_login(owner)
    token = TokenFactory(owner=owner, scope=scope, revealed_at=None)
    return client.get(page_of(token)).content.decode()


def test_page_links_to_the_reference_and_the_postman_collection_without_being_left(client, owner):
    page = page_after_creating(client, owner, "api-readonly")

    assert '<a href="/api/docs/" target="_blank" rel="noopener">API reference</a>' in page
    assert re.search(r'href="/api/postman/"\s+download', page)
    assert "In Postman, choose “Import” and paste this command." in page
    assert "docs/postman" not in page


@pytest.mark.parametrize(
    ("role", "scope", "says"),
    [
        (SiteRole.USER, "pipeline", True),
        (SiteRole.USER, "api security-logs", True),
        (SiteRole.USER, "pipeline-readonly api-readonly", False),
        (SiteRole.USER, "security-logs", False),
        (SiteRole.GUEST, "api pipeline", False),
        (SiteRole.AUDITOR, "pipeline", False),
    ],
)
def test_page_says_how_to_run_a_pipeline_if_the_token_can(client, organization, role, scope, says):
    page = page_after_creating(client, UserFactory(organization=organization, site_role=role), scope)

    assert ('id="how-to-run"' in page) is says
    assert ('href="/pipelines/" target="_blank"' in page) is says
