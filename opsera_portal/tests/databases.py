"""Copies a migrated database: the migrations run once, and each process copies the result.

The template's name contains a digest of the files that define it. So later runs use it again, and
the first run after a change of a migration or model replaces it. On SQLite it is a file in pytest's
cache, on PostgreSQL a database beside those of the tests.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from django.apps import apps
from django.conf import settings
from django.db import transaction

from opsera_portal.tests.files import python_files_below

TEMPLATES = settings.BASE_DIR / ".pytest_cache" / "databases"
PREFIX = "portal_template_"
# For PostgreSQL: several working copies may share a server.
TEMPLATES_KEPT = 3
# Garbage collection as in manage.py.
MIGRATE = """
import atexit, gc
gc.set_threshold(50_000, 10, 10)
atexit.register(gc.freeze)
import django
django.setup()
from django.core.management import call_command
call_command("migrate", interactive=False, verbosity=0)
call_command("createcachetable", verbosity=0)
# So that SQLite moves everything from its log into the file that is copied.
from django.db import connections
connections.close_all()
"""


@contextmanager
def one_at_a_time(what: str):
    """Holds a lock across all processes of this machine."""
    with open(Path(tempfile.gettempdir()) / f"opsera-portal-tests-{what}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def digest() -> str:
    """A digest of all files that define migrations, content types and permissions."""
    files = [settings.BASE_DIR / "requirements.txt"]
    for app in apps.get_app_configs():
        if Path(app.path).parent == settings.BASE_DIR:
            files += [
                path for path in python_files_below(Path(app.path)) if decides_a_schema(path.relative_to(app.path))
            ]
    found = hashlib.sha256()
    for path in sorted(files):
        found.update(f"{path.relative_to(settings.BASE_DIR)}\n".encode() + path.read_bytes())
    return found.hexdigest()[:16]


def decides_a_schema(path: Path) -> bool:
    return path.stem in {"models", "apps"} or "models" in path.parts or "migrations" in path.parts


def copy_to_sqlite(file: Path) -> None:
    template = TEMPLATES / f"{digest()}.sqlite3"
    with one_at_a_time("templates"):
        if not template.exists():
            shutil.rmtree(TEMPLATES, ignore_errors=True)
            TEMPLATES.mkdir(parents=True)
            with tempfile.TemporaryDirectory(prefix="opsera-portal-template-") as directory:
                migrate(Path(directory))
                shutil.move(Path(directory) / "portal.sqlite3", template)
    shutil.copyfile(template, file)


def copy_to_postgresql(server: str, name: str, *, migrated: bool = True) -> str:
    """Creates a database on the server of the URL ``server``, and returns its URL."""
    with closing(psycopg.connect(server, autocommit=True)) as connection:
        template = template_on(connection, server) if migrated else "template1"
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        # One at a time: PostgreSQL copies a template only while nobody else uses it.
        with one_at_a_time("templates"):
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        # Faster. Commits need not survive a crash: tests kill the portal, but not this server.
        connection.execute(f'ALTER DATABASE "{name}" SET synchronous_commit TO off')
    return beside(server, name)


def template_on(connection: psycopg.Connection, server: str) -> str:
    name = PREFIX + digest()
    with one_at_a_time("templates"):
        names = "SELECT datname FROM pg_database WHERE datname LIKE %s ORDER BY oid DESC"
        found = [row[0] for row in connection.execute(names, [f"{PREFIX}%"])]
        if name not in found:
            building = f"{name}_in_progress"
            for old in {building, *found[TEMPLATES_KEPT - 1 :]}:
                connection.execute(f'DROP DATABASE IF EXISTS "{old}" WITH (FORCE)')
            connection.execute(f'CREATE DATABASE "{building}"')
            with tempfile.TemporaryDirectory(prefix="opsera-portal-template-") as directory:
                migrate(Path(directory), DATABASE_URL=beside(server, building))
            connection.execute(f'ALTER DATABASE "{building}" RENAME TO "{name}"')
    return name


def begin_again(connection, *, migrated: bool = True) -> None:
    """Replaces the database of this process by a new copy, or by one without any table.

    A test of early migrations begins with nothing: to go back from the latest migration takes ten times as long.
    """
    name = connection.settings_dict["NAME"]
    connection.close()
    if connection.vendor == "postgresql":
        copy_to_postgresql(os.environ["DATABASE_URL"], name, migrated=migrated)
        return
    for file in Path(name).parent.glob(f"{Path(name).name}*"):
        file.unlink()
    if migrated:
        copy_to_sqlite(Path(name))


def beside(server: str, name: str) -> str:
    return urlunsplit(urlsplit(server)._replace(path=f"/{name}"))


def migrate(data: Path, **where: str) -> None:
    """Runs the migrations in a separate process, as the portal does."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PORTAL_", "DATABASE_", "DJANGO_", "REDIS_URL"))
    }
    own = {"PORTAL_DATA_DIR": str(data), "DJANGO_SETTINGS_MODULE": "opsera_portal.settings"}
    subprocess.run(
        [sys.executable, "-c", MIGRATE], env={**environment, **own, **where}, cwd=settings.BASE_DIR, check=True
    )


# `migrate` fills these tables. No test changes them.
KEPT_TABLES = {"django_migrations", "django_content_type", "auth_permission"}


def empty(connection) -> None:
    """Deletes the rows that a test has committed.

    Django would truncate all 50 tables and create content types and permissions again. That takes a
    third of a second.
    """
    quote = connection.ops.quote_name
    tables = set(connection.introspection.django_table_names(only_existing=True)) - KEPT_TABLES
    has_rows = " UNION ALL ".join(f"SELECT '{table}' WHERE EXISTS (SELECT 1 FROM {quote(table)})" for table in tables)
    # The database checks foreign keys when the transaction ends.
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(has_rows)
        for (table,) in cursor.fetchall():
            cursor.execute(f"DELETE FROM {quote(table)}")


def drop_from_postgresql(database_url: str) -> None:
    name = urlsplit(database_url).path.lstrip("/")
    with closing(psycopg.connect(beside(database_url, "postgres"), autocommit=True)) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
