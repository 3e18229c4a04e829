"""For tests of Django admin: the addresses of its pages, and one row of each model."""

from django.urls import reverse
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import (
    Group,
    Notification,
    Organization,
    OrganizationProvider,
    ServiceAccount,
    User,
    Webhook,
    WebhookDelivery,
)
from accounts.roles import SiteRole
from accounts.tests.factories import GroupFactory, ServiceAccountFactory, WebhookFactory
from auditlog.actions import Action
from auditlog.models import Activity, TokenUse
from auditlog.record import record
from core.models import OutgoingMail
from gateway.models import Service, ServiceCredential, ServiceRule
from gateway.tests.factories import ServiceCredentialFactory, ServiceFactory, ServiceRuleFactory
from pipelines.models import Pipeline, Run
from pipelines.tests.factories import PipelineFactory, RunFactory, StepFactory
from tokens.approval.models import ApprovalRequest
from tokens.models import Token, TrustRule
from tokens.review.models import ReviewCampaign, ReviewItem
from tokens.tests.factories import (
    ApprovalRequestFactory,
    ReviewItemFactory,
    TokenFactory,
    TrustRuleFactory,
    bearer,
    campaign_of,
)

MODELS = {
    "organization": Organization,
    "user": User,
    "service_account": ServiceAccount,
    "group": Group,
    "notification": Notification,
    "webhook": Webhook,
    "delivery": WebhookDelivery,
    "service": Service,
    "service_rule": ServiceRule,
    "secret": ServiceCredential,
    "token": Token,
    "approval": ApprovalRequest,
    "trust_rule": TrustRule,
    "review_campaign": ReviewCampaign,
    "review_item": ReviewItem,
    "token_use": TokenUse,
    "activity": Activity,
    "pipeline": Pipeline,
    "run": Run,
    "mail": OutgoingMail,
    "provider": OrganizationProvider,
}
OTHERS = [role.value for role in SiteRole if role != SiteRole.ADMINISTRATOR]


def address(name, page="list", row=None):
    options = MODELS[name]._meta
    suffix = "changelist" if page == "list" else page
    arguments = [row.pk] if page in {"change", "delete", "history"} else []
    return reverse(f"admin:{options.app_label}_{options.model_name}_{suffix}", args=arguments)


def rows_of(person, name):
    """Creates one row of each model in the person's organization. All names begin with ``name``."""
    token = TokenFactory(owner=person, name=f"{name} token")
    APIClient().get("/api/v1/me", headers=bearer(token))
    pipeline = PipelineFactory(owner=person, name=f"{name} pipeline")
    StepFactory(pipeline=pipeline, name=f"{name} step")
    item = ReviewItemFactory(token=TokenFactory(owner=person, name=f"{name} reviewed"), campaign=campaign_of(person))
    group = GroupFactory(organization=person.organization, name=f"{name} group")
    group.members.add(person)
    webhook = WebhookFactory(organization=person.organization, description=f"{name} webhook")
    service = ServiceFactory(organization=person.organization, name=f"{name} service")
    account = ServiceAccountFactory(organization=person.organization, name=f"{name} account", responsible=[person])
    return {
        "organization": person.organization,
        "user": person,
        "service_account": account.service_account,
        "trust_rule": TrustRuleFactory(account=account, name=f"{name} rule"),
        "review_campaign": item.campaign,
        "review_item": item,
        "group": group,
        "notification": Notification.objects.create(
            person=person, kind="first_use", once=str(token.pk), token_name=f"{name} told"
        ),
        "webhook": webhook,
        "delivery": WebhookDelivery.objects.create(
            webhook=webhook, event_id=token.pk, type="test", payload="{}", expires_at=timezone.now()
        ),
        "service": service,
        "service_rule": ServiceRuleFactory(service=service, user=person),
        "secret": ServiceCredentialFactory(service=service),
        "token": token,
        "approval": ApprovalRequestFactory(token__owner=person, token__name=f"{name} request"),
        "token_use": TokenUse.objects.get(owner=person),
        "activity": record(actor=person, action=Action.TOKEN_ISSUED, target=token),
        "pipeline": pipeline,
        "run": RunFactory(pipeline=pipeline, state="finished", outcome="success"),
        "mail": OutgoingMail.objects.create(
            kind=f"{name} mail", person=person, expires_at=timezone.now(), last_error="The mail server is away."
        ),
        "provider": provider_of(person.organization, name=f"{name} provider"),
    }


def provider_of(organization, **fields):
    """An organization has at most one."""
    if found := OrganizationProvider.objects.filter(organization=organization).first():
        return found
    row = OrganizationProvider(organization=organization, issuer="https://id.example.com", client_id="portal", **fields)
    row.connection = row.connection_name()
    row.save()
    return row


def follow_to_sign_in(client, page):
    """Gets the page. Follows one redirect if it leads to Django admin's own sign-in address."""
    answer = client.get(page)
    return client.get(answer.url) if answer.status_code == 302 and answer.url.startswith("/admin/login/") else answer
