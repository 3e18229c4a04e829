"""The outbox in tests."""

import threading

from django.core import mail

from core.mail import delivery


def delivered():
    """Does what the worker does with the mails that are due, and returns all that have left so far."""
    delivery.send_due(threading.Event())
    return mail.outbox
