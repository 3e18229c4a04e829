"""The server's own log: strangers cannot fill it or forge lines, and it contains no secrets."""

import io
import logging
import logging.config

import pytest
from django.conf import settings as portal_settings

from core import server_log
from tokens.tests.factories import TokenFactory, bearer

JWT_LIKE = ".".join(["eyJhbGciOiJFUzI1NiJ9", "eyJzdWIiOiIxIn0", "c2lnbmF0dXJl"])


class Log:
    """A logger with the portal's handler and formatter, and a clock that a test can move."""

    def __init__(self):
        self.now = 1000.0
        self.stream = io.StringIO()
        self.handler = server_log.BoundedHandler(self.stream, clock=lambda: self.now)
        formatter = portal_settings.LOGGING["formatters"]["line"]
        self.handler.setFormatter(server_log.SafeFormatter(formatter["format"], formatter["datefmt"]))
        self.logger = logging.Logger("a.stranger")  # noqa: LOG001  (used in one test only)
        self.logger.addHandler(self.handler)

    @property
    def lines(self):
        return self.stream.getvalue().splitlines()


@pytest.fixture
def log():
    return Log()


# Number of lines


def test_lines_from_one_logging_statement_are_limited_per_minute(log):
    for number in range(500):
        log.logger.warning("Refused %s", number)

    assert len(log.lines) == server_log.LINES


def test_changing_text_does_not_bypass_the_limit(log):
    for number in range(500):
        log.logger.warning(f"Refused {number}")

    assert len(log.lines) == server_log.LINES


def test_number_of_omitted_lines_is_logged_after_a_minute(log):
    def refuse(number):
        log.logger.warning("Refused %s", number)

    for number in range(100):
        refuse(number)
    log.now += server_log.SECONDS
    log.logger.warning("Something else")

    assert "40 more lines like the last ones were left out" in log.lines[60]
    assert "Refused 99" in log.lines[60]
    assert "Something else" in log.lines[61]
    refuse(100)
    assert log.lines[-1].endswith("Refused 100")


def test_number_of_omitted_lines_is_logged_at_the_end_of_the_process(log):
    for number in range(61):
        log.logger.warning("Refused %s", number)
    log.handler.close()

    assert "1 more lines" in log.lines[-1]


def test_many_lines_of_one_kind_do_not_limit_others(log):
    for number in range(500):
        log.logger.warning("Refused %s", number)
    log.logger.error("The database cannot be reached")

    assert log.lines[-1].endswith("The database cannot be reached")


# Content of lines


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "a\x85b", "a\u2028b", "a\x1b[2Kb", "a\x00b", "a\x0bb"])
def test_text_from_outside_cannot_begin_a_new_line(log, text):
    log.logger.warning("Refused %s", text)
    log.logger.warning("Refused " + text)

    assert len(log.lines) == 2
    assert all(line.isprintable() for line in log.lines)


def test_long_line_is_cut(log):
    log.logger.warning("Refused %s", "x" * 100_000)

    assert len(log.lines[0]) < server_log.MESSAGE_MAX_LENGTH + 10


@pytest.mark.parametrize("filler", ["", "x" * (server_log.MESSAGE_MAX_LENGTH - 60)])
def test_line_has_no_token(log, filler):
    log.logger.warning("Forbidden: %s/%s", filler, JWT_LIKE + "x" * 4000)

    assert "eyJ" not in log.stream.getvalue()


@pytest.mark.parametrize(
    "path", ["/invitation/MQ/abc-secret/", "/password/reset/key/MQ-secret/", "/confirm-email/MQ:secret:x/"]
)
def test_line_has_no_link_that_signs_someone_in(log, path):
    log.logger.warning("Forbidden (CSRF cookie not set.): %s", path)

    assert "secret" not in log.stream.getvalue()


def test_traceback_is_indented_and_cut(log):
    forged = "bad\n2026-01-01T00:00:00.000Z INFO forged: line " + JWT_LIKE

    try:
        raise ValueError(forged + "x" * 100_000)
    except ValueError:
        log.logger.exception("Internal Server Error: %s", "/")

    first, *others = log.lines
    assert first.endswith("Internal Server Error: /")
    assert others[0] == "  Traceback (most recent call last):"
    assert all(line.startswith("  ") for line in others)
    assert "eyJ" not in log.stream.getvalue()
    assert len(log.stream.getvalue()) < server_log.TRACEBACK_MAX_LENGTH + 1000


# Sources of lines


def test_every_line_goes_through_the_bounded_handler():
    """Includes the web server, which installs its own handlers before the portal is loaded."""
    config = portal_settings.LOGGING
    own_handlers = {name for name, logger in config["loggers"].items() if logger.get("handlers")}

    assert list(config["handlers"]) == ["console"]
    assert config["handlers"]["console"]["class"] == "core.server_log.BoundedHandler"
    assert config["root"]["handlers"] == ["console"]
    assert own_handlers == set()
    for name in ("_granian", "granian.access"):
        assert (config["loggers"][name]["handlers"], config["loggers"][name]["propagate"]) == ([], True)
    for logger in map(logging.getLogger, logging.root.manager.loggerDict):
        assert not [
            handler
            for handler in logger.handlers
            if isinstance(handler, logging.StreamHandler)
            and not isinstance(handler, server_log.BoundedHandler)
            # Django's own, for DEBUG only.
            and not any(type(one).__name__ == "RequireDebugTrue" for one in handler.filters)
            and logger.name != "django.server"
        ], logger.name


def many(count):
    return "&".join(f"a{number}=" for number in range(count))


def multipart(count):
    part = '--b\r\nContent-Disposition: form-data; name="{}"\r\n\r\nx\r\n'
    return "".join(part.format(number) for number in range(count)) + "--b--\r\n"


FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=b"
FILE = '--b\r\nContent-Disposition: form-data; name="a"; filename="x"\r\n\r\nx\r\n--b--\r\n'


@pytest.mark.parametrize(
    "send",
    [
        lambda client, headers: client.get(f"/login/?{many(3000)[:8000]}", headers=headers),
        lambda client, headers: client.get("/login/?" + "&" * 3000, headers=headers),
        lambda client, headers: client.get("/api/v1/pipelines?" + "&" * 3000, headers=headers),
        lambda client, headers: client.get("/login/?" + "x" * 9000, headers=headers),
        lambda client, headers: client.post("/login/", many(3000), content_type=FORM, headers=headers),
        lambda client, headers: client.post("/login/", multipart(3000), content_type=MULTIPART, headers=headers),
        lambda client, headers: client.post("/login/", FILE, content_type=MULTIPART, headers=headers),
        lambda client, headers: client.post("/login/", "x", content_type="multipart/form-data", headers=headers),
        lambda client, headers: client.post("/login/", "x", content_type=MULTIPART, headers=headers),
        lambda client, headers: client.get("/login/", headers=headers | {"Host": "evil.example"}),
        lambda client, headers: client.get("/api/v1/me", headers=headers | {"Host": "evil.example"}),
        lambda client, headers: client.get("/login/", headers=headers | {"Cookie": "sessionid=" + "x" * 3000}),
        lambda client, headers: client.get("/%00%ff/../..%2f", headers=headers),
    ],
)
@pytest.mark.parametrize("authorization", [None, "Bearer junk", "token"])
def test_request_of_a_stranger_never_logs_a_traceback(client, db, owner, caplog, send, authorization):
    headers = {} if authorization is None else {"Authorization": authorization}
    if authorization == "token":
        headers = bearer(TokenFactory(owner=owner))

    answer = send(client, headers)

    assert answer.status_code < 500
    assert not [record for record in caplog.records if record.exc_info]
    assert sum(len(message) for message in caplog.messages) < 500


def test_form_with_too_many_fields_is_logged_in_one_line_with_address_and_request(client, db, caplog):
    answer = client.post("/login/", many(3000), content_type=FORM, REMOTE_ADDR="192.0.2.7")

    (line,) = caplog.messages
    assert line == f"400 for 192.0.2.7: TooManyFieldsSent, POST /login/ (request {answer.headers['X-Request-ID']})"
