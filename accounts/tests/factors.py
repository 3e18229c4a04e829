"""Second factors for tests: an authenticator app and a device with a passkey."""

import hashlib
import secrets
import time

from allauth.mfa.models import Authenticator
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from django.utils import timezone
from fido2.cose import ES256
from fido2.utils import websafe_decode, websafe_encode
from fido2.webauthn import AttestationObject, AttestedCredentialData, AuthenticatorData, CollectedClientData

from accounts.allauth_internals import format_hotp_value, generate_totp_secret, hotp_value
from accounts.security import recovery_codes, two_factor_secrets

PERIOD = 30
# The only origin where browsers allow passkeys without TLS.
HOST, ORIGIN = "localhost", "http://localhost"
PRESENT, VERIFIED, ATTESTED = (AuthenticatorData.FLAG[name] for name in ("UP", "UV", "AT"))


def code_of(secret, *, steps=0):
    """The code that the app shows now, or ``steps`` of 30 seconds later."""
    return format_hotp_value(hotp_value(secret, int(time.time()) // PERIOD + steps))


def add_app(user):
    """Sets up an app and returns its seed."""
    secret = generate_totp_secret()
    Authenticator.objects.create(
        user=user, type=Authenticator.Type.TOTP, data={"secret": two_factor_secrets.seal(secret, user)}
    )
    # `has_two_factor` is cached for one request.
    user.__dict__.pop("has_two_factor", None)
    return secret


def add_passkey(user, name="Laptop", *, device=None):
    """Adds a passkey and returns its row. Pass a ``device`` to sign in with it."""
    asked = {"challenge": "", "rp": {"id": HOST}, "user": {"id": websafe_encode(user.pk.hex.encode())}}
    credential = (device or Passkey()).create({"creation_options": {"publicKey": asked}})
    user.__dict__.pop("has_two_factor", None)
    data = {"name": name, "credential": credential}
    return Authenticator.objects.create(user=user, type=Authenticator.Type.WEBAUTHN, data=data)


def add_recovery_codes(user):
    """Creates recovery codes that have been shown already, and returns them."""
    codes = recovery_codes.create_codes()
    data = {"hashes": recovery_codes.hashes_of(codes)}
    Authenticator.objects.create(user=user, type=Authenticator.Type.RECOVERY_CODES, data=data)
    return codes


def make_recent(client):
    """Marks the session as signed in with two-factor just now. `force_login` does not do this."""
    session = client.session
    record = {"method": "mfa", "type": "totp", "at": timezone.now().timestamp()}
    session["account_authentication_methods"] = [record]
    session["account_authentication_methods_user"] = session["_auth_user_id"]
    session.save()


def signed_in_just_now(request, user):
    """Gives the request the session of a person who has just signed in with two-factor."""
    request.user = user
    request.session = {
        "account_authentication_methods": [{"method": "mfa", "at": time.time()}],
        "account_authentication_methods_user": str(user.pk),
    }
    return request


class Passkey:
    """A device with a passkey. ``flags`` say whether the device has verified the person.

    ``sign_count`` is the device's counter, or 0 if it has none.
    """

    def __init__(self, *, sign_count=0):
        self.sign_count = sign_count
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.id = secrets.token_bytes(16)
        self.user_handle = ""

    def create(self, options, *, origin=ORIGIN, flags=PRESENT | VERIFIED):
        asked = options["creation_options"]["publicKey"]
        self.user_handle = asked["user"]["id"]
        known = AttestedCredentialData.create(bytes(16), self.id, ES256.from_cryptography_key(self.key.public_key()))
        data = AuthenticatorData.create(self._rp(asked["rp"]["id"]), flags | ATTESTED, self.sign_count, known)
        return self._answer(
            clientDataJSON=CollectedClientData.create("webauthn.create", asked["challenge"], origin),
            attestationObject=AttestationObject.create("none", data, {}),
        )

    def get(self, options, *, origin=ORIGIN, flags=PRESENT | VERIFIED, key=None, user_handle=None, in_a_frame=False):
        asked = options["request_options"]["publicKey"]
        data = AuthenticatorData.create(self._rp(asked["rpId"]), flags, self.sign_count)
        client_data = CollectedClientData.create("webauthn.get", asked["challenge"], origin, in_a_frame)
        signed = (key or self.key).sign(data + client_data.hash, ec.ECDSA(hashes.SHA256()))
        return self._answer(
            clientDataJSON=client_data,
            authenticatorData=data,
            signature=signed,
            userHandle=websafe_decode(self.user_handle if user_handle is None else user_handle),
        )

    def _rp(self, rp_id):
        return hashlib.sha256(rp_id.encode()).digest()

    def _answer(self, **parts):
        return {
            "id": websafe_encode(self.id),
            "rawId": websafe_encode(self.id),
            "type": "public-key",
            "response": {name: websafe_encode(part) for name, part in parts.items()},
            "clientExtensionResults": {"credProps": {"rk": True}},
        }
