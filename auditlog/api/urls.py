from django.urls import path

from auditlog.api.views import ActivityLogViewSet, TokenUseLogViewSet

app_name = "auditlog_api"
urlpatterns = [
    path("logs/user/tokens", TokenUseLogViewSet.as_view({"get": "list"}), name="token_use_list"),
    path("logs/user/actions", ActivityLogViewSet.as_view({"get": "list"}), name="activity_list"),
]
