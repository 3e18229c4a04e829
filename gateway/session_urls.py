from django.urls import path

from gateway.views.open_service import OpenServiceView, ServiceListView, ServiceSignOutView

app_name = "services"

urlpatterns = [
    path("services/", ServiceListView.as_view(), name="list"),
    path("services/<id:pk>/open/", OpenServiceView.as_view(), name="open"),
    path("services/<id:pk>/sign-out/", ServiceSignOutView.as_view(), name="sign_out"),
]
