from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from accounts.models import Organization, User
from opsera_portal.demo import data
from opsera_portal.demo.many.people import LONG_EMAIL


@pytest.fixture
def accounts(tmp_path, settings):
    settings.DATA_DIR = tmp_path
    return tmp_path / "demo-accounts.txt"


def run_demo(*options):
    output = StringIO()
    call_command("demo", *options, stdout=output)
    return output.getvalue()


@pytest.mark.slow
@pytest.mark.django_db
def test_command_says_what_it_did_and_keeps_the_accounts(accounts):
    assert "Created the demo." in run_demo()
    assert "Added 300 people.\nAdded 200 groups.\n" in run_demo("--many")
    assert "Nothing was added: the rows of --many exist already." in run_demo("--many")
    assert {"admin@demo.example", LONG_EMAIL} < set(data.read_accounts(accounts))


@pytest.mark.django_db
def test_database_of_a_real_organization_is_refused(accounts):
    Organization.objects.create(name="Acme", slug="acme")

    with pytest.raises(CommandError, match="has the organization “Acme” and no demo"):
        run_demo("--many")
    assert not User.objects.exists()


@pytest.mark.django_db
def test_organization_that_is_only_called_demo_is_refused(accounts):
    Organization.objects.create(name="Demolition", slug="demo")

    with pytest.raises(CommandError, match="“Demolition” is not the demo"):
        run_demo("--many")
    assert not User.objects.exists()
