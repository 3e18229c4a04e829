"""The command `manage.py create_organization`."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command, execute_from_command_line

from accounts.models import Organization, User
from accounts.roles import SiteRole
from accounts.tests.factories import PASSWORD, UserFactory
from auditlog.models import Activity

PROJECT = Path(__file__).resolve().parent.parent.parent
GIVEN = {"organization": "Acme", "email": "ada@acme.example", "name": "Ada Admin", "password": PASSWORD}


def create(**options):
    output = io.StringIO()
    call_command("create_organization", stdout=output, stderr=output, **(GIVEN | options))
    return output.getvalue()


@pytest.mark.django_db
def test_create_organization_creates_an_administrator_who_can_sign_in(client):
    said = create()

    user = User.objects.get()
    assert (user.email, user.name, user.site_role) == ("ada@acme.example", "Ada Admin", SiteRole.ADMINISTRATOR)
    assert (user.organization.name, user.organization.slug) == ("Acme", "acme")
    assert said == "Created “Acme” with ada@acme.example as its Administrator.\n"
    client.post("/login/", {"login": "ada@acme.example", "password": PASSWORD})
    assert client.session["_auth_user_id"] == str(user.pk)


@pytest.mark.django_db
def test_created_organization_is_in_the_activity_log():
    create()

    assert [entry.action for entry in Activity.objects.all()] == ["user.created"]


@pytest.mark.django_db
def test_password_is_never_printed():
    assert PASSWORD not in create()


@pytest.mark.parametrize(
    ("wrong", "explanation"),
    [
        ({"password": "short"}, "at least 12 characters"),
        ({"password": "12345678901234"}, "entirely numeric"),
        ({"password": "password12345"}, "too common"),
        ({"password": "ada@acme.example"}, "easy to guess"),
        ({"email": "SAM@acme.example"}, "exists already"),
        ({"email": "not an address"}, "valid email address"),
        ({"organization": "Taken"}, "already exists"),
        ({"organization": "x" * 101}, "at most 100 characters"),
    ],
    ids=str,
)
@pytest.mark.django_db
def test_errors_are_one_line_and_nothing_is_created(wrong, explanation):
    UserFactory(email="sam@acme.example", organization__name="Taken")

    with pytest.raises(CommandError, match=explanation) as refusal:
        create(**wrong)

    assert "\n" not in str(refusal.value)
    assert (Organization.objects.count(), User.objects.count(), Activity.objects.count()) == (1, 1, 0)


@pytest.mark.django_db
def test_command_prompts_for_missing_values(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO("Acme\nada@acme.example\nAda Admin\n"))

    create(organization=None, email=None, name=None)

    asked = capsys.readouterr().out
    assert "Name of the organization: " in asked
    assert User.objects.get().email == "ada@acme.example"


@pytest.mark.django_db
def test_password_can_be_read_from_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{PASSWORD}\n"))

    create(password=None, password_stdin=True)

    assert User.objects.get().check_password(PASSWORD)


@pytest.mark.parametrize("typed", ["", "Acme\n", "Acme\nada@acme.example\n"])
@pytest.mark.django_db
def test_incomplete_answers_create_nothing(monkeypatch, typed):
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))

    with pytest.raises(CommandError, match="Nothing was created"):
        create(organization=None, email=None, name=None)

    assert not Organization.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_missing_answers_are_reported_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO())

    with pytest.raises(SystemExit) as ended:
        execute_from_command_line(["manage.py", "create_organization"])

    told = capsys.readouterr().err
    assert ended.value.code == 1
    assert told.count("\n") == 1, told
    assert "Nothing was created" in told


@pytest.mark.slow
def test_missing_terminal_is_reported_in_one_line(tmp_path):
    """Runs the command without a terminal, in its own session, as a script or a container does."""
    given = ["--organization=Acme", "--email=ada@acme.example", "--name=Ada"]
    command = [sys.executable, "manage.py", "create_organization", *given]

    process = subprocess.run(
        command,
        cwd=PROJECT,
        env={**os.environ, "PORTAL_DATA_DIR": str(tmp_path), "DJANGO_SETTINGS_MODULE": "opsera_portal.settings"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=60,
    )

    assert process.returncode == 1
    assert process.stderr.count("\n") == 1, process.stderr
    assert "Nothing was created" in process.stderr
