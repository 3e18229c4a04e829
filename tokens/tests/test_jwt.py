"""Forgeries: whatever is not made with our keys, exactly as we make it, is not genuine (RFC 8725)."""

import base64
import hashlib
import hmac
import json
from datetime import timedelta
from pathlib import Path

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from django.utils import timezone

from auditlog.models import TokenUse
from tokens import jwt
from tokens.signing_keys import key_ring
from tokens.tests.factories import TokenFactory

SHARED_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def segment(value):
    data = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.fixture
def token(owner):
    return TokenFactory(owner=owner)


@pytest.fixture
def genuine(token):
    return jwt.encode(token)[0]


@pytest.fixture
def claims(genuine):
    return pyjwt.decode(genuine, options={"verify_signature": False})


def signed(claims, **header):
    """Signed with our own key, but with another header."""
    key = key_ring().current
    full = {"alg": key.algorithm, "kid": key.id, "typ": "at+jwt"} | header
    signing_input = f"{segment(full)}.{segment(claims)}".encode()
    algorithm = pyjwt.get_algorithm_by_name("ES256")
    return f"{signing_input.decode()}.{segment(algorithm.sign(signing_input, key.private_key))}"


def is_refused(api, encoded):
    answer = api.get("/api/v1/me", headers={"Authorization": f"Bearer {encoded}"})
    assert not TokenUse.objects.exists()
    return answer.status_code == 401 and answer.json()["code"] == "invalid_token"


def test_our_own_is_genuine(token, genuine, claims):
    verified = jwt.decode(genuine)

    assert (verified.token_id, verified.owner_id) == (token.pk, token.owner_id)
    assert verified.expires_at == token.expires_at
    assert jwt.decode(signed(claims)).token_id == token.pk


@pytest.mark.parametrize("spelling", ["none", "None", "NONE", "nOnE", "", " none", None, 0, ["none"]])
def test_algorithm_none_in_all_spellings(api, claims, spelling):
    header = {"alg": spelling, "kid": key_ring().current.id, "typ": "at+jwt"}

    assert is_refused(api, f"{segment(header)}.{segment(claims)}.")
    assert is_refused(api, f"{segment(header)}.{segment(claims)}.{segment(b'x')}")


@pytest.mark.parametrize("form", ["pem", "der", "jwk"])
def test_the_public_key_is_no_secret_to_sign_with(api, claims, form):
    public = key_ring().current.private_key.public_key()
    secret = {
        "pem": public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        "der": public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
        "jwk": json.dumps(key_ring().current.public_jwk).encode(),
    }[form]
    header = {"alg": "HS256", "kid": key_ring().current.id, "typ": "at+jwt"}
    signing_input = f"{segment(header)}.{segment(claims)}"
    signature = hmac.new(secret, signing_input.encode(), hashlib.sha256).digest()

    assert is_refused(api, f"{signing_input}.{segment(signature)}")


@pytest.mark.parametrize("claimed_kid", ["ours", "theirs"])
@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
def test_a_foreign_key(api, claims, algorithm, claimed_kid):
    key = (
        ec.generate_private_key(ec.SECP256R1())
        if algorithm == "ES256"
        else rsa.generate_private_key(public_exponent=65537, key_size=2048)
    )
    kid = key_ring().current.id if claimed_kid == "ours" else "theirs"

    assert is_refused(api, pyjwt.encode(claims, key, algorithm=algorithm, headers={"kid": kid, "typ": "at+jwt"}))


def test_a_foreign_key_brought_along_in_the_header(api, claims):
    key = ec.generate_private_key(ec.SECP256R1())
    jwk = pyjwt.get_algorithm_by_name("ES256").to_jwk(key.public_key(), as_dict=True)
    for header in (
        {"jwk": jwk},
        {"jku": "http://127.0.0.1:9/jwks.json"},
        {"x5u": "http://127.0.0.1:9/x"},
        {"crit": ["b64"], "b64": False},
    ):
        extra = {"kid": key_ring().current.id, "typ": "at+jwt"} | header
        assert is_refused(api, pyjwt.encode(claims, key, algorithm="ES256", headers=extra))
        assert is_refused(api, signed(claims, **header))


@pytest.mark.parametrize(
    "kid", ["", None, 0, [], {}, "../../../../dev/null", "' OR 1=1 --", "x" * 5000, "\x00", "*", True]
)
def test_tricks_with_the_key_id(api, claims, kid):
    assert is_refused(api, signed(claims, kid=kid))


@pytest.mark.parametrize("typ", ["JWT", "jwt", "AT+JWT", "application/at+jwt", None, "", 1])
def test_another_type(api, claims, typ):
    assert is_refused(api, signed(claims, typ=typ))


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "https://elsewhere.example"},
        {"iss": None},
        {"aud": "elsewhere"},
        {"aud": []},
        {"aud": ["http://127.0.0.1:8000/api/v1"]},
        {"token_type": "access"},
        {"token_type": None},
        {"jti": "not a uuid"},
        {"jti": 1},
        {"jti": None},
        {"sub": ["x"]},
        {"sub": "6f1e4ad0-0000-4000-8000-000000000000"},
        {"exp": "2099-01-01"},
        {"exp": None},
        {"exp": 1e400},
        {"exp": 10**30},
        {"exp": True},
        {"exp": 1.5},
        {"nbf": "0"},
        {"nbf": -(10**30)},
        {"iat": {}},
        {"scope": ["api"]},
        {"account": 7},
    ],
    ids=str,
)
def test_claims_of_every_wrong_kind(api, claims, change):
    assert is_refused(api, signed(claims | change))


@pytest.mark.parametrize("claim", ["iss", "aud", "sub", "jti", "iat", "nbf", "exp", "scope", "account", "token_type"])
def test_every_claim_must_be_there(api, claims, claim):
    del claims[claim]

    assert is_refused(api, signed(claims))


def respellings(encoded):
    header, payload, signature = encoded.split(".")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    yield f"{header}.{payload}.{signature}="
    yield f"{header}=.{payload}.{signature}"
    yield f"{header}.{payload}.{signature}A"
    yield f"{header}.{payload}."
    yield f"{header}.{payload}"
    yield f".{payload}.{signature}"
    yield f"{header}..{signature}"
    yield f"{header}.{payload}.{signature}.x"
    yield f"{header}.{payload}.{signature[:-1]}"
    # The last character of 64 bytes carries four unused bits: fifteen other letters decode to the same signature.
    last = alphabet.index(signature[-1])
    for bits in range(1, 16):
        yield f"{header}.{payload}.{signature[:-1]}{alphabet[last ^ bits]}"


def test_one_token_has_one_spelling(api, genuine):
    for respelled in respellings(genuine):
        assert is_refused(api, respelled), respelled


@pytest.mark.parametrize("place", range(0, 400, 7))
def test_no_bit_may_change(genuine, place):
    place %= len(genuine)
    swapped = "A" if genuine[place] != "A" else "B"

    with pytest.raises(jwt.NotGenuine):
        jwt.decode(genuine[:place] + swapped + genuine[place + 1 :])


@pytest.mark.parametrize(
    "text", ["", ".", "..", "a.b.c", "a" * 100_000, "\ud83d", "e30.e30.e30", "bnVsbA.bnVsbA.bnVsbA", "W10.W10.W10"]
)
def test_what_is_no_jwt_at_all(db, text):
    with pytest.raises(jwt.NotGenuine):
        jwt.decode(text)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic dTpw",
        "Token {}",
        "{}",
        "Bearer {} {}",
        "Bearer {},Bearer {}",
        "Bearer {}, ",
        "Bearer\t{}",
        "bearer:{}",
    ],
)
def test_exactly_one_bearer_header(api, genuine, header):
    answer = api.get("/api/v1/me", headers={"Authorization": header.format(genuine, genuine)})

    assert answer.status_code == 401
    assert not TokenUse.objects.exists()


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
def test_the_scheme_in_any_case(api, genuine, scheme):
    assert api.get("/api/v1/me", headers={"Authorization": f"{scheme} {genuine}"}).status_code == 200


def test_a_token_in_query_form_or_cookie_is_not_looked_for(api, client, genuine):
    for name in ("access_token", "token", "jwt"):
        client.cookies[name] = genuine
    assert api.get("/api/v1/me?access_token=" + genuine).status_code == 401
    assert client.get("/api/v1/me").status_code == 401
    form = api.post("/api/v1/pipeline/summary", {"access_token": genuine}, format="json")
    assert form.status_code == 401


def test_a_token_opens_no_page(client, genuine):
    answer = client.get("/profile/tokens/", headers={"Authorization": f"Bearer {genuine}"})

    assert answer.status_code == 302


def test_no_known_secret_verifies_or_makes_our_tokens(claims, genuine):
    path = SHARED_DATA / "jwt.secrets.list"
    if not path.exists():
        pytest.skip(f"{path.name} is not there")
    header = {"alg": "HS256", "kid": key_ring().current.id, "typ": "at+jwt"}
    signing_input = f"{segment(header)}.{segment(claims)}"
    for secret in path.read_bytes().splitlines()[::100]:
        signature = hmac.new(secret, signing_input.encode(), hashlib.sha256).digest()
        with pytest.raises(jwt.NotGenuine):
            jwt.decode(f"{signing_input}.{segment(signature)}")


def test_wycheproofs_signatures_are_none_of_ours(db):
    path = SHARED_DATA / "json_web_signature_test.json"
    if not path.exists():
        pytest.skip(f"{path.name} is not there")
    cases = [case for group in json.loads(path.read_text())["testGroups"] for case in group["tests"]]
    assert len(cases) > 300
    for case in cases:
        with pytest.raises(jwt.NotGenuine):
            jwt.decode(case["jws"] if isinstance(case["jws"], str) else json.dumps(case["jws"]))


def test_a_token_that_has_ended_is_still_genuine(owner):
    """Otherwise its owner would never learn that it is still in use."""
    token = TokenFactory(owner=owner, created_at=timezone.now().replace(microsecond=0) - timedelta(days=40))

    assert jwt.decode(jwt.encode(token)[0]).token_id == token.pk
