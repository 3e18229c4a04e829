#!/usr/bin/env python
"""The portal's command line: `manage.py help` lists what there is."""

import atexit
import gc
import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line


def main() -> None:
    # A start creates hundreds of thousands of objects that stay. With the default of 700, the search for garbage among
    # them takes a sixth of its time.
    gc.set_threshold(50_000, 10, 10)
    # Python would also search all of them at its exit, which takes a quarter of the time of a short command.
    atexit.register(gc.freeze)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "opsera_portal.settings")
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        # A wrong setting prevents startup, with one line instead of a traceback.
        sys.exit(f"The portal cannot start: {error}")


if __name__ == "__main__":
    main()
