"""The connection to the mail server."""

import ssl

from django.conf import settings
from django.core.mail.backends.smtp import EmailBackend
from django.core.mail.utils import DNS_NAME
from django.utils.functional import cached_property

from core.http import tls


class SmtpBackend(EmailBackend):
    """Django's backend, with ``EMAIL_EHLO_NAME`` as its own name and the certificate authorities of `core.http.tls`."""

    def open(self) -> bool | None:
        # Django would look up the machine's name, which can take seconds and may be confidential.
        DNS_NAME._fqdn = settings.EMAIL_EHLO_NAME
        return super().open()

    @cached_property
    def ssl_context(self) -> ssl.SSLContext:
        return tls.client_context()
