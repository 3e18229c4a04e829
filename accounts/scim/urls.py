from typing import Any

from django.urls import path

from accounts.scim.views import DiscoveryScimViewSet, GroupScimViewSet, SearchScimViewSet, UserScimViewSet

ON_ONE: dict[str, Any] = {"get": "retrieve", "put": "update", "patch": "partial_update", "delete": "destroy"}

app_name = "scim"
urlpatterns = [
    path("Users", UserScimViewSet.as_view({"get": "list", "post": "create"}), name="user_list"),
    path("Users/.search", UserScimViewSet.as_view({"post": "search"}), name="user_search"),
    path("Users/<id:pk>", UserScimViewSet.as_view(ON_ONE), name="user_detail"),
    path("Groups", GroupScimViewSet.as_view({"get": "list", "post": "create"}), name="group_list"),
    path("Groups/.search", GroupScimViewSet.as_view({"post": "search"}), name="group_search"),
    path("Groups/<id:pk>", GroupScimViewSet.as_view(ON_ONE), name="group_detail"),
    path(".search", SearchScimViewSet.as_view({"post": "search"}), name="search"),
    path("ServiceProviderConfig", DiscoveryScimViewSet.as_view({"get": "config"}), name="config"),
    path("ResourceTypes", DiscoveryScimViewSet.as_view({"get": "resource_types"}), name="resource_type_list"),
    path("ResourceTypes/<key>", DiscoveryScimViewSet.as_view({"get": "resource_type"}), name="resource_type"),
    path("Schemas", DiscoveryScimViewSet.as_view({"get": "schemas"}), name="schema_list"),
    path("Schemas/<key>", DiscoveryScimViewSet.as_view({"get": "one_schema"}), name="schema"),
]
