#!/usr/bin/env python
"""The portal's command line: `manage.py help` lists what there is."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "opsera_portal.settings")
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        # A wrong setting stops the start with one line, not with a traceback.
        sys.exit(f"The portal cannot start: {error}")


if __name__ == "__main__":
    main()
