"""The commands that remove a person's two-factor and encrypt seeds with a new key."""

from importlib import import_module

import pytest
from allauth.mfa.models import Authenticator
from cryptography.fernet import Fernet
from django.apps import apps
from django.core.management import CommandError, call_command

from accounts.models import User
from accounts.security.codes import accept_code
from accounts.security.two_factor_secrets import BOX
from accounts.tests.factories import OperatorFactory
from accounts.tests.factors import add_app, code_of
from auditlog.models import Activity

pytestmark = pytest.mark.each_database


@pytest.fixture
def operator(db):
    operator = OperatorFactory(email="operator@portal.example")
    add_app(operator)
    return operator


def answer(monkeypatch, text):
    monkeypatch.setattr("builtins.input", lambda prompt: text)


@pytest.mark.parametrize("said", ["y", " YES "])
def test_operator_who_lost_two_factor_signs_in_again(operator, monkeypatch, capsys, said):
    answer(monkeypatch, said)

    call_command("reset_two_factor", " Operator@Portal.Example ")

    assert not Authenticator.objects.exists()
    entry = Activity.objects.get()
    assert (entry.actor, entry.details) == (operator, {"kinds": ["authenticator app"], "by": "command line"})
    assert "is removed" in capsys.readouterr().out


def test_address_that_begins_with_a_dash_is_accepted(operator):
    User.objects.filter(pk=operator.pk).update(email="-o@portal.example")

    call_command("reset_two_factor", "--email=-o@portal.example", "--yes")

    assert not Authenticator.objects.exists()


@pytest.mark.parametrize("arguments", [[], ["a@b.example", "--email=a@b.example"]], ids=["none", "two"])
def test_one_address_is_required(arguments):
    with pytest.raises(CommandError):
        call_command("reset_two_factor", "--yes", *arguments)


@pytest.mark.parametrize("said", ["", "n", "no", "maybe"])
def test_nothing_is_removed_without_confirmation(operator, monkeypatch, said):
    answer(monkeypatch, said)

    with pytest.raises(CommandError, match="Nothing was done"):
        call_command("reset_two_factor", operator.email)

    assert Authenticator.objects.exists()


def test_unknown_address_is_reported(db):
    with pytest.raises(CommandError, match="Nobody has the address"):
        call_command("reset_two_factor", "nobody@acme.example", "--yes")


def test_person_without_two_factor_is_reported(owner):
    with pytest.raises(CommandError, match="no two-factor"):
        call_command("reset_two_factor", owner.email, "--yes")


def test_codes_work_with_the_new_key_after_reencryption(settings, owner, capsys):
    secret = add_app(owner)
    new = Fernet.generate_key().decode()
    settings.MFA_SECRETS_KEYS = (new, BOX.key_of_the_file())

    call_command("reencrypt_two_factor")

    settings.MFA_SECRETS_KEYS = (new,)
    assert accept_code(owner, code_of(secret)) is not None
    assert "1 secret of two-factor encrypted again." in capsys.readouterr().out


def test_dry_run_changes_nothing(owner, capsys):
    add_app(owner)
    before = Authenticator.objects.values().get()

    call_command("reencrypt_two_factor", "--dry-run")

    assert Authenticator.objects.values().get() == before
    assert "1 secret of two-factor would be encrypted again." in capsys.readouterr().out


def test_unreadable_seed_is_named_and_kept(settings, owner, capsys):
    add_app(owner)
    before = Authenticator.objects.values().get()
    settings.MFA_SECRETS_KEYS = (Fernet.generate_key().decode(),)

    with pytest.raises(CommandError, match="1 could not be read"):
        call_command("reencrypt_two_factor")

    assert Authenticator.objects.values().get() == before
    assert f"No key opens authenticator {before['id']}." in capsys.readouterr().err


def test_unbound_seed_is_refused_and_converted_only_on_request(owner, capsys):
    secret = add_app(owner)
    unbound = Fernet(BOX.key_of_the_file()).encrypt(secret.encode()).decode()
    Authenticator.objects.update(data={"secret": unbound})

    assert accept_code(owner, code_of(secret)) is None
    with pytest.raises(CommandError, match="1 could not be read"):
        call_command("reencrypt_two_factor")
    call_command("reencrypt_two_factor", "--accept-unbound")

    assert accept_code(owner, code_of(secret)) is not None


def test_migration_binds_seeds_to_their_owner(owner, member):
    bind = import_module("accounts.migrations.0006_two_factor_secrets_bound").bind
    unbind = import_module("accounts.migrations.0006_two_factor_secrets_bound").unbind
    secret = add_app(owner)
    unbind(apps, None)
    assert Authenticator.objects.get().data["secret"].startswith("gAAAAA")

    bind(apps, None)

    assert accept_code(owner, code_of(secret)) is not None
