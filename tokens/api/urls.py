from django.urls import path

from tokens.api.approval_views import ApprovalViewSet
from tokens.api.exchange_views import TokenExchangeViewSet
from tokens.api.leak_views import TokenLookupViewSet, TokenReportViewSet
from tokens.api.policy_views import PolicyViewSet
from tokens.api.review_views import ReviewCampaignViewSet, ReviewItemViewSet, TokensToConfirmViewSet
from tokens.api.service_accounts import ServiceAccountTokenViewSet
from tokens.api.trust_views import TrustRuleViewSet
from tokens.api.views import (
    AccessReviewViewSet,
    CurrentTokenViewSet,
    MeViewSet,
    OrganizationTokenViewSet,
    OrganizationUnusedScopesViewSet,
    OrganizationUsageViewSet,
    TokenLogViewSet,
    TokenViewSet,
    UnusedScopesViewSet,
)

app_name = "tokens_api"
urlpatterns = [
    path("token-exchange", TokenExchangeViewSet.as_view({"post": "exchange"}), name="token_exchange"),
    path("trust-rules", TrustRuleViewSet.as_view({"get": "list", "post": "create"}), name="trust_rule_list"),
    path(
        "trust-rules/<id:pk>",
        TrustRuleViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
        name="trust_rule_detail",
    ),
    path("me", MeViewSet.as_view({"get": "retrieve"}), name="me"),
    path("me/usage", MeViewSet.as_view({"get": "usage"}), name="me_usage"),
    path("tokens", TokenViewSet.as_view({"get": "list", "post": "create"}), name="token_list"),
    path("tokens/current", CurrentTokenViewSet.as_view({"get": "retrieve"}), name="token_current"),
    path("tokens/current/expire", CurrentTokenViewSet.as_view({"post": "expire"}), name="token_current_expire"),
    path("tokens/current/rotate", CurrentTokenViewSet.as_view({"post": "rotate"}), name="token_current_rotate"),
    path("tokens/lookup", TokenLookupViewSet.as_view({"post": "look_up"}), name="token_lookup"),
    path("tokens/report", TokenReportViewSet.as_view({"post": "report"}), name="token_report"),
    path(
        "service-accounts/<id:pk>/tokens",
        ServiceAccountTokenViewSet.as_view({"get": "list", "post": "create"}),
        name="service_account_token_list",
    ),
    path("tokens/unused-scopes", UnusedScopesViewSet.as_view({"get": "list"}), name="unused_scopes"),
    path("tokens/to-confirm", TokensToConfirmViewSet.as_view({"get": "list"}), name="token_to_confirm_list"),
    path("tokens/to-confirm/confirm", TokensToConfirmViewSet.as_view({"post": "confirm"}), name="token_confirm"),
    path("tokens/to-confirm/expire", TokensToConfirmViewSet.as_view({"post": "expire"}), name="token_expire_unneeded"),
    path("tokens/<id:pk>", TokenViewSet.as_view({"get": "retrieve", "patch": "partial_update"}), name="token_detail"),
    path("tokens/<id:pk>/activity", TokenLogViewSet.as_view({"get": "list"}), name="token_activity"),
    path("tokens/<id:pk>/usage", TokenViewSet.as_view({"get": "usage"}), name="token_usage"),
    path("tokens/<id:pk>/narrower", TokenViewSet.as_view({"get": "narrower"}), name="token_narrower"),
    path("tokens/<id:pk>/replace", TokenViewSet.as_view({"post": "replace"}), name="token_replace"),
    path("tokens/<id:pk>/expire", TokenViewSet.as_view({"post": "expire"}), name="token_expire"),
    path("approvals", ApprovalViewSet.as_view({"get": "list"}), name="approval_list"),
    path("approvals/<id:pk>", ApprovalViewSet.as_view({"get": "retrieve"}), name="approval_detail"),
    path("approvals/<id:pk>/approve", ApprovalViewSet.as_view({"post": "approve"}), name="approval_approve"),
    path("approvals/<id:pk>/reject", ApprovalViewSet.as_view({"post": "reject"}), name="approval_reject"),
    path("approvals/<id:pk>/withdraw", ApprovalViewSet.as_view({"post": "withdraw"}), name="approval_withdraw"),
    path(
        "review-campaigns",
        ReviewCampaignViewSet.as_view({"get": "list", "post": "create"}),
        name="review_campaign_list",
    ),
    path("review-campaigns/<id:pk>", ReviewCampaignViewSet.as_view({"get": "retrieve"}), name="review_campaign_detail"),
    path(
        "review-campaigns/<id:pk>/cancel",
        ReviewCampaignViewSet.as_view({"post": "cancel"}),
        name="review_campaign_cancel",
    ),
    path("review-campaigns/<id:pk>/items", ReviewItemViewSet.as_view({"get": "list"}), name="review_campaign_items"),
    path(
        "review-campaigns/<id:pk>/record",
        ReviewCampaignViewSet.as_view({"get": "record"}),
        name="review_campaign_record",
    ),
    path(
        "review-campaigns/<id:pk>/check",
        ReviewCampaignViewSet.as_view({"get": "check"}),
        name="review_campaign_check",
    ),
    path(
        "organization/tokens",
        OrganizationTokenViewSet.as_view({"get": "list"}),
        name="organization_token_list",
    ),
    path(
        "organization/tokens/expire",
        OrganizationTokenViewSet.as_view({"post": "expire"}),
        name="organization_token_expire",
    ),
    path(
        "organization/access-review",
        AccessReviewViewSet.as_view({"get": "list"}),
        name="organization_access_review",
    ),
    path(
        "organization/unused-scopes",
        OrganizationUnusedScopesViewSet.as_view({"get": "list"}),
        name="organization_unused_scopes",
    ),
    path(
        "organization/policy",
        PolicyViewSet.as_view({"get": "retrieve", "patch": "partial_update"}),
        name="organization_policy",
    ),
    path("organization/policy/preview", PolicyViewSet.as_view({"post": "preview"}), name="organization_policy_preview"),
    path(
        "organization/usage",
        OrganizationUsageViewSet.as_view({"get": "retrieve"}),
        name="organization_usage",
    ),
]
