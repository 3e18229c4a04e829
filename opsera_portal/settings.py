"""Settings of the portal. Everything that differs between installations comes from the environment.

docs/settings.md lists the variables. All are optional for a first start.
"""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from whitenoise.compress import Compressor

from core import setting_readers
from opsera_portal import __version__
from opsera_portal.environment import Environment

BASE_DIR = Path(__file__).resolve().parent.parent

# Address and data

env = Environment()
DATA_DIR = env.PORTAL_DATA_DIR
PORTAL_PORT = env.PORTAL_PORT
# localhost instead of an IP address, because browsers create passkeys only for names (WebAuthn, "effective domain").
PORTAL_URL = env.PORTAL_URL or f"http://localhost:{PORTAL_PORT}"
SECRET_KEY = setting_readers.secret_key("SECRET_KEY", env.SECRET_KEY, directory=DATA_DIR)

_public = urlsplit(PORTAL_URL)
_https = _public.scheme == "https"
_loopback = _public.hostname in setting_readers.LOOPBACK_NAMES
# The portal's name in mails. IP addresses are in brackets (RFC 5321 section 4.1.3).
_own_name = setting_readers.name_in_mail(str(_public.hostname))

TRUSTED_PROXIES = env.TRUSTED_PROXIES
if _https and not TRUSTED_PROXIES:
    raise ImproperlyConfigured(
        "PORTAL_URL is https, so there must be a proxy that speaks TLS. Set TRUSTED_PROXIES to its address."
    )

DEBUG = False
_hosts = setting_readers.LOOPBACK_NAMES if _loopback else (str(_public.hostname),)
ALLOWED_HOSTS = [setting_readers.bracketed(host) for host in _hosts]
ROOT_URLCONF = "opsera_portal.urls"
WSGI_APPLICATION = "opsera_portal.wsgi.application"

# Apps, middleware and templates

INSTALLED_APPS = [
    "opsera_portal",
    "accounts.apps.AccountsConfig",
    "tokens",
    "auditlog",
    "pipelines",
    "gateway",
    "core.apps.CoreConfig",
    "core.apps.PortalAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "accounts.apps.PortalUserSessionsConfig",
    "rest_framework",
    "drf_spectacular",
    "django_filters",
    "django_tables2",
    "django_htmx",
    "django_tasks",
    "django_tasks_db",
    "csp",
]

MIDDLEWARE = [
    "core.http.request_context.RequestContextMiddleware",
    # API requests with an Authorization header get their own headers, are logged, and are answered. No middleware below
    # these sees them.
    "core.api.cross_origin.CrossOriginMiddleware",
    "core.api.answer_headers.TokenAnswerHeadersMiddleware",
    "auditlog.middleware.TokenUseMiddleware",
    "core.api.fast_path.TokenFastPathMiddleware",
    "core.http.call_stack.CallStackMiddleware",
    "accounts.reading.BrowserLanguageMiddleware",
    "core.http.security_headers.SecurityHeadersMiddleware",
    "django_permissions_policy.PermissionsPolicyMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "core.pages.middleware.ProxyMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "core.pages.middleware.HealthProbeMiddleware",
    "core.pages.middleware.SizeLimitMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    # Below the static files, which are compressed when they are collected.
    "core.pages.compression.CompressionMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "core.pages.middleware.RefusalLogMiddleware",
    "accounts.signin.last_person.LastPersonMiddleware",
    "accounts.security.sessions.SessionLifetimeMiddleware",
    "accounts.reading.ReadingMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "accounts.security.kept_forms.KeptFormsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "accounts.security.sign_in_networks.SignInNetworksMiddleware",
    "accounts.security.required_two_factor.RequiredTwoFactorMiddleware",
    "accounts.security.reauthentication.ReauthenticationMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "core.pages.middleware.PrivatePagesMiddleware",
    "core.pages.middleware.OptionsMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "libraries": {"portal": "core.pages.templatetags.portal", "mail": "core.mail.tags"},
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "opsera_portal.navigation.navigation",
            ],
        },
    },
]

# Data

# How many requests one web process answers at the same time. More than the cores need, so that log entries which wait
# for the disk wait together. Each thread can also take a connection to PostgreSQL.
WEB_THREADS = env.WEB_THREADS
# Further threads that wait for the bodies of requests (core/http/request_bodies.py).
WEB_WAITING_THREADS = 32


def _database() -> dict[str, Any]:
    in_data_directory = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(DATA_DIR / "portal.sqlite3")}
    config: dict[str, Any] = dict(env.DATABASE_URL or in_data_directory)
    if config["ENGINE"] == "django.db.backends.sqlite3":
        # SQLite gives its other files the mode of the database.
        setting_readers.private_file("DATABASE_URL" if env.DATABASE_URL else "PORTAL_DATA_DIR", Path(config["NAME"]))
        config["CONN_MAX_AGE"] = None
        # cache_size: each thread of the web server has its own connection with 0.5 MB of cache, 24 MB for 48 threads.
        # The operating system caches the rest.
        # synchronous=FULL: once its request is answered, an entry of the authentication log survives a power failure.
        # IMMEDIATE: a transaction that will write takes the lock at its beginning, so that it waits (up to `timeout`)
        # instead of failing later.
        config["OPTIONS"] = {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-500;",
        }
    else:
        config["ENGINE"] = "core.db.postgresql"
        config["OPTIONS"] = {
            **config.get("OPTIONS", {}),
            # Short, so that requests are refused quickly while the server is down, and answered quickly afterwards.
            # Enough for every thread, and two for each export that is being sent (auditlog/exports.py).
            "pool": {
                "min_size": 1,
                "max_size": WEB_THREADS + max(4, WEB_THREADS // 2),
                "timeout": 5,
                "reconnect_timeout": 3,
            },
            "connect_timeout": 5,
            # Only for prepared cursors (core/db/prepared_statements.py). Django's own don't prepare statements.
            "prepare_threshold": 5,
            # A server that disappears without closing its connections is noticed within 5 s while a query is sent, and
            # within 10 s while its answer is awaited. Then everybody else is refused at once (core/db/postgresql).
            "tcp_user_timeout": 5_000,
            "keepalives_idle": 5,
            "keepalives_interval": 2,
        }
    return config


def _direct_database(default: dict[str, Any]) -> dict[str, Any] | None:
    """For pg_dump and pg_restore, if there is a connection pooler: they leave settings behind in its connections, which
    would break the queries of the next client."""
    config = env.DATABASE_DIRECT_URL
    if config is None:
        return None
    if config["ENGINE"].endswith("sqlite3") or default["ENGINE"].endswith("sqlite3"):
        raise ImproperlyConfigured("DATABASE_DIRECT_URL is for PostgreSQL behind a connection pooler only.")
    return config


DATABASES = {"default": _database()}
DATABASE_DIRECT = _direct_database(DATABASES["default"])
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = env.REDIS_URL
if REDIS_URL and not REDIS_URL.startswith(("redis://", "rediss://", "unix://")):
    raise ImproperlyConfigured("REDIS_URL must start with redis://, rediss:// or unix://.")

# All processes must share the rate limits: through the database on one machine, through Redis on several. People who
# can write to either must not be able to run code, so nothing here reads pickle (core/checks.py).
CACHES: dict[str, dict[str, Any]]
TASKS: dict[str, dict[str, Any]]
if REDIS_URL:
    CACHES = {
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": REDIS_URL,
            # Short, because rate limits work without Redis, too (core/rate_limits.py).
            "OPTIONS": {
                "SOCKET_CONNECT_TIMEOUT": 1,
                "SOCKET_TIMEOUT": 1,
                "CLIENT_CLASS": "core.cache.redis_cache.JSONClient",
                "SERIALIZER": "core.cache.redis_cache.JSONSerializer",
            },
        }
    }
    INSTALLED_APPS += ["django_rq"]
    # By default, the library would end tasks after three minutes, in the middle of a step. Steps have their own limit.
    RQ_QUEUES = {
        "default": {
            "URL": REDIS_URL,
            "DEFAULT_TIMEOUT": 7 * 24 * 60 * 60,
            "SERIALIZER": "rq.serializers.JSONSerializer",
        }
    }
    RQ = {"JOB_CLASS": "core.queue.redis_queue.JSONJob"}
    TASKS = {"default": {"BACKEND": "core.queue.redis_queue.JSONBackend", "QUEUES": ["default"]}}
else:
    CACHES = {"default": {"BACKEND": "core.cache.json_cache.JSONDatabaseCache", "LOCATION": "portal_cache"}}
    TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend", "QUEUES": ["default"]}}

# People and sessions

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["accounts.backends.PortalAuthenticationBackend"]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "accounts.security.passwords.MaximumLengthValidator"},
    {"NAME": "accounts.security.passwords.VarietyValidator"},
    {"NAME": "accounts.security.passwords.DecoratedCommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
    {"NAME": "accounts.security.passwords.ContextValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "overview"
# What accounts do with people's tokens (accounts/access_tokens.py).
ACCESS_TOKENS = "tokens.of_people.TokensOfPeople"
# What tokens need from pipelines (accounts/pipelines_for_tokens.py).
PIPELINES_FOR_TOKENS = "pipelines.for_tokens.PipelinesOfPortal"
# What tokens need from services (accounts/services_for_tokens.py).
SERVICES_FOR_TOKENS = "gateway.for_tokens.ServicesOfPortal"
# The page of a token. Its URL takes the token's id. Log entries and API answers link to it.
ACCESS_TOKEN_LIST_PAGE = "tokens:token_list"  # noqa: S105  (a page)
TOKEN_KEYS_PAGE = "tokens:jwks"  # noqa: S105  (a page)
SERVICE_ACCOUNT_TOKENS_PAGE = "tokens:service_account_tokens"
ACCESS_TOKEN_PAGE = "tokens:token_detail"  # noqa: S105  (a page)
# The page of a request to approve a token. Its URL takes the request's id.
APPROVAL_REQUEST_PAGE = "tokens:organization_approval_detail"
# The tokens that wait for a person's answer in a review campaign.
TOKENS_TO_CONFIRM_PAGE = "tokens:tokens_to_confirm"
ACCOUNT_ADAPTER = "accounts.signin.adapter.PortalAccountAdapter"
ACCOUNT_FORMS = {"login": "accounts.forms.SignInForm", "reauthenticate": "accounts.forms.SignInAgainForm"}
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_LOGOUT_ON_GET = False
ACCOUNT_LOGOUT_REDIRECT_URL = "account_login"
ACCOUNT_SESSION_REMEMBER = True
# For links in invitations. Links for a new password expire after an hour (accounts/signin/password_reset.py), links
# that confirm an e-mail address after a day.
PASSWORD_RESET_TIMEOUT = 3 * 24 * 60 * 60
ACCOUNT_PASSWORD_RESET_TOKEN_GENERATOR = "accounts.signin.password_reset.ResetKeyGenerator"  # noqa: S105  (a class)
ACCOUNT_EMAIL_CONFIRMATION_EXPIRE_DAYS = 1
# allauth would count in the cache. The portal's own limits are exact, and strangers can't lock anybody out with them
# (accounts/signin/limits.py).
ACCOUNT_RATE_LIMITS = False
# To create a token or change how they sign in, people must have proved who they are within this time.
ACCOUNT_REAUTHENTICATION_TIMEOUT = 15 * 60

# Two-factor: accounts/security/two_factor_adapter.py, codes.py and passkeys.py.
MFA_ADAPTER = "accounts.security.two_factor_adapter.PortalMFAAdapter"
MFA_FORMS = {
    "authenticate": "accounts.security.codes.SignInCodeForm",
    "reauthenticate": "accounts.security.codes.ReauthenticateCodeForm",
    "activate_totp": "accounts.security.codes.ActivateAppForm",
    "authenticate_webauthn": "accounts.security.passkeys.SignInSecondPasskeyForm",
    "reauthenticate_webauthn": "accounts.security.passkeys.ReauthenticatePasskeyForm",
    "login_webauthn": "accounts.security.passkeys.SignInPasskeyForm",
    "add_webauthn": "accounts.security.passkeys.AddPasskeyForm",
    "edit_webauthn": "accounts.security.passkeys.RenamePasskeyForm",
}
# The portal has its own recovery codes, because allauth's can be read again.
RECOVERY_CODE_HASHER = "accounts.security.recovery_codes.RecoveryCodeHasher"
MFA_SUPPORTED_TYPES = ["totp", "webauthn"]
MFA_PASSKEY_LOGIN_ENABLED = True
# The device asks for PIN, fingerprint or face each time, so that a stolen device is not enough.
MFA_WEBAUTHN_USER_VERIFICATION = "required"
MFA_TOTP_ISSUER = "Opsera Portal"
# Clocks of phones are inexact and people type slowly, so the previous and the next code are accepted, too, once each.
MFA_TOTP_TOLERANCE = 1
# The invitation has proved the address.
MFA_ALLOW_UNVERIFIED_EMAIL = True
MFA_RATE_LIMITS = False
# Keys for the secrets of two-factor. Without them, one is created and kept in the data directory.
MFA_SECRETS_KEYS = env.MFA_SECRETS_KEYS
# Operators can do everything, so they need two-factor if the portal is on a network.
OPERATOR_TWO_FACTOR = _https if env.OPERATOR_TWO_FACTOR is None else env.OPERATOR_TWO_FACTOR

# Single sign-on: accounts/signin/single_sign_on/.
OPENID_PROVIDER = env.openid_provider()
OIDC_ORGANIZATION_HOSTS = env.OIDC_ORGANIZATION_HOSTS
SOCIALACCOUNT_ADAPTER = "accounts.signin.single_sign_on.adapter.SingleSignOnAdapter"

# Stores only a digest of each session's key, so that nobody can sign in with a copy of the database.
SESSION_ENGINE = "accounts.security.session_store"
SESSION_SERIALIZER = "django.contrib.sessions.serializers.JSONSerializer"
SESSION_COOKIE_AGE = 12 * 60 * 60
SESSION_COOKIE_SECURE = _https
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_NAME = "__Host-sessionid" if _https else "sessionid"
CSRF_COOKIE_SECURE = _https
CSRF_COOKIE_NAME = "__Host-csrftoken" if _https else "csrftoken"
CSRF_COOKIE_HTTPONLY = True
# The origin that browsers send with a form. `Host` may differ, because some proxies remove the port.
_own_port = f":{_public.port}" if _public.port else ""
CSRF_TRUSTED_ORIGINS = [setting_readers.origin(f"{_public.scheme}://{host}{_own_port}") for host in ALLOWED_HOSTS]
CSRF_FAILURE_VIEW = "accounts.security.kept_forms.csrf_failure"
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"

# The browser

SECURE_SSL_REDIRECT = _https
SECURE_SSL_HOST = urlsplit(setting_readers.origin(PORTAL_URL)).netloc
# The API refuses requests without encryption itself, so that the refusal is logged.
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^(api/v1|scim/v2)(/|$)"]
SECURE_HSTS_SECONDS = 365 * 24 * 60 * 60 if _https else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = _https
SECURE_HSTS_PRELOAD = _https
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if _https and TRUSTED_PROXIES else None
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# Other headers, and those of answers that are not pages: core/http/security_headers.py.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
    }
}
# What browsers allow pages to use: passkeys and copy buttons.
PERMISSIONS_POLICY: dict[str, str | list[str]] = {
    "clipboard-write": "self",
    "publickey-credentials-create": "self",
    "publickey-credentials-get": "self",
    "accelerometer": [],
    "autoplay": [],
    "camera": [],
    "clipboard-read": [],
    "display-capture": [],
    "encrypted-media": [],
    "fullscreen": [],
    "geolocation": [],
    "gyroscope": [],
    "hid": [],
    "identity-credentials-get": [],
    "idle-detection": [],
    "local-fonts": [],
    "magnetometer": [],
    "microphone": [],
    "midi": [],
    "payment": [],
    "picture-in-picture": [],
    "screen-wake-lock": [],
    "serial": [],
    "storage-access": [],
    "usb": [],
    "window-management": [],
    "xr-spatial-tracking": [],
}

# Where people report security problems: /.well-known/security.txt.
SECURITY_CONTACT = env.SECURITY_CONTACT

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATICFILES_FINDERS = [
    "django.contrib.staticfiles.finders.FileSystemFinder",
    "django.contrib.staticfiles.finders.AppDirectoriesFinder",
    "core.pages.bundles.BundleFinder",
]
# What every page loads: the parts of each bundle in assets/, in their order.
STATIC_BUNDLES = {
    "css/portal.css": [
        "css/variables.css",
        "css/base.css",
        "css/frame.css",
        "css/brand.css",
        "css/button.css",
        "css/field.css",
        "css/form.css",
        "css/choice-card.css",
        "css/pipeline-choice.css",
        "css/picker.css",
        "css/filter.css",
        "css/table.css",
        "css/bulk-actions.css",
        "css/badge.css",
        "css/moment.css",
        "css/secret-box.css",
        "css/two-factor.css",
        "css/code.css",
        "css/dialog.css",
        "css/message.css",
        "css/tabs.css",
        "css/pager.css",
        "css/live.css",
        "css/timeline.css",
        "css/run-steps.css",
        "css/summary.css",
        "css/chart.css",
        "css/ended-in-use.css",
        "css/pipeline.css",
        "css/access-review.css",
        "css/api-docs.css",
    ],
    # Django admin. `variables.css` has Django's variables too, so it comes first.
    "css/admin.css": ["css/variables.css", "css/badge.css", "css/brand.css", "css/admin.css"],
    "js/portal.js": [
        "js/menu.js",
        "js/message.js",
        "js/copy.js",
        "js/secret.js",
        "js/leave.js",
        "js/time-zone.js",
        "js/chart.js",
        "js/dialog.js",
        "js/live.js",
        "js/live-log.js",
        "js/picker.js",
        "js/once.js",
    ],
}
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "core.pages.static_files.PortalStaticFilesStorage"},
}
# Pages use names with a digest only. Copies with plain names would be compressed, too, and listed at each start.
WHITENOISE_KEEP_ONLY_HASHED_FILES = True
# Only developer tools load source maps. They are the largest files.
WHITENOISE_SKIP_COMPRESS_EXTENSIONS = [*Compressor.SKIP_COMPRESS_EXTENSIONS, "map"]

# Larger bodies are refused, on pages and in the API.
DATA_UPLOAD_MAX_MEMORY_SIZE = 256 * 1024
# Fields of a form, and parameters of a query.
DATA_UPLOAD_MAX_NUMBER_FIELDS = 1000
# No page accepts files, so nothing that people send is written to the disk.
DATA_UPLOAD_MAX_NUMBER_FILES = 0
FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.MemoryFileUploadHandler"]

# Language and time: pages and mails have those of their reader (core/reading.py), everything else these.

LANGUAGE_CODE = "en"
FORMAT_MODULE_PATH = "opsera_portal.formats"
LANGUAGES = [("en", "English"), ("de", "Deutsch"), ("pl", "Polski")]
LOCALE_PATHS = [BASE_DIR / "locale"]
TIME_ZONE = "UTC"
USE_TZ = True

# Mail

vars().update(env.EMAIL_URL)
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = setting_readers.mail_sender(
    "EMAIL_FROM", env.EMAIL_FROM, default=f"Opsera Portal <no-reply@{_own_name}>"
)
# The name that the portal gives itself when it connects to the mail server (RFC 5321 section 4.1.1.1).
EMAIL_EHLO_NAME = setting_readers.host_name("EMAIL_EHLO_NAME", env.EMAIL_EHLO_NAME, default=_own_name)

# Certificate authorities for every TLS connection that the portal opens (core/http/tls.py). OpenSSL reads the variable
# itself; this is only a check.
SSL_CERT_FILE = env.SSL_CERT_FILE

# API

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "tokens.authentication.AccessTokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["core.api.permissions.OperationPermission"],
    "DEFAULT_PARSER_CLASSES": ["core.api.parsers.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["core.api.renderers.OneEncoderRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "core.api.negotiation.JsonNegotiation",
    "DEFAULT_METADATA_CLASS": None,
    "DEFAULT_SCHEMA_CLASS": "core.api.schema.OperationSchema",
    "EXCEPTION_HANDLER": "core.api.problems.exception_handler",
    "URL_FORMAT_OVERRIDE": None,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
# Rate limits for a token, a person, and an address without genuine credentials: core/api/throttling.py.
API_LIMIT_TOKEN = env.API_LIMIT_TOKEN
API_LIMIT_USER = env.API_LIMIT_USER
API_LIMIT_ADDRESS = env.API_LIMIT_ADDRESS
# Other sites whose scripts can call the API, with tokens and never with cookies: core/api/cross_origin.py.
CORS_ALLOWED_ORIGINS = setting_readers.origins(
    "CORS_ALLOWED_ORIGINS", env.CORS_ALLOWED_ORIGINS, own=setting_readers.origin(PORTAL_URL)
)
CORS_URLS_REGEX = r"^/api/v1(/|$)"
CORS_ALLOW_CREDENTIALS = False
CORS_ALLOW_HEADERS = ["accept", "authorization", "content-type", "idempotency-key", "if-match"]
CORS_ALLOW_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
CORS_EXPOSE_HEADERS = [
    "Allow",
    "Content-Disposition",
    "ETag",
    "Idempotency-Replayed",
    "Link",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "Sunset",
    "WWW-Authenticate",
    "X-Request-ID",
]
CORS_PREFLIGHT_MAX_AGE = 600
SPECTACULAR_SETTINGS = {
    "TITLE": "Opsera Portal API",
    "DESCRIPTION": (
        "Everything that a personal access token can do. Create a token under your name, Access tokens, and send it as "
        "`Authorization: Bearer ...`. A token acts as its owner: it can do what its scopes allow **and** its owner can "
        "do, never more. Every use is logged."
    ),
    "VERSION": __version__,
    "CONTACT": {"name": "The operators of this portal", "url": PORTAL_URL},
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "PATH_CONVERTER_OVERRIDES": {"id": {"type": "string", "format": "uuid"}},
    # Serializers of PATCH bodies declare their optional fields themselves.
    "COMPONENT_SPLIT_PATCH": False,
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "ENUM_NAME_OVERRIDES": {
        "ScopeEnum": "core.api.scopes.CHOICES",
        "TokenStateEnum": "tokens.states.CHOICES",
        "SiteRoleEnum": "accounts.roles.SiteRole",
        "UserStateEnum": "accounts.models.UserState",
        "ItemRoleEnum": "pipelines.access.ItemRole",
        "PipelineStateEnum": "pipelines.run_states.PipelineState",
        "PipelineStateFilterEnum": "pipelines.filters.STATE_CHOICES",
        "RunOutcomeEnum": "pipelines.run_states.RunOutcome",
        "StepStateEnum": "pipelines.run_states.StepState",
        "MailStateEnum": "accounts.api.serializers.UNDELIVERED_STATES",
        "TokenUseOutcomeEnum": "auditlog.models.TokenUse.Outcome",
        "KindEnum": "pipelines.models.Step.Kind",
        "NotificationChannelEnum": "accounts.notifications.kinds.Channel",
        "SecurityChannelEnum": "accounts.notifications.kinds.SECURITY_CHANNEL_CHOICES",
        "TrustScopeEnum": "tokens.trust.rules.CHOICES",
        "WebhookEventEnum": "accounts.webhooks.events.CHOICES",
        "DeliveryStateEnum": "accounts.models.WebhookDelivery.State",
        "ServiceCheckEnum": "gateway.models.Check",
        "NotificationKindEnum": "accounts.notifications.kinds.CHOICES",
        "ActionEnum": "auditlog.actions.Action",
        "ActionTypeEnum": "auditlog.actions.ActionType",
        "CampaignStateEnum": "tokens.review.models.CampaignState",
        "ReviewItemStateEnum": "tokens.review.models.ItemState",
    },
    "SERVERS": [{"url": PORTAL_URL}],
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "core.api.schema.describe_problems",
        "core.api.schema.describe_token_headers",
        "core.api.schema.describe_tags",
        "opsera_portal.api_examples.add_examples",
    ],
}

# Tokens

TOKEN_SIGNING_ALGORITHM = env.TOKEN_SIGNING_ALGORITHM
TOKEN_SIGNING_KEYS = env.TOKEN_SIGNING_KEYS
TOKEN_SIGNING_KEYS_DIR = setting_readers.signing_keys_directory(
    "TOKEN_SIGNING_KEYS_DIR", env.TOKEN_SIGNING_KEYS_DIR, default=DATA_DIR / "signing-keys"
)
TOKEN_ISSUER = PORTAL_URL
TOKEN_AUDIENCE = f"{PORTAL_URL}/api/v1"

# Logs: the key of the seals. Without it, one is created and kept in the data directory.
LOG_SEAL_KEY = env.LOG_SEAL_KEY
REVERSE_DNS = env.REVERSE_DNS

# Pipelines: networks that HTTP steps can reach although they are refused by default (loopback, link-local, metadata).
HTTP_STEP_ALLOWED_NETWORKS = env.HTTP_STEP_ALLOWED_NETWORKS
# Further networks that they can't reach. If both lists have an address, the smaller network counts.
HTTP_STEP_REFUSED_NETWORKS = env.HTTP_STEP_REFUSED_NETWORKS
# The proxies of the environment, if HTTP steps should use them.
HTTP_STEP_PROXIES = setting_readers.step_proxies("HTTP_STEP_PROXY", is_on=env.HTTP_STEP_PROXY)
# Keys for the secrets of steps. Without them, one is created and kept in the data directory.
STEP_SECRETS_KEYS = env.STEP_SECRETS_KEYS
WEBHOOK_SECRETS_KEYS = env.WEBHOOK_SECRETS_KEYS

# The demo (`serve --demo`)

DEMO_PASSWORD = env.PORTAL_DEMO_PASSWORD
DEMO_ECHO_PORT = env.DEMO_ECHO_PORT or (PORTAL_PORT + 1 if PORTAL_PORT < 65535 else 65534)

# Tables

DJANGO_TABLES2_TEMPLATE = "includes/table.html"

# A constraint makes e-mail addresses unique, ignoring case, but this check doesn't know that.
SILENCED_SYSTEM_CHECKS = ["auth.W004"]

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    # In UTC: Django sets the time zone of the process to TIME_ZONE.
    "formatters": {
        "line": {
            "()": "core.server_log.SafeFormatter",
            "format": "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s",
            "datefmt": "%Y-%m-%dT%H:%M:%S",
        }
    },
    "filters": {"not_told_already": {"()": "core.server_log.NotToldAlready"}},
    # The only handler, so that every line goes through it.
    "handlers": {"console": {"class": "core.server_log.BoundedHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "INFO"},
    "loggers": {
        "django": {"level": "INFO"},
        # Without a line for each answer over 399: the portal has its own two logs.
        "django.request": {"level": "ERROR", "filters": ["not_told_already"]},
        # Django would log tracebacks, which strangers can cause. `core.pages.errors.bad_request` logs a line instead.
        "django.security": {"level": "CRITICAL"},
        "django.security.csrf": {"level": "WARNING"},
        # The web server has already configured these with its own handlers.
        "_granian": {"handlers": [], "propagate": True, "level": "ERROR"},
        "granian.access": {"handlers": [], "propagate": True},
        "django_tasks": {"level": "WARNING"},
        "django_tasks_db": {"level": "WARNING"},
        "httpx": {"level": "WARNING"},
        "httpcore": {"level": "WARNING"},
        # It would log each use of a passkey, which the activity log has with the person.
        "fido2": {"level": "WARNING"},
    },
}
