"""What auditlog tells the apps above it."""

from django.dispatch import Signal

# Sent with ``use`` (`open_use.OpenUse`) when the use of a token has been logged, before the request is answered: after
# the commit of the entry or, for a request that changes something, in the transaction of the change.
token_use_logged = Signal(use_caching=True)
