"""Every variable of the environment that the portal reads, for people: `docs/settings.md` is made from this list.

`opsera_portal/settings.py` reads the variables. Tests compare the two: each variable that is read is in this list and
no other, and each ``default`` means the same as leaving the variable out.
"""

from dataclasses import dataclass

from opsera_portal.management.generated import markdown_table


@dataclass(frozen=True)
class Variable:
    """``default`` is the value that means the same as none; ``unset`` says in words what happens without a value."""

    name: str
    type: str
    meaning: str
    default: str = ""
    unset: str = ""

    @property
    def default_in_words(self) -> str:
        return f"`{self.default}`" if self.default else self.unset or "none"


_KEYS = "keys of 32 bytes in base64url, separated by commas"
_NETWORKS = "addresses and networks, separated by commas"
_RATE = "`1200/m` (`s`, `m`, `h` or `d`), or `off`"
_KEPT = "created, kept in the data directory"

GROUPS: dict[str, tuple[Variable, ...]] = {
    "Address and data": (
        Variable(
            "PORTAL_URL",
            "`https://portal.example.com`, with the port if people type one",
            "The public address. Its scheme decides about secure cookies and HSTS. Issuer of tokens, allowed hosts and "
            "all absolute addresses (mails, redirects, `next` in the API) follow from it, never from `Host`. Use a "
            "name: passkeys don't work on an IP address. A change ends all tokens",
            unset="`http://localhost:` and `PORTAL_PORT`",
        ),
        Variable("PORTAL_PORT", "port", "Where the web server listens, on 127.0.0.1", default="8000"),
        Variable(
            "PORTAL_DATA_DIR",
            "directory",
            "SQLite database, signing keys, secret key, and the keys of step secrets, two-factor and seals. Mode 0700",
            unset="`var/` in the project",
        ),
        Variable(
            "TRUSTED_PROXIES",
            _NETWORKS,
            "Proxies whose `X-Forwarded-For` is believed. Required with https; the proxies must then send "
            "`X-Forwarded-Proto` too",
        ),
        Variable("GRANIAN_WORKERS", "number", "Web processes that share the port; at most one for each core", "1"),
        Variable(
            "SECRET_KEY",
            "text, at least 50 characters",
            "Django's secret key. Required with several machines",
            unset=_KEPT,
        ),
        Variable(
            "SECURITY_CONTACT",
            "`mailto:security@example.com` or an https address",
            "Where people report security problems, shown at `/.well-known/security.txt`",
            unset="none: 404",
        ),
        Variable(
            "SSL_CERT_FILE",
            "PEM file",
            "Certificate authorities of your company, for every TLS connection that the portal opens: mail server, "
            "single sign-on, HTTP steps. Public authorities stay trusted",
        ),
    ),
    "Database, cache and queue": (
        Variable(
            "DATABASE_URL",
            "`postgres://user:password@host:5432/name`",
            "PostgreSQL 15 or newer; [through PgBouncer](operations.md#through-pgbouncer) too",
            unset="SQLite in the data directory",
        ),
        Variable(
            "DATABASE_DIRECT_URL",
            "like `DATABASE_URL`",
            "The same database without the connection pooler, for backups and restores",
            unset="`DATABASE_URL`",
        ),
        Variable(
            "REDIS_URL", "`redis://host:6379/0`", "Cache and queue in Redis", unset="cache and queue in the database"
        ),
    ),
    "Mail": (
        Variable(
            "EMAIL_URL",
            "URL",
            "The mail server: `smtps://user:password@host` (TLS, port 465), `smtp+tls://user:password@host` "
            "(STARTTLS, port 587), `smtp://host:25` (no TLS), or `filemail:///directory`. Percent-encode special "
            "characters in user and password",
            unset="`consolemail://`: the worker prints the mails. The demo writes them to `demo-mails/` in the data "
            "directory",
        ),
        Variable(
            "EMAIL_FROM",
            "address with an optional name",
            "The sender of every mail",
            unset="`Opsera Portal <no-reply@HOST>` with the host of `PORTAL_URL`",
        ),
        Variable(
            "EMAIL_EHLO_NAME",
            "host name",
            "The name that the portal gives itself when it connects to the mail server",
            unset="the host of `PORTAL_URL`",
        ),
    ),
    "API": (
        Variable(
            "API_LIMIT_TOKEN",
            _RATE,
            "Requests that one token can make. Further ones get 429 with `Retry-After` ([more](tokens.md#rate-limits))",
            "1200/m",
        ),
        Variable(
            "API_LIMIT_USER",
            _RATE,
            "Requests in the API by one person, with all of their tokens and their session together",
            "3000/m",
        ),
        Variable(
            "API_LIMIT_ADDRESS",
            _RATE,
            "Requests by one address (with IPv6: its /64 network) without credentials, or with tokens that are not "
            "genuine. Genuine tokens never count",
            "300/m",
        ),
        Variable(
            "CORS_ALLOWED_ORIGINS",
            "`https://app.example.com`, separated by commas",
            "Other sites whose scripts can call the API, with a token and never with cookies "
            "([more](api-clients.md#other-sites-cors))",
        ),
    ),
    "Tokens and logs": (
        Variable(
            "TOKEN_SIGNING_KEYS",
            "PEM private keys; the first one signs",
            "Required with several machines ([more](tokens.md#signing-keys))",
            unset=_KEPT,
        ),
        Variable(
            "TOKEN_SIGNING_KEYS_DIR",
            "directory, mode 0700",
            "Where the signing keys are kept, one PEM file each",
            unset="`signing-keys` in the data directory",
        ),
        Variable("TOKEN_SIGNING_ALGORITHM", "`ES256` or `RS256`", "For keys that are created from now on", "ES256"),
        Variable(
            "LOG_SEAL_KEY",
            "text, at least 32 characters",
            "The secret that seals the logs ([more](log-keeping.md)). Required with several machines",
            unset=_KEPT,
        ),
    ),
    "Signing in": (
        Variable(
            "OPERATOR_TWO_FACTOR",
            "`on` or `off`",
            "Whether operators need two-factor",
            unset="`on` with https, otherwise `off`",
        ),
        Variable(
            "MFA_SECRETS_KEYS",
            _KEYS,
            "Encrypt the seeds of authenticator apps; the first one encrypts. Required with several machines. To "
            "change it: put the new key first, restart, run `manage.py reencrypt_two_factor`, then remove the old key",
            unset=_KEPT,
        ),
        Variable("OIDC_ISSUER", "https address", "Single sign-on: the provider ([more](single-sign-on.md))"),
        Variable("OIDC_CLIENT_ID", "text", "The portal's client at the provider"),
        Variable("OIDC_CLIENT_SECRET", "text", "Its secret"),
        Variable("OIDC_NAME", "text, at most 40 characters", "What the button says", unset="`single sign-on`"),
        Variable(
            "OIDC_EMAIL_VERIFIED",
            "`required` or `trust-provider`",
            "Whether the provider must say that it verified an address "
            "([read this first](single-sign-on.md#addresses-that-are-not-verified))",
            "required",
        ),
    ),
    "HTTP steps of pipelines": (
        Variable(
            "STEP_SECRETS_KEYS",
            _KEYS,
            "Encrypt the secrets of steps; the first one encrypts. Required with several machines. To change it: put "
            "the new key first, restart, run `manage.py reencrypt_step_secrets`, then remove the old key",
            unset=_KEPT,
        ),
        Variable(
            "HTTP_STEP_ALLOWED_NETWORKS",
            _NETWORKS,
            "Networks that HTTP steps can reach although the portal refuses them by default: loopback, link-local and "
            "metadata addresses. An address of the portal's own machine needs an entry of its own",
        ),
        Variable(
            "HTTP_STEP_REFUSED_NETWORKS",
            f"{_NETWORKS}; or `private`",
            "Further networks that HTTP steps can't reach. If an allowed and a refused network overlap, the smaller "
            "one counts",
        ),
        Variable(
            "HTTP_STEP_PROXY",
            "`on` or `off`",
            "`on`: HTTP steps use `HTTPS_PROXY`, `HTTP_PROXY` and `ALL_PROXY`, except for hosts in `NO_PROXY`. `off`: "
            "they ignore these variables",
            "off",
        ),
    ),
    "Demo": (
        Variable("PORTAL_DEMO_PASSWORD", "text", "One password for everyone in the demo", unset="a random one each"),
        Variable(
            "DEMO_ECHO_PORT",
            "port",
            "Where the demo's pipelines call, on 127.0.0.2",
            unset="`PORTAL_PORT` + 1",
        ),
    ),
}
VARIABLES = tuple(variable for group in GROUPS.values() for variable in group)


def as_markdown() -> str:
    return "\n\n".join(f"## {title}\n\n{_table(variables)}" for title, variables in GROUPS.items())


def _table(variables: tuple[Variable, ...]) -> str:
    return markdown_table(
        ["Variable", "Value", "Default", "Meaning"],
        [[f"`{it.name}`", it.type, it.default_in_words, it.meaning] for it in variables],
    )
