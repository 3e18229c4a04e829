"""Settings of the test suite: those of the portal, on throw-away data, with what is slow on purpose made fast."""

import os
import tempfile

_data = tempfile.TemporaryDirectory(prefix="opsera-portal-test-")
os.environ["PORTAL_DATA_DIR"] = _data.name
os.environ.setdefault("SECRET_KEY", "for-tests-only-" * 5)
for _name in (
    "PORTAL_PORT",
    "REDIS_URL",
    "DATABASE_DIRECT_URL",
    "TRUSTED_PROXIES",
    "TOKEN_SIGNING_KEYS",
    "TOKEN_SIGNING_KEYS_DIR",
    "EMAIL_URL",
    "EMAIL_FROM",
    "EMAIL_EHLO_NAME",
    "SSL_CERT_FILE",
    "LOG_SEAL_KEY",
    "MFA_SECRETS_KEYS",
    "OPERATOR_TWO_FACTOR",
    "OIDC_ISSUER",
    "OIDC_CLIENT_ID",
    "OIDC_CLIENT_SECRET",
    "OIDC_NAME",
    "OIDC_EMAIL_VERIFIED",
    "SECURITY_CONTACT",
    "CORS_ALLOWED_ORIGINS",
):
    os.environ.pop(_name, None)
# What addresses in expectations begin with, whatever the default is.
os.environ["PORTAL_URL"] = "http://127.0.0.1:8000"
for _name in ("HTTP_STEP_ALLOWED_NETWORKS", "HTTP_STEP_REFUSED_NETWORKS", "HTTP_STEP_PROXY"):
    os.environ.pop(_name, None)

from opsera_portal.settings import *  # noqa: E402, F403
from opsera_portal.settings import DATA_DIR, DATABASES, STORAGES  # noqa: E402

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
RECOVERY_CODE_HASHER = PASSWORD_HASHERS[0]
TASKS = {"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}
STORAGES = {**STORAGES, "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
# Empty, so that no test waits for, or trips over, the files of a portal that runs beside it.
STATIC_ROOT = DATA_DIR / "static"
STATIC_ROOT.mkdir()
# Files that a test asks for and does not read keep their places until Python collects them.
WEB_THREADS = 4000
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
API_LIMIT_TOKEN = API_LIMIT_USER = API_LIMIT_ADDRESS = None

if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # A file and not memory, so that several threads meet as they do in the portal. Nothing here must survive a power
    # cut; everything else is as it is there.
    DATABASES["default"]["TEST"] = {"NAME": str(DATA_DIR / "test.sqlite3")}
    DATABASES["default"]["OPTIONS"]["init_command"] = "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;"
else:
    # Tests open and close many connections; the pool would keep them.
    DATABASES["default"]["OPTIONS"].pop("pool")
