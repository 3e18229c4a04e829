"""Addresses of the log pages. They are here and not in auditlog because some of the pages know tokens."""

from django.urls import path

from auditlog.views import activity, token_uses
from tokens.views import logs

app_name = "auditlog"
urlpatterns = [
    path("profile/authentication-log/", logs.TokenUseListView.as_view(), name="token_use_list"),
    path("profile/authentication-log/export/", token_uses.TokenUseExportView.as_view(), name="token_use_export"),
    path("profile/authentication-log/<id:public_id>/", logs.TokenUseDetailView.as_view(), name="token_use_detail"),
    path("profile/activity-log/", logs.ActivityListView.as_view(), name="activity_list"),
    path("profile/activity-log/export/", activity.ActivityExportView.as_view(), name="activity_export"),
    path("profile/activity-log/<id:public_id>/", logs.ActivityDetailView.as_view(), name="activity_detail"),
    path(
        "organization/authentication-log/",
        logs.OrganizationTokenUseListView.as_view(),
        name="organization_token_use_list",
    ),
    path(
        "organization/authentication-log/export/",
        token_uses.OrganizationTokenUseExportView.as_view(),
        name="organization_token_use_export",
    ),
    path(
        "organization/authentication-log/<id:public_id>/",
        logs.OrganizationTokenUseDetailView.as_view(),
        name="organization_token_use_detail",
    ),
    path(
        "organization/activity-log/",
        logs.OrganizationActivityListView.as_view(),
        name="organization_activity_list",
    ),
    path(
        "organization/activity-log/export/",
        activity.OrganizationActivityExportView.as_view(),
        name="organization_activity_export",
    ),
    path(
        "organization/activity-log/<id:public_id>/",
        logs.OrganizationActivityDetailView.as_view(),
        name="organization_activity_detail",
    ),
]
