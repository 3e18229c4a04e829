"""People, the organizations they belong to, and groups of them."""

import hashlib
import json
import uuid
from collections.abc import Collection
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext, gettext_lazy, pgettext_lazy

from accounts.querysets import GroupQuerySet, UserQuerySet, second_factors
from accounts.roles import ROLES, Ability, RoleDescription, SiteRole
from core.api import scopes
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
    "approval_scopes",
    "approval_lifetime_days",
    "approval_for_service_accounts",
    "two_factor_roles",
    "log_retention_days",
)
# Those of them that are stored as words with spaces between them.
POLICY_LISTS = ("allowed_scopes", "approval_scopes", "two_factor_roles")


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
    approval_scopes = models.CharField(
        "scopes that need approval",
        max_length=200,
        blank=True,
        default="",
        help_text="Separated by spaces. A second person must approve new tokens with one of these scopes.",
    )
    approval_lifetime_days = models.PositiveSmallIntegerField(
        gettext_lazy("lifetime above which tokens need approval, in days"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(366)],
        help_text=gettext_lazy("1 to 366, or empty. A second person must approve new tokens with a longer lifetime."),
    )
    approval_for_service_accounts = models.BooleanField(
        gettext_lazy("tokens of service accounts need approval"),
        default=False,
        help_text=gettext_lazy("A second person must approve each new token of a service account."),
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
            models.CheckConstraint(
                condition=models.Q(approval_lifetime_days__isnull=True)
                | models.Q(approval_lifetime_days__gte=1, approval_lifetime_days__lte=366),
                name="organization_approval_above_1_to_366_days",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        self.allowed_scopes = _in_order(self.allowed_scopes, scopes.BY_ID, "allowed_scopes")
        self.approval_scopes = _in_order(self.approval_scopes, scopes.BY_ID, "approval_scopes")
        self.two_factor_roles = _in_order(self.two_factor_roles, SiteRole.values, "two_factor_roles")

    @property
    def policy(self) -> dict[str, Any]:
        """`POLICY_FIELDS` with their values; scopes and roles as lists of ids."""
        # For a request with a token, only the fields that each use needs were read (`tokens.record_query`).
        if missing := self.get_deferred_fields().intersection(POLICY_FIELDS):
            self.refresh_from_db(fields=list(missing))
        values = {field: getattr(self, field) for field in POLICY_FIELDS}
        return values | {field: values[field].split() for field in POLICY_LISTS}

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
    wants_expiry_mails = models.BooleanField(
        "mails before a token expires", default=True, help_text="30, 7 and 1 days before, and after it has expired."
    )
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
