"""What happens with each new database connection."""

from typing import Any

from django.db.backends.signals import connection_created
from django.dispatch import receiver

from core.db import networks


@receiver(connection_created)
def add_functions(connection: Any, **kwargs: Any) -> None:
    networks.add_function(connection)
