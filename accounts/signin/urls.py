"""Signing in and account security: allauth's views and the portal's, at the portal's addresses.

The URL names are those that allauth uses. Views of allauth that aren't listed don't exist here, such as signing up.
"""

from allauth.account import views as account
from django.urls import path

from accounts.security.views import email, passwords, reauthentication, sessions, two_factor
from accounts.signin import views
from accounts.signin.single_sign_on import views as single_sign_on

SECURITY = "profile/security"

urlpatterns = [
    path("login/", views.SignInView.as_view(), name="account_login"),
    path("login/inactive/", account.account_inactive, name="account_inactive"),
    path("login/again/", reauthentication.ReauthenticateView.as_view(), name="account_reauthenticate"),
    path("login/two-factor/", views.sign_in_second_factor, name="mfa_authenticate"),
    path("login/two-factor/again/", reauthentication.ReauthenticateCodeView.as_view(), name="mfa_reauthenticate"),
    path("login/passkey/", views.SignInPasskeyView.as_view(), name="mfa_login_webauthn"),
    path(
        "login/passkey/again/",
        reauthentication.ReauthenticatePasskeyView.as_view(),
        name="mfa_reauthenticate_webauthn",
    ),
    path("login/single-sign-on/", single_sign_on.start, name="single_sign_on"),
    path("login/single-sign-on/callback/", single_sign_on.callback, name="single_sign_on_callback"),
    path(
        "login/single-sign-on/cancelled/",
        single_sign_on.CancelledView.as_view(),
        name="socialaccount_login_cancelled",
    ),
    path("login/single-sign-on/again/", single_sign_on.start_again, name="single_sign_on_again"),
    path(
        "login/single-sign-on/organization/",
        single_sign_on.OrganizationSignOnView.as_view(),
        name="organization_sign_on",
    ),
    path(
        "login/single-sign-on/<id:pk>/callback/",
        single_sign_on.callback_of_organization,
        name="organization_sign_on_callback",
    ),
    path("logout/", account.logout, name="account_logout"),
    path("password/reset/", views.AskPasswordResetView.as_view(), name="account_reset_password"),
    path("password/reset/sent/", account.password_reset_done, name="account_reset_password_done"),
    path(
        "password/reset/<uidb36>/<key>/",
        views.ResetPasswordView.as_view(),
        name="account_reset_password_from_key",
    ),
    path(
        "password/reset/done/",
        account.password_reset_from_key_done,
        name="account_reset_password_from_key_done",
    ),
    path(f"{SECURITY}/password/", passwords.ChangePasswordView.as_view(), name="account_change_password"),
    path(f"{SECURITY}/password/set/", passwords.SetPasswordView.as_view(), name="account_set_password"),
    path(f"{SECURITY}/email/", email.ChangeEmailView.as_view(), name="account_email"),
    path("confirm-email/<key>/", email.ConfirmEmailView.as_view(), name="account_confirm_email"),
    path(f"{SECURITY}/two-factor/", two_factor.TwoFactorView.as_view(), name="mfa_index"),
    path(f"{SECURITY}/two-factor/app/add/", two_factor.ActivateAppView.as_view(), name="mfa_activate_totp"),
    path(f"{SECURITY}/two-factor/app/remove/", two_factor.RemoveAppView.as_view(), name="mfa_deactivate_totp"),
    path(f"{SECURITY}/passkeys/add/", two_factor.AddPasskeyView.as_view(), name="mfa_add_webauthn"),
    path(f"{SECURITY}/passkeys/<int:pk>/rename/", two_factor.RenamePasskeyView.as_view(), name="mfa_edit_webauthn"),
    path(
        f"{SECURITY}/passkeys/<int:pk>/remove/",
        two_factor.RemovePasskeyView.as_view(),
        name="mfa_remove_webauthn",
    ),
    path(f"{SECURITY}/recovery-codes/", two_factor.RecoveryCodesView.as_view(), name="mfa_view_recovery_codes"),
    path(
        f"{SECURITY}/recovery-codes/replace/",
        two_factor.ReplaceRecoveryCodesView.as_view(),
        name="mfa_generate_recovery_codes",
    ),
    path(f"{SECURITY}/sessions/", sessions.SessionListView.as_view(), name="usersessions_list"),
    path(
        f"{SECURITY}/single-sign-on/",
        single_sign_on.ConnectionView.as_view(),
        name="socialaccount_connections",
    ),
]
