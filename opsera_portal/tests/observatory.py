"""The rules of Mozilla's HTTP Observatory, version 2, that requests to the server can check.

Source: github.com/mdn/mdn-http-observatory, `src/grader/charts.js` (the points of each finding),
`src/scanner/index.js` (the sum) and `src/analyzer/tests/` (the findings). Rules that need the list
of preloaded sites are left out.
"""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.cookiejar import Cookie
from urllib.parse import urlsplit

START = 100
# A bonus counts only if the score without any bonus is at least this.
EXTRA_CREDIT_FROM = 90
GRADES = [(100, "A+"), (90, "A"), (85, "A-"), (80, "B+"), (70, "B"), (65, "B-"), (60, "C+"), (50, "C"), (0, "D or F")]

MODIFIERS = {
    "csp-implemented-with-no-unsafe-default-src-none": 10,
    "csp-implemented-with-no-unsafe": 5,
    "csp-implemented-with-unsafe-inline-in-style-src-only": 0,
    "csp-implemented-with-insecure-scheme-in-passive-content-only": -10,
    "csp-implemented-with-unsafe-eval": -10,
    "csp-implemented-with-unsafe-inline": -20,
    "csp-implemented-with-insecure-scheme": -20,
    "csp-not-implemented": -25,
    "cookies-secure-with-httponly-sessions-and-samesite": 5,
    "cookies-secure-with-httponly-sessions": 0,
    "cookies-not-found": 0,
    "cookies-without-secure-flag-but-protected-by-hsts": -5,
    "cookies-session-without-secure-flag-but-protected-by-hsts": -10,
    "cookies-samesite-flag-invalid": -20,
    "cookies-anticsrf-without-samesite-flag": -20,
    "cookies-session-without-httponly-flag": -30,
    "cross-origin-resource-sharing-not-implemented": 0,
    "cross-origin-resource-sharing-implemented-with-public-access": 0,
    "cross-origin-resource-sharing-implemented-with-restricted-access": 0,
    "cross-origin-resource-sharing-implemented-with-universal-access": -50,
    "redirection-to-https": 0,
    "redirection-off-host-from-http": -5,
    "redirection-not-to-https-on-initial-redirection": -10,
    "redirection-missing": -20,
    "referrer-policy-private": 5,
    "referrer-policy-not-implemented": 0,
    "referrer-policy-unsafe": -5,
    "referrer-policy-header-invalid": -5,
    "hsts-implemented-max-age-at-least-six-months": 0,
    "hsts-implemented-max-age-less-than-six-months": -10,
    "hsts-not-implemented": -20,
    "sri-implemented-and-all-scripts-loaded-securely": 5,
    "sri-implemented-and-external-scripts-loaded-securely": 5,
    "sri-not-implemented-response-not-html": 0,
    "sri-not-implemented-but-no-scripts-loaded": 0,
    "sri-not-implemented-but-all-scripts-loaded-from-secure-origin": 0,
    "sri-not-implemented-but-external-scripts-loaded-securely": -5,
    "sri-not-implemented-and-external-scripts-not-loaded-securely": -50,
    "x-content-type-options-nosniff": 0,
    "x-content-type-options-not-implemented": -5,
    "x-content-type-options-header-invalid": -5,
    "x-frame-options-implemented-via-csp": 5,
    "x-frame-options-sameorigin-or-deny": 0,
    "x-frame-options-not-implemented": -20,
    "x-frame-options-header-invalid": -20,
    "cross-origin-resource-policy-implemented-with-same-origin": 10,
    "cross-origin-resource-policy-implemented-with-same-site": 10,
    "cross-origin-resource-policy-implemented-with-cross-origin": 0,
    "cross-origin-resource-policy-not-implemented": 0,
    "cross-origin-resource-policy-header-invalid": -5,
}

BROAD = {"ftp:", "http:", "https:", "*", "http://*", "http://*.*", "https://*", "https://*.*"}
INLINE = {"'unsafe-inline'", "data:"}
SIX_MONTHS = 15_552_000


@dataclass
class Answer:
    """A server's response over TLS, and its response without TLS."""

    url: str
    headers: dict[str, str]
    body: str = ""
    cookies: list[Cookie] = field(default_factory=list)
    # The first redirect of the request without TLS. None if it was answered without a redirect.
    redirected_to: str | None = None


def findings(answer: Answer) -> dict[str, int]:
    """The findings, each with its points."""
    found = (
        _content_security_policy(answer),
        _cookies(answer),
        _resource_sharing(answer),
        _redirection(answer),
        _referrer_policy(answer),
        _transport_security(answer),
        _subresource_integrity(answer),
        _content_type_options(answer),
        _frame_options(answer),
        _resource_policy(answer),
    )
    return {name: MODIFIERS[name] for name in found}


def score(found: dict[str, int]) -> int:
    lost = START + sum(value for value in found.values() if value < 0)
    return max(0, START + sum(found.values()) if lost >= EXTRA_CREDIT_FROM else lost)


def grade(points: int) -> str:
    return next(name for least, name in GRADES if points >= least)


def _policy(answer):
    directives = {}
    for part in answer.headers.get("content-security-policy", "").split(";"):
        name, *sources = part.lower().split() or [""]
        if name:
            directives.setdefault(name, set(sources))
    return directives


def _content_security_policy(answer):
    policy = _policy(answer)
    if not policy:
        return "csp-not-implemented"
    default = policy.get("default-src", {"*"})
    scripts, objects, styles = (policy.get(name, default) for name in ("script-src", "object-src", "style-src"))
    passive = {*policy.get("img-src", default), *policy.get("media-src", default)}
    active = {source for name, sources in policy.items() if name not in {"img-src", "media-src"} for source in sources}
    if scripts & (BROAD | INLINE) or objects & BROAD:
        return "csp-implemented-with-unsafe-inline"
    if any(source.startswith(("http:", "ftp:")) for source in active):
        return "csp-implemented-with-insecure-scheme"
    if "'unsafe-eval'" in scripts | styles:
        return "csp-implemented-with-unsafe-eval"
    if any(source.startswith(("http:", "ftp:")) for source in passive):
        return "csp-implemented-with-insecure-scheme-in-passive-content-only"
    if styles & (BROAD | INLINE):
        return "csp-implemented-with-unsafe-inline-in-style-src-only"
    if default == {"'none'"}:
        return "csp-implemented-with-no-unsafe-default-src-none"
    return "csp-implemented-with-no-unsafe"


def _cookies(answer):
    if not answer.cookies:
        return "cookies-not-found"
    worst = []
    for cookie in answer.cookies:
        name = cookie.name.lower()
        same_site = (cookie.get_nonstandard_attr("SameSite") or "").lower()
        is_session = "sess" in name or "login" in name
        if same_site not in {"", "lax", "strict", "none"}:
            worst.append("cookies-samesite-flag-invalid")
        if not cookie.secure:
            worst.append(f"cookies-{'session-' * is_session}without-secure-flag-but-protected-by-hsts")
        if "csrf" in name and not same_site:
            worst.append("cookies-anticsrf-without-samesite-flag")
        if is_session and not cookie.has_nonstandard_attr("HttpOnly"):
            worst.append("cookies-session-without-httponly-flag")
        if not same_site:
            worst.append("cookies-secure-with-httponly-sessions")
    return min(worst, key=MODIFIERS.__getitem__, default="cookies-secure-with-httponly-sessions-and-samesite")


def _resource_sharing(answer):
    origin = answer.headers.get("access-control-allow-origin")
    if origin is None:
        return "cross-origin-resource-sharing-not-implemented"
    if origin == "*":
        return "cross-origin-resource-sharing-implemented-with-public-access"
    if answer.headers.get("access-control-allow-credentials", "").lower() == "true":
        return "cross-origin-resource-sharing-implemented-with-universal-access"
    return "cross-origin-resource-sharing-implemented-with-restricted-access"


def _redirection(answer):
    if answer.redirected_to is None:
        return "redirection-missing"
    first = urlsplit(answer.redirected_to)
    if first.scheme != "https":
        return "redirection-not-to-https-on-initial-redirection"
    if first.hostname != urlsplit(answer.url).hostname:
        return "redirection-off-host-from-http"
    return "redirection-to-https"


def _referrer_policy(answer):
    value = answer.headers.get("referrer-policy")
    if value is None:
        return "referrer-policy-not-implemented"
    match value.split(",")[-1].strip().lower():
        case "no-referrer" | "same-origin" | "strict-origin" | "strict-origin-when-cross-origin":
            return "referrer-policy-private"
        case "origin" | "origin-when-cross-origin" | "unsafe-url" | "no-referrer-when-downgrade":
            return "referrer-policy-unsafe"
    return "referrer-policy-header-invalid"


def _transport_security(answer):
    parts = [part.strip().lower() for part in answer.headers.get("strict-transport-security", "").split(";")]
    ages = [part.removeprefix("max-age=") for part in parts if part.startswith("max-age=")]
    if not ages or not ages[0].isdecimal():
        return "hsts-not-implemented"
    enough = int(ages[0]) >= SIX_MONTHS
    return f"hsts-implemented-max-age-{'at-least' if enough else 'less-than'}-six-months"


class _Scripts(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        if tag == "script":
            self.found.append(dict(attributes))


def _subresource_integrity(answer):
    if not answer.headers.get("content-type", "").startswith(("text/html", "application/xhtml+xml")):
        return "sri-not-implemented-response-not-html"
    parser = _Scripts()
    parser.feed(answer.body)
    if not parser.found:
        return "sri-not-implemented-but-no-scripts-loaded"
    host = urlsplit(answer.url).hostname
    foreign = [script for script in parser.found if urlsplit(script.get("src", "")).hostname not in {None, host}]
    if any(not script.get("integrity") for script in foreign):
        secure = all(script["src"].startswith("https:") for script in foreign)
        kind = "but-external-scripts-loaded" if secure else "and-external-scripts-not-loaded"
        return f"sri-not-implemented-{kind}-securely"
    if foreign:
        return "sri-implemented-and-external-scripts-loaded-securely"
    if any(script.get("integrity") for script in parser.found):
        return "sri-implemented-and-all-scripts-loaded-securely"
    return "sri-not-implemented-but-all-scripts-loaded-from-secure-origin"


def _content_type_options(answer):
    value = answer.headers.get("x-content-type-options")
    if value is None:
        return "x-content-type-options-not-implemented"
    is_known = value.strip().lower() == "nosniff"
    return "x-content-type-options-nosniff" if is_known else "x-content-type-options-header-invalid"


def _frame_options(answer):
    if "frame-ancestors" in _policy(answer):
        return "x-frame-options-implemented-via-csp"
    value = answer.headers.get("x-frame-options")
    if value is None:
        return "x-frame-options-not-implemented"
    is_known = value.strip().lower() in {"deny", "sameorigin"}
    return "x-frame-options-sameorigin-or-deny" if is_known else "x-frame-options-header-invalid"


def _resource_policy(answer):
    value = answer.headers.get("cross-origin-resource-policy")
    if value is None:
        return "cross-origin-resource-policy-not-implemented"
    if value in {"same-origin", "same-site", "cross-origin"}:
        return f"cross-origin-resource-policy-implemented-with-{value}"
    return "cross-origin-resource-policy-header-invalid"
