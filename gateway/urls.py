from django.urls import path

from gateway.views import metadata
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
