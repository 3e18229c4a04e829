"""Signing in, and everything that makes signing in safe: allauth's views at the portal's addresses.

Each is named here, under the name by which allauth looks for it; what is not named does not exist. Nobody signs up.
"""

from allauth.account import views as account
from allauth.mfa.base import views as mfa
from allauth.mfa.recovery_codes import views as recovery_codes
from allauth.mfa.totp import views as totp
from allauth.mfa.webauthn import views as webauthn
from allauth.socialaccount import views as socialaccount
from allauth.socialaccount.providers.openid_connect import views as openid_connect
from allauth.usersessions import views as usersessions
from django.urls import path, re_path

SECURITY = "profile/security"

urlpatterns = [
    path("login/", account.login, name="account_login"),
    path("login/inactive/", account.account_inactive, name="account_inactive"),
    path("login/again/", account.reauthenticate, name="account_reauthenticate"),
    path("login/two-factor/", mfa.authenticate, name="mfa_authenticate"),
    path("login/two-factor/again/", mfa.reauthenticate, name="mfa_reauthenticate"),
    path("login/passkey/", webauthn.login_webauthn, name="mfa_login_webauthn"),
    path("login/passkey/again/", webauthn.reauthenticate_webauthn, name="mfa_reauthenticate_webauthn"),
    path("login/single-sign-on/cancelled/", socialaccount.login_cancelled, name="socialaccount_login_cancelled"),
    path("login/single-sign-on/error/", socialaccount.login_error, name="socialaccount_login_error"),
    path("login/single-sign-on/sign-up/", socialaccount.signup, name="socialaccount_signup"),
    path("login/single-sign-on/<slug:provider_id>/", openid_connect.login, name="openid_connect_login"),
    path("login/single-sign-on/<slug:provider_id>/callback/", openid_connect.callback, name="openid_connect_callback"),
    path("logout/", account.logout, name="account_logout"),
    path("password/reset/", account.password_reset, name="account_reset_password"),
    path("password/reset/sent/", account.password_reset_done, name="account_reset_password_done"),
    re_path(
        r"^password/reset/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)/$",
        account.password_reset_from_key,
        name="account_reset_password_from_key",
    ),
    path(
        "password/reset/done/",
        account.password_reset_from_key_done,
        name="account_reset_password_from_key_done",
    ),
    path(f"{SECURITY}/password/", account.password_change, name="account_change_password"),
    path(f"{SECURITY}/password/set/", account.password_set, name="account_set_password"),
    path(f"{SECURITY}/email/", account.email, name="account_email"),
    path(f"{SECURITY}/email/sent/", account.email_verification_sent, name="account_email_verification_sent"),
    re_path(r"^confirm-email/(?P<key>[-:\w]+)/$", account.confirm_email, name="account_confirm_email"),
    path(f"{SECURITY}/two-factor/", mfa.index, name="mfa_index"),
    path(f"{SECURITY}/two-factor/app/activate/", totp.activate_totp, name="mfa_activate_totp"),
    path(f"{SECURITY}/two-factor/app/deactivate/", totp.deactivate_totp, name="mfa_deactivate_totp"),
    path(f"{SECURITY}/passkeys/", webauthn.list_webauthn, name="mfa_list_webauthn"),
    path(f"{SECURITY}/passkeys/add/", webauthn.add_webauthn, name="mfa_add_webauthn"),
    path(f"{SECURITY}/passkeys/<int:pk>/rename/", webauthn.edit_webauthn, name="mfa_edit_webauthn"),
    path(f"{SECURITY}/passkeys/<int:pk>/remove/", webauthn.remove_webauthn, name="mfa_remove_webauthn"),
    path(f"{SECURITY}/recovery-codes/", recovery_codes.view_recovery_codes, name="mfa_view_recovery_codes"),
    path(
        f"{SECURITY}/recovery-codes/generate/",
        recovery_codes.generate_recovery_codes,
        name="mfa_generate_recovery_codes",
    ),
    path(
        f"{SECURITY}/recovery-codes/download/",
        recovery_codes.download_recovery_codes,
        name="mfa_download_recovery_codes",
    ),
    path(f"{SECURITY}/sessions/", usersessions.list_usersessions, name="usersessions_list"),
    path(f"{SECURITY}/single-sign-on/", socialaccount.connections, name="socialaccount_connections"),
]
