from django.urls import path

from gateway.views import metadata, services
from gateway.views.introspection import introspect
from gateway.views.revocation import revoke
from gateway.views.sessions import finish, sign_out, start
from gateway.views.verify import verify

# What programs ask. In front of all other addresses, because proxies and services ask at each request.
check_patterns = [
    path("auth/verify/<id:pk>", verify, name="verify"),
    path("auth/verify/<id:pk>/", verify, {"rest": ""}, name="verify_root"),
    path("auth/verify/<id:pk>/<path:rest>", verify, name="verify_path"),
    path("auth/service/<id:pk>/start", start, name="service_start"),
    path("auth/service/<id:pk>/finish", finish, name="service_finish"),
    path("auth/service/<id:pk>/sign-out", sign_out, name="service_sign_out"),
    path("oauth/introspect", introspect, name="introspect"),
    path("oauth/revoke", revoke, name="revoke"),
]

PROTECTED_RESOURCE = ".well-known/oauth-protected-resource"
well_known_patterns = [
    path(".well-known/oauth-authorization-server", metadata.authorization_server, name="oauth_metadata"),
    path(PROTECTED_RESOURCE, metadata.api_of_portal, name="resource_metadata"),
    # The well-known path comes before that of the audience (RFC 9728 section 3.1).
    path(f"{PROTECTED_RESOURCE}/api/v1", metadata.api_of_portal, name="api_metadata"),
    path(f"{PROTECTED_RESOURCE}/services/<id:pk>", metadata.service, name="service_metadata"),
]

ONE = "organization/services/<id:pk>"

app_name = "gateway"
urlpatterns = [
    path("organization/services/", services.ServiceListView.as_view(), name="organization_service_list"),
    path("organization/services/new/", services.ServiceAddView.as_view(), name="organization_service_add"),
    path(f"{ONE}/", services.ServiceDetailView.as_view(), name="organization_service_detail"),
    path(f"{ONE}/edit/", services.ServiceEditView.as_view(), name="organization_service_edit"),
    path(f"{ONE}/access/", services.ServiceAccessView.as_view(), name="organization_service_access"),
    path(
        f"{ONE}/access/<id:rule_pk>/remove/",
        services.AccessRemoveView.as_view(),
        name="organization_service_access_remove",
    ),
    path(f"{ONE}/test/", services.TestCallView.as_view(), name="organization_service_test"),
    path(f"{ONE}/switch-off/", services.SwitchOffView.as_view(), name="organization_service_switch_off"),
    path(f"{ONE}/switch-on/", services.SwitchOnView.as_view(), name="organization_service_switch_on"),
    path(f"{ONE}/delete/", services.ServiceDeleteView.as_view(), name="organization_service_delete"),
    path(f"{ONE}/secret/", services.SecretCreateView.as_view(), name="organization_service_secret"),
    path(
        f"{ONE}/secrets/<id:secret_pk>/end/",
        services.SecretEndView.as_view(),
        name="organization_service_secret_end",
    ),
]
