"""Settings from the environment: each reader accepts valid values; wrong values prevent startup."""

import ipaddress
import os
import runpy
import stat
import subprocess
import sys
from functools import partial
from unittest import mock

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from core import setting_readers

PYTHON = sys.executable
SETTINGS = str(settings.BASE_DIR / "opsera_portal/settings.py")


def start(data_directory, *command, **variables):
    """Runs the portal's command line with these variables and no others."""
    return subprocess.run(
        [PYTHON, *(command or ("manage.py", "check"))],
        cwd=settings.BASE_DIR,
        env={"PATH": os.environ["PATH"], "PORTAL_DATA_DIR": str(data_directory), **variables},
        umask=0,
        capture_output=True,
        text=True,
        check=False,
    )


def settings_with(data_directory, **variables):
    """Reads the portal's settings with these variables and no others, without a start."""
    with mock.patch.dict(os.environ, {"PORTAL_DATA_DIR": str(data_directory), **variables}, clear=True):
        return runpy.run_path(SETTINGS)


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


port, public_url, networks, rate = (
    setting_readers.port,
    setting_readers.public_url,
    setting_readers.networks,
    setting_readers.rate,
)
choice = partial(setting_readers.choice, choices=("ES256", "RS256"))


@pytest.mark.parametrize(
    ("reader", "raw", "value"),
    [
        (port, "1", 1),
        (port, "65535", 65535),
        (public_url, "https://portal.example.com", "https://portal.example.com"),
        (public_url, "https://portal.example.com/", "https://portal.example.com"),
        (public_url, "http://localhost:8080", "http://localhost:8080"),
        (public_url, "http://[::1]:8080", "http://[::1]:8080"),
        (networks, "", []),
        (networks, "127.0.0.1", [ipaddress.ip_network("127.0.0.1/32")]),
        (
            networks,
            " 10.0.0.0/8, ::1 ,,fd00::/8",
            [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("::1/128"), ipaddress.ip_network("fd00::/8")],
        ),
        (choice, "RS256", "RS256"),
        (rate, "20/s", (20, 1)),
        (rate, "1200/m", (1200, 60)),
        (rate, "5000/h", (5000, 3600)),
        (rate, "999999999/d", (999_999_999, 86_400)),
        (rate, "off", None),
    ],
)
def test_valid_value_is_read(reader, raw, value):
    assert reader("SETTING", raw) == value


@pytest.mark.parametrize(
    ("reader", "raw"),
    [
        *((port, raw) for raw in ["", "abc", "0", "-1", "65536", "80.0", " 80", "٨٠", "1" * 5000]),
        *(
            (public_url, raw)
            for raw in [
                "",
                "nonsense",
                "portal.example.com",
                "ftp://portal.example.com",
                "https://",
                "https://:8000",
                "https://portal.example.com/path",
                "https://portal.example.com?",
                "https://portal.example.com?a=b",
                "https://portal.example.com#",
                "https://someone@portal.example.com",
                "https://portal.example.com:abc",
                "https://portal.example.com:99999",
                "https://portal example.com",
                "https://portal.example.com\n",
                "https://portal.example.com\r\nX-Evil: 1",
                "https://[::1",
                "https://пример.example",
            ]
        ),
        *((networks, raw) for raw in ["foo", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.1;10.0.0.2", "127.0.0.1,foo\nbar"]),
        *((choice, raw) for raw in ["", "none", "es256", "HS256"]),
        *(
            (rate, raw)
            for raw in ["", "OFF", "0/m", "-1/m", "1200", "1200/w", "1200/min", "1.5/s", "1/m\n", "٨/m", "9" * 5000]
        ),
    ],
)
def test_error_of_a_wrong_value_is_one_line_that_names_the_variable(reader, raw):
    with pytest.raises(ImproperlyConfigured) as error:
        reader("SETTING", raw)

    assert str(error.value).startswith("SETTING must ")
    assert len(str(error.value).splitlines()) == 1


def data_directory(raw, default):
    return setting_readers.data_directory("PORTAL_DATA_DIR", str(raw), default=default)


def test_data_directory_is_created_with_its_parents_for_its_owner_only(tmp_path):
    directory = data_directory(tmp_path / "srv" / "portal", tmp_path / "default")

    assert directory == tmp_path / "srv" / "portal"
    assert mode_of(directory) == 0o700
    assert not (tmp_path / "default").exists()


def test_data_directory_has_a_default(tmp_path):
    assert data_directory("", tmp_path / "default") == tmp_path / "default"


@pytest.mark.parametrize("raw", ["/dev/null", "/dev/null/portal", "/dev/null/a\nb", "~nobody-of-this-name/portal"])
def test_error_of_a_data_directory_that_cannot_be_created_is_one_line(tmp_path, raw):
    with pytest.raises(ImproperlyConfigured) as error:
        data_directory(raw, tmp_path / "default")

    assert str(error.value).startswith("PORTAL_DATA_DIR: ")
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("mode", [0o750, 0o701, 0o702])
def test_data_directory_that_others_can_reach_prevents_startup(tmp_path, mode):
    (tmp_path / "data").mkdir(mode=0o700)
    assert data_directory(tmp_path / "data", tmp_path) == tmp_path / "data"
    (tmp_path / "data").chmod(mode)

    with pytest.raises(ImproperlyConfigured, match=r"^PORTAL_DATA_DIR: others can read or change .* Run chmod 700 on"):
        data_directory(tmp_path / "data", tmp_path)


def test_given_secret_key_is_used_and_not_stored(tmp_path):
    assert setting_readers.secret_key("SECRET_KEY", "$" + "k" * 49, directory=tmp_path) == "$" + "k" * 49
    assert not list(tmp_path.iterdir())


def test_secret_key_is_created_once_and_used_again(tmp_path):
    first = setting_readers.secret_key("SECRET_KEY", "", directory=tmp_path)

    assert len(first) >= 50
    assert setting_readers.secret_key("SECRET_KEY", "", directory=tmp_path) == first
    assert [path.name for path in tmp_path.iterdir()] == ["secret-key"]


def test_secret_key_that_is_too_short_is_refused_and_not_shown(tmp_path):
    with pytest.raises(ImproperlyConfigured) as error:
        setting_readers.secret_key("SECRET_KEY", "k" * 49, directory=tmp_path)

    assert str(error.value) == "SECRET_KEY must have at least 50 characters."


@pytest.mark.parametrize(
    ("variable", "raw"),
    [
        ("PORTAL_URL", "nonsense"),
        ("PORTAL_PORT", "abc"),
        ("API_LIMIT_TOKEN", "many"),
        ("PORTAL_DATA_DIR", "/dev/null"),
        ("PORTAL_DATA_DIR", "/proc"),
        ("DATABASE_URL", "mysql://x/y"),
        ("DATABASE_URL", "nonsense"),
        ("DATABASE_DIRECT_URL", "nonsense"),
        ("DATABASE_DIRECT_URL", "mysql://someone:hunter2@host/name"),
        ("DATABASE_DIRECT_URL", "sqlite:////tmp/portal.sqlite3"),
        ("DATABASE_DIRECT_URL", "postgres://someone:hunter2@host/name"),
        ("DATABASE_URL", "postgras://someone:hunter2@host/name"),
        ("DATABASE_URL", "postgres://someone:hunter2@host:abc/name"),
        ("DATABASE_URL", "sqlite://portal.sqlite3"),
        ("DATABASE_URL", "sqlite:////dev/null/portal.sqlite3"),
        ("EMAIL_URL", "zzz"),
        ("EMAIL_URL", "smtp://someone:hunter2@host:abc"),
        ("EMAIL_URL", "imap://someone:hunter2@host"),
        ("EMAIL_FROM", "nobody"),
        ("EMAIL_EHLO_NAME", "a b"),
        ("SSL_CERT_FILE", "/nowhere/authorities.pem"),
        ("OIDC_EMAIL_VERIFIED", "sometimes"),
        ("OIDC_ORGANIZATION", "Acme Ltd."),
        ("TRUSTED_PROXIES", "foo"),
        ("HTTP_STEP_ALLOWED_NETWORKS", "foo"),
        ("HTTP_STEP_ALLOWED_NETWORKS", "private"),
        ("HTTP_STEP_REFUSED_NETWORKS", "privat"),
        ("HTTP_STEP_PROXY", "yes"),
        ("HTTP_STEP_PROXY", "on"),
        ("SECRET_KEY", "short"),
        ("REDIS_URL", "http://x"),
        ("TOKEN_SIGNING_ALGORITHM", "none"),
        ("DEMO_ECHO_PORT", "0"),
    ],
)
def test_wrong_setting_raises_a_one_line_error_that_names_its_variable(tmp_path, monkeypatch, variable, raw):
    for name in set(os.environ) - {"PATH"}:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PORTAL_DATA_DIR", str(tmp_path))
    monkeypatch.setenv(variable, raw)

    with pytest.raises(ImproperlyConfigured) as error:
        runpy.run_path(SETTINGS)

    assert str(error.value).startswith(variable)
    assert len(str(error.value).splitlines()) == 1
    assert "hunter2" not in str(error.value)


def test_wrong_setting_prevents_startup_with_its_error_and_no_traceback(tmp_path):
    outcome = start(tmp_path, DATABASE_URL="postgras://someone:hunter2@host/name")

    assert outcome.returncode != 0
    assert len(outcome.stderr.splitlines()) == 1, outcome.stderr
    assert outcome.stderr.startswith("The portal cannot start: DATABASE_URL")


@pytest.mark.slow
def test_files_of_the_first_start_are_private(tmp_path):
    data = tmp_path / "data"

    outcome = start(data)

    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert mode_of(data) == 0o700
    assert {path.name: oct(mode_of(path)) for path in data.iterdir()} == {
        "secret-key": "0o600",
        "portal.sqlite3": "0o600",
    }


@pytest.mark.parametrize(
    ("opened", "mode"),
    [("keys", 0o750), ("keys", 0o707), ("keys/2026_a.pem", 0o640), ("keys/2026_a.pem", 0o604)],
)
@pytest.mark.parametrize("variable", ["TOKEN_SIGNING_KEYS_DIR", "PORTAL_DATA_DIR"])
def test_signing_key_that_others_can_reach_prevents_startup(tmp_path, opened, mode, variable):
    keys = tmp_path / "keys"
    keys.mkdir(mode=0o700)
    (keys / "2026_a.pem").touch(mode=0o600)
    raw = str(keys) if variable == "TOKEN_SIGNING_KEYS_DIR" else ""
    assert setting_readers.signing_keys_directory("TOKEN_SIGNING_KEYS_DIR", raw, default=keys) == keys
    (tmp_path / opened).chmod(mode)

    with pytest.raises(ImproperlyConfigured) as error:
        setting_readers.signing_keys_directory("TOKEN_SIGNING_KEYS_DIR", raw, default=keys)

    assert str(error.value).startswith(f"{variable}: others can read or change {str(tmp_path / opened)!r}")
    assert f"chmod {'600' if opened.endswith('.pem') else '700'}" in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_readable_signing_key_prevents_startup_with_a_one_line_error(tmp_path):
    keys = tmp_path / "signing-keys"
    keys.mkdir(mode=0o755)

    outcome = start(tmp_path)

    assert outcome.returncode != 0
    assert outcome.stderr.startswith("The portal cannot start: PORTAL_DATA_DIR: others can read")
    assert len(outcome.stderr.splitlines()) == 1


def test_database_is_in_a_data_directory_with_any_name(tmp_path):
    data = tmp_path / "a+b%20c?d#e"

    assert settings_with(data)["DATABASES"]["default"]["NAME"] == str(data / "portal.sqlite3")


@pytest.mark.parametrize(
    ("variable", "setting"),
    [
        ("SECRET_KEY", "SECRET_KEY"),
        ("PORTAL_DEMO_PASSWORD", "DEMO_PASSWORD"),
        ("TOKEN_SIGNING_KEYS", "TOKEN_SIGNING_KEYS"),
    ],
)
def test_secret_that_begins_with_a_dollar_sign_is_not_a_reference(tmp_path, variable, setting):
    secret = "$PATH" + "x" * 50

    assert settings_with(tmp_path, **{variable: secret})[setting] == secret


@pytest.mark.slow
def test_processes_that_start_at_the_same_time_use_the_same_secret_key(tmp_path):
    code = (
        "import sys; from pathlib import Path; from core import setting_readers;"
        "print('ready', flush=True); sys.stdin.readline();"
        "print(setting_readers.secret_key('SECRET_KEY', '', directory=Path(sys.argv[1])))"
    )
    processes = [
        subprocess.Popen(
            [PYTHON, "-c", code, str(tmp_path)],
            cwd=settings.BASE_DIR,
            env={"PATH": os.environ["PATH"]},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 6
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()

    keys = {process.communicate()[0].strip() for process in processes}

    assert keys == {(tmp_path / "secret-key").read_text()}
    assert [path.name for path in tmp_path.iterdir()] == ["secret-key"]
    assert oct(mode_of(tmp_path / "secret-key")) == "0o600"


@pytest.mark.parametrize(
    "value", ["", "mailto:security@example.com", "https://example.com/report", "tel:+1-201-555-0123"]
)
def test_security_contact_is_written_as_in_rfc_9116(value):
    assert setting_readers.contact("SETTING", value) == value


@pytest.mark.parametrize(
    "value", ["security@example.com", "http://example.com", "mailto:x", "mailto:a@b\nExpires: never"]
)
def test_wrong_security_contact_prevents_startup(value):
    with pytest.raises(ImproperlyConfigured, match="SETTING must be like mailto:"):
        setting_readers.contact("SETTING", value)


def test_word_private_means_all_private_networks():
    found = setting_readers.networks("CLOSED", "private, 203.0.113.0/24", words={"private": ["10.0.0.0/8", "fc00::/7"]})

    assert list(map(str, found)) == ["10.0.0.0/8", "fc00::/7", "203.0.113.0/24"]


@pytest.mark.parametrize(
    "url", ["socks5://proxy.example.com", "proxy.example.com:3128", "http://", "http://a:hunter2@b:x"]
)
def test_error_of_a_wrong_proxy_does_not_show_its_url(monkeypatch, url):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", url)

    with pytest.raises(ImproperlyConfigured) as error:
        setting_readers.step_proxies("STEP_PROXY", is_on=True)
    assert str(error.value).startswith("STEP_PROXY is on, but a proxy is not an address")
    assert "hunter2" not in str(error.value)


def test_proxies_are_used_only_if_they_are_switched_on(monkeypatch):
    monkeypatch.setenv("https_proxy", "http://proxy.example.com:3128")
    monkeypatch.setenv("no_proxy", "10.0.0.5")
    monkeypatch.delenv("http_proxy", raising=False)
    assert setting_readers.step_proxies("STEP_PROXY", is_on=False) == {}
    assert setting_readers.step_proxies("STEP_PROXY", is_on=True) == {
        "https": "http://proxy.example.com:3128",
        "no": "10.0.0.5",
    }
