"""What the worker does for this app."""

import uuid

from django.core.mail import EmailMessage
from django.template.loader import render_to_string
from django_tasks import task

from accounts import invitations
from accounts.models import User


@task()
def send_invitation_mail(user_id: str) -> None:
    """The link is made here, in the moment of sending: the queue holds the person's id only."""
    user = User.objects.select_related("organization").filter(pk=uuid.UUID(user_id)).first()
    if user is None or not user.is_invited or user.organization is None:
        return
    context = {"person": user, "organization": user.organization, "link": invitations.link_for(user)}
    EmailMessage(
        subject=f"You are invited to the Opsera Portal of {' '.join(user.organization.name.split())}",
        body=render_to_string("accounts/mail/invitation.txt", context | {"days": invitations.DAYS}),
        to=[user.email],
    ).send()
