"""The kinds of notifications, each once: the preferences, the page, the mails, the API and webhooks read them here."""

from dataclasses import dataclass

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy, pgettext_lazy

from accounts.roles import Ability
from core.text import Text


class Channel(models.TextChoices):
    """Where a person is told."""

    PORTAL_AND_MAIL = "portal_and_mail", gettext_lazy("In the portal and by mail")
    PORTAL_AND_DIGEST = "portal_and_digest", gettext_lazy("In the portal and in the daily mail")
    PORTAL = "portal", gettext_lazy("In the portal")
    MAIL = "mail", gettext_lazy("By mail")
    DIGEST = "digest", gettext_lazy("In the daily mail")
    OFF = "off", pgettext_lazy("notifications", "Off")

    @property
    def is_in_portal(self) -> bool:
        return self in {Channel.PORTAL, Channel.PORTAL_AND_MAIL, Channel.PORTAL_AND_DIGEST}

    @property
    def is_mailed_at_once(self) -> bool:
        return self in {Channel.MAIL, Channel.PORTAL_AND_MAIL}

    @property
    def is_in_digest(self) -> bool:
        return self in {Channel.DIGEST, Channel.PORTAL_AND_DIGEST}

    @property
    def is_mailed(self) -> bool:
        return self.is_mailed_at_once or self.is_in_digest

    def with_mail(self, wanted: bool) -> "Channel":
        """The same, with a mail or without. A mail that is already in the digest stays there."""
        if wanted == self.is_mailed:
            return self
        if wanted:
            return Channel.PORTAL_AND_MAIL if self.is_in_portal else Channel.MAIL
        return Channel.PORTAL if self.is_in_portal else Channel.OFF


@dataclass(frozen=True)
class Kind:
    """``id`` is stored and published, so it never changes. ``sentence`` gets the token's name and the details.

    ``is_security``: the person can choose about mails, but always sees these in the portal. ``ability``: only roles
    with it get these. ``sentence_of_account``: for a token of a service account, if the sentence differs. It follows
    the name of the account. ``is_about_request``: the details have the id of a request for approval as ``request``,
    and links lead to its page. ``page``: the name of the only page to which links lead.
    """

    id: str
    label: Text
    sentence: Text
    default: Channel
    is_security: bool = False
    ability: Ability | None = None
    sentence_of_account: Text = ""
    is_about_request: bool = False
    page: str = ""

    @property
    def channels(self) -> list[Channel]:
        """Those that a person can choose."""
        return [channel for channel in Channel if channel.is_in_portal or not self.is_security]


FIRST_USE = Kind(
    "first_use",
    gettext_lazy("First use of a token"),
    gettext_lazy("“%(token)s” was used for the first time, from %(ip)s."),
    Channel.PORTAL,
)
NEW_NETWORK = Kind(
    "new_network",
    gettext_lazy("First use from a new network"),
    gettext_lazy("“%(token)s” was used from the network %(network)s for the first time."),
    Channel.PORTAL_AND_MAIL,
    is_security=True,
)
FIRST_REFUSAL = Kind(
    "first_refusal",
    gettext_lazy("First refusal of a token"),
    gettext_lazy("A request with “%(token)s” was refused for the first time: %(reason)s."),
    Channel.PORTAL,
)
MANY_REFUSALS = Kind(
    "many_refusals",
    gettext_lazy("Many refusals within an hour"),
    gettext_lazy("At least %(count)s requests with “%(token)s” were refused within an hour."),
    Channel.PORTAL_AND_MAIL,
    is_security=True,
)
END_NEAR = Kind(
    "end_near",
    gettext_lazy("A token expires soon, or has expired"),
    gettext_lazy("“%(token)s” works until %(expires_at)s."),
    Channel.PORTAL_AND_MAIL,
)
ENDED_IN_USE = Kind(
    "ended_in_use",
    gettext_lazy("A token no longer works, but is still used"),
    gettext_lazy("“%(token)s” no longer works, but is still used, from %(ip)s."),
    Channel.PORTAL_AND_MAIL,
    is_security=True,
)
LEAKED = Kind(
    "leaked",
    gettext_lazy("A token was reported as leaked"),
    gettext_lazy("“%(token)s” was reported as leaked and has been expired."),
    Channel.PORTAL_AND_MAIL,
    is_security=True,
)
EXPIRED_EARLY = Kind(
    "expired_early",
    gettext_lazy("Someone else expired a token"),
    gettext_lazy("%(actor)s expired “%(token)s” early."),
    Channel.PORTAL_AND_MAIL,
    is_security=True,
)
EXPIRED_UNUSED = Kind(
    "expired_unused",
    gettext_lazy("A token expired because it was unused"),
    gettext_lazy("“%(token)s” was not used for too long, so it has expired."),
    Channel.PORTAL_AND_MAIL,
)
EXPIRED_ORPHANED = Kind(
    "expired_orphaned",
    gettext_lazy("A token of a service account expired because nobody active is responsible"),
    gettext_lazy("“%(token)s” has expired, because nobody active is responsible for the service account."),
    Channel.PORTAL_AND_MAIL,
    ability=Ability.MANAGE_ORGANIZATION,
)
EXPIRED_UNCONFIRMED = Kind(
    "expired_unconfirmed",
    gettext_lazy("A token expired because nobody confirmed it in a review campaign"),
    gettext_lazy("“%(token)s” was not confirmed in a review campaign, so it has expired."),
    Channel.PORTAL_AND_MAIL,
)
REVIEW_WAITING = Kind(
    "review_waiting",
    gettext_lazy("A review campaign asks you to confirm tokens"),
    gettext_lazy(
        "A review campaign asks you to confirm your tokens under “Tokens to confirm”. Unconfirmed tokens expire on "
        "%(expires_at)s."
    ),
    Channel.PORTAL_AND_MAIL,
    is_security=True,
    page=settings.TOKENS_TO_CONFIRM_PAGE,
)
REPLACED_TOKEN_REUSED = Kind(
    "reused",
    gettext_lazy("A replaced token tried to replace itself again"),
    gettext_lazy(
        "“%(token)s” was expired, because a replaced token of its family tried to replace itself again. "
        "Someone may have a copy."
    ),
    Channel.PORTAL_AND_MAIL,
    is_security=True,
)
REPLACED = Kind(
    "replaced",
    gettext_lazy("A token was replaced"),
    gettext_lazy("“%(token)s” was replaced by a new token."),
    Channel.PORTAL,
    is_security=True,
)
CREATED_FOR_YOU = Kind(
    "created_for_you",
    gettext_lazy("Someone else created a token for you or for a service account"),
    gettext_lazy("%(actor)s created the token “%(token)s” for you."),
    Channel.PORTAL_AND_MAIL,
    is_security=True,
    sentence_of_account=gettext_lazy("%(actor)s created the token “%(token)s”."),
)
APPROVAL_REQUESTED = Kind(
    "approval_requested",
    gettext_lazy("A token waits for your approval"),
    gettext_lazy("%(actor)s asks you to approve the token “%(token)s”."),
    Channel.PORTAL_AND_MAIL,
    ability=Ability.APPROVE_TOKENS,
    is_about_request=True,
)
APPROVED = Kind(
    "approved",
    gettext_lazy("A token that you requested was approved"),
    gettext_lazy("%(actor)s approved the token “%(token)s”. The portal shows it to you once, within 24 hours."),
    Channel.PORTAL_AND_MAIL,
)
REJECTED = Kind(
    "rejected",
    gettext_lazy("A token that you requested was rejected"),
    gettext_lazy("%(actor)s rejected the token “%(token)s”: %(comment)s"),
    Channel.PORTAL_AND_MAIL,
)
REQUEST_LAPSED = Kind(
    "request_lapsed",
    gettext_lazy("Nobody decided in time about a token that you requested"),
    gettext_lazy("Nobody approved or rejected the token “%(token)s” in time, so your request has lapsed."),
    Channel.PORTAL_AND_MAIL,
)
ROLE_CHANGED = Kind(
    "role_changed",
    gettext_lazy("Your site role was changed"),
    gettext_lazy("%(actor)s changed your site role from %(from)s to %(to)s."),
    Channel.PORTAL_AND_MAIL,
    is_security=True,
)
WEBHOOK_FAILED = Kind(
    "webhook_failed",
    gettext_lazy("A webhook of the organization failed for three days"),
    gettext_lazy("The webhook to %(host)s failed for three days. %(outcome)s"),
    Channel.PORTAL_AND_MAIL,
    ability=Ability.MANAGE_ORGANIZATION,
)

KINDS = (
    FIRST_USE,
    NEW_NETWORK,
    FIRST_REFUSAL,
    MANY_REFUSALS,
    END_NEAR,
    ENDED_IN_USE,
    LEAKED,
    EXPIRED_EARLY,
    EXPIRED_UNUSED,
    EXPIRED_ORPHANED,
    EXPIRED_UNCONFIRMED,
    REVIEW_WAITING,
    REPLACED_TOKEN_REUSED,
    REPLACED,
    CREATED_FOR_YOU,
    APPROVAL_REQUESTED,
    APPROVED,
    REJECTED,
    REQUEST_LAPSED,
    ROLE_CHANGED,
    WEBHOOK_FAILED,
)
BY_ID = {kind.id: kind for kind in KINDS}
CHOICES = [(kind.id, kind.label) for kind in KINDS]
SECURITY_CHANNEL_CHOICES = [(channel.value, channel.label) for channel in Channel if channel.is_in_portal]


def channel_for(chosen: object, kind: Kind) -> Channel:
    """What a person chose for this kind: ``chosen`` is ``User.notification_choices``. The default for anything else,
    such as a choice that another version of the portal allowed."""
    value = chosen.get(kind.id) if isinstance(chosen, dict) else None
    return Channel(value) if value in kind.channels else kind.default
