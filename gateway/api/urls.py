from django.urls import path

from gateway.api.use_views import ReportedUsesViewSet

app_name = "gateway_api"
urlpatterns = [
    path("services/<id:pk>/uses", ReportedUsesViewSet.as_view({"post": "report"}), name="service_uses"),
]
