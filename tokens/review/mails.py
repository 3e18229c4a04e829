"""The mails that ask people to confirm tokens. `tokens.mails.unconfirmed_mail` says that some have expired."""

import uuid

from django.core.mail import EmailMessage
from django.utils.formats import date_format
from django.utils.translation import gettext, gettext_lazy

from accounts.models import User
from core.http.public_address import public_url
from core.mail.kinds import mail_kind
from core.mail.messages import mail_from
from core.reading import local
from tokens.mails import LISTED_WITH_DETAILS
from tokens.review.models import ReviewItem


@mail_kind(gettext_lazy("Tokens to confirm"))
def review_mail(person_id: str, campaign_id: str, is_warning: bool) -> EmailMessage | None:
    """None if no token waits for this person any more."""
    person = User.objects.people().active().select_related("organization").filter(pk=uuid.UUID(person_id)).first()
    if person is None:
        return None
    items = ReviewItem.objects.asked_of(person).waiting().filter(campaign=uuid.UUID(campaign_id))
    listed = list(items.select_related("campaign", "token", "owner").order_by("id")[:LISTED_WITH_DETAILS])
    if not listed or (due_at := listed[0].campaign.due_at) is None:
        return None
    count = items.count()
    context = {
        "person": person,
        "organization": person.organization,
        "items": listed,
        "count": count,
        "further": count - len(listed),
        "due_at": due_at,
        "is_warning": is_warning,
        "url": public_url("tokens:tokens_to_confirm"),
        "preferences_url": public_url("accounts:preferences"),
    }
    # Translators: the format of a date such as 3 May 2026, for Django's filter `date`.
    date = {"date": date_format(local(due_at), gettext("j F Y"))}
    said = gettext("Confirm your access tokens by %(date)s")
    if is_warning:
        said = gettext("Your unconfirmed access tokens expire on %(date)s")
    return mail_from("tokens/mail/review_waiting.txt", context, subject=said % date, to=person.email)
