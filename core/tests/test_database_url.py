"""Database URLs become Django settings. Errors never show a URL, because it has the password."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from core.db.url import database

pytestmark = pytest.mark.once


def read(url):
    return database("DATABASE_URL", url)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgres://u:p%40ss@db.example.com:5432/portal", ("u", "p@ss", "db.example.com", "5432", "portal")),
        ("postgresql://u:a+b@db.example.com/portal", ("u", "a+b", "db.example.com", "", "portal")),
        ("postgres://u@[::1]:5432/portal", ("u", "", "::1", "5432", "portal")),
        ("postgres://u@/portal?host=/run/postgresql", ("u", "", "/run/postgresql", "", "portal")),
        ("postgres://u:p@a:5432,b:5433/portal", ("u", "p", "a,b", "5432,5433", "portal")),
    ],
)
def test_parts_of_a_url_are_read(url, expected):
    found = read(url)

    assert tuple(found[name] for name in ("USER", "PASSWORD", "HOST", "PORT", "NAME")) == expected
    assert found["OPTIONS"] == {}


def test_parameters_of_libpq_become_options():
    assert read("postgres://u:p@db/portal?sslmode=verify-full")["OPTIONS"] == {"sslmode": "verify-full"}


@pytest.mark.parametrize(("url", "name"), [("sqlite:////srv/a%20b.sqlite3", "/srv/a b.sqlite3"), ("sqlite:///x", "x")])
def test_sqlite_url_names_a_file(url, name):
    assert read(url) == {"ENGINE": "django.db.backends.sqlite3", "NAME": name}


def test_empty_url_means_no_database():
    assert read("") is None


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:hunter2@db/portal",
        "postgres://u:hunter2@db:abc/portal",
        "postgres://u:hunter2@[::1/portal",
        "postgres://u:hunter2@db/portal?color=red",
        "postgres://u:hunter2%zz@db/portal",
    ],
)
def test_error_of_a_wrong_url_is_one_line_without_the_password(url):
    with pytest.raises(ImproperlyConfigured, match=r"^DATABASE_URL must ") as error:
        read(url)

    assert "hunter2" not in str(error.value)
    assert "\n" not in str(error.value)
