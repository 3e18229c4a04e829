"""Helpers for the tests of signing keys."""

from io import StringIO

from cryptography.hazmat.primitives import serialization
from django.core.management import call_command

from tokens.keys import signing_key

REASON = "backup of the keys was public"


def pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def run(*arguments, **options):
    out = StringIO()
    call_command("signing_keys", *arguments, stdout=out, **options)
    return out.getvalue()


def thumbprint_of(key):
    return signing_key.describe(key).thumbprint


def secrets_of(key):
    """Texts that must not appear anywhere: the private number and each line of the PEM."""
    return [str(key.private_key.private_numbers().private_value), *pem(key.private_key).splitlines()[1:-1]]
