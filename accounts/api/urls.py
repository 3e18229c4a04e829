from django.urls import path

from accounts.api.provider_views import SingleSignOnViewSet
from accounts.api.service_accounts import ServiceAccountViewSet
from accounts.api.views import (
    GroupViewSet,
    MailViewSet,
    NotificationViewSet,
    PreferencesViewSet,
    SessionViewSet,
    UserViewSet,
)
from accounts.api.webhook_views import DeliveryViewSet, WebhookViewSet

app_name = "accounts_api"
urlpatterns = [
    path("me/sessions", SessionViewSet.as_view({"get": "list"}), name="session_list"),
    path("me/sessions/<int:pk>/end", SessionViewSet.as_view({"post": "end"}), name="session_end"),
    path("me/sessions/end-all", SessionViewSet.as_view({"post": "end_all"}), name="session_end_all"),
    path(
        "me/preferences",
        PreferencesViewSet.as_view({"get": "retrieve", "patch": "partial_update"}),
        name="preferences",
    ),
    path("me/notifications", NotificationViewSet.as_view({"get": "list"}), name="notification_list"),
    path("me/notifications/read", NotificationViewSet.as_view({"post": "mark_read"}), name="notification_read"),
    path("users", UserViewSet.as_view({"get": "list", "post": "create"}), name="user_list"),
    path("users/<id:pk>", UserViewSet.as_view({"get": "retrieve", "patch": "partial_update"}), name="user_detail"),
    path("users/<id:pk>/invitation", UserViewSet.as_view({"post": "invitation"}), name="user_invitation"),
    path("users/<id:pk>/erase", UserViewSet.as_view({"post": "erase"}), name="user_erase"),
    path(
        "users/<id:pk>/two-factor/reset",
        UserViewSet.as_view({"post": "reset_two_factor"}),
        name="user_two_factor_reset",
    ),
    path(
        "organization/single-sign-on",
        SingleSignOnViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
        name="single_sign_on",
    ),
    path(
        "organization/single-sign-on/preview",
        SingleSignOnViewSet.as_view({"post": "preview"}),
        name="single_sign_on_preview",
    ),
    path("organization/mails", MailViewSet.as_view({"get": "list"}), name="organization_mail_list"),
    path(
        "service-accounts",
        ServiceAccountViewSet.as_view({"get": "list", "post": "create"}),
        name="service_account_list",
    ),
    path(
        "service-accounts/<id:pk>",
        ServiceAccountViewSet.as_view({"get": "retrieve", "patch": "partial_update"}),
        name="service_account_detail",
    ),
    path(
        "service-accounts/<id:pk>/activate",
        ServiceAccountViewSet.as_view({"post": "activate"}),
        name="service_account_activate",
    ),
    path(
        "service-accounts/<id:pk>/deactivate",
        ServiceAccountViewSet.as_view({"post": "deactivate"}),
        name="service_account_deactivate",
    ),
    path("webhooks", WebhookViewSet.as_view({"get": "list", "post": "create"}), name="webhook_list"),
    path(
        "webhooks/<id:pk>",
        WebhookViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
        name="webhook_detail",
    ),
    path("webhooks/<id:pk>/secret", WebhookViewSet.as_view({"post": "secret"}), name="webhook_secret"),
    path("webhooks/<id:pk>/test", WebhookViewSet.as_view({"post": "test"}), name="webhook_test"),
    path("webhooks/<id:pk>/send-again", WebhookViewSet.as_view({"post": "send_again"}), name="webhook_send_again"),
    path("webhooks/<id:pk>/deliveries", DeliveryViewSet.as_view({"get": "list"}), name="webhook_delivery_list"),
    path("groups", GroupViewSet.as_view({"get": "list", "post": "create"}), name="group_list"),
    path(
        "groups/<id:pk>",
        GroupViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
        name="group_detail",
    ),
]
