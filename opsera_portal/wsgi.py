"""The door for the web server: granian loads `opsera_portal.wsgi:application`."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "opsera_portal.settings")

application = get_wsgi_application()
