from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ActionForm
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from core.admin_site import ReadOnlyAdmin
from core.http.request_context import person_of
from core.pages.templatetags.portal import badge
from core.text import counted
from tokens import services
from tokens.approval.models import ApprovalRequest
from tokens.models import Token, TrustRule
from tokens.review.models import ReviewCampaign, ReviewItem
from tokens.tables import TRUST_BADGES


@admin.register(ApprovalRequest)
class ApprovalRequestAdmin(ReadOnlyAdmin):
    """Requests to approve a token. People decide in the portal."""

    list_display = [
        "token",
        "asked_by",
        "organization",
        "reason",
        "state_badge",
        "asked_at",
        "decided_by",
        "decided_at",
    ]
    list_filter = ["decision"]
    search_fields = ["token__name", "reason", "asked_by__email"]
    date_hierarchy = "asked_at"

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApprovalRequest]:
        requests = ApprovalRequest.objects.visible_to(person_of(request)).for_approval_table()
        return requests.prefetch_related("organization")

    @admin.display(description="State")
    def state_badge(self, approval: ApprovalRequest) -> SafeString:
        return badge(approval.badge)


class ExpireActionForm(ActionForm):
    reason = forms.CharField(required=False, max_length=services.REASON_MAX_LENGTH, label="Reason:")


@admin.register(Token)
class TokenAdmin(ReadOnlyAdmin):
    """The metadata of tokens. Owners create their tokens in the portal; here they can be expired."""

    list_display = [
        "name",
        "owner",
        "organization",
        "scope",
        "state_badge",
        "created_at",
        "expires_at",
        "last_used_at",
    ]
    list_filter = ["revoked_at"]
    search_fields = ["name", "description", "owner__email"]
    date_hierarchy = "created_at"
    action_form = ExpireActionForm
    actions = ["expire"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Token]:
        return Token.objects.visible_to(person_of(request)).for_token_table()

    @admin.display(description="State")
    def state_badge(self, token: Token) -> SafeString:
        return badge(token.state.badge)

    @admin.display(description="Pipelines")
    def pipelines(self, token: Token) -> str:
        """Ids: an operator sees every pipeline in Django admin, an Administrator those of the organization."""
        ids = token.pipeline_ids
        return "all of its owner" if ids is None else ", ".join(map(str, ids)) or "none: they were deleted"

    @admin.action(description="Expire the selected tokens")
    def expire(self, request: HttpRequest, queryset: QuerySet[Token]) -> None:
        """Calls the service of the page. Tokens that ended before stay as they are."""
        reason = request.POST.get("reason", "")[: services.REASON_MAX_LENGTH]
        tokens = Token.objects.filter(pk__in=queryset.order_by().values("pk"))
        count = tokens.count()
        try:
            ended = services.revoke_all(actor=person_of(request), tokens=tokens, reason=reason, request=request)
        except ValidationError as error:
            self.message_user(request, f"Nothing was expired. {' '.join(error.messages)}", messages.ERROR)
            return
        self.message_user(request, f"Expired {ended} of {counted(count, 'token', 'tokens')}.", messages.SUCCESS)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        fields = [name for name in super().get_readonly_fields(request, obj) if name != "live_name_key"]
        return [*fields, "pipelines"]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.get_readonly_fields(request, obj)


@admin.register(TrustRule)
class TrustRuleAdmin(ReadOnlyAdmin):
    """The portal's own pages change them."""

    list_display = ["name", "organization", "issuer", "account", "scope", "state_badge", "created_at"]
    search_fields = ["name", "issuer", "organization__name"]
    list_select_related = ["organization", "account"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[TrustRule]:
        return TrustRule.objects.manageable_by(person_of(request))

    @admin.display(description="State")
    def state_badge(self, rule: TrustRule) -> SafeString:
        return badge(TRUST_BADGES[rule.is_enabled])


@admin.register(ReviewCampaign)
class ReviewCampaignAdmin(ReadOnlyAdmin):
    """Review campaigns. Administrators plan and cancel them in the portal."""

    list_display = ["__str__", "organization", "state_badge", "started_at", "due_at", "ended_at", "planned_by"]
    search_fields = ["organization__name"]
    date_hierarchy = "planned_at"

    def get_queryset(self, request: HttpRequest) -> QuerySet[ReviewCampaign]:
        return ReviewCampaign.objects.of_organization_readable_by(person_of(request)).for_campaign_page()

    @admin.display(description="State")
    def state_badge(self, campaign: ReviewCampaign) -> SafeString:
        return badge(campaign.badge)


@admin.register(ReviewItem)
class ReviewItemAdmin(ReadOnlyAdmin):
    """The tokens of review campaigns. People answer in the portal."""

    list_display = ["token_name", "owner_email", "campaign", "state_badge", "answered_by_email", "answered_at", "note"]
    list_filter = ["answer"]
    search_fields = ["token_name", "owner_email"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[ReviewItem]:
        return ReviewItem.objects.readable_by(person_of(request)).for_item_table()

    @admin.display(description="Answer")
    def state_badge(self, item: ReviewItem) -> SafeString:
        return badge(item.badge)
