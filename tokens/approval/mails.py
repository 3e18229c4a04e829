"""Tells people about requests, with a mail to those who want one at once: the people who can decide, and the one who
asked."""

import uuid
from typing import Any

from django.core.mail import EmailMessage
from django.utils.translation import gettext, gettext_lazy

from accounts.models import Organization, User
from accounts.notifications.kinds import APPROVAL_REQUESTED, Kind
from accounts.notifications.telling import name_of, store
from accounts.querysets import UserQuerySet
from accounts.roles import Ability, roles_with
from core.http.public_address import public_url
from core.mail.kinds import mail_kind
from core.mail.messages import mail_from
from tokens.approval.models import ApprovalRequest, RequestState
from tokens.models import Token
from tokens.news import news_about

_SUBJECTS = {
    RequestState.APPROVED: gettext_lazy("Your token “%(name)s” was approved"),
    RequestState.REJECTED: gettext_lazy("Your token “%(name)s” was rejected"),
    RequestState.LAPSED: gettext_lazy("Nobody decided about your token “%(name)s” in time"),
}


def approvers(organization: Organization) -> UserQuerySet:
    """The people who can approve tokens of others now."""
    people: UserQuerySet = (
        User.objects.people()
        .active()
        .filter(organization=organization, site_role__in=roles_with(Ability.APPROVE_TOKENS), joined_at__isnull=False)
    )
    return people


def tell_approvers(approval: ApprovalRequest) -> None:
    """Tells everyone who can decide about the token. Call it in the transaction of the request."""
    token, asked_by = approval.token, approval.asked_by
    responsible = User.objects.filter(responsible_for=token.owner_id).order_by().values("pk")
    people = approvers(token.organization).exclude(pk__in=[asked_by.pk, token.owner_id]).exclude(pk__in=responsible)
    about: dict[str, Any] = {"actor": name_of(asked_by), "request": str(approval.pk)}
    told = store(news_about(token, people.only("pk"), APPROVAL_REQUESTED, **about))
    requests_mail.put_each((pk, [str(pk), str(token.pk)]) for pk in told)


def tell_maker(approval: ApprovalRequest, kind: Kind, **details: Any) -> None:
    """Tells the person who requested the token how their request ended. Call it in the transaction of the decision."""
    if store(news_about(approval.token, [approval.asked_by], kind, **details)):
        decided_mail.put(approval.asked_by_id, str(approval.pk))


@mail_kind(gettext_lazy("Token needs approval"))
def requests_mail(person_id: str, token_id: str) -> EmailMessage | None:
    """Asks somebody to decide about this token; none if it doesn't wait any more."""
    person = User.objects.active().select_related("organization").filter(pk=uuid.UUID(person_id)).first()
    if person is None:
        return None
    waiting = ApprovalRequest.objects.decidable_by(person).waiting()
    approval = waiting.for_approval_page().filter(token_id=uuid.UUID(token_id)).first()
    if approval is None:
        return None
    context = {
        "person": person,
        "organization": person.organization,
        "approval": approval,
        "others": waiting.count() - 1,
        "url": public_url("tokens:organization_approval_detail", approval.pk),
        "preferences_url": public_url("accounts:preferences"),
    }
    subject = gettext("%(person)s asks you to approve the token “%(name)s”")
    names = {"person": approval.asked_by.name, "name": approval.token.name}
    return mail_from("tokens/mail/approval_requested.txt", context, subject=subject % names, to=person.email)


def _can_be_shown(approval: ApprovalRequest) -> bool:
    """Whether the person who requested the token can still see it: they may not manage the service account any more."""
    is_managed = Token.objects.managed_by(approval.asked_by).filter(pk=approval.token_id).exists()
    return is_managed and approval.token.can_be_revealed


@mail_kind(gettext_lazy("Request for a token decided"))
def decided_mail(approval_id: str) -> EmailMessage | None:
    """Tells the person who requested a token that it was approved, or why not, or that nobody decided in time."""
    found = ApprovalRequest.objects.for_approval_page().select_related("asked_by__organization")
    approval = found.filter(pk=uuid.UUID(approval_id), asked_by__is_active=True).first()
    if approval is None or approval.state not in _SUBJECTS:
        return None
    is_approved = approval.state is RequestState.APPROVED
    if is_approved and not _can_be_shown(approval):
        return None
    context = {
        "person": approval.asked_by,
        "organization": approval.asked_by.organization,
        "approval": approval,
        "is_approved": is_approved,
        "is_lapsed": approval.state is RequestState.LAPSED,
        "until": approval.token.can_be_revealed_until,
        "reveal_url": public_url("tokens:token_reveal", approval.token_id),
        "tokens_url": public_url("tokens:token_list"),
        "preferences_url": public_url("accounts:preferences"),
    }
    subject = str(_SUBJECTS[approval.state]) % {"name": approval.token.name}
    return mail_from("tokens/mail/approval_decided.txt", context, subject=subject, to=approval.asked_by.email)
