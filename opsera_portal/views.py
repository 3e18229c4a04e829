"""Pages and endpoints that belong to no single app."""

import uuid
from datetime import timedelta
from typing import Any, NamedTuple

from django.conf import settings
from django.contrib.staticfiles.storage import staticfiles_storage
from django.db import DatabaseError, InterfaceError, connection
from django.db.models import Subquery
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from django.views.generic import TemplateView, View

from accounts.models import Organization, User
from accounts.roles import Ability
from auditlog import usage
from core.db.expressions import number_of
from core.db.unavailable import refused_writes
from core.http.open_views import open_to_everybody
from core.pages.compression import repeats_nothing
from core.pages.views import MemberPageMixin
from opsera_portal import api_reference, permission_tables
from pipelines.models import Run
from tokens.approval.models import ApprovalRequest
from tokens.ended_in_use import ended_in_use, with_last_uses
from tokens.expiry import notices
from tokens.models import Token
from tokens.review.models import ReviewCampaign, ReviewItem

SHOWN = 5
# RFC 9116 requires an expiry date, so that nobody trusts an abandoned file. This one is current while it is served.
SECURITY_TXT_HOLDS = timedelta(days=90)
POSTMAN_COLLECTION = settings.BASE_DIR / "docs" / "postman" / "opsera-portal.postman_collection.json"
PLAIN_TEXT = "text/plain; charset=utf-8"


class OverviewView(MemberPageMixin, TemplateView):
    """What a person wants to know first: which tokens work, who uses them, what ran."""

    template_name = "overview.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        user = self.person
        own_tokens = Token.objects.owned_by(user)
        tokens = own_tokens.counts()
        has_warnings = tokens.expiring_soon or tokens.replaced_in_use
        warnings = notices.warnings_about(own_tokens) if has_warnings else {"ending": ()}
        alarm = alarms(user)
        progress = usage.progress_of_counting()
        uses = usage.of(user, progress)
        days = usage.days(uses)
        # People who can read the organization's log find their own entries in it.
        reads_all = user.may(Ability.READ_TOKENS) and user.may(Ability.READ_LOGS)
        all_uses = usage.readable_org_entries(user, progress) if reads_all else uses
        in_use = ended_in_use(all_uses)
        own = [token for token in in_use if token.owner_id == user.pk]
        others = [token for token in in_use if token.owner_id != user.pk]
        own, others = with_last_uses(all_uses, own, others)
        runs = Run.objects.visible_to(user).filter(started_by=user).select_related("pipeline")
        return super().get_context_data(
            live_token_count=tokens.live,
            expiring_soon_count=tokens.expiring_soon,
            **warnings,
            awaited=alarm.awaited,
            to_confirm=alarm.to_confirm,
            review=alarm,
            days=days,
            uses_are_complete=uses.is_complete,
            used=sum(day.total for day in days),
            refused=sum(day.refused for day in days),
            ended_in_use=own,
            sees_others=user.may(Ability.READ_TOKENS),
            ended_in_use_of_others=others,
            orphaned=alarm.orphaned,
            recent_runs=runs.order_by("-requested_at")[:SHOWN],
            can_run_pipelines=user.may(Ability.USE_PIPELINES),
            is_empty=not tokens.total,
            **kwargs,
        )


class Alarms(NamedTuple):
    """How many tokens a person is asked to confirm, how many wait for their approval, and how many service accounts
    have no active responsible person; then the open review campaign, and how many of its tokens wait, of how many. 0 or
    ``None`` where they can't do anything about it."""

    to_confirm: int
    awaited: int
    orphaned: int
    campaign: uuid.UUID | None
    waiting: int
    reviewed: int


def alarms(user: User) -> Alarms:
    """One query."""
    awaited, orphaned = ApprovalRequest.objects.none(), User.objects.none()
    campaigns = ReviewCampaign.objects.none()
    if user.may(Ability.APPROVE_TOKENS):
        awaited = ApprovalRequest.objects.decidable_by(user).waiting()
    if user.may(Ability.MANAGE_ORGANIZATION):
        orphaned = User.objects.orphaned().in_organization(user)
        campaigns = ReviewCampaign.objects.manageable_by(user).open().order_by()
    asked = ReviewItem.objects.asked_of(user).waiting()
    reviewed = ReviewItem.objects.filter(campaign__in=campaigns.values("pk"))
    numbers = map(number_of, (asked, awaited, orphaned))
    own = Organization.objects.filter(pk=user.own_organization.pk)
    found = own.values_list(
        *numbers, Subquery(campaigns.values("pk")[:1]), number_of(reviewed.waiting()), number_of(reviewed)
    )
    return Alarms(*found.get())


class WhoMayDoWhatView(MemberPageMixin, TemplateView):
    """What each site role allows and who can do what to a pipeline, from the tables that the code itself reads."""

    template_name = "who_may_do_what.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(
            site_roles=permission_tables.site_roles(),
            pipeline_actions=permission_tables.pipeline_actions(),
            privileges=permission_tables.privileges(),
            own_role=self.person.get_site_role_display(),
            **kwargs,
        )


class ApiDocsView(TemplateView):
    """The API reference, rendered from the OpenAPI schema."""

    template_name = "api_docs.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(reference=api_reference.rendered(), **kwargs)

    def render_to_response(self, context: dict[str, Any], **kwargs: Any) -> HttpResponse:
        return repeats_nothing(super().render_to_response(context, **kwargs))


class PostmanCollectionView(MemberPageMixin, View):
    """Downloads the Postman collection that is committed with the code."""

    def get(self, request: HttpRequest) -> HttpResponse:
        headers = {"Content-Disposition": f'attachment; filename="{POSTMAN_COLLECTION.name}"'}
        return HttpResponse(POSTMAN_COLLECTION.read_bytes(), content_type="application/json", headers=headers)


@open_to_everybody
def healthz(request: HttpRequest) -> HttpResponse:
    """The process answers."""
    return HttpResponse("ok\n", content_type=PLAIN_TEXT)


@open_to_everybody
def readyz(request: HttpRequest) -> HttpResponse:
    """The process and its database answer, and the database has taken what this process wrote."""
    if refused_writes.are_recent():
        return HttpResponse("The database takes no writes.\n", content_type=PLAIN_TEXT, status=503)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except (DatabaseError, InterfaceError):
        return HttpResponse("The database cannot be reached.\n", content_type=PLAIN_TEXT, status=503)
    return HttpResponse("ok\n", content_type=PLAIN_TEXT)


@open_to_everybody
def favicon(request: HttpRequest) -> HttpResponse:
    response = HttpResponse(status=302)
    response["Location"] = staticfiles_storage.url("favicon.svg")
    return response


@open_to_everybody
def robots(request: HttpRequest) -> HttpResponse:
    return HttpResponse("User-agent: *\nDisallow: /\n", content_type=PLAIN_TEXT)


@open_to_everybody
def security_txt(request: HttpRequest) -> HttpResponse:
    """Where to report a vulnerability (RFC 9116). Not found until ``SECURITY_CONTACT`` is set."""
    if not settings.SECURITY_CONTACT:
        raise Http404
    expires = (timezone.now() + SECURITY_TXT_HOLDS).replace(microsecond=0)
    lines = (
        f"Contact: {settings.SECURITY_CONTACT}",
        f"Expires: {expires:%Y-%m-%dT%H:%M:%SZ}",
        f"Canonical: {settings.PORTAL_URL}/.well-known/security.txt",
        "Preferred-Languages: en",
    )
    return HttpResponse("".join(f"{line}\n" for line in lines), content_type=PLAIN_TEXT)
