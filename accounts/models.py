"""People, the organizations they belong to, and groups of them."""

import hashlib
import json
import uuid
from collections.abc import Collection
from typing import Any, ClassVar
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext, gettext_lazy, pgettext_lazy

from accounts.notifications import kinds
from accounts.notifications.querysets import NotificationQuerySet
from accounts.querysets import GroupQuerySet, OrganizationProviderQuerySet, UserQuerySet, managing_links, second_factors
from accounts.roles import ROLES, Ability, RoleDescription, SiteRole
from accounts.webhooks.querysets import WebhookDeliveryQuerySet, WebhookQuerySet
from core.api import scopes
from core.db.keyset import Keyset
from core.db.uuid7 import uuid7
from core.errors import errors_of
from core.http import fenced_call
from core.networks import clean_networks, is_inside, words_of
from core.service_accounts import ENDING, is_reserved
from core.text import NOT_PRINTABLE, composed, is_printable

DEFAULT_MAX_TOKEN_LIFETIME_DAYS = 92
DEFAULT_MAX_LIVE_TOKENS = 50
DEFAULT_LOG_RETENTION_DAYS = 400
# A week. Also the default: an organization decides to allow less.
MOST_OVERLAP_HOURS = 7 * 24


# What an organization decides for its people, tokens and logs; the same names on the page and in the API.
POLICY_FIELDS = (
    "max_token_lifetime_days",
    "allowed_scopes",
    "max_live_tokens",
    "unused_tokens_end_after_days",
    "token_networks",
    "max_replacement_overlap_hours",
    "approval_scopes",
    "approval_lifetime_days",
    "approval_for_service_accounts",
    "two_factor_roles",
    "sign_in_networks",
    "sign_in_network_roles",
    "max_service_token_lifetime_days",
    "service_token_creators",
    "orphaned_service_tokens_end_after_days",
    "log_retention_days",
)
# Those of them that are several words, stored as one text separated by spaces.
POLICY_LISTS = (
    "allowed_scopes",
    "token_networks",
    "approval_scopes",
    "two_factor_roles",
    "sign_in_networks",
    "sign_in_network_roles",
)


class ServiceTokenCreators(models.TextChoices):
    """Who creates and replaces the tokens of service accounts."""

    RESPONSIBLE = "responsible", gettext_lazy("Responsible people and Administrators")
    ADMINISTRATORS = "administrators", gettext_lazy("Only Administrators")


def every_scope() -> str:
    """Only for the migration that names it."""
    return scopes.as_string(list(scopes.SCOPES))


def scopes_of_new_organization() -> str:
    """All but `scim`: an Administrator allows it when an identity provider manages the organization's people."""
    return scopes.as_string(scope for scope in scopes.SCOPES if scope is not scopes.SCIM)


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
        default=scopes_of_new_organization,
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
    max_replacement_overlap_hours = models.PositiveSmallIntegerField(
        gettext_lazy("longest time that a replaced token works on, in hours"),
        default=MOST_OVERLAP_HOURS,
        validators=[MinValueValidator(0), MaxValueValidator(MOST_OVERLAP_HOURS)],
        help_text=gettext_lazy("0 to 168. With 0, a token ends as soon as another one replaces it."),
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
    # See `core.networks`. Empty: from everywhere.
    token_networks = models.TextField(
        "networks from which tokens can be used",
        blank=True,
        default="",
        help_text="Separated by spaces; empty: from everywhere. At all other addresses, tokens are refused.",
    )
    sign_in_networks = models.TextField(
        "networks from which people can sign in",
        blank=True,
        default="",
        help_text="Separated by spaces; empty: from everywhere. For people with the site roles below.",
    )
    sign_in_network_roles = models.CharField(
        "site roles that can sign in only from these networks", max_length=200, blank=True, default=""
    )
    max_service_token_lifetime_days = models.PositiveSmallIntegerField(
        gettext_lazy("longest lifetime of a service account's token, in days"),
        default=DEFAULT_MAX_TOKEN_LIFETIME_DAYS,
        validators=[MinValueValidator(1), MaxValueValidator(366)],
        help_text=gettext_lazy("1 to 366. Their tokens with a longer lifetime are blocked from their next use on."),
    )
    service_token_creators = models.CharField(
        gettext_lazy("who creates tokens of service accounts"),
        max_length=20,
        choices=ServiceTokenCreators,
        default=ServiceTokenCreators.RESPONSIBLE,
        help_text=gettext_lazy("Responsible people can always expire them."),
    )
    orphaned_service_tokens_end_after_days = models.PositiveSmallIntegerField(
        gettext_lazy("days after which tokens of an orphaned service account expire"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(366)],
        help_text=gettext_lazy("1 to 366, or empty: they work on, although nobody active is responsible."),
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
            models.CheckConstraint(
                condition=models.Q(max_replacement_overlap_hours__lte=MOST_OVERLAP_HOURS),
                name="organization_max_replacement_overlap_0_to_168_hours",
            ),
            models.CheckConstraint(condition=~models.Q(allowed_scopes=""), name="organization_allows_a_scope"),
            models.CheckConstraint(
                condition=models.Q(max_service_token_lifetime_days__gte=1, max_service_token_lifetime_days__lte=366),
                name="organization_max_service_token_lifetime_1_to_366_days",
            ),
            models.CheckConstraint(
                condition=models.Q(orphaned_service_tokens_end_after_days__isnull=True)
                | models.Q(
                    orphaned_service_tokens_end_after_days__gte=1, orphaned_service_tokens_end_after_days__lte=366
                ),
                name="organization_orphaned_tokens_end_after_1_to_366_days",
            ),
            models.CheckConstraint(
                condition=models.Q(service_token_creators__in=ServiceTokenCreators.values),
                name="organization_service_token_creators_known",
            ),
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
        self.sign_in_network_roles = _in_order(self.sign_in_network_roles, SiteRole.values, "sign_in_network_roles")
        for field in ("token_networks", "sign_in_networks"):
            with errors_of(field):
                setattr(self, field, clean_networks(words_of(getattr(self, field))))
        # Only one of them would do nothing, and look as if it did.
        if self.sign_in_networks and not self.sign_in_network_roles:
            raise ValidationError(
                {"sign_in_network_roles": gettext("Choose the site roles that can sign in only from these networks.")}
            )
        if self.sign_in_network_roles and not self.sign_in_networks:
            raise ValidationError(
                {"sign_in_networks": gettext("Enter the networks from which people with these site roles can sign in.")}
            )

    @property
    def policy(self) -> dict[str, Any]:
        """`POLICY_FIELDS` with their values; scopes, roles and networks as lists."""
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

    def lets_sign_in(self, site_role: str, address: str | None) -> bool:
        """Whether people with this site role can sign in and use their sessions from this address."""
        return site_role not in self.sign_in_network_roles.split() or is_inside(self.sign_in_networks, address)


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


class ServiceAccountState(models.TextChoices):
    """Computed, never stored."""

    ACTIVE = "active", pgettext_lazy("state of a service account", "Active")
    ORPHANED = "orphaned", pgettext_lazy("state of a service account", "Orphaned")
    DEACTIVATED = "deactivated", pgettext_lazy("state of a service account", "Deactivated")


class User(AbstractBaseUser):
    """A person. Signs in with an e-mail address, belongs to one organization and has one site role.

    Or a service account: it owns tokens, is in groups and access rules as people are, and never signs in
    (`ServiceAccount`).
    """

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
    is_service_account = models.BooleanField(
        "service account", default=False, editable=False, help_text="For machines: owns tokens and never signs in."
    )
    orphaned_at = models.DateTimeField(
        "orphaned",
        null=True,
        editable=False,
        help_text="Since when no responsible person of the service account is active.",
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
    external_id = models.CharField(
        "id at the identity provider", max_length=255, blank=True, editable=False, help_text="As SCIM sent it."
    )
    # SCIM must not show people again that it deleted (RFC 7644 section 3.6), but logs refer to them.
    deprovisioned_at = models.DateTimeField(null=True, blank=True, editable=False)
    # Name and address are a pseudonym since then (`accounts/erasure.py`).
    erased_at = models.DateTimeField(null=True, blank=True, editable=False)
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
            # No password that could be used, no sign-in, and no role whose rights need a session (`accounts.roles`).
            models.CheckConstraint(
                condition=models.Q(is_service_account=False)
                | models.Q(is_superuser=False, password__startswith=UNUSABLE_PASSWORD_PREFIX, last_login__isnull=True)
                & ~models.Q(site_role=SiteRole.ADMINISTRATOR),
                name="user_service_account_never_signs_in",
                violation_error_message="A service account has no password, never signs in and is no Administrator.",
            ),
            models.CheckConstraint(
                condition=models.Q(is_service_account=True, email__endswith=ENDING)
                | models.Q(models.Q(is_service_account=False) & ~models.Q(email__endswith=ENDING)),
                name="user_service_account_has_its_address",
                violation_error_message="Only service accounts have such an address.",
            ),
            models.CheckConstraint(
                condition=models.Q(orphaned_at__isnull=True) | models.Q(is_service_account=True),
                name="user_orphaned_only_service_accounts",
                violation_error_message="Only a service account can be orphaned.",
            ),
            models.CheckConstraint(
                condition=models.Q(deprovisioned_at__isnull=True) | models.Q(is_active=False),
                name="user_deprovisioned_is_not_active",
            ),
            models.CheckConstraint(
                condition=models.Q(erased_at__isnull=True) | models.Q(is_active=False), name="user_erased_is_not_active"
            ),
        ]
        indexes: ClassVar = [
            # Few people are service accounts.
            models.Index(
                fields=["organization"], name="user_service_accounts", condition=models.Q(is_service_account=True)
            )
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
        if is_reserved(self.email) and not self.is_service_account:
            raise ValidationError({"email": gettext("Nobody can have this address.")})

    @property
    def is_invited(self) -> bool:
        """Has not chosen yet how to sign in: an invitation was sent."""
        return self.is_active and self.joined_at is None and not self.is_service_account

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
    def accounts_answered_for(self) -> "models.QuerySet[User, uuid.UUID]":
        """The ids of the service accounts that this person is responsible for, as a subquery."""
        ids: models.QuerySet[User, uuid.UUID] = (
            User.objects.service_accounts_of(self).order_by().values_list("pk", flat=True)
        )
        return ids

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

    @cached_property
    def role_is_managed(self) -> bool:
        """Whether the organization's provider decides about the site role, at each sign-in."""
        return managing_links().filter(user=self).exists()

    @property
    def needs_two_factor(self) -> bool:
        """Whether this person must use two-factor: by the organization's policy, or as an operator. Service accounts
        never sign in, so they need none."""
        if self.is_service_account:
            return False
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

    @property
    def is_orphaned(self) -> bool:
        """Whether it is a service account without an active responsible person."""
        return self.orphaned_at is not None

    @property
    def account_state(self) -> ServiceAccountState:
        """The state of a service account."""
        if not self.is_active:
            return ServiceAccountState.DEACTIVATED
        return ServiceAccountState.ORPHANED if self.is_orphaned else ServiceAccountState.ACTIVE

    def has_perm(self, perm: str, obj: object = None) -> bool:
        return self.is_active and self.is_superuser

    def has_perms(self, perm_list: list[str], obj: object = None) -> bool:
        return all(self.has_perm(perm, obj) for perm in perm_list)

    def has_module_perms(self, app_label: str) -> bool:
        return self.is_staff


class ServiceAccount(models.Model):
    """What a service account has in addition to its row among the users: who answers for it, and what it is for.

    `accounts.services` keeps ``User.orphaned_at`` in step with the people in ``responsible``.
    """

    user = models.OneToOneField(User, on_delete=models.CASCADE, primary_key=True, related_name="service_account")
    description = models.CharField(max_length=500, blank=True, default="")
    responsible = models.ManyToManyField(User, related_name="responsible_for", blank=True)
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")

    class Meta:
        ordering = ["user"]

    def __str__(self) -> str:
        return self.user.name

    @property
    def organization(self) -> Organization | None:
        """For the activity log."""
        return self.user.organization


class Erasure(models.Model):
    """How far the erasure of a person is (`accounts/erasure.py`).

    ``words``: the name and the addresses to replace, until the erasure is done. ``part`` and ``last_id`` say where the
    worker goes on after a restart. ``forged``: entries that someone had changed before; they stay as evidence.
    """

    id = models.BigAutoField(primary_key=True)
    person = models.OneToOneField(User, on_delete=models.PROTECT, related_name="erasure")
    words = models.JSONField(default=list)
    part = models.CharField(max_length=30, blank=True)
    last_id = models.BigIntegerField(default=0)
    rewritten = models.PositiveBigIntegerField(default=0)
    forged = models.PositiveBigIntegerField(default=0)
    asked_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True)

    objects: ClassVar[models.Manager["Erasure"]]

    def __str__(self) -> str:
        return f"Erasure of {self.person_id}"


class Group(models.Model):
    """A named set of people, for access rules."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="groups")
    name = models.CharField(max_length=50)
    members = models.ManyToManyField(User, related_name="member_groups", blank=True)
    external_id = models.CharField(
        "id at the identity provider", max_length=255, blank=True, editable=False, help_text="As SCIM sent it."
    )
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

    @cached_property
    def is_managed(self) -> bool:
        """Whether the organization's provider decides about the members."""
        return bool(self.providers.filter(is_enabled=True).exists())


class SubjectRule(models.Model):
    """The base of access rules: each names one person or one group. The database's constraint requires exactly one."""

    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", null=True, blank=True)
    # Protected: deleting a group must not delete the last rule, which would open a pipeline to everyone.
    group = models.ForeignKey(Group, on_delete=models.PROTECT, related_name="+", null=True, blank=True)

    class Meta:
        abstract = True

    @property
    def subject(self) -> Any:
        """The person or the group."""
        return self.user or self.group

    @property
    def subject_name(self) -> str:
        """The person's e-mail address, or the group's name."""
        return str(self.subject)


class OrganizationProvider(models.Model):
    """An organization's own provider of single sign-on, and what follows from what it says about a person.

    ``role_rules``: claim, value and site role; the first that matches counts. ``group_rules``: claim, value and the id
    of a group; each that matches counts (`accounts/provider_rules.py`).
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.OneToOneField(Organization, on_delete=models.CASCADE, related_name="provider")
    name = models.CharField(max_length=40)
    is_enabled = models.BooleanField("switched on", default=True)
    issuer = models.CharField(max_length=200)
    client_id = models.CharField(max_length=191)
    sealed_secret = models.TextField(editable=False)
    # The name under which people's connections are stored. Another issuer has another one: it can use the same ids.
    connection = models.CharField(max_length=60, unique=True, editable=False)
    trusts_email = models.BooleanField("accepts addresses that are not verified", default=False)
    creates_people = models.BooleanField("creates people at their first sign-in", default=False)
    domains = models.CharField(max_length=1000, blank=True, help_text="Separated by spaces.")
    default_role = models.CharField(max_length=20, choices=SiteRole, default=SiteRole.GUEST)
    people_per_hour = models.PositiveSmallIntegerField(
        "new people per hour", default=20, validators=[MinValueValidator(1), MaxValueValidator(1000)]
    )
    role_rules = models.JSONField(default=list, blank=True)
    refuses_unmapped = models.BooleanField("refuses people to whom no rule applies", default=False)
    group_rules = models.JSONField(default=list, blank=True)
    # The groups of `group_rules`. Their members come from the provider only.
    managed_groups = models.ManyToManyField(Group, related_name="providers", blank=True, editable=False)
    last_failure = models.CharField(max_length=500, blank=True, editable=False)
    last_failure_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[OrganizationProviderQuerySet] = OrganizationProviderQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        verbose_name = "single sign-on of an organization"
        verbose_name_plural = "single sign-on of organizations"
        ordering = ["organization__name"]
        constraints = [
            # A rule can give this role; being unknown can't.
            models.CheckConstraint(
                condition=~models.Q(default_role=SiteRole.ADMINISTRATOR), name="provider_default_role_is_lower"
            ),
            models.CheckConstraint(
                condition=models.Q(people_per_hour__gte=1, people_per_hour__lte=1000),
                name="provider_people_per_hour_1_to_1000",
            ),
            models.CheckConstraint(
                condition=models.Q(creates_people=False) | ~models.Q(domains=""),
                name="provider_creates_people_of_domains",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def connection_name(self) -> str:
        """Contains the row and the issuer, so that no other organization and no other issuer has the same."""
        return f"oidc-{self.pk.hex}-{hashlib.sha256(self.issuer.encode()).hexdigest()[:16]}"


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
    def origin(self) -> str:
        """For answers to tokens: the URL without the parts that can contain a secret."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

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

    # Numbers deliveries in order of arrival: a worker takes those of a webhook in this order.
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
