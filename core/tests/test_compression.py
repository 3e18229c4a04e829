"""Pages are compressed, unless their length could reveal a secret (BREACH). Static files are compressed beforehand."""

import gzip
import re

import brotli
import httpx
import pytest
from django.urls import reverse

from accounts.tests.factors import add_app, make_recent
from core.pages.compression import CompressionMiddleware
from tokens.tests.factories import TokenFactory

GZIP = {"Accept-Encoding": "gzip, br"}
PAGE = "/profile/tokens/"


@pytest.fixture
def signed_in(client, owner):
    client.force_login(owner)
    return client


def test_page_is_compressed_for_a_browser_that_can_read_it(signed_in):
    compressed, plain = signed_in.get(PAGE, headers=GZIP), signed_in.get(PAGE)

    assert compressed.headers["Content-Encoding"] == "gzip"
    assert int(compressed.headers["Content-Length"]) == len(compressed.content)
    assert len(compressed.content) < len(plain.content) / 3
    assert "Access tokens" in gzip.decompress(compressed.content).decode()
    assert "Content-Encoding" not in plain.headers
    assert "Accept-Encoding" in plain.headers["Vary"]


@pytest.mark.parametrize(
    ("site", "is_compressed"), [("none", True), ("same-origin", True), ("same-site", False), ("cross-site", False)]
)
def test_answer_to_a_request_of_another_site_is_not_compressed(signed_in, site, is_compressed):
    answer = signed_in.get(PAGE, headers=GZIP | {"Sec-Fetch-Site": site})

    assert answer.has_header("Content-Encoding") is is_compressed


def test_large_page_that_repeats_nothing_of_its_request_is_compressed_with_brotli(signed_in):
    plain = signed_in.get("/api/docs/")
    small = signed_in.get("/api/docs/", headers=GZIP)
    for_old_browsers = signed_in.get("/api/docs/", headers={"Accept-Encoding": "gzip"})

    assert small.headers["Content-Encoding"] == "br"
    assert int(small.headers["Content-Length"]) == len(small.content)
    assert "Accept-Encoding" in small.headers["Vary"]
    assert "API reference" in brotli.decompress(small.content).decode()
    assert for_old_browsers.headers["Content-Encoding"] == "gzip"
    assert len(small.content) < 0.8 * len(for_old_browsers.content)
    assert "Content-Encoding" not in plain.headers


def test_page_that_is_compressed_with_brotli_repeats_nothing_of_its_request(client):
    text = "text-of-an-attacker"

    answer = client.get(f"/api/docs/?q={text}&next={text}", headers={"User-Agent": text, "Accept-Language": text})

    assert text not in answer.content.decode()


@pytest.mark.parametrize("site", ["same-site", "cross-site"])
def test_answer_to_another_site_is_not_compressed_with_brotli(signed_in, site):
    assert not signed_in.get("/api/docs/", headers=GZIP | {"Sec-Fetch-Site": site}).has_header("Content-Encoding")


def test_length_of_a_compressed_page_is_random():
    assert CompressionMiddleware.max_random_bytes >= 100


def test_new_token_is_not_compressed(signed_in, owner):
    token = TokenFactory(owner=owner, revealed_at=None)
    address = reverse("tokens:token_reveal", args=[token.pk])

    shown, shown_before = signed_in.get(address, headers=GZIP), signed_in.get(address, headers=GZIP)

    assert "signed-jwt" in shown.content.decode()
    assert not shown.has_header("Content-Encoding")
    assert shown_before.headers["Content-Encoding"] == "gzip"


def test_key_of_an_authenticator_app_is_not_compressed(signed_in):
    make_recent(signed_in)

    answer = signed_in.get(reverse("mfa_activate_totp"), headers=GZIP)

    assert "totp-secret" in answer.content.decode()
    assert not answer.has_header("Content-Encoding")


def test_recovery_codes_are_not_compressed(signed_in, owner):
    add_app(owner)
    make_recent(signed_in)
    signed_in.post(reverse("mfa_generate_recovery_codes"))

    answer = signed_in.get(reverse("mfa_view_recovery_codes"), headers=GZIP)

    assert 'id="recovery-codes"' in answer.content.decode()
    assert not answer.has_header("Content-Encoding")


@pytest.mark.parametrize("address", ["/api/v1/me", "/profile/authentication-log/export/"])
def test_data_is_not_compressed(signed_in, address):
    assert not signed_in.get(address, headers=GZIP).has_header("Content-Encoding")


def test_schema_of_the_api_is_compressed(signed_in):
    assert signed_in.get("/api/schema/", headers=GZIP).headers["Content-Encoding"] == "gzip"


@pytest.mark.integration
@pytest.mark.once
def test_web_server_compresses_pages_and_lets_browsers_keep_static_files(portal):
    with httpx.Client(base_url=portal.url, headers=GZIP) as browser:
        page = browser.get("/login/")
        files = re.findall(r'(?:href|src)="(/static/[^"]+\.(?:css|js))"', page.text)
        answers = {path: browser.get(path) for path in files}

    assert page.headers["Content-Encoding"] == "gzip"
    assert "no-store" in page.headers["Cache-Control"]
    assert len(answers) >= 3
    assert {answer.headers["Content-Encoding"] for answer in answers.values()} == {"br"}
    assert {answer.headers["Cache-Control"] for answer in answers.values()} == {"max-age=315360000, public, immutable"}
