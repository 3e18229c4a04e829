"""Every request has an id that the portal created, and the caller's address."""

import ipaddress
import unicodedata
import uuid

import pytest

from core.http import request_context

STRANGER = "203.0.113.9"
CALLER = "198.51.100.1"


@pytest.fixture
def trusted_proxies(settings):
    settings.TRUSTED_PROXIES = [ipaddress.ip_network(network) for network in ("10.0.0.0/8", "::1", "fd00::/8")]


def address(rf, peer, forwarded=None):
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    return request_context.client_address(rf.get("/", headers=headers, REMOTE_ADDR=peer))


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        # The peer is not a trusted proxy: its header is ignored.
        (STRANGER, None, STRANGER),
        (STRANGER, CALLER, STRANGER),
        (STRANGER, "127.0.0.1", STRANGER),
        # The peer is a proxy: read from right to left, up to the first address that is not trusted.
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", CALLER, CALLER),
        ("10.0.0.1", f"192.0.2.66, {CALLER}", CALLER),
        ("10.0.0.1", f"192.0.2.66, {CALLER}, 10.0.0.2", CALLER),
        ("10.0.0.1", f"10.0.0.66, {CALLER}, 10.0.0.2", CALLER),
        ("10.0.0.1", f"  {CALLER}  ,10.0.0.2", CALLER),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        # An invalid entry ends the search: the last trusted address counts.
        ("10.0.0.1", "garbage", "10.0.0.1"),
        ("10.0.0.1", f"{CALLER}, garbage, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "010.0.0.5", "10.0.0.1"),
        # Empty elements of the list are ignored (RFC 9110 section 5.6.1).
        ("10.0.0.1", f"{CALLER},,10.0.0.2", CALLER),
        ("10.0.0.1", f"{CALLER}, ,", CALLER),
        ("10.0.0.1", ",,,", "10.0.0.1"),
        # With a port, in brackets, in quotes (RFC 7239 section 6).
        ("10.0.0.1", f"{CALLER}:4711", CALLER),
        ("10.0.0.1", f"{CALLER}:_web", CALLER),
        ("10.0.0.1", f"{CALLER}:51034, 10.0.0.2:443", CALLER),
        ("10.0.0.1", f"10.0.0.66, {CALLER}:1", CALLER),
        ("10.0.0.1", "[2001:db8::17]:47011", "2001:db8::17"),
        ("10.0.0.1", "[2001:db8::17]", "2001:db8::17"),
        ("10.0.0.1", '"[2001:db8::17]:47011"', "2001:db8::17"),
        ("10.0.0.1", f" \t{CALLER}:80 ", CALLER),
        ("10.0.0.1", "[fe80::1%eth0]:80", "fe80::1"),
        ("10.0.0.1", f"[::ffff:{CALLER}]:80", CALLER),
        ("10.0.0.1", f"::ffff:{CALLER}:80", CALLER),
        ("10.0.0.1", f"{CALLER}, [fd00::2]:443", CALLER),
        # An IPv6 address without brackets has no port: its last group is part of the address.
        ("10.0.0.1", "2001:db8::17:4701", "2001:db8::17:4701"),
        ("10.0.0.1", f"[{CALLER}]:80", "10.0.0.1"),
        ("10.0.0.1", f"{CALLER}:", "10.0.0.1"),
        ("10.0.0.1", f"{CALLER}:123456", "10.0.0.1"),
        ("10.0.0.1", f"{CALLER}:http", "10.0.0.1"),
        ("10.0.0.1", "[2001:db8::17", "10.0.0.1"),
        ("10.0.0.1", "[]:80", "10.0.0.1"),
        ("10.0.0.1", '"', "10.0.0.1"),
        ("10.0.0.1", f"{CALLER}, unknown", "10.0.0.1"),
        ("10.0.0.1", f"{CALLER}, _hidden", "10.0.0.1"),
        ("10.0.0.1", f"{CALLER}, _hidden:_port", "10.0.0.1"),
        ("10.0.0.1", "unknown, _hidden", "10.0.0.1"),
        # IPv6, including IPv4-mapped addresses.
        ("::1", CALLER, CALLER),
        ("fd00::1", "2001:DB8:0::7", "2001:db8::7"),
        ("2001:db8::9", CALLER, "2001:db8::9"),
        ("::ffff:10.0.0.1", CALLER, CALLER),
        ("10.0.0.1", f"::ffff:{CALLER}", CALLER),
        (f"::ffff:{STRANGER}", CALLER, STRANGER),
        # The zone of an address is free text.
        ("10.0.0.1", "fe80::1%eth0", "fe80::1"),
        ("10.0.0.1", "fe80::1%'; DROP TABLE", "fe80::1"),
        # A peer without an address, as with a Unix socket.
        ("", CALLER, None),
        ("unix:", CALLER, None),
    ],
)
def test_client_address_is_read_only_from_trusted_proxies(rf, trusted_proxies, peer, forwarded, expected):
    assert address(rf, peer, forwarded) == expected


@pytest.fixture
def nothing_told_yet(monkeypatch):
    monkeypatch.setattr(request_context, "_told_of", set())


def test_invalid_entry_is_logged_once_for_each_proxy(rf, trusted_proxies, nothing_told_yet, caplog):
    for _ in range(3):
        for proxy in ("10.0.0.1", "10.0.0.2"):
            address(rf, proxy, f"{CALLER}, unknown\r\nforged")

    first, second = caplog.messages
    assert "The proxy 10.0.0.1 sends X-Forwarded-For" in first
    assert "The proxy 10.0.0.2 sends X-Forwarded-For" in second
    assert "\n" not in first


@pytest.mark.parametrize("forwarded", [f"garbage, {CALLER}", f"unknown, {CALLER}:80", CALLER, "", None])
def test_header_of_a_stranger_is_not_logged(rf, trusted_proxies, nothing_told_yet, caplog, forwarded):
    address(rf, "10.0.0.1", forwarded)
    address(rf, STRANGER, "garbage")

    assert caplog.messages == []


def test_several_headers_are_one_list(rf, trusted_proxies):
    # The web server joins them with a comma, as RFC 9110 section 5.3 says.
    assert address(rf, "10.0.0.1", f"192.0.2.66,{CALLER}:80,10.0.0.2") == CALLER


def test_forwarded_addresses_are_ignored_without_trusted_proxies(rf):
    assert address(rf, "127.0.0.1", CALLER) == "127.0.0.1"


def test_only_x_forwarded_for_is_read(rf, trusted_proxies):
    headers = {"Forwarded": f"for={CALLER}", "X-Real-IP": CALLER, "Client-IP": CALLER}

    assert request_context.client_address(rf.get("/", headers=headers, REMOTE_ADDR="10.0.0.1")) == "10.0.0.1"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("curl/8.4.0", "curl/8.4.0"),
        ("", ""),
        ("a" * 257, "a" * 256),
        ("one\r\ntwo\x00three", "one  two three"),
        ("\x1b[31mred\x07\x7f", " [31mred  "),
        ("next\x85line\u2028separator\u2029", "next line separator "),
        ("half a pair \ud800", "half a pair ?"),
    ],
)
def test_user_agent_is_one_short_line(rf, sent, kept):
    assert request_context.user_agent(rf.get("/", headers={"User-Agent": sent})) == kept


def test_printable_text_has_no_control_characters():
    everything = "".join(map(chr, range(0x3000)))

    left = {character for character in request_context.printable(everything) if unicodedata.category(character) == "Cc"}

    assert left == set()


def test_missing_user_agent_is_empty(rf):
    request = rf.get("/")
    request.META.pop("HTTP_USER_AGENT", None)

    assert request_context.user_agent(request) == ""


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("/api/v1/me", "/api/v1/me"),
        ("/api/v1/me?token=secret", "/api/v1/me"),
        ("/a%00b", "/a%00b"),
        ("/a%0Ab%0D", "/a%0Ab%0D"),
        ("/a%1B%5B31m", "/a%1B%5B31m"),
        ("/%3Cscript%3E", "/%3Cscript%3E"),
        ("/%20%22%27", "/%20%22'"),
        ("/z%C3%BCrich", "/z%C3%BCrich"),
        ("/%FF", "/%25FF"),
        ("/%E2%80%AE", "/%E2%80%AE"),
        ("/" + "a" * 600, "/" + "a" * 511),
    ],
)
def test_target_is_the_percent_encoded_path(rf, path, kept):
    assert request_context.target(rf.get(path)) == kept


@pytest.mark.parametrize(
    ("path", "is_api"),
    [
        ("/api/v1", True),
        ("/api/v1/", True),
        ("/api/v1/me", True),
        ("/scim/v2", True),
        ("/scim/v2/Users", True),
        ("/oauth/introspect", True),
        ("/scim/v20", False),
        ("/api/v10/me", False),
        ("/api/docs/", False),
        ("/pipelines/api/v1/", False),
        ("/", False),
    ],
)
def test_api_is_recognized_by_its_address(rf, path, is_api):
    assert request_context.is_api(rf.get(path)) is is_api


@pytest.mark.parametrize("path", ["/healthz", "/robots.txt", "/api/v1/me", "/api/v1/nothing", "/profile/"])
def test_every_answer_has_the_id_of_its_request(client, path):
    answer = client.get(path)

    assert uuid.UUID(answer.headers["X-Request-ID"]).version == 7


def test_requests_have_different_ids(client):
    assert client.get("/healthz").headers["X-Request-ID"] != client.get("/healthz").headers["X-Request-ID"]


def test_id_sent_by_the_client_is_not_used(client):
    chosen = "11111111-1111-4111-8111-111111111111"

    answer = client.get("/api/v1/me", headers={"X-Request-ID": chosen, "X-Correlation-ID": chosen})

    assert answer.headers["X-Request-ID"] != chosen
    assert answer.json()["request_id"] == answer.headers["X-Request-ID"]
