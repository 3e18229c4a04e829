"""Errors that mean: the database cannot be reached, or takes no writes."""

from django.db import InterfaceError, InternalError, OperationalError

# PostgreSQL's driver raises InternalError if the server is read-only, as after a failover.
DATABASE_UNAVAILABLE = (OperationalError, InterfaceError, InternalError)
