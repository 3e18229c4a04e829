from django.urls import path

from auditlog import views

app_name = "auditlog"
urlpatterns = [
    path("profile/authentication-log/", views.TokenUseListView.as_view(), name="token_use_list"),
    path(
        "organization/authentication-log/",
        views.OrganizationTokenUseListView.as_view(),
        name="organization_token_use_list",
    ),
    path(
        "organization/activity-log/",
        views.OrganizationActivityListView.as_view(),
        name="organization_activity_list",
    ),
]
