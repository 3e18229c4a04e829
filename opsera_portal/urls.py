"""Every address of the portal. This file knows every app; nobody imports it."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path, re_path

from core.api.schema_view import SchemaView
from core.api.views import UnknownRouteView
from gateway.urls import check_patterns
from opsera_portal import views

handler400 = "core.pages.errors.bad_request"
handler403 = "core.pages.errors.forbidden"
handler404 = "core.pages.errors.not_found"
handler500 = "core.pages.errors.server_error"

api_patterns: list[URLPattern | URLResolver] = [
    # Addresses are tried in this order, so the most frequent ones come first.
    path("", include("tokens.api.urls")),
    path("", include("pipelines.api.urls")),
    path("", include("auditlog.api.urls")),
    path("", include("accounts.api.urls")),
    path("", include("gateway.api.urls")),
    re_path("", UnknownRouteView.as_view()),
]

urlpatterns = [
    *check_patterns,
    path("api/v1", UnknownRouteView.as_view()),
    path("api/v1/", include(api_patterns)),
    path("scim/v2", UnknownRouteView.as_view()),
    path("scim/v2/", include([path("", include("accounts.scim.urls")), re_path("", UnknownRouteView.as_view())])),
    path("", views.OverviewView.as_view(), name="overview"),
    path("", include("accounts.signin.urls")),
    path("", include("accounts.urls")),
    path("", include("tokens.urls")),
    path("", include("tokens.log_urls")),
    path("", include("pipelines.urls")),
    path("who-may-do-what/", views.WhoMayDoWhatView.as_view(), name="who_may_do_what"),
    path("api/schema/", SchemaView.as_view(), name="api_schema"),
    path("api/docs/", views.ApiDocsView.as_view(), name="api_docs"),
    path("api/postman/", views.PostmanCollectionView.as_view(), name="postman_collection"),
    path("admin/", admin.site.urls),
    path("healthz", views.healthz, name="healthz"),
    path("readyz", views.readyz, name="readyz"),
    path("favicon.ico", views.favicon, name="favicon"),
    path("robots.txt", views.robots, name="robots"),
    path(".well-known/security.txt", views.security_txt, name="security_txt"),
]
