"""The pages and doors that belong to no single app."""

from datetime import timedelta
from typing import Any

from django.contrib.staticfiles.storage import staticfiles_storage
from django.db import DatabaseError, InterfaceError, connection
from django.db.models import Count, Max
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.generic import TemplateView

from accounts.models import User
from auditlog.models import TokenUse
from opsera_portal import permission_tables
from opsera_portal.pages.views import MemberPageMixin
from pipelines.models import Run
from tokens.models import ENDS_SOON, Token

SHOWN = 5


class OverviewView(MemberPageMixin, TemplateView):
    """What a person wants to know first: do my tokens live, who uses them, what ran."""

    template_name = "overview.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        user = self.person
        now = timezone.now()
        tokens = Token.objects.owned_by(user)
        uses = TokenUse.objects.of(user).filter(at__gte=now - timedelta(days=30))
        runs = Run.objects.visible_to(user).filter(started_by=user).select_related("pipeline")
        return super().get_context_data(
            live_token_count=tokens.active().count(),
            ending_soon=tokens.expiring_before(now + ENDS_SOON).order_by("expires_at"),
            uses_30_days=uses.count(),
            refused_30_days=uses.refused().count(),
            ended_in_use=ended_tokens_in_use(user),
            recent_runs=runs.order_by("-requested_at")[:SHOWN],
            is_empty=not tokens.exists(),
            **kwargs,
        )


def ended_tokens_in_use(user: User) -> list[dict[str, Any]]:
    """Tokens that had ended and were still sent in the last 30 days: someone, or some script, has them."""
    since = timezone.now() - timedelta(days=30)
    counted = (
        TokenUse.objects.of(user)
        .of_ended_tokens()
        .filter(at__gte=since, token__isnull=False)
        .values("token")
        .annotate(count=Count("id"), last_at=Max("at"))
        .order_by("-last_at")[:SHOWN]
    )
    tokens = Token.objects.in_bulk([row["token"] for row in counted])
    result = []
    for row in counted:
        last = TokenUse.objects.of(user).of_ended_tokens().filter(token=row["token"]).first()
        if last is not None:
            result.append(
                {
                    "token": tokens[row["token"]],
                    "count": row["count"],
                    "last_at": last.at,
                    "last_ip": last.ip,
                    "last_target": last.target,
                }
            )
    return result


class WhoMayDoWhatView(MemberPageMixin, TemplateView):
    """What each site role allows, and who may do what to a pipeline: the tables that the code itself reads."""

    template_name = "who_may_do_what.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(
            site_roles=permission_tables.site_roles(),
            pipeline_actions=permission_tables.pipeline_actions(),
            own_role=self.person.get_site_role_display(),
            **kwargs,
        )


class ApiDocsView(TemplateView):
    """The interactive reference, served from this installation."""

    template_name = "api_docs.html"


def healthz(request: HttpRequest) -> HttpResponse:
    """The process answers."""
    return HttpResponse("ok\n", content_type="text/plain")


def readyz(request: HttpRequest) -> HttpResponse:
    """The process and its database answer."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except (DatabaseError, InterfaceError):
        return HttpResponse("The database cannot be reached.\n", content_type="text/plain", status=503)
    return HttpResponse("ok\n", content_type="text/plain")


def favicon(request: HttpRequest) -> HttpResponse:
    response = HttpResponse(status=302)
    response["Location"] = staticfiles_storage.url("favicon.svg")
    return response


def robots(request: HttpRequest) -> HttpResponse:
    return HttpResponse("User-agent: *\nDisallow: /\n", content_type="text/plain")
