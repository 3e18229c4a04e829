from django.urls import path

from tokens import leak_views, policy_views, views
from tokens.organization_views import ExpireMatchingView, ExpireSelectedView, OrganizationTokenListView

app_name = "tokens"
urlpatterns = [
    path("profile/tokens/", views.TokenListView.as_view(), name="token_list"),
    path("profile/tokens/<id:pk>/", views.TokenDetailView.as_view(), name="token_detail"),
    path("profile/tokens/<id:pk>/reveal/", views.TokenRevealView.as_view(), name="token_reveal"),
    path("profile/tokens/<id:pk>/expire/", views.TokenExpireView.as_view(), name="token_expire"),
    path("organization/tokens/", OrganizationTokenListView.as_view(), name="organization_token_list"),
    path("organization/tokens/expire/", ExpireSelectedView.as_view(), name="expire_selected"),
    path("organization/tokens/expire-matching/", ExpireMatchingView.as_view(), name="expire_matching"),
    path("organization/policy/", policy_views.PolicyView.as_view(), name="organization_policy"),
    path("organization/policy/save/", policy_views.PolicySaveView.as_view(), name="organization_policy_save"),
    path("tokens/lookup/", leak_views.TokenLookupView.as_view(), name="token_lookup"),
    path("secret-scanning/", leak_views.SecretScanningView.as_view(), name="secret_scanning"),
    path(".well-known/jwks.json", views.jwks, name="jwks"),
]
