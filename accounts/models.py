"""People, the organizations they belong to, and groups of them."""

import hashlib
import json
import uuid
from collections.abc import Collection
from typing import Any, ClassVar
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext, gettext_lazy, pgettext_lazy

from accounts.notifications import kinds
from accounts.notifications.querysets import NotificationQuerySet
from accounts.querysets import GroupQuerySet, UserQuerySet, second_factors
from accounts.roles import ROLES, Ability, RoleDescription, SiteRole
from accounts.webhooks.querysets import WebhookDeliveryQuerySet, WebhookQuerySet
from core.api import scopes
from core.db.keyset import Keyset
from core.db.uuid7 import uuid7
from core.http import fenced_call
from core.text import NOT_PRINTABLE, composed, is_printable

DEFAULT_MAX_TOKEN_LIFETIME_DAYS = 92
DEFAULT_MAX_LIVE_TOKENS = 50
DEFAULT_LOG_RETENTION_DAYS = 400


# What an organization decides for its people, tokens and logs; the same names on the page and in the API.
POLICY_FIELDS = (
    "max_token_lifetime_days",
    "allowed_scopes",
    "max_live_tokens",
    "unused_tokens_end_after_days",
    "two_factor_roles",
    "log_retention_days",
)


def every_scope() -> str:
    return scopes.as_string(list(scopes.SCOPES))


class Organization(models.Model):
    """The customer. Owns everything else; nothing crosses from one organization to another."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=100, unique=True)
    slug = models.SlugField(
        max_length=50,
        unique=True,
        help_text="Short name in tokens and in the API, where it is called account.",
    )
    max_token_lifetime_days = models.PositiveSmallIntegerField(
        gettext_lazy("longest lifetime of a token, in days"),
        default=DEFAULT_MAX_TOKEN_LIFETIME_DAYS,
        validators=[MinValueValidator(1), MaxValueValidator(366)],
        help_text=gettext_lazy("1 to 366. Tokens with a longer lifetime are blocked from their next use on."),
    )
    allowed_scopes = models.CharField(
        "scopes that tokens may have",
        max_length=200,
        default=every_scope,
        help_text="Separated by spaces. Tokens with any other scope are blocked from their next use on.",
    )
    max_live_tokens = models.PositiveSmallIntegerField(
        gettext_lazy("live tokens that a person may have"),
        default=DEFAULT_MAX_LIVE_TOKENS,
        validators=[MinValueValidator(1), MaxValueValidator(1000)],
        help_text=gettext_lazy("1 to 1000. People over the limit keep their tokens but can't create more."),
    )
    unused_tokens_end_after_days = models.PositiveSmallIntegerField(
        gettext_lazy("days after which an unused token expires"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(366)],
        help_text=gettext_lazy("1 to 366, or empty: unused tokens then live until they expire."),
    )
    two_factor_roles = models.CharField(
        "site roles that require two-factor",
        max_length=200,
        blank=True,
        default="",
        help_text="Separated by spaces. Without two-factor, people with these roles and their tokens can do nothing.",
    )
    log_retention_days = models.PositiveSmallIntegerField(
        gettext_lazy("how long both logs are kept, in days"),
        default=DEFAULT_LOG_RETENTION_DAYS,
        validators=[MinValueValidator(30), MaxValueValidator(3660)],
        help_text=gettext_lazy("30 to 3660. Once a day, older entries are permanently removed."),
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(max_token_lifetime_days__gte=1, max_token_lifetime_days__lte=366),
                name="organization_max_token_lifetime_1_to_366_days",
            ),
            models.CheckConstraint(
                condition=models.Q(log_retention_days__gte=30, log_retention_days__lte=3660),
                name="organization_log_retention_30_to_3660_days",
            ),
            models.CheckConstraint(
                condition=models.Q(max_live_tokens__gte=1, max_live_tokens__lte=1000),
                name="organization_max_live_tokens_1_to_1000",
            ),
            models.CheckConstraint(
                condition=models.Q(unused_tokens_end_after_days__isnull=True)
                | models.Q(unused_tokens_end_after_days__gte=1, unused_tokens_end_after_days__lte=366),
                name="organization_unused_tokens_end_after_1_to_366_days",
            ),
            models.CheckConstraint(condition=~models.Q(allowed_scopes=""), name="organization_allows_a_scope"),
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        self.allowed_scopes = _in_order(self.allowed_scopes, scopes.BY_ID, "allowed_scopes")
        self.two_factor_roles = _in_order(self.two_factor_roles, SiteRole.values, "two_factor_roles")

    @property
    def policy(self) -> dict[str, Any]:
        """`POLICY_FIELDS` with their values; scopes and roles as lists of ids."""
        values = {field: getattr(self, field) for field in POLICY_FIELDS}
        return values | {field: values[field].split() for field in ("allowed_scopes", "two_factor_roles")}

    @property
    def policy_version(self) -> str:
        """A digest of the policy. People who change it name the version that they looked at."""
        return hashlib.sha256(json.dumps(self.policy).encode()).hexdigest()[:16]

    @property
    def organization(self) -> "Organization":
        """Itself, so that changes to an organization, also by operators, are in its own activity log."""
        return self

    def requires_two_factor_of(self, site_role: str) -> bool:
        return site_role in self.two_factor_roles.split()


def _in_order(text: str, known: Collection[str], field: str) -> str:
    """The words of ``text``, each once, in the order in which they are declared. Raises ``ValidationError``."""
    words = set(text.split())
    if unknown := words - set(known):
        raise ValidationError({field: gettext("Unknown: %(words)s.") % {"words": ", ".join(sorted(unknown))}})
    return " ".join(word for word in known if word in words)


class UserManager(BaseUserManager["User"].from_queryset(UserQuerySet)):  # type: ignore[misc]
    use_in_migrations = False

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        user = User(email=email, **fields)
        user.set_password(password)
        if user.has_usable_password():
            user.joined_at = timezone.now()
        user.full_clean(exclude=["password"])
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """An operator of the installation: no organization, Django admin only."""
        return self.create_user(email, password, is_superuser=True, **fields)

    def get_by_natural_key(self, username: str | None) -> "User":
        user: User = self.get(email__iexact=username)
        return user


class UserState(models.TextChoices):
    """Computed, never stored."""

    ACTIVE = "active", pgettext_lazy("state of a person", "Active")
    INVITED = "invited", pgettext_lazy("state of a person", "Invited")
    DEACTIVATED = "deactivated", pgettext_lazy("state of a person", "Deactivated")


class User(AbstractBaseUser):
    """A person. Signs in with an e-mail address, belongs to one organization and has one site role."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    email = models.EmailField("e-mail address", max_length=254)
    name = models.CharField(max_length=100)
    organization = models.ForeignKey(
        Organization, on_delete=models.PROTECT, related_name="users", null=True, blank=True
    )
    site_role = models.CharField(max_length=20, choices=SiteRole, default=SiteRole.GUEST)
    is_active = models.BooleanField(
        "active",
        default=True,
        help_text="People who are not active can't sign in, and none of their tokens work.",
    )
    is_superuser = models.BooleanField(
        "operator", default=False, help_text="Operates the installation; belongs to no organization."
    )
    joined_at = models.DateTimeField(
        "joined", null=True, blank=True, editable=False, help_text="When the person chose how to sign in."
    )
    notification_choices = models.JSONField(
        default=dict, blank=True, editable=False, help_text="A channel for each kind that differs from its default."
    )
    # Nothing reads it any more, except the previous release while the portal is upgraded. The next one removes it.
    expiry_mails_of_previous_release = models.BooleanField(default=True, editable=False, db_column="wants_expiry_mails")
    language = models.CharField(max_length=10, blank=True, help_text="Empty: that of the browser.")
    browser_language = models.CharField(
        "language of the browser", max_length=10, blank=True, help_text="At the last sign-in. Empty: English."
    )
    time_zone = models.CharField(max_length=64, blank=True, help_text="A name of the IANA database. Empty: UTC.")
    created_at = models.DateTimeField(auto_now_add=True)

    # The token that the person acts with, if it reaches only chosen pipelines. Not stored: it concerns one request.
    # Whatever finds pipelines for a person keeps to it (`pipelines/access.py`, `pipelines/querysets.py`).
    limited_by_token: uuid.UUID | None = None

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = ["name"]

    objects: ClassVar[UserManager] = UserManager()

    class Meta:
        ordering = ["email"]
        constraints = [
            models.UniqueConstraint(
                Lower("email"),
                name="user_email_unique",
                violation_error_message="Someone with this e-mail address exists already.",
            ),
            models.CheckConstraint(
                condition=models.Q(is_superuser=True, organization__isnull=True)
                | models.Q(is_superuser=False, organization__isnull=False),
                name="user_has_organization_or_operates",
                violation_error_message="A user belongs to one organization; an operator belongs to none.",
            ),
        ]

    def __str__(self) -> str:
        return self.email

    def clean(self) -> None:
        self.email = self.email.strip().lower()
        self.name = composed(self.name)
        if not self.name.strip():
            raise ValidationError({"name": gettext("Enter a name.")})
        if not is_printable(self.name):
            raise ValidationError({"name": NOT_PRINTABLE})

    @property
    def is_invited(self) -> bool:
        """Has not chosen yet how to sign in: an invitation was sent."""
        return self.is_active and self.joined_at is None

    @property
    def state(self) -> UserState:
        if not self.is_active:
            return UserState.DEACTIVATED
        return UserState.INVITED if self.is_invited else UserState.ACTIVE

    @property
    def role(self) -> RoleDescription:
        return ROLES[SiteRole(self.site_role)]

    def may(self, ability: Ability) -> bool:
        """Whether this person's site role allows ``ability`` in their organization, now."""
        return self.is_active and self.organization_id is not None and ability in self.role.abilities

    @property
    def wants_expiry_mails(self) -> bool:
        """Whether mails tell this person that a token expires soon or has expired."""
        return kinds.channel_for(self.notification_choices, kinds.END_NEAR).is_mailed

    @property
    def own_organization(self) -> Organization:
        """The organization of a member. Raises ``PermissionDenied`` for operators, who have none."""
        if self.organization is None:
            raise PermissionDenied(gettext("Operators of the installation belong to no organization."))
        return self.organization

    @property
    def may_read_organization_users(self) -> bool:
        return self.may(Ability.READ_USERS)

    @property
    def may_read_organization_logs(self) -> bool:
        """For apps below this one, which must not import `Ability`."""
        return self.may(Ability.READ_LOGS)

    @property
    def may_manage_organization(self) -> bool:
        return self.may(Ability.MANAGE_ORGANIZATION)

    @property
    def may_change_by_token(self) -> bool:
        return self.may(Ability.CHANGE_BY_TOKEN)

    @property
    def may_read_organization_tokens(self) -> bool:
        return self.may(Ability.READ_TOKENS)

    @cached_property
    def has_two_factor(self) -> bool:
        """Whether an authenticator app or a passkey is set up. Recovery codes alone don't count."""
        return second_factors().filter(user=self).exists()

    @property
    def needs_two_factor(self) -> bool:
        """Whether this person must use two-factor: by the organization's policy, or as an operator."""
        if self.organization is None:
            return bool(settings.OPERATOR_TWO_FACTOR)
        return self.organization.requires_two_factor_of(self.site_role)

    @property
    def lacks_required_two_factor(self) -> bool:
        """Whether this person must use two-factor and has not set it up."""
        return self.needs_two_factor and not self.has_two_factor

    # Django admin calls these. The querysets decide which rows an Administrator sees there.

    @property
    def is_staff(self) -> bool:
        return self.is_active and (self.is_superuser or self.may(Ability.MANAGE_ORGANIZATION))

    def has_perm(self, perm: str, obj: object = None) -> bool:
        return self.is_active and self.is_superuser

    def has_perms(self, perm_list: list[str], obj: object = None) -> bool:
        return all(self.has_perm(perm, obj) for perm in perm_list)

    def has_module_perms(self, app_label: str) -> bool:
        return self.is_staff


class Group(models.Model):
    """A named set of people, for access rules."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="groups")
    name = models.CharField(max_length=50)
    members = models.ManyToManyField(User, related_name="member_groups", blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[GroupQuerySet] = GroupQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                "organization",
                Lower("name"),
                name="group_name_unique_in_organization",
                violation_error_message="A group of this name exists already.",
            )
        ]

    def __str__(self) -> str:
        return self.name


class Notification(models.Model):
    """Something that a person is told, once. `accounts/notifications/kinds.py` has the kinds.

    ``once`` says what it is about: of two processes that tell the same, the constraint lets one store it. Rows are also
    stored for people who switched the kind off, because a webhook of their organization may want them.
    """

    # Numbers notifications in order of arrival, for webhooks. People and programs use the UUID.
    id = models.BigAutoField(primary_key=True)
    public_id = models.UUIDField("ID on pages", unique=True, default=uuid7, editable=False)
    person = models.ForeignKey(User, on_delete=models.CASCADE, related_name="notifications")
    kind = models.CharField(max_length=30, choices=kinds.CHOICES)
    once = models.CharField(max_length=120)
    at = models.DateTimeField("time", default=timezone.now)
    # Copies, because the token may be removed.
    token_id = models.UUIDField("token ID", null=True)
    token_name = models.CharField(max_length=50, blank=True)
    details = models.JSONField(default=dict, blank=True)
    is_in_portal = models.BooleanField(default=True)
    read_at = models.DateTimeField(null=True)
    digest_at = models.DateTimeField("due in the daily mail", null=True)

    objects: ClassVar[NotificationQuerySet] = NotificationQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering = ["-at", "-id"]
        constraints = [models.UniqueConstraint(fields=["person", "kind", "once"], name="notification_once")]
        indexes = [
            models.Index(
                fields=["person", "-at", "-id"], name="notification_newest", condition=models.Q(is_in_portal=True)
            ),
            # For the number beside the bell, on each page.
            models.Index(
                fields=["person"],
                name="notification_unread",
                condition=models.Q(is_in_portal=True, read_at__isnull=True),
            ),
            models.Index(fields=["digest_at"], name="notification_digest", condition=models.Q(digest_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.token_name or self.person_id}"

    @property
    def is_unread(self) -> bool:
        return self.read_at is None


NEWEST_NOTIFICATIONS_FIRST = Keyset(("at", "id"))


class Webhook(models.Model):
    """An address to which the portal sends what happens in an organization, signed as Standard Webhooks says.

    `accounts/webhooks/` delivers. The secrets are encrypted; each is shown once, when it is created.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="webhooks")
    url = models.CharField("URL", max_length=fenced_call.URL_LIMIT_CHARACTERS)
    description = models.CharField(max_length=100, blank=True)
    events = models.CharField(max_length=400, help_text="Separated by spaces.")
    secret = models.TextField(editable=False)
    previous_secret = models.TextField(blank=True, editable=False)
    previous_secret_until = models.DateTimeField(null=True, editable=False)
    paused_at = models.DateTimeField(null=True, blank=True)
    # The first failure since the last success.
    failing_since = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects: ClassVar[WebhookQuerySet] = WebhookQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering = ["created_at", "id"]

    def __str__(self) -> str:
        return self.description or self.host

    @property
    def host(self) -> str:
        """For logs and mails: the path of the URL can contain a secret."""
        return urlsplit(self.url).hostname or ""

    @property
    def event_ids(self) -> list[str]:
        return self.events.split()

    @property
    def is_paused(self) -> bool:
        return self.paused_at is not None


class WebhookDelivery(models.Model):
    """One event for one webhook: what is sent, and how far that is. The constraint lets no event be there twice."""

    class State(models.TextChoices):
        WAITING = "waiting", pgettext_lazy("state of a delivery", "Waiting")
        DELIVERED = "delivered", pgettext_lazy("state of a delivery", "Delivered")
        FAILED = "failed", pgettext_lazy("state of a delivery", "Given up")

    # Numbers deliveries in order of arrival: they are sent in this order.
    id = models.BigAutoField(primary_key=True)
    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE, related_name="deliveries")
    # The id of the message, the same in each attempt.
    event_id = models.UUIDField("event ID")
    type = models.CharField(max_length=60)
    # As it is signed and sent.
    payload = models.TextField()
    state = models.CharField(max_length=10, choices=State, default=State.WAITING)
    created_at = models.DateTimeField(default=timezone.now)
    # While a worker sends it, this is when another worker can take it over.
    next_attempt_at = models.DateTimeField(default=timezone.now)
    # When it is given up.
    expires_at = models.DateTimeField("given up at")
    attempts = models.PositiveIntegerField(default=0)
    last_status = models.PositiveSmallIntegerField("answer", null=True)
    last_error = models.CharField(max_length=300, blank=True)
    ended_at = models.DateTimeField(null=True, db_index=True)

    objects: ClassVar[WebhookDeliveryQuerySet] = WebhookDeliveryQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        verbose_name_plural = "webhook deliveries"
        ordering = ["-created_at", "-id"]
        constraints = [models.UniqueConstraint(fields=["webhook", "event_id"], name="webhookdelivery_once")]
        indexes = [
            models.Index(fields=["webhook", "-created_at", "-id"], name="webhookdelivery_newest"),
            models.Index(fields=["next_attempt_at"], name="webhookdelivery_due", condition=models.Q(state="waiting")),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.event_id}"


NEWEST_DELIVERIES_FIRST = Keyset(("created_at", "id"))
