"""Secrets of a step are hidden in the answer of a server, in every encoding."""

import base64
import contextlib
import html
import json
import random
import re
import string
import time
from urllib.parse import quote, quote_plus

import pytest

from pipelines.redaction import SECRET_MARK, NotSearchable, redacted, secrets_of

SECRET = 's3cr+t/V"al <ü> 9'


def escaped(text, pattern="\\u{:04x}"):
    return "".join(pattern.format(ord(character)) for character in text)


def packed(text, *, before="", encode=base64.b64encode):
    return encode(f"{before}{text}, and more".encode()).decode()


ENCODINGS = {
    "as it is": SECRET,
    "JSON": json.dumps(SECRET),
    "JSON with escaped slashes": json.dumps(SECRET).replace("/", "\\/"),
    "JSON, escaped as a whole": escaped(SECRET),
    "JSON in JSON": json.dumps(json.dumps(SECRET)),
    "JSON in JSON in JSON": json.dumps(json.dumps(json.dumps(SECRET))),
    "JavaScript": escaped(SECRET, "\\x{:02x}"),
    "Python": repr(SECRET.encode()),
    "percent-encoding": quote(SECRET, safe=""),
    "percent-encoding in lower case": quote(SECRET, safe="").lower(),
    "percent-encoding with plus signs": quote_plus(SECRET),
    "percent-encoding of everything": escaped(SECRET, "%{:02X}"),
    "percent-encoding of Latin-1": quote(SECRET.encode("latin-1"), safe=""),
    "percent-encoding twice": quote(quote(SECRET, safe=""), safe=""),
    "percent-encoding in JSON": json.dumps(quote(SECRET, safe="")).replace("%", "\\u0025"),
    "HTML": html.escape(SECRET),
    "HTML, decimal": escaped(SECRET, "&#{};"),
    "HTML, hexadecimal": escaped(SECRET, "&#x{:X};"),
    "HTML with leading zeros": escaped(SECRET, "&#{:012d};"),
    "HTML in JSON": json.dumps(html.escape(SECRET)),
    "quoted-printable": escaped(SECRET, "={:02X}"),
    "Base64 over lines": base64.encodebytes(f"{'x' * 70}{SECRET}{'y' * 50}".encode()).decode(),
    "JSON in Base64": packed(json.dumps({"a": SECRET})),
    "Base64 in JSON": json.dumps(packed(SECRET, before="?>>")).replace("/", "\\/"),
    "percent-encoded Base64": quote(packed(SECRET), safe=""),
    "Base64 of UTF-16": base64.b64encode(SECRET.encode("utf-16-le")).decode(),
    "hexadecimal": SECRET.encode().hex(),
    "hexadecimal of a dump": SECRET.encode().hex(" ").upper(),
    "hexadecimal with colons": SECRET.encode().hex(":"),
    "hexadecimal behind a digit": f"a{SECRET.encode().hex()}",
    "upper case": SECRET.upper(),
    "lower case": SECRET.lower(),
    "another case, percent-encoded": quote(SECRET.swapcase(), safe=""),
    "Latin-1 read as UTF-8": SECRET.encode("latin-1").decode(errors="replace"),
    "UTF-8 read as Latin-1": SECRET.encode().decode("latin-1"),
    **{
        f"{name} at alignment {before!r}": packed(SECRET, before=before, encode=encode).rstrip(padding)
        for name, encode in (("Base64", base64.b64encode), ("base64url", base64.urlsafe_b64encode))
        for before, padding in (("", ""), ("a", "="), ("ab", ""), ("abc", "="))
    },
}


@pytest.mark.parametrize("written", ENCODINGS.values(), ids=ENCODINGS)
def test_secret_is_found_in_every_encoding(written):
    text = f'{{"you sent": {written} , "before": "kept"}}'

    shown = redacted(text, secrets_of({"X-Key": SECRET}))

    assert SECRET_MARK in shown
    assert shown.startswith('{"you sent": ')
    assert shown.endswith(' , "before": "kept"}')
    # Nothing of the secret is left, except what it shares with its neighbors in Base64.
    assert len(re.sub(r"\[secret\]", "", shown)) <= len(text) - len(SECRET)
    assert not secrets_in(shown)


def secrets_in(text):
    return [part for part in (SECRET, quote(SECRET, safe=""), packed(SECRET)[:20]) if part.lower() in text.lower()]


@pytest.mark.parametrize(
    ("value", "echo"),
    [
        ("Bearer abcd", "your token is abcd."),
        ("Bearer abcdef", "Authorization=Bearer%20abcdef"),
        ("abcd", "ABCD"),
        ("Token token=abcdefgh", "token: abcdefgh"),
        ("session=abcdefgh; lang=en", '{"cookies": {"session": "abcdefgh"}}'),
        (f"Basic {base64.b64encode(b'jenkins:hunter2').decode()}", "user jenkins, password hunter2"),
        (f"Basic {base64.b64encode(b'jenkins:hunter2').decode()}", "jenkins:hunter2"),
        (f"Basic {base64.b64encode(b'sk_live_1234:').decode()}", "key sk_live_1234"),
        ("Basic jenkins:hunter2", "user jenkins, password hunter2"),
        (f"basic {base64.b64encode('jürgen:pässword'.encode()).decode()}", "password p%C3%A4ssword"),
    ],
)
def test_parts_of_a_header_are_secrets_too(value, echo):
    shown = redacted(echo, secrets_of({"Authorization": value}))

    assert SECRET_MARK in shown
    for part in ("abcd", "hunter2", "jenkins", "sk_live_1234", "p%C3%A4ssword"):
        assert part not in shown.lower()


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Key": "abc"},
        {"X-Key": "1"},
        {"Authorization": "Bearer abc"},
        {"Authorization": f"Basic {base64.b64encode(b'jenkins:abc').decode()}"},
        {"X-Key": "long-enough", "X-Other": "ab"},
    ],
)
def test_text_is_not_searchable_for_a_secret_of_three_characters(headers):
    with pytest.raises(NotSearchable, match="too short"):
        redacted("anything", secrets_of(headers))


def test_text_is_not_searchable_for_a_short_secret_of_query_or_body():
    with pytest.raises(NotSearchable):
        redacted("anything", secrets_of({}, ["abc"]))


@pytest.mark.parametrize("begin", range(90, 101))
def test_secret_across_the_limit_leaves_no_part(begin):
    text = f"{'x' * begin}very-secret-value{'y' * 50}"

    shown = redacted(text, secrets_of({"X-Key": "very-secret-value"}), limit=100)

    assert shown == (f"{'x' * begin}{SECRET_MARK}" if begin < 100 else "x" * 100)


def test_text_after_the_limit_is_not_shown_when_marks_shorten_the_text():
    text = f"{'very-secret-value ' * 5}{'y' * 10}very-secret-value"

    assert redacted(text, secrets_of({"X-Key": "very-secret-value"}), limit=90) == f"{SECRET_MARK} " * 5


def test_text_without_secrets_is_not_changed():
    text = json.dumps({"a": "ß€ \\ % &amp; %41", "b": base64.b64encode(bytes(range(256))).decode()})

    assert redacted(text, secrets_of({"X-Key": "very-secret-value"})) == text
    assert redacted(text, secrets_of({})) == text


def test_overlapping_secrets_become_one_mark():
    assert redacted("a Bearer abcdef b", secrets_of({"A": "Bearer abcdef", "C": "abcd"}, ["def b"])) == (
        f"a {SECRET_MARK}"
    )


def test_repr_contains_no_secrets():
    assert "very-secret" not in repr(secrets_of({"X-Key": "very-secret-value"}))


@pytest.mark.slow
def test_hostile_text_is_searched_or_refused_in_bounded_time():
    generator = random.Random(7)
    pieces = ["%41", "\\u0041", "&#65;", "=41", "41 ", "QUFB", "\\x41", "%2541", "&amp;#65;", "\\\\", "%", "&", "=\n"]
    for text in (
        "".join(generator.choice(pieces) for _ in range(20_000)),
        base64.b64encode(generator.randbytes(60_000)).decode(),
        "".join(generator.choices(string.printable, k=65_536)),
        "%25" * 20_000,
        "\\" * 65_536,
        "a" * 65_536,
        "ab " * 20_000,
        "".join(generator.choices([chr(n) for n in range(0xD7FF)], k=65_536)),
    ):
        with contextlib.suppress(NotSearchable):
            redacted(text, secrets_of({"X-Key": "very-secret-value", "X-Other": "aaaa"}), limit=65_536)


def test_long_secrets_that_overlap_themselves_are_found_in_bounded_time():
    secrets = secrets_of({f"X-{length}": "a" * length for length in range(3990, 4000)})
    started = time.process_time()

    assert redacted("a" * 160_000, secrets, limit=65_536) == SECRET_MARK
    assert redacted("abcabcab", secrets_of({"X-Key": "abcab"})) == SECRET_MARK
    assert time.process_time() - started < 5
