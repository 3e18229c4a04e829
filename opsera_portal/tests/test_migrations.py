from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings
from django.core.management import call_command

pytestmark = pytest.mark.each_database

OURS = ["core", "opsera_portal", "accounts", "auditlog", "gateway", "pipelines", "tokens"]


def migrations():
    found = [path for app in OURS for path in Path(settings.BASE_DIR, app, "migrations").glob("0*.py")]
    assert {path.parent.parent.name for path in found} == set(OURS)
    return found


@pytest.mark.django_db
def test_no_migration_is_missing():
    # Exits with code 1 if one is missing.
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


def test_every_app_with_models_is_checked():
    ours = {app.label for app in apps.get_app_configs() if Path(app.path).parent == settings.BASE_DIR and app.models}

    # `opsera_portal` has migrations, but no models.
    assert ours == set(OURS) - {"opsera_portal"}


@pytest.mark.parametrize("path", migrations(), ids=lambda path: f"{path.parent.parent.name}/{path.stem}")
def test_every_migration_is_named_for_its_purpose(path):
    words = path.stem.split("_")

    assert "auto" not in words
    assert words[-2:] != ["and", "more"]
