"""The connection to the mail server."""

import ssl

from django.conf import settings
from django.core.mail.backends.smtp import EmailBackend
from django.core.mail.utils import DNS_NAME
from django.utils.functional import cached_property

from core.http import tls


class SmtpBackend(EmailBackend):
    """Django's, which introduces itself by ``EMAIL_EHLO_NAME`` and trusts what `tls` says."""

    def open(self) -> bool | None:
        # Django would look up the machine's own name, which may take seconds, and which may be nobody's else to know.
        DNS_NAME._fqdn = settings.EMAIL_EHLO_NAME
        return super().open()

    @cached_property
    def ssl_context(self) -> ssl.SSLContext:
        return tls.client_context()
