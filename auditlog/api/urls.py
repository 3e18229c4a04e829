from django.urls import URLPattern, path

from auditlog.api.views import activity, token_uses
from auditlog.api.views.base import LogViewSet

app_name = "auditlog_api"


def routes_of(address: str, viewset: type[LogViewSet], name: str) -> list[URLPattern]:
    """A log, one entry of it, and the log as a file."""
    return [
        path(address, viewset.as_view({"get": "list"}), name=f"{name}_list"),
        path(f"{address}/export", viewset.as_view({"get": "export"}), name=f"{name}_export"),
        path(f"{address}/<id:pk>", viewset.as_view({"get": "retrieve"}), name=f"{name}_detail"),
    ]


urlpatterns = [
    *routes_of("logs/user/tokens", token_uses.TokenUseLogViewSet, "token_use"),
    *routes_of("logs/user/actions", activity.ActivityLogViewSet, "activity"),
    *routes_of("me/authentication-log", token_uses.MyTokenUseLogViewSet, "my_token_use"),
    *routes_of("me/activity-log", activity.MyActivityLogViewSet, "my_activity"),
]
