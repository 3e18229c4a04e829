from django.urls import path

from tokens.views import leaks, policy, trust
from tokens.views.access_review import AccessReviewExportView, AccessReviewView
from tokens.views.approvals import (
    ApprovalDetailView,
    ApprovalListView,
    ApproveView,
    RejectView,
    TokenWithdrawView,
)
from tokens.views.detail import TokenDetailView
from tokens.views.expire import TokenExpireView
from tokens.views.my_tokens import TokenListView
from tokens.views.names import TokenNameView
from tokens.views.narrower import TokenNarrowerView
from tokens.views.organization import ExpireMatchingView, ExpireSelectedView, OrganizationTokenListView
from tokens.views.published_keys import jwks
from tokens.views.replace import TokenReplaceView
from tokens.views.reveal import TokenRevealView
from tokens.views.review_campaigns import (
    ReviewCancelView,
    ReviewDetailView,
    ReviewListView,
    ReviewPlanView,
    ReviewRecordView,
)
from tokens.views.scope_notes import ScopeNotesView
from tokens.views.service_accounts import (
    ServiceAccountScopeNotesView,
    ServiceAccountTokenNameView,
    ServiceAccountTokensView,
)
from tokens.views.status_lists import status_list
from tokens.views.to_confirm import ConfirmTokensView, ExpireUnneededView, ToConfirmView
from tokens.views.unused_scopes import OrganizationUnusedScopesView, UnusedScopesExportView, UnusedScopesView

app_name = "tokens"
ACCOUNT = "organization/service-accounts/<id:account_pk>"

urlpatterns = [
    path("profile/tokens/", TokenListView.as_view(), name="token_list"),
    path("profile/tokens/name/", TokenNameView.as_view(), name="token_name"),
    path("profile/tokens/scopes/", ScopeNotesView.as_view(), name="scope_notes"),
    path("profile/tokens/unused-scopes/", UnusedScopesView.as_view(), name="unused_scopes"),
    path("profile/tokens/to-confirm/", ToConfirmView.as_view(), name="tokens_to_confirm"),
    path("profile/tokens/to-confirm/confirm/", ConfirmTokensView.as_view(), name="confirm_tokens"),
    path("profile/tokens/to-confirm/expire/", ExpireUnneededView.as_view(), name="expire_unneeded"),
    path("profile/tokens/<id:pk>/", TokenDetailView.as_view(), name="token_detail"),
    path("profile/tokens/<id:pk>/reveal/", TokenRevealView.as_view(), name="token_reveal"),
    path("profile/tokens/<id:pk>/narrower/", TokenNarrowerView.as_view(), name="token_narrower"),
    path("profile/tokens/<id:pk>/replace/", TokenReplaceView.as_view(), name="token_replace"),
    path("profile/tokens/<id:pk>/expire/", TokenExpireView.as_view(), name="token_expire"),
    path(f"{ACCOUNT}/tokens/", ServiceAccountTokensView.as_view(), name="service_account_tokens"),
    path(f"{ACCOUNT}/tokens/name/", ServiceAccountTokenNameView.as_view(), name="service_account_token_name"),
    path(f"{ACCOUNT}/tokens/scopes/", ServiceAccountScopeNotesView.as_view(), name="service_account_scope_notes"),
    path("profile/tokens/<id:pk>/withdraw/", TokenWithdrawView.as_view(), name="token_withdraw"),
    path("organization/tokens/", OrganizationTokenListView.as_view(), name="organization_token_list"),
    path("organization/tokens/expire/", ExpireSelectedView.as_view(), name="expire_selected"),
    path("organization/tokens/expire-matching/", ExpireMatchingView.as_view(), name="expire_matching"),
    path("organization/access-review/", AccessReviewView.as_view(), name="organization_access_review"),
    path(
        "organization/access-review/export/",
        AccessReviewExportView.as_view(),
        name="organization_access_review_export",
    ),
    path("organization/review-campaigns/", ReviewListView.as_view(), name="organization_review_list"),
    path("organization/review-campaigns/new/", ReviewPlanView.as_view(), name="organization_review_plan"),
    path("organization/review-campaigns/<id:pk>/", ReviewDetailView.as_view(), name="organization_review_detail"),
    path(
        "organization/review-campaigns/<id:pk>/record/", ReviewRecordView.as_view(), name="organization_review_record"
    ),
    path(
        "organization/review-campaigns/<id:pk>/cancel/", ReviewCancelView.as_view(), name="organization_review_cancel"
    ),
    path("organization/unused-scopes/", OrganizationUnusedScopesView.as_view(), name="organization_unused_scopes"),
    path(
        "organization/unused-scopes/export/",
        UnusedScopesExportView.as_view(),
        name="organization_unused_scopes_export",
    ),
    path("organization/approvals/", ApprovalListView.as_view(), name="organization_approval_list"),
    path("organization/approvals/<id:pk>/", ApprovalDetailView.as_view(), name="organization_approval_detail"),
    path("organization/approvals/<id:pk>/approve/", ApproveView.as_view(), name="approval_approve"),
    path("organization/approvals/<id:pk>/reject/", RejectView.as_view(), name="approval_reject"),
    path("organization/policy/", policy.PolicyView.as_view(), name="organization_policy"),
    path("organization/policy/save/", policy.PolicySaveView.as_view(), name="organization_policy_save"),
    path("organization/trust/", trust.TrustListView.as_view(), name="organization_trust"),
    path("organization/trust/new/", trust.TrustAddView.as_view(), name="organization_trust_add"),
    path("organization/trust/try/", trust.TrustTryView.as_view(), name="organization_trust_try"),
    path("organization/trust/<id:pk>/", trust.TrustEditView.as_view(), name="organization_trust_edit"),
    path("organization/trust/<id:pk>/delete/", trust.TrustDeleteView.as_view(), name="organization_trust_delete"),
    path("tokens/lookup/", leaks.TokenLookupView.as_view(), name="token_lookup"),
    path("secret-scanning/", leaks.SecretScanningView.as_view(), name="secret_scanning"),
    path(".well-known/jwks.json", jwks, name="jwks"),
    path("status-lists/<id:pk>", status_list, name="status_list"),
]
