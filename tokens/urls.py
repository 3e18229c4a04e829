from django.urls import path

from tokens import views

app_name = "tokens"
urlpatterns = [
    path("profile/tokens/", views.TokenListView.as_view(), name="token_list"),
    path("profile/tokens/<uuid:pk>/", views.TokenDetailView.as_view(), name="token_detail"),
    path("profile/tokens/<uuid:pk>/reveal/", views.TokenRevealView.as_view(), name="token_reveal"),
    path("profile/tokens/<uuid:pk>/expire/", views.TokenExpireView.as_view(), name="token_expire"),
    path("organization/tokens/", views.OrganizationTokenListView.as_view(), name="organization_token_list"),
    path(".well-known/jwks.json", views.jwks, name="jwks"),
]
