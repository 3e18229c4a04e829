from django.urls import path

from accounts import views
from accounts.security import views as security_views

app_name = "accounts"
USER = "organization/users/<id:pk>"
GROUP = "organization/groups/<id:pk>"

urlpatterns = [
    path("profile/", views.ProfileView.as_view(), name="profile"),
    path("profile/security/", security_views.SecurityView.as_view(), name="security"),
    path("profile/security/expiry-mails/", security_views.ExpiryMailsView.as_view(), name="expiry_mails"),
    path("profile/security/sessions/<int:pk>/end/", security_views.SessionEndView.as_view(), name="session_end"),
    path(
        "profile/security/sessions/end-all/",
        security_views.SignOutEverywhereView.as_view(),
        name="sign_out_everywhere",
    ),
    path("invitation/<uidb64>/<token>/", views.AcceptInvitationView.as_view(), name="invitation"),
    path("organization/users/", views.UserListView.as_view(), name="organization_user_list"),
    path("organization/users/invite/", views.InviteView.as_view(), name="organization_user_invite"),
    path(f"{USER}/", views.UserDetailView.as_view(), name="organization_user_detail"),
    path(f"{USER}/role/", views.UserRoleView.as_view(), name="organization_user_role"),
    path(f"{USER}/activate/", views.UserActivateView.as_view(), name="organization_user_activate"),
    path(f"{USER}/deactivate/", views.UserDeactivateView.as_view(), name="organization_user_deactivate"),
    path(
        f"{USER}/two-factor/reset/",
        views.UserTwoFactorResetView.as_view(),
        name="organization_user_two_factor_reset",
    ),
    path(f"{USER}/invitation/", views.UserInvitationView.as_view(), name="organization_user_invitation"),
    path("organization/mails/", views.MailListView.as_view(), name="organization_mail_list"),
    path("organization/groups/", views.GroupListView.as_view(), name="organization_group_list"),
    path(f"{GROUP}/", views.GroupDetailView.as_view(), name="organization_group_detail"),
    path(f"{GROUP}/rename/", views.GroupRenameView.as_view(), name="organization_group_rename"),
    path(f"{GROUP}/members/", views.GroupMemberAddView.as_view(), name="organization_group_member_add"),
    path(
        f"{GROUP}/members/<id:user_pk>/remove/",
        views.GroupMemberRemoveView.as_view(),
        name="organization_group_member_remove",
    ),
    path(f"{GROUP}/delete/", views.GroupDeleteView.as_view(), name="organization_group_delete"),
]
