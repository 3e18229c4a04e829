from django.urls import URLPattern, path

from auditlog.api import views

app_name = "auditlog_api"


def routes_of(address: str, viewset: type[views.LogViewSet], name: str) -> list[URLPattern]:
    """A log, one entry of it, and the log as a file."""
    return [
        path(address, viewset.as_view({"get": "list"}), name=f"{name}_list"),
        path(f"{address}/export", viewset.as_view({"get": "export"}), name=f"{name}_export"),
        path(f"{address}/<id:pk>", viewset.as_view({"get": "retrieve"}), name=f"{name}_detail"),
    ]


urlpatterns = [
    *routes_of("logs/user/tokens", views.TokenUseLogViewSet, "token_use"),
    *routes_of("logs/user/actions", views.ActivityLogViewSet, "activity"),
    *routes_of("me/authentication-log", views.MyTokenUseLogViewSet, "my_token_use"),
    *routes_of("me/activity-log", views.MyActivityLogViewSet, "my_activity"),
]
