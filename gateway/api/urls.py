from django.urls import path

from gateway.api.use_views import ReportedUsesViewSet
from gateway.api.views import ServiceSecretViewSet, ServiceViewSet

app_name = "gateway_api"
urlpatterns = [
    path("services", ServiceViewSet.as_view({"get": "list", "post": "create"}), name="service_list"),
    path(
        "services/<id:pk>",
        ServiceViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
        name="service_detail",
    ),
    path(
        "services/<id:pk>/access-rules",
        ServiceViewSet.as_view({"get": "access_rules", "put": "replace_access_rules"}),
        name="service_access_rules",
    ),
    path("services/<id:pk>/try", ServiceViewSet.as_view({"post": "try_path"}), name="service_try"),
    path(
        "services/<id:pk>/secrets",
        ServiceSecretViewSet.as_view({"get": "list", "post": "create"}),
        name="service_secret_list",
    ),
    path(
        "services/<id:pk>/secrets/<id:secret_id>",
        ServiceSecretViewSet.as_view({"delete": "destroy"}),
        name="service_secret_detail",
    ),
    path("services/<id:pk>/uses", ReportedUsesViewSet.as_view({"post": "report"}), name="service_uses"),
]
