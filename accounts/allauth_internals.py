"""Everything that the portal uses of allauth's private modules.

allauth may change these in any release, so requirements.in allows only patch releases: check this module and its tests
before you raise the limit.
"""

from allauth.account.internal.flows.login import (
    AUTHENTICATION_METHODS_SESSION_KEY,
    clear_authentication_records,
    record_authentication,
)
from allauth.account.internal.stagekit import clear_login
from allauth.account.views._password_reset import INTERNAL_RESET_SESSION_KEY
from allauth.core.internal.cryptokit import compare_user_code
from allauth.mfa.base.internal.flows import delete_and_cleanup
from allauth.mfa.totp.internal.auth import (
    format_hotp_value,
    generate_totp_secret,
    hotp_value,
    yield_hotp_counters_from_time,
)
from allauth.mfa.totp.internal.flows import activate_totp
from allauth.mfa.webauthn.internal import auth as webauthn
from allauth.mfa.webauthn.internal import flows as webauthn_flows

__all__ = [
    "AUTHENTICATION_METHODS_SESSION_KEY",
    "INTERNAL_RESET_SESSION_KEY",
    "activate_totp",
    "clear_authentication_records",
    "clear_login",
    "compare_user_code",
    "delete_and_cleanup",
    "format_hotp_value",
    "generate_totp_secret",
    "hotp_value",
    "record_authentication",
    "webauthn",
    "webauthn_flows",
    "yield_hotp_counters_from_time",
]
