"""Settings of the tests: those of the portal, with temporary data and with fast password hashing."""

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
    "REVERSE_DNS",
    "MFA_SECRETS_KEYS",
    "OPERATOR_TWO_FACTOR",
    "OIDC_ISSUER",
    "OIDC_CLIENT_ID",
    "OIDC_CLIENT_SECRET",
    "OIDC_NAME",
    "OIDC_EMAIL_VERIFIED",
    "OIDC_ORGANIZATION",
    "OIDC_ORGANIZATION_HOSTS",
    "SECURITY_CONTACT",
    "CORS_ALLOWED_ORIGINS",
):
    os.environ.pop(_name, None)
# Tests expect addresses with this beginning.
os.environ["PORTAL_URL"] = "http://127.0.0.1:8000"
for _name in ("HTTP_STEP_ALLOWED_NETWORKS", "HTTP_STEP_REFUSED_NETWORKS", "HTTP_STEP_PROXY"):
    os.environ.pop(_name, None)

from opsera_portal.settings import *  # noqa: E402, F403
from opsera_portal.settings import DATA_DIR, DATABASES, STORAGES  # noqa: E402

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
RECOVERY_CODE_HASHER = PASSWORD_HASHERS[0]
TASKS = {"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}
STORAGES = {**STORAGES, "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
# Empty, so that no test depends on the files of a portal that runs at the same time.
STATIC_ROOT = DATA_DIR / "static"
STATIC_ROOT.mkdir()
# Files that a test requests without reading them keep their threads until Python collects them.
WEB_THREADS = 4000
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
# Administrators of every organization can set up single sign-on in the tables of all pages and routes.
OIDC_ORGANIZATION_HOSTS = ("id.example.com",)
API_LIMIT_TOKEN = API_LIMIT_USER = API_LIMIT_ADDRESS = None

if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # A file and not memory, so that threads share it as in the portal. It need not survive a power failure.
    DATABASES["default"]["TEST"] = {"NAME": str(DATA_DIR / "test.sqlite3")}
    DATABASES["default"]["OPTIONS"]["init_command"] = "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;"
else:
    # Tests open and close many connections, which the pool would keep.
    DATABASES["default"]["OPTIONS"].pop("pool")
