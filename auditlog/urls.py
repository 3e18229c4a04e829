from django.urls import path

from auditlog import views

app_name = "auditlog"
urlpatterns = [
    path("profile/authentication-log/", views.TokenUseListView.as_view(), name="token_use_list"),
    path("profile/authentication-log/export/", views.TokenUseExportView.as_view(), name="token_use_export"),
    path("profile/authentication-log/<id:public_id>/", views.TokenUseDetailView.as_view(), name="token_use_detail"),
    path("profile/activity-log/", views.ActivityListView.as_view(), name="activity_list"),
    path("profile/activity-log/export/", views.ActivityExportView.as_view(), name="activity_export"),
    path("profile/activity-log/<id:public_id>/", views.ActivityDetailView.as_view(), name="activity_detail"),
    path(
        "organization/authentication-log/",
        views.OrganizationTokenUseListView.as_view(),
        name="organization_token_use_list",
    ),
    path(
        "organization/authentication-log/export/",
        views.OrganizationTokenUseExportView.as_view(),
        name="organization_token_use_export",
    ),
    path(
        "organization/authentication-log/<id:public_id>/",
        views.OrganizationTokenUseDetailView.as_view(),
        name="organization_token_use_detail",
    ),
    path(
        "organization/activity-log/",
        views.OrganizationActivityListView.as_view(),
        name="organization_activity_list",
    ),
    path(
        "organization/activity-log/export/",
        views.OrganizationActivityExportView.as_view(),
        name="organization_activity_export",
    ),
    path(
        "organization/activity-log/<id:public_id>/",
        views.OrganizationActivityDetailView.as_view(),
        name="organization_activity_detail",
    ),
]
