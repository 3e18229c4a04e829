from django.urls import path

from accounts.security.views import overview, sessions
from accounts.views import (
    groups,
    invitations,
    mails,
    notifications,
    people,
    profile,
    service_accounts,
    single_sign_on,
    suggestions,
    webhooks,
)

app_name = "accounts"
ACCOUNT = "organization/service-accounts/<id:pk>"
USER = "organization/users/<id:pk>"
GROUP = "organization/groups/<id:pk>"
WEBHOOK = "organization/webhooks/<id:pk>"

urlpatterns = [
    path("profile/", profile.ProfileView.as_view(), name="profile"),
    path("profile/preferences/", profile.PreferencesView.as_view(), name="preferences"),
    path(
        "profile/preferences/notifications/",
        profile.NotificationPreferencesView.as_view(),
        name="notification_preferences",
    ),
    path("profile/notifications/", notifications.NotificationListView.as_view(), name="notification_list"),
    path("profile/notifications/<id:pk>/read/", notifications.MarkReadView.as_view(), name="notification_read"),
    path("profile/notifications/read-all/", notifications.MarkAllReadView.as_view(), name="notification_read_all"),
    path("profile/security/", overview.SecurityView.as_view(), name="security"),
    path("profile/security/sessions/<int:pk>/end/", sessions.SessionEndView.as_view(), name="session_end"),
    path(
        "profile/security/sessions/end-all/",
        sessions.SignOutEverywhereView.as_view(),
        name="sign_out_everywhere",
    ),
    path("invitation/<uidb64>/<token>/", invitations.AcceptInvitationView.as_view(), name="invitation"),
    path("organization/users/", people.UserListView.as_view(), name="organization_user_list"),
    path("organization/users/invite/", invitations.InviteView.as_view(), name="organization_user_invite"),
    path(f"{USER}/", people.UserDetailView.as_view(), name="organization_user_detail"),
    path(f"{USER}/role/", people.UserRoleView.as_view(), name="organization_user_role"),
    path(f"{USER}/activate/", people.UserActivateView.as_view(), name="organization_user_activate"),
    path(f"{USER}/deactivate/", people.UserDeactivateView.as_view(), name="organization_user_deactivate"),
    path(f"{USER}/erase/", people.UserEraseView.as_view(), name="organization_user_erase"),
    path(
        f"{USER}/two-factor/reset/",
        people.UserTwoFactorResetView.as_view(),
        name="organization_user_two_factor_reset",
    ),
    path(f"{USER}/invitation/", people.UserInvitationView.as_view(), name="organization_user_invitation"),
    path(
        "organization/service-accounts/",
        service_accounts.ServiceAccountListView.as_view(),
        name="organization_service_account_list",
    ),
    path(
        "organization/service-accounts/new/",
        service_accounts.ServiceAccountCreateView.as_view(),
        name="organization_service_account_create",
    ),
    path(
        f"{ACCOUNT}/",
        service_accounts.ServiceAccountDetailView.as_view(),
        name="organization_service_account_detail",
    ),
    path(
        f"{ACCOUNT}/edit/",
        service_accounts.ServiceAccountEditView.as_view(),
        name="organization_service_account_edit",
    ),
    path(
        f"{ACCOUNT}/activate/",
        service_accounts.ServiceAccountActivateView.as_view(),
        name="organization_service_account_activate",
    ),
    path(
        f"{ACCOUNT}/deactivate/",
        service_accounts.ServiceAccountDeactivateView.as_view(),
        name="organization_service_account_deactivate",
    ),
    path(
        "organization/single-sign-on/",
        single_sign_on.SingleSignOnView.as_view(),
        name="organization_single_sign_on",
    ),
    path(
        "organization/single-sign-on/try/",
        single_sign_on.SingleSignOnTryView.as_view(),
        name="organization_single_sign_on_try",
    ),
    path(
        "organization/single-sign-on/remove/",
        single_sign_on.SingleSignOnRemoveView.as_view(),
        name="organization_single_sign_on_remove",
    ),
    path("organization/mails/", mails.MailListView.as_view(), name="organization_mail_list"),
    path("organization/webhooks/", webhooks.WebhookListView.as_view(), name="organization_webhook_list"),
    path("organization/webhooks/new/", webhooks.WebhookAddView.as_view(), name="organization_webhook_add"),
    path(f"{WEBHOOK}/", webhooks.WebhookDetailView.as_view(), name="organization_webhook_detail"),
    path(f"{WEBHOOK}/edit/", webhooks.WebhookEditView.as_view(), name="organization_webhook_edit"),
    path(f"{WEBHOOK}/secret/", webhooks.WebhookSecretView.as_view(), name="organization_webhook_secret"),
    path(f"{WEBHOOK}/pause/", webhooks.WebhookPauseView.as_view(), name="organization_webhook_pause"),
    path(f"{WEBHOOK}/resume/", webhooks.WebhookResumeView.as_view(), name="organization_webhook_resume"),
    path(f"{WEBHOOK}/test/", webhooks.WebhookTestView.as_view(), name="organization_webhook_test"),
    path(f"{WEBHOOK}/delete/", webhooks.WebhookDeleteView.as_view(), name="organization_webhook_delete"),
    path(
        f"{WEBHOOK}/deliveries/<id:event_pk>/send-again/",
        webhooks.DeliverySendAgainView.as_view(),
        name="organization_webhook_send_again",
    ),
    path("organization/groups/", groups.GroupListView.as_view(), name="organization_group_list"),
    path(f"{GROUP}/", groups.GroupDetailView.as_view(), name="organization_group_detail"),
    path(f"{GROUP}/rename/", groups.GroupRenameView.as_view(), name="organization_group_rename"),
    path(f"{GROUP}/members/", groups.GroupMemberAddView.as_view(), name="organization_group_member_add"),
    path(
        f"{GROUP}/members/<id:user_pk>/remove/",
        groups.GroupMemberRemoveView.as_view(),
        name="organization_group_member_remove",
    ),
    path(f"{GROUP}/delete/", groups.GroupDeleteView.as_view(), name="organization_group_delete"),
    path("suggestions/people/", suggestions.SuggestedPeopleView.as_view(), name="suggested_people"),
    path("suggestions/addresses/", suggestions.SuggestedAddressesView.as_view(), name="suggested_addresses"),
    path("suggestions/groups/", suggestions.SuggestedGroupsView.as_view(), name="suggested_groups"),
    path("suggestions/subjects/", suggestions.SuggestedSubjectsView.as_view(), name="suggested_subjects"),
]
