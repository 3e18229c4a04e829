"""Attacks on a JWT. Each gets 401, never 500, and leaves no log entry and no token in server logs.

The attacker has a genuine token, the published keys and their own keys. Some rows are signed with
the portal's own key, which an attacker does not have: they check that other data signed with this
key is not accepted as a token. References: RFC 8725 (best practices), RFC 7515 (JWS), RFC 6750
(bearer tokens), and the CVEs beside the rows.
"""

import base64
import hashlib
import hmac
import json
import uuid
from functools import cache
from pathlib import Path
from urllib.parse import quote

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from jwt.utils import der_to_raw_signature

from accounts.tests.factories import OrganizationFactory, UserFactory
from auditlog.models import Activity, TokenUse
from opsera_portal.tests.worlds import check_row
from tokens import jwt
from tokens.keys import retirement, rotation
from tokens.keys.ring import key_ring
from tokens.tests.factories import TokenFactory

ME = "/api/v1/me"
# The order of the group of P-256 signatures (FIPS 186-4, D.1.2.3), and the prime of its field.
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
DATA = Path(__file__).parent / "data"
SHARED_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def segment(value):
    """Base64url of bytes, of a text, or of any other value as JSON."""
    text = value if isinstance(value, str | bytes) else json.dumps(value, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode() if isinstance(text, str) else text).rstrip(b"=").decode()


def bytes_of(part):
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


@cache
def foreign_key(kind):
    """The attacker's own keys, created once, because creating RSA keys is slow."""
    match kind:
        case "RS256" | "PS256":
            return rsa.generate_private_key(public_exponent=65537, key_size=2048)
        case "EdDSA":
            return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key({"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1()}[kind])


class Attacker:
    """Creates the forged tokens of the table from one genuine token."""

    def __init__(self, token):
        self.token = token
        self.genuine = jwt.encode(token)[0]
        self.header, self.payload, self.signature = self.genuine.split(".")
        self.claims = json.loads(bytes_of(self.payload))
        self.key = key_ring().current
        self.public_key = self.key.private_key.public_key()
        self.head = json.loads(bytes_of(self.header))

    def with_header(self, header):
        """The genuine token with another header and the original signature."""
        return f"{segment(header)}.{self.payload}.{self.signature}"

    def with_payload(self, payload):
        return f"{self.header}.{segment(payload)}.{self.signature}"

    def with_signature(self, r, s):
        return f"{self.header}.{self.payload}.{segment(r.to_bytes(32) + s.to_bytes(32))}"

    def signature_numbers(self):
        raw = bytes_of(self.signature)
        return int.from_bytes(raw[:32]), int.from_bytes(raw[32:])

    def signed_by_us(self, payload=None, *, head=None, **header):
        """A token signed with the portal's own key. Omits header parameters that are ``None``."""
        if head is None:
            head = {name: value for name, value in (self.head | header).items() if value is not None}
        signing_input = f"{segment(head)}.{segment(self.claims if payload is None else payload)}"
        algorithm = pyjwt.get_algorithm_by_name("ES256")
        return f"{signing_input}.{segment(algorithm.sign(signing_input.encode(), self.key.private_key))}"

    def signed_by_hmac(self, secret, digest=hashlib.sha256, **header):
        signing_input = f"{segment(self.head | {'alg': 'HS256'} | header)}.{self.payload}"
        return f"{signing_input}.{segment(hmac.new(secret, signing_input.encode(), digest).digest())}"

    def signed_by_foreign(self, algorithm="ES256", **header):
        return pyjwt.encode(
            self.claims,
            foreign_key(algorithm),
            algorithm=algorithm,
            headers={"typ": "at+jwt", "kid": self.key.id} | header,
        )

    def foreign_jwk(self):
        return pyjwt.get_algorithm_by_name("ES256").to_jwk(foreign_key("ES256").public_key(), as_dict=True)

    def public_bytes(self, encoding, form="SubjectPublicKeyInfo"):
        return self.public_key.public_bytes(
            getattr(serialization.Encoding, encoding), getattr(serialization.PublicFormat, form)
        )

    def public_number(self, name):
        return bytes_of(self.key.public_jwk[name])


LOOPBACK = "http://127.0.0.1:9/keys.json"

ALGORITHM_NONE = {
    f"algorithm {spelling!r}": lambda a, spelling=spelling: f"{segment(a.head | {'alg': spelling})}.{a.payload}."
    for spelling in ["none", "None", "NONE", "nOnE", " none", "none ", "", None, 0, False, ["none"], {"none": 1}]
} | {
    "algorithm none with the genuine signature": lambda a: a.with_header(a.head | {"alg": "none"}),
    "algorithm none with some signature": lambda a: f"{segment(a.head | {'alg': 'none'})}.{a.payload}.eA",
    "no algorithm": lambda a: f"{segment({'kid': a.key.id, 'typ': 'at+jwt'})}.{a.payload}.",
    "no algorithm, the genuine signature": lambda a: a.with_header({"kid": a.key.id, "typ": "at+jwt"}),
    "no signature and no dot before it": lambda a: f"{a.header}.{a.payload}",
    "no signature": lambda a: f"{a.header}.{a.payload}.",
}

# CVE-2015-9235, CVE-2016-5431: the public key used as a shared secret.
KEY_CONFUSION = {
    f"{algorithm} with our public key as {name}": (
        lambda a, secret=secret, algorithm=algorithm, digest=digest: a.signed_by_hmac(secret(a), digest, alg=algorithm)
    )
    for algorithm, digest in [("HS256", hashlib.sha256), ("HS384", hashlib.sha384), ("HS512", hashlib.sha512)]
    for name, secret in {
        "PEM": lambda a: a.public_bytes("PEM"),
        "PEM without its last line feed": lambda a: a.public_bytes("PEM").rstrip(),
        "DER": lambda a: a.public_bytes("DER"),
        "point": lambda a: a.public_bytes("X962", "UncompressedPoint"),
        "compressed point": lambda a: a.public_bytes("X962", "CompressedPoint"),
        "JWK": lambda a: json.dumps(a.key.public_jwk).encode(),
        "JWKS": lambda a: json.dumps(key_ring().jwks()).encode(),
        "x": lambda a: a.public_number("x"),
        "y": lambda a: a.public_number("y"),
        "kid": lambda a: a.key.id.encode(),
        "nothing": lambda a: b"",
    }.items()
}

OTHER_ALGORITHMS = {
    f"{algorithm} claimed for our own signature": lambda a, algorithm=algorithm: a.with_header(
        a.head | {"alg": algorithm}
    )
    for algorithm in ["ES384", "ES512", "ES256K", "RS256", "PS256", "EdDSA", "HS256", "es256", "ES256 ", "ECDH-ES"]
} | {
    f"{algorithm} claimed and signed with our key": lambda a, algorithm=algorithm: a.signed_by_us(alg=algorithm)
    for algorithm in ["ES384", "RS256", "es256"]
}

FOREIGN_KEYS = {
    f"a foreign key of {algorithm} under our kid": lambda a, algorithm=algorithm: a.signed_by_foreign(algorithm)
    for algorithm in ["ES256", "ES384", "RS256", "PS256", "EdDSA"]
} | {
    "a foreign key under its own kid": lambda a: a.signed_by_foreign(kid="theirs"),
    # CVE-2018-0114: a key in the header.
    "jwk": lambda a: a.signed_by_foreign(jwk=a.foreign_jwk()),
    "jwk with our kid in it": lambda a: a.signed_by_foreign(jwk=a.foreign_jwk() | {"kid": a.key.id}),
    "jku to this machine": lambda a: a.signed_by_foreign(jku=LOOPBACK),
    "jku and a kid that is there": lambda a: a.signed_by_foreign(jku=LOOPBACK, kid="theirs"),
    "jku that begins like ours": lambda a: a.signed_by_foreign(jku="http://127.0.0.1:8000@evil.example/jwks.json"),
    "x5u to this machine": lambda a: a.signed_by_foreign(x5u=LOOPBACK),
    "x5c": lambda a: a.signed_by_foreign(x5c=[base64.b64encode(a.public_bytes("DER")).decode()]),
    "x5t": lambda a: a.signed_by_foreign(x5t="x" * 27, **{"x5t#S256": "x" * 43}),
    "jwk, signed with our own key": lambda a: a.signed_by_us(jwk=a.foreign_jwk()),
    "jku, signed with our own key": lambda a: a.signed_by_us(jku=LOOPBACK),
}

KEY_IDS = {
    f"kid {kid if len(str(kid)) < 40 else str(kid)[:20]!r}": lambda a, kid=kid: a.signed_by_us(kid=kid)
    for kid in [
        "",
        0,
        1,
        True,
        [],
        {},
        ["x"],
        {"x": 1},
        1.5,
        "../../../../dev/null",
        "/dev/null",
        "file:///dev/null",
        "' OR 1=1 --",
        "x' UNION SELECT 'secret",
        "\x00",
        "*",
        "%",
        "|id",
        "$(id)",
        "kid\r\nX: y",
        "x" * 2500,
        "ключ",
        "\u202e",
        "\ud83d",
        LOOPBACK,
    ]
} | {
    "no kid": lambda a: a.signed_by_us(kid=None),
    "kid null": lambda a: a.with_header(a.head | {"kid": None}),
    "kid of ours in other letters": lambda a: a.signed_by_us(kid=a.key.id.swapcase()),
    "kid of ours and more": lambda a: a.signed_by_us(kid=a.key.id + "\x00"),
    "kid of ours in a list": lambda a: a.signed_by_us(kid=[a.key.id]),
    "an empty file for a secret": lambda a: a.signed_by_hmac(b"", kid="../../../../dev/null"),
}

HEADERS = {
    "crit that nobody knows": lambda a: a.signed_by_us(crit=["exp"]),
    "crit that is empty": lambda a: a.signed_by_us(crit=[]),
    "crit that is no list": lambda a: a.signed_by_us(crit="b64"),
    "unencoded payload (RFC 7797)": lambda a: a.signed_by_us(b64=False, crit=["b64"]),
    "unencoded payload without crit": lambda a: a.signed_by_us(b64=False),
    "b64 true": lambda a: a.signed_by_us(b64=True),
    "zip": lambda a: a.signed_by_us(zip="DEF"),
    "a nonce": lambda a: a.signed_by_us(nonce="x"),
    "cty of a nested token": lambda a: a.signed_by_us(cty="JWT"),
    "a nested token": lambda a: a.signed_by_us(a.genuine),
    "a nested token that says so": lambda a: a.signed_by_us(a.genuine, cty="JWT"),
    "an encrypted token, five parts": lambda a: ".".join(
        [
            segment({"alg": "dir", "enc": "A256GCM", "kid": a.key.id}),
            "",
            segment(b"iv" * 6),
            a.payload,
            segment(b"tag" * 5),
        ]
    ),
    "an encrypted token with a key in it": lambda a: ".".join(
        [segment({"alg": "ECDH-ES", "enc": "A256GCM", "epk": a.key.public_jwk}), "eA", "eA", "eA", "eA"]
    ),
    "JSON serialization": lambda a: json.dumps(
        {"protected": a.header, "payload": a.payload, "signature": a.signature}, separators=(",", ":")
    ),
    "no typ": lambda a: a.signed_by_us(typ=None),
} | {
    f"typ {typ!r}": lambda a, typ=typ: a.signed_by_us(typ=typ)
    for typ in [
        "JWT",
        "jwt",
        "AT+JWT",
        "at+JWT",
        "application/at+jwt",
        "dpop+jwt",
        "logout+jwt",
        "JWE",
        "",
        1,
        ["at+jwt"],
        True,
    ]
}

# Signed with the portal's own key. The token's record decides on scope and account, not these claims.
CLAIMS = {
    f"{claim} {name}": lambda a, claim=claim, value=value: a.signed_by_us(json_with(a.claims, claim, value))
    for claim, values in {
        "iss": {"foreign": '"https://elsewhere.example"', "with a slash": '"http://127.0.0.1:8000/"', "empty": '""'},
        "aud": {
            "foreign": '"elsewhere"',
            "of ours in a list": '["http://127.0.0.1:8000/api/v1"]',
            "of ours and another": '["x","http://127.0.0.1:8000/api/v1"]',
            "empty": '""',
        },
        "token_type": {
            "of simplejwt": '"access"',
            "refresh": '"refresh"',
            "in capitals": '"PERSONAL_ACCESS"',
            "empty": '""',
        },
        "jti": {"no UUID": '"x"', "SQL": '"\' OR 1=1 --"', "empty": '""', "nil": f'"{uuid.UUID(int=0)}"'},
        "sub": {"no UUID": '"x"', "SQL": '"\' OR 1=1 --"', "empty": '""', "an e-mail": '"owner@acme.example"'},
        "exp": {
            "a numeric string": '"4102444800"',
            "a date": '"2099-01-01"',
            "beyond all calendars": "1" + "0" * 30,
            "before the beginning": "7",
        },
        "nbf": {"a numeric string": '"0"', "before all calendars": "-1" + "0" * 30, "after the end": "4102444800"},
        "iat": {
            "a numeric string": '"0"',
            "before all calendars": "-1" + "0" * 30,
            "after the beginning": "4102444800",
        },
        "scope": {},
        "account": {},
    }.items()
    for name, value in (
        values
        | {
            "missing": None,
            "null": "null",
            "a float": "1.5",
            "a whole float": "1767225600.0",
            "true": "true",
            "false": "false",
            "a list": "[]",
            "an object": "{}",
            "a list of lists": "[[[]]]",
            "NaN": "NaN",
            "Infinity": "Infinity",
            "minus Infinity": "-Infinity",
            "a number beyond all floats": "1e400",
            "a number of 1000 digits": "9" * 1000,
        }
    ).items()
} | {
    f"{claim} a number": lambda a, claim=claim: a.signed_by_us(json_with(a.claims, claim, "7"))
    for claim in ["iss", "aud", "token_type", "jti", "sub", "scope", "account"]
}

IDENTITIES = {
    "jti of another person's token": lambda a: a.signed_by_us(a.claims | {"jti": str(TokenFactory().pk)}),
    "jti of a colleague's token": lambda a: a.signed_by_us(
        a.claims | {"jti": str(TokenFactory(owner=colleague_of(a)).pk)}
    ),
    "jti of no row": lambda a: a.signed_by_us(a.claims | {"jti": str(uuid.uuid4())}),
    "sub of a colleague": lambda a: a.signed_by_us(a.claims | {"sub": str(colleague_of(a).pk)}),
    "sub of a stranger": lambda a: a.signed_by_us(a.claims | {"sub": str(UserFactory().pk)}),
    "sub of nobody": lambda a: a.signed_by_us(a.claims | {"sub": str(uuid.uuid4())}),
    "sub and jti exchanged": lambda a: a.signed_by_us(a.claims | {"sub": a.claims["jti"], "jti": a.claims["sub"]}),
    "jti in capitals": lambda a: a.signed_by_us(a.claims | {"jti": a.claims["jti"].upper()}),
    "jti as a URN": lambda a: a.signed_by_us(a.claims | {"jti": "urn:uuid:" + a.claims["jti"]}),
    "jti in braces": lambda a: a.signed_by_us(a.claims | {"jti": "{" + a.claims["jti"] + "}"}),
    "jti without hyphens": lambda a: a.signed_by_us(a.claims | {"jti": a.claims["jti"].replace("-", "")}),
    "another payload under the genuine signature": lambda a: a.with_payload(a.claims | {"scope": "api pipeline"}),
    "a longer life under the genuine signature": lambda a: a.with_payload(a.claims | {"exp": 4102444800}),
}

RESPELLINGS = {
    "padding behind the signature": lambda a: f"{a.genuine}==",
    "padding behind the header": lambda a: f"{a.header}=.{a.payload}.{a.signature}",
    "padding behind the payload": lambda a: f"{a.header}.{a.payload}=.{a.signature}",
    "the other alphabet, signature": lambda a: f"{a.header}.{a.payload}.{other_alphabet(a)}",
    "one letter more": lambda a: a.genuine + "A",
    "one letter less": lambda a: a.genuine[:-1],
    "one byte more": lambda a: f"{a.header}.{a.payload}.{segment(bytes_of(a.signature) + b'x')}",
    "the half of the signature": lambda a: f"{a.header}.{a.payload}.{a.signature[:43]}",
    "four parts": lambda a: a.genuine + ".x",
    "an empty part behind": lambda a: a.genuine + ".",
    "an empty part before": lambda a: "." + a.genuine,
    "no header": lambda a: f".{a.payload}.{a.signature}",
    "no payload": lambda a: f"{a.header}..{a.signature}",
    "two dots": lambda a: "..",
    "the payload twice": lambda a: f"{a.header}.{a.payload}.{a.payload}.{a.signature}",
    "in capitals": lambda a: a.genuine.upper(),
    "backwards": lambda a: a.genuine[::-1],
    "percent-encoded dots": lambda a: a.genuine.replace(".", "%2E"),
    "percent-encoded": lambda a: quote(a.genuine, safe="").replace("e", "%65", 1),
    "in quotation marks": lambda a: f'"{a.genuine}"',
    "in angle brackets": lambda a: f"<{a.genuine}>",
    "a space within": lambda a: a.genuine[:30] + " " + a.genuine[30:],
    "a tab within": lambda a: a.genuine[:30] + "\t" + a.genuine[30:],
    "a line feed within": lambda a: a.genuine[:30] + "\n" + a.genuine[30:],
    "a folded line": lambda a: a.genuine[:30] + "\r\n " + a.genuine[30:],
    "a NUL within": lambda a: a.genuine[:30] + "\x00" + a.genuine[30:],
    "a NUL behind": lambda a: a.genuine + "\x00",
    "a byte order mark": lambda a: as_sent("\ufeff" + a.genuine),
    "a fullwidth letter": lambda a: as_sent("\uff45" + a.genuine[1:]),
    "a Cyrillic letter": lambda a: as_sent("\u0435" + a.genuine[1:]),
    "a fullwidth dot": lambda a: as_sent(a.genuine.replace(".", "\uff0e")),
    "a non-breaking space behind": lambda a: as_sent(a.genuine + "\u00a0x"),
    "base64 of the whole": lambda a: segment(a.genuine),
    "longer than any token": lambda a: f"{a.header}.{a.payload}.{'A' * 5000}",
    "a megabyte": lambda a: "A" * 2**20,
    "no base64 length": lambda a: f"{a.header}.A.{a.signature}",
} | {
    f"trailing bits {bits}": lambda a, bits=bits: a.genuine[:-1] + ALPHABET[ALPHABET.index(a.genuine[-1]) ^ bits]
    # The last character of 64 bytes contains four unused bits.
    for bits in range(1, 16)
}

JSON_TRICKS = {
    "the algorithm twice": lambda a: a.with_header('{"alg":"none",' + json.dumps(a.head)[1:]),
    "the algorithm twice, ours first": lambda a: segment(json.dumps(a.head)[:-1] + ',"alg":"none"}') + f".{a.payload}.",
    "the subject twice": lambda a: a.with_payload(json.dumps(a.claims)[:-1] + f',"sub":"{uuid.uuid4()}"}}'),
    "the header respelled": lambda a: a.with_header(json.dumps(a.head, indent=1)),
    "white space before the header": lambda a: a.with_header(" " + json.dumps(a.head)),
    "white space before the payload": lambda a: a.with_payload(" " + json.dumps(a.claims)),
    "escapes in the header": lambda a: a.with_header(json.dumps(a.head).replace("alg", "\\u0061lg")),
    "something behind the header": lambda a: a.signed_by_us(head=json.dumps(a.head) + "{}"),
    "something behind the payload": lambda a: a.signed_by_us(json.dumps(a.claims) + "{}"),
    "a comment": lambda a: a.signed_by_us(json.dumps(a.claims) + "/* */"),
    "a trailing comma": lambda a: a.signed_by_us(json.dumps(a.claims)[:-1] + ",}"),
    "single quotes": lambda a: a.signed_by_us(str(a.claims)),
    "a byte order mark in the payload": lambda a: a.with_payload("\ufeff" + json.dumps(a.claims)),
    "UTF-16 header": lambda a: a.with_header(json.dumps(a.head).encode("utf-16")),
    "UTF-16 payload": lambda a: a.with_payload(json.dumps(a.claims).encode("utf-16")),
    "bytes that are no UTF-8": lambda a: a.signed_by_us(b'{"iss":"\xff\xfe"}'),
    "a header that nests 1000 deep": lambda a: a.with_header("[" * 1000 + "]" * 1000),
    "a header that nests as deep as fits": lambda a: f"{segment('[' * 2800)}.e30.eA",
    "a header that nests 100,000 deep": lambda a: f"{segment('[' * 100_000)}.e30.eA",
    "a payload that nests as deep as fits": lambda a: f"{a.header}.{segment('[' * 2500)}.{a.signature}",
    "a header that is a list": lambda a: a.with_header([]),
    "a header that is a text": lambda a: a.with_header('"x"'),
    "a header that is a number": lambda a: a.with_header("1e400"),
    "a header that is null": lambda a: a.with_header("null"),
    "a header without end": lambda a: a.with_header('{"alg":'),
    "a header of 2000 digits": lambda a: a.with_header("9" * 2000),
    "a header with a key named __proto__": lambda a: a.signed_by_us(__proto__={"alg": "none"}),
    "a payload that is a list": lambda a: a.signed_by_us("[]"),
    "a payload that is null": lambda a: a.signed_by_us("null"),
    "a payload that is a text": lambda a: a.signed_by_us('"x"'),
    "an empty payload object": lambda a: a.signed_by_us("{}"),
}

SIGNATURES = {
    "DER instead of the two numbers": lambda a: (
        f"{a.header}.{a.payload}.{segment(encode_dss_signature(*a.signature_numbers()))}"
    ),
    # CVE-2022-21449, "psychic signatures".
    "r and s zero": lambda a: a.with_signature(0, 0),
    "r zero": lambda a: a.with_signature(0, a.signature_numbers()[1]),
    "s zero": lambda a: a.with_signature(a.signature_numbers()[0], 0),
    "r and s one": lambda a: a.with_signature(1, 1),
    "r and s the order": lambda a: a.with_signature(N, N),
    "r the order": lambda a: a.with_signature(N, a.signature_numbers()[1]),
    "s the order": lambda a: a.with_signature(a.signature_numbers()[0], N),
    "r one, s the order less one": lambda a: a.with_signature(1, N - 1),
    "r and s the prime": lambda a: a.with_signature(P, P),
    "r and s as large as can be": lambda a: a.with_signature(2**256 - 1, 2**256 - 1),
    "r and s exchanged": lambda a: a.with_signature(*reversed(a.signature_numbers())),
    "r negated": lambda a: a.with_signature(N - a.signature_numbers()[0], a.signature_numbers()[1]),
    "every byte zero, as long as ES384": lambda a: f"{a.header}.{a.payload}.{segment(bytes(96))}",
    "every byte zero, as long as RS256": lambda a: f"{a.header}.{a.payload}.{segment(bytes(256))}",
    "of other words by the same key": lambda a: (
        f"{a.header}.{a.payload}.{a.signed_by_us(a.claims | {'x': 1}).split('.')[2]}"
    ),
    "of the payload alone": lambda a: f"{a.header}.{a.payload}.{signature_over(a, a.payload)}",
    "of the JSON, not of its base64": lambda a: f"{a.header}.{a.payload}.{signature_over(a, json.dumps(a.claims))}",
    "with SHA-384": lambda a: f"{a.header}.{a.payload}.{signature_over(a, f'{a.header}.{a.payload}', hashes.SHA384())}",
}

ATTACKS = {
    "algorithm none": ALGORITHM_NONE,
    "key confusion": KEY_CONFUSION,
    "other algorithms": OTHER_ALGORITHMS,
    "foreign keys": FOREIGN_KEYS,
    "key ids": KEY_IDS,
    "headers": HEADERS,
    "claims": CLAIMS,
    "identities": IDENTITIES,
    "respellings": RESPELLINGS,
    "tricks with JSON": JSON_TRICKS,
    "signatures": SIGNATURES,
}


def json_with(claims, claim, value):
    """The claims as JSON, with ``value`` for one claim (``None`` omits it). It may be invalid JSON."""
    others = {name: kept for name, kept in claims.items() if name != claim}
    text = json.dumps(others, separators=(",", ":"))
    return text if value is None else f'{text[:-1]},"{claim}":{value}}}'


def colleague_of(attacker):
    return UserFactory(organization=attacker.token.organization)


def other_alphabet(attacker):
    """A genuine signature in base64 instead of base64url, with a character that differs."""
    signature = attacker.signature
    while not set("-_") & set(signature):
        signature = attacker.signed_by_us().split(".")[2]
    return signature.replace("-", "+").replace("_", "/")


def as_sent(text):
    """The text as WSGI passes it: its UTF-8 bytes, decoded as Latin-1."""
    return text.encode().decode("latin-1")


def signature_over(attacker, text, digest=None):
    """A signature by the portal's own key for other data than a token's."""
    key = attacker.key.private_key
    return segment(der_to_raw_signature(key.sign(text.encode(), ec.ECDSA(digest or hashes.SHA256())), key.curve))


@pytest.fixture
def attacker(owner):
    return Attacker(TokenFactory(owner=owner))


@pytest.fixture
def server_log(caplog):
    caplog.set_level("DEBUG")
    return caplog


def parts_of(text):
    """The texts that must not be found anywhere: the whole token, and each part that is long enough to recognize."""
    return [part for part in [text, *text.split(".")] if len(part) > 30]


def assert_refused(answer, sent, log, *, code="invalid_token"):
    """The answer is 401 with a challenge that reveals nothing, and nothing is stored."""
    assert answer.status_code == 401
    assert answer.json()["code"] == code
    assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
    assert "Sunset" not in answer.headers
    assert not TokenUse.objects.exists()
    assert not Activity.objects.exists()
    told = log.text + answer.content.decode()
    assert not [part for part in parts_of(sent) if part in told]


@pytest.mark.parametrize("kind", ATTACKS)
def test_forged_token_is_refused_and_adds_no_log_entry(api, attacker, server_log, kind):
    def attempt(attack):
        server_log.clear()
        forged = ATTACKS[kind][attack](attacker)
        assert forged != attacker.genuine
        answer = api.get(ME, headers={"Authorization": f"Bearer {forged}"})
        assert_refused(answer, forged, server_log)
        return "refused"

    check_row(kind, dict.fromkeys(ATTACKS[kind], "refused"), attempt)


# Header values other than "Bearer" and one token; {} is a genuine token.
CREDENTIALS = [
    "",
    " ",
    "Bearer",
    "Bearer ",
    "Bearer: {}",
    "Bearer={}",
    "bearer:{}",
    "Bearer\t{}",
    "Bearer\u00a0{}",
    "Bearer{}",
    "Bear {}",
    "Bearer Bearer {}",
    "Bearer token={}",
    "Bearer {} x",
    "Bearer {},",
    "Bearer {}, ",
    "Bearer ,{}",
    "Bearer {};",
    "Bearer {} {}",
    # Two headers, as servers join them (RFC 9110 section 5.3).
    "Bearer {},Bearer {}",
    "Bearer {}, Bearer {}",
    "Bearer {}, Basic dTpw",
    "Basic dTpw, Bearer {}",
    "Basic {}",
    "Token {}",
    "JWT {}",
    "Digest {}",
    "DPoP {}",
    "Negotiate {}",
    "{}",
    "null",
]


def test_exactly_one_bearer_header_is_accepted(api, attacker, server_log):
    def attempt(credentials):
        server_log.clear()
        answer = api.get(ME, headers={"Authorization": credentials.format(attacker.genuine, attacker.genuine)})
        assert_refused(answer, attacker.genuine, server_log)
        return "refused"

    check_row("Authorization", dict.fromkeys(CREDENTIALS, "refused"), attempt)


@pytest.mark.parametrize("place", ["user:{}", "{}:", "{}:x"])
def test_token_is_not_accepted_as_password_of_basic(api, attacker, server_log, place):
    credentials = base64.b64encode(place.format(attacker.genuine).encode()).decode()

    assert_refused(api.get(ME, headers={"Authorization": f"Basic {credentials}"}), attacker.genuine, server_log)


OTHER_HEADERS = [
    "Proxy-Authorization",
    "X-Authorization",
    "X-Forwarded-Authorization",
    "X-Original-Authorization",
    "Authentication",
    "X-Access-Token",
    "X-Auth-Token",
    "X-Api-Key",
    "X-CSRFToken",
    "Sec-WebSocket-Protocol",
    "DPoP",
]


@pytest.mark.parametrize("name", OTHER_HEADERS)
def test_token_in_another_header_is_ignored(api, attacker, server_log, name):
    answer = api.get(ME, headers={name: f"Bearer {attacker.genuine}"})

    assert_refused(answer, attacker.genuine, server_log, code="not_authenticated")


NAMES = ["access_token", "token", "jwt", "authorization", "api_key"]


@pytest.mark.parametrize("name", [*NAMES, "Authorization", "sessionid"])
def test_token_in_a_cookie_is_ignored(client, attacker, server_log, name):
    client.cookies[name] = attacker.genuine

    assert_refused(client.get(ME), attacker.genuine, server_log, code="not_authenticated")


@pytest.mark.parametrize("name", NAMES)
def test_token_in_the_query_string_is_ignored(api, attacker, server_log, name):
    assert_refused(api.get(f"{ME}?{name}={attacker.genuine}"), attacker.genuine, server_log, code="not_authenticated")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "application/json"])
def test_token_in_the_body_is_ignored(api, attacker, server_log, kind, name):
    """RFC 6750 section 2.2 allows it in a form. RFC 9700 section 4.3.2 and the portal do not."""
    body = json.dumps({name: attacker.genuine}) if kind.endswith("json") else f"{name}={attacker.genuine}"

    answer = api.generic("POST", "/api/v1/pipeline/summary", body, content_type=kind)

    assert_refused(answer, attacker.genuine, server_log, code="not_authenticated")


@pytest.fixture
def keys_directory(settings, tmp_path):
    settings.TOKEN_SIGNING_KEYS_DIR = tmp_path / "signing-keys"


def test_key_verifies_only_under_its_own_id(api, keys_directory, attacker, server_log):
    before = attacker.key
    rotation.rotate()
    now = Attacker(attacker.token)
    assert before.id != now.key.id

    for forged in (now.signed_by_us(kid=before.id), attacker.signed_by_us(kid=now.key.id)):
        assert_refused(api.get(ME, headers={"Authorization": f"Bearer {forged}"}), forged, server_log)


def test_retired_key_verifies_nothing(api, keys_directory, attacker, server_log):
    rotation.rotate()
    assert api.get(ME, headers={"Authorization": f"Bearer {attacker.genuine}"}).status_code == 200
    TokenUse.objects.all()._raw_delete("default")

    retirement.remove(attacker.key.id)

    answer = api.get(ME, headers={"Authorization": f"Bearer {attacker.genuine}"})
    assert_refused(answer, attacker.genuine, server_log)


def test_second_valid_ecdsa_signature_is_the_same_token(api, attacker):
    """If (r, s) is a valid signature, so is (r, n - s) (docs/tokens.md). It is the same token, with the same record and
    the same log."""
    r, s = attacker.signature_numbers()
    twin = attacker.with_signature(r, N - s)
    assert twin != attacker.genuine
    headers = {"Authorization": f"Bearer {twin}"}

    assert api.get("/api/v1/tokens/current", headers=headers).json()["id"] == str(attacker.token.pk)
    assert api.post("/api/v1/tokens/current/expire", {}, headers=headers).status_code == 200
    assert api.get(ME, headers={"Authorization": f"Bearer {attacker.genuine}"}).json()["code"] == "revoked"
    assert api.get(ME, headers=headers).json()["code"] == "revoked"


# Signature and format, without a database.


@cache
def genuine_token():
    owner = UserFactory.build(organization=OrganizationFactory.build())
    return jwt.encode(TokenFactory.build(owner=owner, organization=owner.organization))[0]


def mutations():
    """Changes of the token: a flipped bit, inserted text, removed text, two swapped parts."""
    place = st.integers(0, 600)
    return st.lists(
        st.one_of(
            st.tuples(st.just("turn"), place, st.integers(0, 7)),
            st.tuples(st.just("insert"), place, st.text(alphabet=ALPHABET + ".=+/ \x00é", min_size=1, max_size=4)),
            st.tuples(st.just("remove"), place, st.integers(1, 40)),
            st.tuples(st.just("repeat"), place, st.integers(1, 40)),
        ),
        min_size=1,
        max_size=4,
    )


def mutated(text, changes):
    for kind, place, detail in changes:
        place %= len(text) or 1
        before, after = text[:place], text[place:]
        match kind:
            case "turn" if after:
                text = before + chr(ord(after[0]) ^ (1 << detail)) + after[1:]
            case "insert":
                text = before + detail + after
            case "remove":
                text = before + after[detail:]
            case "repeat":
                text = before + after[:detail] + after
    return text


@given(mutations())
@example([("turn", 0, 0)])
@example([("remove", 0, 40)])
@hypothesis_settings(max_examples=100, deadline=None)
def test_changed_token_is_not_genuine(changes):
    genuine = genuine_token()
    changed = mutated(genuine, changes)

    if changed == genuine:
        assert jwt.decode(changed)
    else:
        with pytest.raises(jwt.NotGenuine):
            jwt.decode(changed)


@given(st.text(max_size=300))
@hypothesis_settings(max_examples=100, deadline=None)
def test_random_text_does_not_break_the_check(text):
    with pytest.raises(jwt.NotGenuine):
        jwt.decode(text)


def weak_secrets():
    """Well-known secrets, and every twentieth of a public list if it is available."""
    yield from [b"", b"secret", b"your-256-bit-secret", b"password", b"changeme", b"jwt", b"key", b"\x00" * 32]
    path = SHARED_DATA / "jwt.secrets.list"
    if path.exists():
        yield from path.read_bytes().splitlines()[::20]


@pytest.mark.slow
def test_token_signed_with_a_known_secret_is_refused():
    header, payload, _ = genuine_token().split(".")
    head = segment(json.loads(bytes_of(header)) | {"alg": "HS256"})
    for secret in weak_secrets():
        signature = hmac.new(secret, f"{head}.{payload}".encode(), hashlib.sha256).digest()
        with pytest.raises(jwt.NotGenuine):
            jwt.decode(f"{head}.{payload}.{segment(signature)}")


def wycheproof():
    for group in json.loads((DATA / "wycheproof_es256.json").read_text())["testGroups"]:
        for case in group["tests"]:
            yield pytest.param(group["public"], case, id=f"{case['tcId']} {case['comment']}")


@pytest.mark.parametrize(("jwk", "case"), list(wycheproof()))
def test_signature_library_passes_wycheproof(jwk, case):
    """Called as in `tokens.jwt`, with the key's only algorithm."""
    key = pyjwt.PyJWK(jwk).key
    try:
        pyjwt.PyJWS().decode(case["jws"], key, algorithms=["ES256"])
    except pyjwt.InvalidTokenError:
        result = "invalid"
    else:
        result = "valid"

    assert result == case["result"]


def test_no_wycheproof_signature_is_accepted():
    for group in json.loads((DATA / "wycheproof_es256.json").read_text())["testGroups"]:
        for case in group["tests"]:
            with pytest.raises(jwt.NotGenuine):
                jwt.decode(case["jws"])
