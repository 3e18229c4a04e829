"""Every variable of the environment that the portal reads: name, type, default and meaning.

``Environment()`` reads and checks them; a wrong value raises ``ImproperlyConfigured`` with one sentence. The tables in
docs/settings.md come from the same list (`manage.py settings_table`).
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PlainValidator, ValidationInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from core import setting_readers
from core.db.url import database
from opsera_portal.management.generated import markdown_table

BASE_DIR = Path(__file__).resolve().parent.parent


def read_with(reader: Callable[[str, str], Any]) -> PlainValidator:
    """Turns the text of a variable into its value with one of ``core.setting_readers``. ``None`` stays ``None``."""

    def read(text: str | None, info: ValidationInfo) -> Any:
        return None if text is None else reader(str(info.field_name), text)

    return PlainValidator(read)


Port = Annotated[int, read_with(setting_readers.port)]
Threads = Annotated[int, read_with(setting_readers.threads)]
OtherPort = Annotated[int | None, read_with(setting_readers.port)]
PublicUrl = Annotated[str | None, read_with(setting_readers.public_url)]
DataDirectory = Annotated[Path, read_with(partial(setting_readers.data_directory, default=BASE_DIR / "var"))]
Contact = Annotated[str, read_with(setting_readers.contact)]
Authorities = Annotated[str, read_with(setting_readers.authorities)]
Database = Annotated[dict[str, Any] | None, read_with(database)]
MailServer = Annotated[dict[str, Any], read_with(setting_readers.mail_server)]
RateLimit = Annotated[setting_readers.Rate | None, read_with(setting_readers.rate)]
LongSecret = Annotated[str, read_with(setting_readers.long_secret)]
FernetKeys = Annotated[tuple[str, ...], read_with(setting_readers.fernet_keys)]
OnOff = Annotated[bool, read_with(setting_readers.on_off)]
OnOffOrUnset = Annotated[bool | None, read_with(setting_readers.on_off)]
Networks = Annotated[list[setting_readers.Network], read_with(setting_readers.networks)]
RefusedNetworks = Annotated[
    list[setting_readers.Network],
    read_with(
        partial(
            setting_readers.networks,
            words={"private": ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"]},
        )
    ),
]
SigningAlgorithm = Annotated[str, read_with(partial(setting_readers.choice, choices=("ES256", "RS256")))]
EmailVerified = Annotated[
    str | None, read_with(partial(setting_readers.choice, choices=("required", "trust-provider")))
]

ProviderHosts = Annotated[tuple[str, ...], read_with(setting_readers.provider_hosts)]

_KEYS = "keys of 32 bytes in base64url, separated by commas"
_NETWORKS = "addresses and networks, separated by commas"
_RATE = "`1200/m` (`s`, `m`, `h` or `d`), or `off`"
_CREATED = "created, kept in the data directory"


def variable(type_in_words: str, meaning: str, *, default: str | None = "", unset: str = "") -> Any:
    """``default`` is the value that means the same as none; ``unset`` says in words what happens without a value."""
    words = f"`{default}`" if default else unset or "none"
    # Left out of repr(): many are secrets.
    return Field(default, description=meaning, json_schema_extra={"type": type_in_words, "default": words}, repr=False)


class Group(BaseSettings):
    """Variables that have the same heading in docs/settings.md: the docstring."""

    model_config = SettingsConfigDict(
        case_sensitive=True, extra="ignore", frozen=True, validate_default=True, enable_decoding=False
    )


class AddressAndData(Group):
    """Address and data."""

    PORTAL_URL: PublicUrl = variable(
        "`https://portal.example.com`, with the port if people type one",
        "The public address. Its scheme decides about secure cookies and HSTS. Issuer of tokens, allowed "
        "hosts and all absolute addresses (mails, redirects, `next` in the API) follow from it, never from "
        "`Host`. Use a name: passkeys don't work on an IP address. A change ends all tokens",
        default=None,
        unset="`http://localhost:` and `PORTAL_PORT`",
    )
    PORTAL_PORT: Port = variable(
        "port",
        "Where the web server listens, on 127.0.0.1",
        default="8000",
    )
    PORTAL_DATA_DIR: DataDirectory = variable(
        "directory",
        "SQLite database, signing keys, secret key, and the keys of step secrets, two-factor and seals. Mode 0700",
        unset="`var/` in the project",
    )
    TRUSTED_PROXIES: Networks = variable(
        _NETWORKS,
        "Proxies whose `X-Forwarded-For` is believed. Required with https; the proxies must then send "
        "`X-Forwarded-Proto` too",
    )
    GRANIAN_WORKERS: str = variable(
        "number",
        "Web processes that share the port; at most one for each core",
        default="1",
    )
    WEB_THREADS: Threads = variable(
        "number",
        "How many requests each web process answers at the same time. Each can take a connection to PostgreSQL",
        default="16",
    )
    SECRET_KEY: str = variable(
        "text, at least 50 characters",
        "Django's secret key. Required with several machines",
        unset=_CREATED,
    )
    SECURITY_CONTACT: Contact = variable(
        "`mailto:security@example.com` or an https address",
        "Where people report security problems, shown at `/.well-known/security.txt`",
        unset="none: 404",
    )
    SSL_CERT_FILE: Authorities = variable(
        "PEM file",
        "Certificate authorities of your company, for every TLS connection that the portal opens: mail "
        "server, single sign-on, HTTP steps. Public authorities stay trusted",
    )


class DatabaseCacheAndQueue(Group):
    """Database, cache and queue."""

    DATABASE_URL: Database = variable(
        "`postgres://user:password@host:5432/name`",
        "PostgreSQL 15 or newer; [through PgBouncer](operations.md#through-pgbouncer) too",
        unset="SQLite in the data directory",
    )
    DATABASE_DIRECT_URL: Database = variable(
        "like `DATABASE_URL`",
        "The same database without the connection pooler, for backups and restores",
        unset="`DATABASE_URL`",
    )
    REDIS_URL: str = variable(
        "`redis://host:6379/0`",
        "Cache and queue in Redis",
        unset="cache and queue in the database",
    )


class Mail(Group):
    """Mail."""

    EMAIL_URL: MailServer = variable(
        "URL",
        "The mail server: `smtps://user:password@host` (TLS, port 465), `smtp+tls://user:password@host` "
        "(STARTTLS, port 587), `smtp://host:25` (no TLS), or `filemail:///directory`. Percent-encode "
        "special characters in user and password",
        unset="`consolemail://`: the worker prints the mails. The demo writes them to `demo-mails/` in the data "
        "directory",
    )
    EMAIL_FROM: str = variable(
        "address with an optional name",
        "The sender of every mail",
        unset="`Opsera Portal <no-reply@HOST>` with the host of `PORTAL_URL`",
    )
    EMAIL_EHLO_NAME: str = variable(
        "host name",
        "The name that the portal gives itself when it connects to the mail server",
        unset="the host of `PORTAL_URL`",
    )


class Api(Group):
    """API."""

    API_LIMIT_TOKEN: RateLimit = variable(
        _RATE,
        "Requests that one token can make. Further ones get 429 with `Retry-After` ([more](tokens.md#rate-limits))",
        default="1200/m",
    )
    API_LIMIT_USER: RateLimit = variable(
        _RATE,
        "Requests in the API by one person, with all of their tokens and their session together",
        default="3000/m",
    )
    API_LIMIT_ADDRESS: RateLimit = variable(
        _RATE,
        "Requests by one address (with IPv6: its /64 network) without credentials, or with tokens that are "
        "not genuine. Genuine tokens never count",
        default="300/m",
    )
    CORS_ALLOWED_ORIGINS: str = variable(
        "`https://app.example.com`, separated by commas",
        "Other sites whose scripts can call the API, with a token and never with cookies "
        "([more](api-clients.md#other-sites-cors))",
    )


class TokensAndLogs(Group):
    """Tokens and logs."""

    TOKEN_SIGNING_KEYS: str = variable(
        "PEM private keys; the first one signs",
        "Required with several machines ([more](tokens.md#signing-keys))",
        unset=_CREATED,
    )
    TOKEN_SIGNING_KEYS_DIR: str = variable(
        "directory, mode 0700",
        "Where the signing keys are kept, one PEM file each",
        unset="`signing-keys` in the data directory",
    )
    TOKEN_SIGNING_ALGORITHM: SigningAlgorithm = variable(
        "`ES256` or `RS256`",
        "For keys that are created from now on",
        default="ES256",
    )
    LOG_SEAL_KEY: LongSecret = variable(
        "text, at least 32 characters",
        "The secret that seals the logs ([more](log-keeping.md)). Required with several machines",
        unset=_CREATED,
    )
    REVERSE_DNS: OnOff = variable(
        "`on` or `off`",
        "`on`: the worker asks this machine's DNS servers for the host names of addresses in the logs, and pages and "
        "API show them ([more](authentication-log.md#host-names-of-addresses))",
        default="off",
    )


class SigningIn(Group):
    """Signing in."""

    OPERATOR_TWO_FACTOR: OnOffOrUnset = variable(
        "`on` or `off`",
        "Whether operators need two-factor",
        default=None,
        unset="`on` with https, otherwise `off`",
    )
    MFA_SECRETS_KEYS: FernetKeys = variable(
        _KEYS,
        "Encrypt the seeds of authenticator apps and the client secrets of organizations' single sign-on; the first "
        "one encrypts. Required with several machines. "
        "To change it: put the new key first, restart, run `manage.py reencrypt_two_factor`, then remove "
        "the old key",
        unset=_CREATED,
    )
    OIDC_ISSUER: str = variable(
        "https address",
        "Single sign-on: the provider ([more](single-sign-on.md))",
    )
    OIDC_CLIENT_ID: str = variable(
        "text",
        "The portal's client at the provider",
    )
    OIDC_CLIENT_SECRET: str = variable(
        "text",
        "Its secret",
    )
    OIDC_NAME: str = variable(
        "text, at most 40 characters",
        "What the button says",
        unset="`single sign-on`",
    )
    OIDC_EMAIL_VERIFIED: EmailVerified = variable(
        "`required` or `trust-provider`",
        "Whether the provider must say that it verified an address ([read this "
        "first](single-sign-on.md#addresses-that-are-not-verified))",
        default=None,
        unset="`required`",
    )
    OIDC_ORGANIZATION: str = variable(
        "short name of an organization",
        "The only organization whose people the provider signs in "
        "([more](single-sign-on.md#only-for-one-organization))",
        unset="people of every organization",
    )
    OIDC_ORGANIZATION_HOSTS: ProviderHosts = variable(
        "host names, separated by commas",
        "Hosts on which organizations can have their own provider of single sign-on, such as `id.example.com` or "
        "`*.okta.com` ([more](single-sign-on.md#a-provider-for-one-organization))",
        unset="organizations can't have their own",
    )

    def openid_provider(self) -> setting_readers.OpenIDProvider | None:
        return setting_readers.openid_provider(
            issuer=self.OIDC_ISSUER,
            client_id=self.OIDC_CLIENT_ID,
            client_secret=self.OIDC_CLIENT_SECRET,
            name=self.OIDC_NAME,
            email_verified=self.OIDC_EMAIL_VERIFIED,
            organization=self.OIDC_ORGANIZATION,
        )


class HttpSteps(Group):
    """HTTP steps of pipelines, and webhooks."""

    STEP_SECRETS_KEYS: FernetKeys = variable(
        _KEYS,
        "Encrypt the secrets of steps; the first one encrypts. Required with several machines. To change "
        "it: put the new key first, restart, run `manage.py reencrypt_step_secrets`, then remove the old "
        "key",
        unset=_CREATED,
    )
    WEBHOOK_SECRETS_KEYS: FernetKeys = variable(
        _KEYS,
        "Encrypt the secrets of webhooks; the first one encrypts. Required with several machines. To change "
        "it: put the new key first, restart, run `manage.py reencrypt_webhook_secrets`, then remove the old key",
        unset=_CREATED,
    )
    HTTP_STEP_ALLOWED_NETWORKS: Networks = variable(
        _NETWORKS,
        "Networks that HTTP steps can reach although the portal refuses them by default: loopback, "
        "link-local and metadata addresses. An address of the portal's own machine needs an entry of its "
        "own",
    )
    HTTP_STEP_REFUSED_NETWORKS: RefusedNetworks = variable(
        f"{_NETWORKS}; or `private`",
        "Further networks that HTTP steps can't reach. If an allowed and a refused network overlap, the "
        "smaller one counts",
    )
    HTTP_STEP_PROXY: OnOff = variable(
        "`on` or `off`",
        "`on`: HTTP steps use `HTTPS_PROXY`, `HTTP_PROXY` and `ALL_PROXY`, except for hosts in `NO_PROXY`. "
        "`off`: they ignore these variables",
        default="off",
    )


class Demo(Group):
    """Demo."""

    PORTAL_DEMO_PASSWORD: str = variable(
        "text",
        "One password for everyone in the demo",
        unset="a random one each",
    )
    DEMO_ECHO_PORT: OtherPort = variable(
        "port",
        "Where the demo's pipelines call, on 127.0.0.2, and where its service answers, on 127.0.0.3",
        default=None,
        unset="`PORTAL_PORT` + 1",
    )


class Environment(AddressAndData, DatabaseCacheAndQueue, Mail, Api, TokensAndLogs, SigningIn, HttpSteps, Demo):
    """All variables."""


GROUPS = (AddressAndData, DatabaseCacheAndQueue, Mail, Api, TokensAndLogs, SigningIn, HttpSteps, Demo)


def as_markdown() -> str:
    """The tables of docs/settings.md."""
    return "\n\n".join(f"## {str(group.__doc__).removesuffix('.')}\n\n{_table(group)}" for group in GROUPS)


def _table(group: type[Group]) -> str:
    rows = []
    for name, field in group.model_fields.items():
        words: Any = field.json_schema_extra
        rows.append([f"`{name}`", words["type"], words["default"], str(field.description)])
    return markdown_table(["Variable", "Value", "Default", "Meaning"], rows)
