"""The regular expression that finds tokens in a text, and what is published about it."""

import base64
import json
import math
import re
import time
import tomllib
from collections import Counter
from html import unescape
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from django.conf import settings

from accounts.models import Organization, User
from core.api.scopes import SCOPES, as_string
from opsera_portal.tests.files import files_below
from tokens import jwt
from tokens.keys import signing_key
from tokens.leaks import finding, reporting
from tokens.tests.factories import TokenFactory, now_in_seconds

ROOT = Path(settings.BASE_DIR)
GUIDE = ROOT / "docs" / "secret-scanning.md"
SHARED_DATA = ROOT.parent / "shared" / "data"


def pem(key):
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption()).decode()


# The first character of a thumbprint changes the base64 of the header. With "-", the id has 44 characters, not 43.
FIRST_CHARACTERS = "-0AQ_ap"


@pytest.fixture(scope="module")
def keys():
    return {
        "ES256": [key_whose_thumbprint_begins_with(character) for character in FIRST_CHARACTERS],
        "RS256": [pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))],
    }


def key_whose_thumbprint_begins_with(character):
    while True:
        key = ec.generate_private_key(ec.SECP256R1())
        if signing_key.describe(key).thumbprint.startswith(character):
            return pem(key)


def signed(*, slug="acme", scope="api"):
    """A genuine token of some installation. It has no record in the database."""
    token = TokenFactory.build(
        owner=User(),
        organization=Organization(slug=slug),
        name="n",
        live_name_key=None,
        scope=scope,
        created_at=now_in_seconds(),
    )
    return jwt.encode(token)[0]


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
@pytest.mark.parametrize("slug", ["a", "ab", "abc", "x" * 50])
@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "https://portal.example.com", f"https://{'p' * 60}.example"])
def test_tokens_of_every_installation_are_found(settings, keys, algorithm, slug, url):
    settings.TOKEN_ISSUER, settings.TOKEN_AUDIENCE = url, f"{url}/api/v1"
    for key in keys[algorithm]:
        settings.TOKEN_SIGNING_KEYS = key
        encoded = signed(slug=slug)

        assert finding.tokens_in(encoded) == [encoded]
        assert jwt.decode(encoded)


@pytest.mark.parametrize("scope", [*[scope.id for scope in SCOPES], as_string(list(SCOPES))])
def test_tokens_with_any_scope_are_found(scope):
    encoded = signed(scope=scope)

    assert finding.tokens_in(encoded) == [encoded]


@pytest.mark.parametrize(
    "around",
    [
        "Authorization: Bearer {}",
        '{{"token": "{}"}}',
        "curl -H 'Authorization: Bearer {}' https://portal.example.com",
        "TOKEN={}\n",
        "https://example.com/?access_token={}&page=2",
        "(see {}).",
        "_{}_",
        "**{}**",
        "`{}`",
        "x{}y",
        "\ufeff{}\x00",
        "eyJ.{}.eyJ",
        "密钥{}。",
    ],
)
def test_text_around_a_token_is_not_matched(around):
    encoded = signed()

    assert finding.tokens_in(around.format(encoded)) == [encoded]


def test_each_of_several_tokens_is_found_once():
    first, second = signed(slug="one"), signed(slug="two")

    assert finding.tokens_in(f"{first} {second}\n{first},{second}") == [first, second]


@pytest.mark.parametrize("cut", ["header", "payload", "signature", "one character"])
def test_incomplete_token_is_not_found(cut):
    header, payload, signature = signed().split(".")
    halves = {
        "header": f"{header[1:]}.{payload}.{signature}",
        "payload": f"{header}.{payload[:-5]}.{signature}",
        "signature": f"{header}.{payload}.",
        "one character": f"{header}.{payload}.{signature[:-1]}",
    }

    assert finding.tokens_in(halves[cut]) == []


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
def test_each_beginning_of_a_token_is_a_part_of_it(settings, keys, algorithm):
    for key in keys[algorithm]:
        settings.TOKEN_SIGNING_KEYS = key
        encoded = signed()

        assert all(
            finding.has_only_part_of_token(f"Bearer {encoded[:length]}") for length in range(10, len(encoded), 7)
        )
        assert not finding.has_only_part_of_token(f"Bearer {encoded}")


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def segment(value):
    return base64url(json.dumps(value, separators=(",", ":")).encode())


OURS = {"alg": "ES256", "kid": "k" * 43, "typ": "at+jwt"}
CLAIMS = {"iss": "https://portal.example.com", "sub": "s" * 300, "token_type": "personal_access"}


@pytest.mark.parametrize(
    ("header", "claims"),
    [
        (OURS | {"alg": "HS256"}, CLAIMS),
        (OURS | {"alg": "none"}, CLAIMS),
        (OURS | {"alg": "ES384"}, CLAIMS),
        (OURS | {"typ": "JWT"}, CLAIMS),
        (OURS | {"kid": "short"}, CLAIMS),
        (OURS | {"kid": "k" * 44}, CLAIMS),
        ({"typ": "at+jwt", "alg": "ES256", "kid": "k" * 43}, CLAIMS),
        (OURS, {"sub": "s" * 300, "iss": "https://portal.example.com", "token_type": "personal_access"}),
        (OURS, CLAIMS | {"iss": "accounts.example.com"}),
        (OURS, CLAIMS | {"token_type": "refresh"}),
        (OURS, CLAIMS | {"jti": "last"}),
    ],
    ids=str,
)
def test_other_jwts_are_not_found(header, claims):
    signature = "A" * 86
    assert finding.tokens_in(f"{segment(OURS)}.{segment(CLAIMS)}.{signature}")

    assert finding.tokens_in(f"{segment(header)}.{segment(claims)}.{signature}") == []


# From RFC 7515 appendix A.3, RFC 7519 section 3.1 and RFC 9068 section 2.2 (its header and claims). Assembled here, so
# that scanners don't find them in the repository.
CLAIMS_OF_JOE = b'{"iss":"joe",\r\n "exp":1300819380,\r\n "http://example.com/is_root":true}'
SAMPLES = [
    ".".join(
        [
            segment({"alg": "ES256"}),
            base64url(CLAIMS_OF_JOE),
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        ]
    ),
    ".".join(
        [
            base64url(b'{"typ":"JWT",\r\n "alg":"HS256"}'),
            base64url(CLAIMS_OF_JOE),
            "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
        ]
    ),
    ".".join(
        [
            segment({"typ": "at+JWT", "alg": "RS256", "kid": "RjEwOwOA"}),
            segment({"iss": "https://authorization-server.example.com/", "aud": "https://rs.example.com/"}),
            "A" * 342,
        ]
    ),
]


@pytest.mark.parametrize("sample", SAMPLES, ids=["RFC 7515", "RFC 7519", "RFC 9068"])
def test_samples_of_the_standards_are_not_found(sample):
    assert finding.tokens_in(sample) == []


@pytest.mark.parametrize(
    "text",
    [
        *SAMPLES,
        f"{segment({'alg': 'RS256', 'kid': 'a1b2', 'typ': 'JWT'})}.{segment({'iss': 'https://example'})}.{'A' * 342}",
        f"{segment({'alg': 'ES256', 'typ': 'JWT'})[:30]}...",
        "eyJ",
        "hello",
        "",
    ],
    ids=["RFC 7515", "RFC 7519", "RFC 9068", "same beginning", "cut off", "short", "words", "empty"],
)
def test_jwts_of_other_products_are_not_parts_of_our_tokens(text):
    assert not finding.has_only_part_of_token(text)


@pytest.mark.parametrize("name", ["json_web_signature_test.json", "blns.json", "jwt.secrets.list"])
def test_public_test_data_contains_no_token(name):
    path = SHARED_DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not here")

    assert finding.tokens_in(path.read_text(encoding="utf-8", errors="replace")) == []


def files_of_the_repository():
    for top in ROOT.iterdir():
        if top.name not in {"node_modules", "var", "staticfiles", "__pycache__"} and not top.name.startswith("."):
            yield from [top] if top.is_file() else (path for path in files_below(top) if path.is_file())


def test_repository_contains_no_token():
    texts = {path: path.read_bytes().decode(errors="replace") for path in files_of_the_repository()}

    assert GUIDE in texts
    assert [path for path, text in texts.items() if finding.tokens_in(text)] == []


LENGTH = 2_000_000
HEADER, PAYLOAD, _ = finding.example().split(".")
JUNK = {
    "words": "the quick brown fox jumps over the lazy dog ",
    "base64": "eyJhbGciOiJFUzI1NiIsImtpZCI6",
    "dots": "eyJ.",
    "headers": HEADER,
    "headers and dots": f"{HEADER}.",
    "beginnings": f"{HEADER}.{PAYLOAD[:16]}",
    "almost": f"{HEADER}.{PAYLOAD}.{'A' * 85}.",
    "one payload without an end": "A",
    "ends": "BlcnNvbmFsX2FjY2VzcyJ9",
}


@pytest.mark.parametrize("junk", JUNK)
@pytest.mark.slow
def test_search_takes_linear_time(junk):
    text = f"{HEADER}.{PAYLOAD[:16]}" + JUNK[junk] * (LENGTH // len(JUNK[junk]))
    start = time.process_time()

    assert finding.tokens_in(text) == []
    finding.has_only_part_of_token(text)
    # It takes a twentieth of a second. In quadratic time it would take hours.
    assert time.process_time() - start < 10


def test_pattern_uses_only_what_other_engines_support():
    """No look-around, no back references, no classes that differ between engines, no repetition over 1000."""
    assert not re.search(r"\(\?[^:]|\\[1-9wdsbB]", finding.PATTERN)
    assert all(int(number) <= 1000 for number in re.findall(r"\{(\d+)", finding.PATTERN))
    assert all(int(number) <= 1000 for number in re.findall(r",(\d+)\}", finding.PATTERN))
    assert finding.PATTERN.isascii()


# What is published


def test_example_is_found_and_is_not_genuine():
    assert finding.tokens_in(finding.example()) == [finding.example()]
    with pytest.raises(jwt.NotGenuine):
        jwt.decode(finding.example())


@pytest.fixture
def page(client, db):
    return client.get("/secret-scanning/").content.decode()


def code(page, element_id):
    return unescape(re.search(rf'id="{element_id}">(.*?)</code>', page, re.DOTALL)[1])


def test_page_and_guide_publish_the_pattern_that_the_portal_uses(page):
    assert code(page, "pattern") == finding.PATTERN
    assert f"```\n{finding.PATTERN}\n```" in GUIDE.read_text()


def test_page_and_guide_give_the_real_prefixes_and_limits(page):
    for text in (page, GUIDE.read_text()):
        assert re.findall(r"`?eyJhbGciOiJ[FS]UzI1NiIsImtpZCI6(?=[`<])", text)
        assert signed()[:28] in text
        assert f"1 to {reporting.MAX_REPORTED} texts" in text
        assert f"{reporting.REPORTS.amount} reports" in text
    assert reporting.REPORTS.seconds == 60
    assert f"at most {jwt.MAX_LENGTH} characters" in GUIDE.read_text()
    assert f"at most {reporting.MAX_URL_LENGTH} characters" in GUIDE.read_text()


def entropy(text):
    """Shannon entropy in bits per character, as in gitleaks."""
    return -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values())


def test_published_length_and_entropy_are_true(settings, keys):
    found = [finding.example(), signed(slug="a")]
    settings.TOKEN_SIGNING_KEYS = keys["RS256"][0]
    found.append(signed(slug="x" * 50, scope=as_string(list(SCOPES))))

    assert all(500 <= len(encoded) <= 1500 for encoded in found)
    assert all(entropy(encoded) > 5 for encoded in found)


def test_gitleaks_rule_finds_tokens():
    [text] = re.findall(r"```toml\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    [rule] = tomllib.loads(text)["rules"]

    assert rule["regex"] == finding.PATTERN
    assert entropy(finding.example()) > rule["entropy"]
    # gitleaks checks only texts that contain one of these, in any case.
    assert [keyword for keyword in rule["keywords"] if keyword in finding.example().lower()]
    assert {keyword[12] for keyword in rule["keywords"]} == {"u"}


def test_page_is_public_and_shows_where_to_verify_and_report(client, page):
    assert 'href="http://127.0.0.1:8000/.well-known/jwks.json"' in page
    assert "http://127.0.0.1:8000/api/v1/tokens/report" in page
    assert client.get("/.well-known/jwks.json").json()["keys"]


def test_curl_example_works_as_pasted(client, page):
    command = code(page, "report")
    url = re.match(r"curl (\S+)", command)[1]
    body = re.search(r"-d '(.*)'$", command)[1]

    answer = client.post(url.removeprefix(settings.PORTAL_URL), body, content_type="application/json")

    assert (answer.status_code, answer.json()) == (202, {"status": "received"})
