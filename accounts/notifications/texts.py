"""What a notification says, in the reader's language and time zone."""

import uuid
from collections import defaultdict
from datetime import datetime
from typing import Any

from django.conf import settings
from django.utils.formats import date_format
from django.utils.translation import gettext

from accounts.models import Notification
from accounts.notifications.kinds import BY_ID
from accounts.roles import SiteRole
from auditlog.models import TokenUse
from core.reading import local


def sentence_of(notification: Notification) -> str:
    kind = BY_ID.get(notification.kind)
    if kind is None:
        # Another version of the portal stored it.
        return notification.kind
    words: defaultdict[str, str] = defaultdict(lambda: "–")
    details = notification.details if isinstance(notification.details, dict) else {}
    words.update({name: _word(name, value) for name, value in details.items()})
    words["token"] = notification.token_name
    account = details.get("account")
    sentence = str((account and kind.sentence_of_account) or kind.sentence) % words
    if not account:
        return sentence
    # Translators: what happened to a token of this service account.
    return gettext("%(account)s (service account): %(sentence)s") % {"account": account, "sentence": sentence}


def page_about(notification: Notification) -> tuple[Any, ...] | None:
    """The page about which a notification is: the name of its address, and the id if it has one. ``None`` if there is
    none."""
    kind = BY_ID.get(notification.kind)
    details = notification.details if isinstance(notification.details, dict) else {}
    if kind is not None and kind.is_about_request and details.get("request"):
        return settings.APPROVAL_REQUEST_PAGE, uuid.UUID(details["request"])
    if kind is not None and kind.page:
        return (kind.page,)
    return (settings.ACCESS_TOKEN_PAGE, notification.token_id) if notification.token_id else None


def _word(name: str, value: Any) -> str:
    if name in {"from", "to"}:
        return str(dict(SiteRole.choices).get(value, value))
    if name == "reason":
        return str(dict(TokenUse.Reason.choices).get(value, value))
    if name == "outcome":
        return gettext("It is paused.") if value == "paused" else gettext("An event was given up.")
    if name == "expires_at":
        # Translators: the format of a date such as 3 May 2026, for Django's filter `date`.
        return date_format(local(datetime.fromisoformat(value)), gettext("j F Y"))
    if name == "actor" and not value:
        return gettext("The operator of the portal")
    return str(value) if value else gettext("an unknown address")
