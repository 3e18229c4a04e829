"""Second factors for tests: an authenticator app as it is on a phone, and a passkey as it is in a device."""

import hashlib
import secrets
import time

from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from fido2.cose import ES256
from fido2.utils import websafe_decode, websafe_encode
from fido2.webauthn import AttestationObject, AttestedCredentialData, AuthenticatorData, CollectedClientData

PERIOD = 30
# Where browsers allow passkeys without TLS.
HOST, ORIGIN = "localhost", "http://localhost"
PRESENT, VERIFIED, ATTESTED = (AuthenticatorData.FLAG[name] for name in ("UP", "UV", "AT"))


def code_of(secret, *, steps=0):
    """The code that the app shows now, or so many steps of 30 seconds later."""
    return format_hotp_value(hotp_value(secret, int(time.time()) // PERIOD + steps))


def add_app(user):
    """The secret that is in the app."""
    secret = generate_totp_secret()
    TOTP.activate(user, secret)
    # `has_two_factor` is asked once a request; a test asks again.
    user.__dict__.pop("has_two_factor", None)
    return secret


def add_passkey(user, name="Laptop"):
    """The row; nobody has the device."""
    asked = {"challenge": "", "rp": {"id": HOST}, "user": {"id": websafe_encode(user.pk.hex.encode())}}
    credential = Passkey().create({"creation_options": {"publicKey": asked}})
    user.__dict__.pop("has_two_factor", None)
    data = {"name": name, "credential": credential}
    return Authenticator.objects.create(user=user, type=Authenticator.Type.WEBAUTHN, data=data)


def add_recovery_codes(user):
    return RecoveryCodes.activate(user).get_unused_codes()


class Passkey:
    """Answers as a device does, and lies where a test says so: ``flags`` say whether it has asked who is there."""

    def __init__(self):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.id = secrets.token_bytes(16)
        self.user_handle = ""

    def create(self, options, *, origin=ORIGIN, flags=PRESENT | VERIFIED):
        asked = options["creation_options"]["publicKey"]
        self.user_handle = asked["user"]["id"]
        known = AttestedCredentialData.create(bytes(16), self.id, ES256.from_cryptography_key(self.key.public_key()))
        data = AuthenticatorData.create(self._rp(asked["rp"]["id"]), flags | ATTESTED, 0, known)
        return self._answer(
            clientDataJSON=CollectedClientData.create("webauthn.create", asked["challenge"], origin),
            attestationObject=AttestationObject.create("none", data, {}),
        )

    def get(self, options, *, origin=ORIGIN, flags=PRESENT | VERIFIED, key=None, user_handle=None):
        asked = options["request_options"]["publicKey"]
        data = AuthenticatorData.create(self._rp(asked["rpId"]), flags, 0)
        client_data = CollectedClientData.create("webauthn.get", asked["challenge"], origin)
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
