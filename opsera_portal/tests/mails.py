"""Sends queued mails in tests."""

import threading

from django.core import mail

from core.mail import delivery


def delivered():
    """Sends the mails that are due, as the worker does. Returns all mails sent so far."""
    delivery.send_due(threading.Event())
    return mail.outbox
