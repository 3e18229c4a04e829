"""Services: programs of an organization that its tokens open. They, or the proxies in front of them, ask the portal."""

import uuid
from datetime import datetime, timedelta
from typing import ClassVar
from urllib.parse import urlsplit

from django.db import models
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext_lazy

from accounts.models import SubjectRule, User
from accounts.roles import SiteRole
from core.api.audiences import audience_of
from core.api.scopes import ServiceScope
from gateway import path_rules, request_paths
from gateway.path_rules import PathRule
from gateway.querysets import ServiceCredentialQuerySet, ServiceQuerySet, ServiceRuleQuerySet, ServiceSessionQuerySet

NAME_MAX_LENGTH = 100
SLUG_MAX_LENGTH = 20
SCOPE_NAME_MAX_LENGTH = 20
SCOPE_LABEL_MAX_LENGTH = 50
SCOPE_DESCRIPTION_MAX_LENGTH = 200
DESCRIPTION_MAX_LENGTH = 500
ADDRESS_MAX_LENGTH = 200
SCOPES_LIMIT = 20
# Access rules of one service.
RULES_LIMIT = 200
LAST_USED_RESOLUTION = timedelta(minutes=1)
SERVICES_LIMIT = 100


class Check(models.TextChoices):
    """How a service learns whether a token is good."""

    FORWARD_AUTH = "forward_auth", gettext_lazy("The proxy in front of it asks at each request (forward auth)")
    INTROSPECTION = "introspection", gettext_lazy("The service asks at each use (introspection)")
    STATUS_LIST = "status_list", gettext_lazy("The service checks tokens itself (JWT with status list)")


def no_scopes() -> list[dict[str, str | bool]]:
    return []


class Service(models.Model):
    """One service of an organization. It is never deleted once a token was made for it, only switched off.

    ``slug``: its short name in scopes, such as ``service:grafana:read``; it never changes. ``scopes``: objects with
    ``name``, ``label``, ``description`` and ``only_reads``. ``rules``: which requests need which scope
    (`path_rules`). ``site_roles``: the site roles that may use it, separated by spaces; ``access_rules`` has people and
    groups. Without either, nobody may use it.
    """

    Check = Check

    id = models.UUIDField("ID", primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(
        "accounts.Organization", on_delete=models.PROTECT, related_name="services", db_index=False
    )
    name = models.CharField(max_length=NAME_MAX_LENGTH)
    name_key = models.TextField(editable=False)
    slug = models.SlugField("short name", max_length=SLUG_MAX_LENGTH, db_index=False)
    address = models.CharField(max_length=ADDRESS_MAX_LENGTH, blank=True)
    description = models.CharField(max_length=DESCRIPTION_MAX_LENGTH, blank=True)
    check_by = models.CharField("how it checks tokens", max_length=20, choices=Check, default=Check.FORWARD_AUTH)
    scopes = models.JSONField(default=no_scopes)
    rules = models.TextField("paths and methods", blank=True)
    site_roles = models.CharField("site roles that may use it", max_length=200, blank=True)
    needs_approval = models.BooleanField("new tokens need approval", default=False)
    allows_sessions = models.BooleanField("people may open it in the browser", default=False)
    is_enabled = models.BooleanField("switched on", default=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects: ClassVar[ServiceQuerySet] = ServiceQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering = ["name", "id"]
        constraints = [
            models.UniqueConstraint(fields=["organization", "name_key"], name="service_name_unique"),
            models.UniqueConstraint(fields=["organization", "slug"], name="service_slug_unique"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def uses_status_list(self) -> bool:
        return self.check_by == Check.STATUS_LIST

    @property
    def audience(self) -> str:
        """The claim ``aud`` of its tokens, and its name as a protected resource (RFC 9728)."""
        return audience_of(self.pk)

    @property
    def all_scopes(self) -> list[ServiceScope]:
        return [
            ServiceScope(
                id=scope_id(self.slug, scope["name"]),
                english_label=scope["label"],
                english_description=scope["description"],
                only_reads=scope["only_reads"],
            )
            for scope in self.scopes
        ]

    def chosen(self, scope: str) -> list[ServiceScope]:
        granted = scope.split(" ")
        return [known for known in self.all_scopes if known.id in granted]

    def opened_by(self, scope: ServiceScope) -> list[str]:
        rules = [rule for rule in self.path_rules if rule.needs_scope and scope_id(self.slug, rule.needs) == scope.id]
        return [f"{rule.methods_in_words} {rule.path}" for rule in rules]

    def scope_for(self, method: str, target: str) -> ServiceScope | None:
        try:
            rule = path_rules.first_match(self.path_rules, method, request_paths.path_of(target))
        except request_paths.Ambiguous:
            return None
        wanted = None if rule is None or not rule.needs_scope else scope_id(self.slug, rule.needs)
        return next((scope for scope in self.all_scopes if scope.id == wanted), None)

    @property
    def path_rules(self) -> tuple[PathRule, ...]:
        return path_rules.parse(self.rules)

    @property
    def role_list(self) -> list[SiteRole]:
        return [SiteRole(role) for role in self.site_roles.split()]

    def people(self) -> QuerySet[User]:
        """Everyone who may use it while it is switched on. `ServiceQuerySet.usable_by` asks the same for a person."""
        rules = self.access_rules.order_by()
        named = Q(pk__in=rules.values("user")) | Q(member_groups__in=rules.values("group"))
        by_name = User.objects.filter(named).order_by().values("pk")
        open_to = Q(site_role__in=self.site_roles.split()) | Q(pk__in=by_name)
        found: QuerySet[User] = User.objects.filter(open_to, organization=self.organization_id, is_active=True)
        return found

    @property
    def host(self) -> str:
        """Host and port of its address; empty without an address."""
        return urlsplit(self.address).netloc


def scope_id(slug: str, name: str) -> str:
    """As tokens have it: unique in the organization."""
    return f"service:{slug}:{name}"


class ServiceRule(SubjectRule):
    """Lets a person or a group use a service."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    service = models.ForeignKey(Service, on_delete=models.CASCADE, related_name="access_rules", db_index=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects: ClassVar[ServiceRuleQuerySet] = ServiceRuleQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        constraints = [
            models.UniqueConstraint("service", "user", name="service_rule_one_for_each_person"),
            models.UniqueConstraint("service", "group", name="service_rule_one_for_each_group"),
            models.CheckConstraint(
                condition=Q(user__isnull=True, group__isnull=False) | Q(user__isnull=False, group__isnull=True),
                name="service_rule_for_a_person_or_a_group",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.service.name}: {self.subject_name}"


class ServiceCredential(models.Model):
    """A secret with which a service proves to the portal who it is (`client_secret` of RFC 6749 section 2.3.1).

    ``digest``: SHA-256 of the secret, which has 256 random bits and is shown once. ``ends_at``: when it stops working,
    after it was replaced; null while it is the current one.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    service = models.ForeignKey(Service, on_delete=models.CASCADE, related_name="credentials")
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    ends_at = models.DateTimeField(null=True, editable=False)
    last_used_at = models.DateTimeField(null=True, editable=False)

    objects: ClassVar[ServiceCredentialQuerySet] = ServiceCredentialQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering = ["-created_at", "id"]
        constraints = [
            models.UniqueConstraint(
                "service", condition=Q(ends_at__isnull=True), name="service_has_one_current_secret"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.service_id}: {self.created_at:%Y-%m-%d}"

    def works_at(self, at: datetime) -> bool:
        return self.ends_at is None or at < self.ends_at

    def mark_used(self, *, at: datetime) -> None:
        """Saves the use, at most once a minute. If several requests come at once, one of them writes."""
        if self.last_used_at is None or at - self.last_used_at >= LAST_USED_RESOLUTION:
            stale = Q(last_used_at__isnull=True) | Q(last_used_at__lte=at - LAST_USED_RESOLUTION)
            ServiceCredential.objects.filter(stale, pk=self.pk).update(last_used_at=at)


class ServiceSession(models.Model):
    """A person's session at one service, which their browser opened from a session of the portal and which ends with
    it.

    It begins with a code that the browser takes to the service's host (``code_digest``), and that works only in the
    browser with the right nonce (``nonce_digest``). There the code is exchanged for a cookie (``cookie_digest``).
    All three are SHA-256 digests of 256 random bits. ``expires_at``: when the code ends, then when the session ends.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    service = models.ForeignKey(Service, on_delete=models.CASCADE, related_name="sessions")
    portal_session = models.ForeignKey("usersessions.UserSession", on_delete=models.CASCADE, related_name="+")
    has_second_factor = models.BooleanField(editable=False)
    nonce_digest = models.CharField(max_length=64, editable=False)
    code_digest = models.CharField(max_length=64, unique=True, editable=False)
    cookie_digest = models.CharField(max_length=64, unique=True, null=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    seen_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(editable=False, db_index=True)

    objects: ClassVar[ServiceSessionQuerySet] = ServiceSessionQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering = ["-created_at", "id"]

    def __str__(self) -> str:
        return f"{self.service_id}: {self.created_at:%Y-%m-%d}"

    @property
    def person(self) -> User:
        person: User = self.portal_session.user
        return person
