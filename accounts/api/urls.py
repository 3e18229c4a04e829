from django.urls import path

from accounts.api.views import GroupViewSet, UserViewSet

app_name = "accounts_api"
urlpatterns = [
    path("users", UserViewSet.as_view({"get": "list", "post": "create"}), name="user_list"),
    path("users/<uuid:pk>", UserViewSet.as_view({"get": "retrieve", "patch": "partial_update"}), name="user_detail"),
    path("users/<uuid:pk>/invitation", UserViewSet.as_view({"post": "invitation"}), name="user_invitation"),
    path("groups", GroupViewSet.as_view({"get": "list", "post": "create"}), name="group_list"),
    path(
        "groups/<uuid:pk>",
        GroupViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
        name="group_detail",
    ),
]
