"""Every page of the portal in each of its states, as a person of the demo reaches it in a browser.

`make quality` measures them and `make screenshots` takes pictures of them. Both use a portal of their own, because some
states change it: they create tokens, add a second factor and invite somebody.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from email import message_from_bytes, policy
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from accounts.tests.factors import code_of
from accounts.tests.openid import tell
from opsera_portal.api_examples import JWT
from opsera_portal.tests.browser import Chromium, sign_in
from opsera_portal.tests.portal import Portal

# Nobody is signed in.
NOBODY = ""
# This person has a second factor.
TWO_FACTOR = "security"
# This person has used single sign-on.
CONNECTED = "auditor"
SINGLE_SIGN_ON = "Single sign-on"
ALL_ROLES = ("admin", "power", "user", "guest", "security", "auditor")

# The addresses of links in mails, by a word of the link.
Links = dict[str, str]
Opener = Callable[[Any, Links], None]
_numbers = count(1)


@dataclass(frozen=True)
class State:
    """``people``: who sees the page differently. The first one's page is measured."""

    group: str
    name: str
    people: tuple[str, ...]
    open: Opener

    @property
    def label(self) -> str:
        return f"{self.group}: {self.name}"


def address_of(login: str) -> str:
    return login if "@" in login else f"{login}@demo.example"


# How to open them


def at(path: str) -> Opener:
    return lambda page, links: go(page, path)


def go(page: Any, path: str) -> None:
    page.goto(path, wait_until="load")


def linked(page: Any, path: str, name: str) -> str:
    """The address behind the link with this name on a page."""
    go(page, path)
    return str(page.get_by_role("link", name=name, exact=True).first.get_attribute("href"))


def below(path: str, name: str, rest: str = "") -> Opener:
    """The page that a link of a list leads to, or one below it."""
    return lambda page, links: go(page, linked(page, path, name) + rest)


def first_of(path: str, selector: str) -> Opener:
    """The page that the first such link leads to."""

    def opens(page: Any, links: Links) -> None:
        go(page, path)
        go(page, page.locator(selector).first.get_attribute("href"))

    return opens


def then(opens: Opener, selector: str, *, shows: str) -> Opener:
    """Clicks something on a page, and waits for what this shows."""

    def opens_and_clicks(page: Any, links: Links) -> None:
        opens(page, links)
        page.locator(selector).first.click()
        page.locator(shows).first.wait_for()

    return opens_and_clicks


def dialog(opens: Opener, selector: str) -> Opener:
    return then(opens, selector, shows="dialog[open]")


def from_mail(word: str) -> Opener:
    return lambda page, links: go(page, links[word])


def wrongly_sent(opens: Opener, button: str, **values: str) -> Opener:
    """Sends a form that the browser itself would not send, and gets it back with errors."""

    def sends(page: Any, links: Links) -> None:
        opens(page, links)
        for name, value in values.items():
            page.locator(f"[name={name}]").fill(value)
        page.locator(button).evaluate("button => { button.form.noValidate = true }")
        page.locator(button).click()
        page.locator(".error-summary, .form-errors, [id$=_error]").first.wait_for()

    return sends


def new_token(page: Any, links: Links) -> None:
    go(page, "/profile/tokens/")
    page.locator("#id_name").fill(f"nightly build {next(_numbers)}")
    page.locator("input[name=scopes][value=pipeline]").check()
    page.locator("#create-token").click()
    page.wait_for_url("**/reveal/", wait_until="load")


def token_that_was_shown(page: Any, links: Links) -> None:
    new_token(page, links)
    go(page, page.url)


def looked_up(page: Any, links: Links) -> None:
    new_token(page, links)
    token = page.locator("#signed-jwt").text_content()
    look_up(page, token)


def look_up(page: Any, token: str) -> None:
    go(page, "/tokens/lookup/")
    field = page.locator("[name=token]")
    field.fill(token)
    field.evaluate("field => field.form.requestSubmit()")
    page.locator("#unknown-token, #meaning").first.wait_for()


def name_in_use(page: Any, links: Links) -> None:
    go(page, "/profile/tokens/")
    page.locator("#id_name").press_sequentially("Nightly trigger")
    page.locator("#name-check :text('⚠'), #name-check:has-text('⚠')").first.wait_for()


def suggested_people_and_groups(page: Any, links: Links) -> None:
    below("/pipelines/", PRODUCTION, "access-rules/")(page, links)
    page.locator("#id_who").press_sequentially("e")
    page.locator("[role=option]").first.wait_for()
    page.keyboard.press("ArrowDown")


def second_step(page: Any, links: Links) -> None:
    # Else the browser remembers that the password was right.
    page.context.clear_cookies()
    go(page, "/login/")
    sign_in(page, address_of(TWO_FACTOR), leads_to="**/login/two-factor/")


def refused_sign_in(page: Any, links: Links) -> None:
    wrongly_sent(at("/login/"), "#sign-in", login="nobody@demo.example", password="wrong")(page, links)


def at_the_provider(page: Any, links: Links) -> None:
    """Where people sign in who continue with the provider of single sign-on."""
    go(page, "/login/")
    page.locator("#sign-in-single-sign-on").click()
    page.locator("input[name=sub]").wait_for()


def on_the_way_to_the_provider(page: Any, links: Links) -> None:
    """A page that forwards at once: an empty answer of the provider keeps the browser on it."""
    page.route("**/oauth2/authorize*", lambda route: route.fulfill(status=204))
    go(page, "/login/")
    page.locator("#sign-in-single-sign-on").click()
    page.locator("#go-on").wait_for()


def refused_as(subject: str) -> Opener:
    """Signs in at the provider as somebody whom the portal does not let in."""

    def signs_in(page: Any, links: Links) -> None:
        at_the_provider(page, links)
        page.locator("input[name=sub]").fill(subject)
        page.get_by_role("button", name="Authorize").click()
        page.wait_for_url("**/login/**", wait_until="load")

    return signs_in


def canceled_at_the_provider(page: Any, links: Links) -> None:
    """The test provider itself would send the browser back without the state, which the standard requires."""
    at_the_provider(page, links)
    state = parse_qs(urlsplit(page.url).query)["state"][0]
    go(page, f"/login/single-sign-on/callback/?error=access_denied&state={state}")


def recovery_codes(page: Any, links: Links) -> None:
    go(page, "/profile/security/two-factor/")
    page.locator("#show-codes, #create-codes").click()
    page.locator("dialog[open] form button[type=submit], #recovery-codes").first.wait_for()
    if not page.locator("#recovery-codes").count():
        page.locator("dialog[open] form button[type=submit]").click()
        page.locator("#recovery-codes").wait_for()


def secret_of_service(page: Any, links: Links) -> None:
    """Each visit creates a secret, which replaces the one before it."""
    below(SERVICES, DASHBOARDS, "secret/")(page, links)
    page.locator("[data-confirm]").click()
    page.locator("#service-secret").wait_for()


def uses_of_service(page: Any, links: Links) -> None:
    below(SERVICES, DASHBOARDS)(page, links)
    go(page, str(page.locator("#service-uses").get_attribute("href")))


def open_service(page: Any, links: Links) -> None:
    """As if the service had sent the browser here."""
    go(page, f"{open_link(page)}?start={'0' * 64}")


def sign_out_of_service(page: Any, links: Links) -> None:
    go(page, open_link(page).replace("/open/", "/sign-out/"))


def open_link(page: Any) -> str:
    return linked(page, "/services/", f"Open {DASHBOARDS}")


def opened_operations(page: Any, links: Links) -> None:
    go(page, "/api/docs/")
    page.locator("section[aria-labelledby=tokens-operations] details").evaluate_all(
        "all => all.slice(0, 6).forEach(details => { details.open = true })"
    )


def wrongly_sent_to_admin(page: Any, links: Links) -> None:
    go(page, "/admin/accounts/user/add/")
    page.locator("[name=_save]").evaluate("button => { button.form.noValidate = true }")
    page.locator("[name=_save]").click()
    page.locator(".errornote").wait_for()


ADMIN_ROW = "#result_list tbody th a"
SERVICES = "/organization/services/"
DASHBOARDS = "Dashboards"
SERVICE_ACCOUNTS = "/organization/service-accounts/"
TOKENS = at("/profile/tokens/")
TWO_FACTOR_PAGE = at("/profile/security/two-factor/")
PRODUCTION = "Deploy to production"
OF_ORGANIZATION = ("admin", "auditor")

STATES = [
    # Signing in
    State("Sign in", "form", (NOBODY,), at("/login/")),
    State("Sign in", "refused", (NOBODY,), refused_sign_in),
    State("Sign in", "second step", (NOBODY,), second_step),
    State("Sign in", "new password: request", (NOBODY,), at("/password/reset/")),
    State("Sign in", "new password: sent", (NOBODY,), at("/password/reset/sent/")),
    State("Sign in", "new password: link of the mail", (NOBODY,), from_mail("/password/reset/")),
    State("Sign in", "invitation", (NOBODY,), from_mail("/invitation/")),
    State("Sign in", "inactive account", (NOBODY,), at("/login/inactive/")),
    State("Sign in", "is it still you, by password", ("user",), at("/login/again/?next=/profile/")),
    State("Sign in", "is it still you, by code", (TWO_FACTOR,), at("/login/two-factor/again/?next=/profile/")),
    State("Sign in", "sign out", ("user",), at("/logout/")),
    # Single sign-on
    State(SINGLE_SIGN_ON, "forwards to the provider", (NOBODY,), on_the_way_to_the_provider),
    State(SINGLE_SIGN_ON, "canceled", (NOBODY,), canceled_at_the_provider),
    State(SINGLE_SIGN_ON, "nobody has this address", (NOBODY,), refused_as("stranger")),
    State(SINGLE_SIGN_ON, "address not verified", (NOBODY,), refused_as("unverified")),
    State(SINGLE_SIGN_ON, "wrong answer", (NOBODY,), at("/login/single-sign-on/callback/?code=1&state=1")),
    State(SINGLE_SIGN_ON, "connected", (CONNECTED,), at("/profile/security/single-sign-on/")),
    State(SINGLE_SIGN_ON, "not connected", ("user",), at("/profile/security/single-sign-on/")),
    # Overview
    State("Overview", "page", ("user", "admin", "power", "guest", "security", "auditor"), at("/")),
    State("Overview", "first steps", ("admin@other.example",), at("/")),
    State("Overview", "chart as a table", ("user",), then(at("/"), ".chart-table summary", shows=".chart-table table")),
    State("Overview", "menu", ("admin", "guest"), then(at("/"), "#user-menu", shows=".menu-panel")),
    # Tokens
    State("Tokens", "page", ("user", "guest", "auditor", "admin@other.example"), TOKENS),
    State("Tokens", "form with errors", ("user",), wrongly_sent(TOKENS, "#create-token")),
    State("Tokens", "name in use", ("user",), name_in_use),
    State(
        "Tokens",
        "form filled in by a link",
        ("user",),
        at("/profile/tokens/?name=nightly+build&scopes=pipeline&lifetime=1w"),
    ),
    State("Tokens", "filter without a match", ("user",), at("/profile/tokens/?q=nowhere")),
    State("Tokens", "form for a service", ("user",), at("/profile/tokens/?service=dashboards")),
    State("Tokens", "expire: dialog", ("user",), dialog(TOKENS, "[data-expire]")),
    State("Tokens", "expire: page", ("user",), first_of("/profile/tokens/", "[data-expire]")),
    State("Tokens", "new token", ("user",), new_token),
    State("Tokens", "new token, opened again", ("user",), token_that_was_shown),
    State("Token", "active", ("user",), below("/profile/tokens/", "Status dashboard")),
    State("Token", "expired and in use", ("user",), below("/profile/tokens/", "Old laptop")),
    State("Token", "expired early", ("user",), below("/profile/tokens/", "Lost on the train")),
    State("Token", "of a service", ("user",), below("/profile/tokens/", "Dashboard export")),
    State("Token", "replace", ("user",), below("/profile/tokens/", "Status dashboard", "replace/")),
    State("Token", "what it used", ("user",), below("/profile/tokens/", "Status dashboard", "narrower/")),
    State("Token", "of another person", OF_ORGANIZATION, below("/organization/tokens/", "Nightly trigger")),
    State("Token", "found a token: form", ("user",), at("/tokens/lookup/")),
    State("Token", "found a token: known", ("user",), looked_up),
    State("Token", "found a token: unknown", ("user",), lambda page, links: look_up(page, JWT)),
    State("Token", "secret scanners", (NOBODY,), at("/secret-scanning/")),
    # Logs
    State("Logs", "authentication log", ("user",), at("/profile/authentication-log/")),
    State("Logs", "refused uses", ("user",), at("/profile/authentication-log/?outcome=refused")),
    State("Logs", "filter without a match", ("user",), at("/profile/authentication-log/?q=nowhere")),
    State(
        "Logs",
        "use of a token",
        ("user",),
        first_of("/profile/authentication-log/", "#authentication-log tbody tr a[href*='authentication-log/']"),
    ),
    State("Logs", "uses of a service", ("admin",), uses_of_service),
    State(
        "Logs",
        "use of a service without the scope",
        ("user",),
        first_of(
            "/profile/authentication-log/?q=dashboards&outcome=refused",
            "#authentication-log tbody tr a[href*='authentication-log/']",
        ),
    ),
    State("Logs", "activity log", ("user",), at("/profile/activity-log/")),
    State("Logs", "action", ("user",), first_of("/profile/activity-log/", "tbody tr a[href*='activity-log/']")),
    State("Logs", "authentication log of the organization", OF_ORGANIZATION, at("/organization/authentication-log/")),
    State("Logs", "activity log of the organization", OF_ORGANIZATION, at("/organization/activity-log/")),
    State(
        "Logs",
        "use of a token of the organization",
        OF_ORGANIZATION,
        first_of("/organization/authentication-log/", "#authentication-log tbody tr a[href*='authentication-log/']"),
    ),
    # Profile
    State("Profile", "page", ("user", "admin"), at("/profile/")),
    State("Profile", "preferences", ("user",), at("/profile/preferences/")),
    State("Services", "list", ("user", "guest"), at("/services/")),
    State("Services", "open", ("user",), open_service),
    State("Services", "sign out", ("user",), sign_out_of_service),
    State("Profile", "notifications", ("user",), at("/profile/notifications/")),
    State("Profile", "security", ("user", TWO_FACTOR), at("/profile/security/")),
    State("Profile", "password", ("user",), at("/profile/security/password/")),
    State(
        "Profile",
        "password with errors",
        ("user",),
        wrongly_sent(at("/profile/security/password/"), "main form button[type=submit]"),
    ),
    State("Profile", "e-mail address", ("user",), at("/profile/security/email/")),
    State("Profile", "e-mail address: link of the mail", ("auditor",), from_mail("/confirm-email/")),
    State("Profile", "sessions", ("user",), at("/profile/security/sessions/")),
    State("Two-factor", "page", ("user", TWO_FACTOR), TWO_FACTOR_PAGE),
    State("Two-factor", "add an app", ("user",), at("/profile/security/two-factor/app/add/")),
    State("Two-factor", "remove the app: dialog", (TWO_FACTOR,), dialog(TWO_FACTOR_PAGE, "#remove-app")),
    State("Two-factor", "remove the app: page", (TWO_FACTOR,), at("/profile/security/two-factor/app/remove/")),
    State("Two-factor", "add a passkey", ("user",), at("/profile/security/passkeys/add/")),
    State(
        "Two-factor",
        "rename a passkey",
        (TWO_FACTOR,),
        first_of("/profile/security/two-factor/", "#passkeys a[href$='/rename/']"),
    ),
    State("Two-factor", "recovery codes", (TWO_FACTOR,), recovery_codes),
    State("Two-factor", "recovery codes, opened again", (TWO_FACTOR,), at("/profile/security/recovery-codes/")),
    # Organization
    State("Organization", "review campaigns", ("admin",), at("/organization/review-campaigns/")),
    State("Organization", "plan a review campaign", ("admin",), at("/organization/review-campaigns/new/")),
    State("Organization", "review campaign", ("admin",), first_of("/organization/review-campaigns/", "tbody a")),
    State("Tokens", "to confirm", ("user",), at("/profile/tokens/to-confirm/")),
    State("Organization", "trust rules", ("admin",), at("/organization/trust/")),
    State("Organization", "add a trust rule", ("admin",), at("/organization/trust/new/?preset=github")),
    State("Organization", "services", ("admin",), at("/organization/services/")),
    State("Organization", "add a service", ("admin",), at("/organization/services/new/")),
    State(
        "Organization",
        "add a service with errors",
        ("admin",),
        wrongly_sent(at("/organization/services/new/"), "#save-service", scopes="read", address="ftp://here"),
    ),
    State("Organization", "service", OF_ORGANIZATION, below(SERVICES, DASHBOARDS)),
    State(
        "Organization", "service: tried path", ("admin",), below(SERVICES, DASHBOARDS, "?method=DELETE&path=/api/x#try")
    ),
    State("Organization", "edit a service", ("admin",), below(SERVICES, DASHBOARDS, "edit/")),
    State("Organization", "who may use a service", ("admin",), below(SERVICES, DASHBOARDS, "access/")),
    State("Organization", "create the secret of a service", ("admin",), below(SERVICES, DASHBOARDS, "secret/")),
    State("Organization", "secret of a service", ("admin",), secret_of_service),
    State(
        "Organization",
        "switch a service off: dialog",
        ("admin",),
        dialog(below(SERVICES, DASHBOARDS), "#switch-service"),
    ),
    State("Organization", "webhooks", ("admin",), at("/organization/webhooks/")),
    State("Organization", "webhook", ("admin",), below("/organization/webhooks/", "Echo")),
    State("Organization", "add a webhook", ("admin",), at("/organization/webhooks/new/")),
    State("Organization", "edit a webhook", ("admin",), below("/organization/webhooks/", "Echo", "edit/")),
    State("Organization", "service accounts", OF_ORGANIZATION, at(SERVICE_ACCOUNTS)),
    State("Organization", "service account", OF_ORGANIZATION, below(SERVICE_ACCOUNTS, "CI deploy")),
    State("Organization", "orphaned service account", ("admin",), below(SERVICE_ACCOUNTS, "Nightly backup")),
    State("Organization", "add a service account", ("admin",), at(f"{SERVICE_ACCOUNTS}new/")),
    State("Organization", "edit a service account", ("admin",), below(SERVICE_ACCOUNTS, "CI deploy", "edit/")),
    State("Tokens", "of a service account", ("admin",), below(SERVICE_ACCOUNTS, "CI deploy", "tokens/")),
    State("Organization", "approvals", ("security", "auditor"), at("/organization/approvals/?state=waiting")),
    State(
        "Organization", "token to approve", ("security", "auditor"), below("/organization/approvals/", "Log archive")
    ),
    State("Organization", "single sign-on", ("admin",), at("/organization/single-sign-on/")),
    State("Organization", "users", OF_ORGANIZATION, at("/organization/users/")),
    State("Organization", "user", OF_ORGANIZATION, below("/organization/users/", "Uma Patel")),
    State("Organization", "invited user", ("admin",), below("/organization/users/", "Ines Vogel")),
    State(
        "Organization",
        "deactivate: dialog",
        ("admin",),
        dialog(below("/organization/users/", "Uma Patel"), "a[data-dialog][href$='/deactivate/']"),
    ),
    State("Organization", "deactivate: page", ("admin",), below("/organization/users/", "Uma Patel", "deactivate/")),
    State("Organization", "invite", ("admin",), at("/organization/users/invite/")),
    State(
        "Organization",
        "invite with errors",
        ("admin",),
        wrongly_sent(at("/organization/users/invite/"), "main form button[type=submit]"),
    ),
    State("Organization", "groups", ("admin", "auditor"), at("/organization/groups/")),
    State("Organization", "group", ("admin", "auditor"), below("/organization/groups/", "Builders")),
    State("Organization", "delete a group: page", ("admin",), below("/organization/groups/", "Builders", "delete/")),
    State("Organization", "tokens", ("admin", "auditor"), at("/organization/tokens/")),
    State("Organization", "expire matching tokens", ("admin",), at("/organization/tokens/expire-matching/?owner=user")),
    State("Organization", "unused scopes", OF_ORGANIZATION, at("/organization/unused-scopes/")),
    State("Organization", "access review", OF_ORGANIZATION, at("/organization/access-review/")),
    State("Organization", "policy", OF_ORGANIZATION, at("/organization/policy/")),
    State("Organization", "HTTP steps", ("admin",), at("/organization/http-steps/")),
    State("Organization", "mail", ("admin",), at("/organization/mails/")),
    State("Organization", "who can do what", ("admin",), at("/who-may-do-what/")),
    # Pipelines
    State("Pipelines", "list", ("user", "admin", "guest"), at("/pipelines/")),
    State("Pipelines", "runs", ("user", "admin"), at("/pipelines/runs/")),
    State("Pipelines", "new", ("user",), at("/pipelines/new/")),
    State("Pipeline", "page", ("power", "user", "guest"), below("/pipelines/", PRODUCTION)),
    State("Pipeline", "locked", ("power", "user"), below("/pipelines/", "Migrate the database")),
    State("Pipeline", "without steps", ("guest",), below("/pipelines/", "Guest's own idea")),
    State("Pipeline", "run that waits for approval", ("power", "user"), below("/pipelines/", PRODUCTION, "runs/1/")),
    State("Pipeline", "run that succeeded", ("user",), below("/pipelines/", "Build and test", "runs/1/")),
    State("Pipeline", "run that failed", ("admin", "user"), below("/pipelines/", "Dependency scan", "runs/1/")),
    State("Pipeline", "edit", ("power",), below("/pipelines/", PRODUCTION, "edit/")),
    State("Pipeline", "duplicate", ("power",), below("/pipelines/", PRODUCTION, "duplicate/")),
    State("Pipeline", "transfer", ("power",), below("/pipelines/", PRODUCTION, "transfer/")),
    State("Pipeline", "notifications", ("power",), below("/pipelines/", PRODUCTION, "notifications/")),
    State("Pipeline", "steps", ("power",), below("/pipelines/", PRODUCTION, "steps/")),
    State("Pipeline", "new HTTP step", ("power",), below("/pipelines/", PRODUCTION, "steps/new/?template=github")),
    State("Pipeline", "new approval", ("power",), below("/pipelines/", PRODUCTION, "steps/new/?kind=approval")),
    State("Pipeline", "access rules", ("power",), below("/pipelines/", PRODUCTION, "access-rules/")),
    State("Pipeline", "suggested people and groups", ("power",), suggested_people_and_groups),
    State(
        "Pipeline",
        "delete: dialog",
        ("power",),
        dialog(below("/pipelines/", PRODUCTION), "a[data-dialog][href$='/delete/']"),
    ),
    State("Pipeline", "delete: page", ("power",), below("/pipelines/", PRODUCTION, "delete/")),
    # For programs
    State("API reference", "page", ("user", NOBODY), at("/api/docs/")),
    State("API reference", "opened operations", ("user",), opened_operations),
    # Django admin
    State("Django admin", "sign in", (NOBODY,), at("/admin/login/")),
    State("Django admin", "start", ("admin",), at("/admin/")),
    State("Django admin", "tokens", ("admin",), at("/admin/tokens/token/")),
    State("Django admin", "token", ("admin",), first_of("/admin/tokens/token/", ADMIN_ROW)),
    State("Django admin", "pipelines", ("admin",), at("/admin/pipelines/pipeline/")),
    State("Django admin", "pipeline", ("admin",), first_of("/admin/pipelines/pipeline/", ADMIN_ROW)),
    State("Django admin", "runs", ("admin",), at("/admin/pipelines/run/")),
    State("Django admin", "users", ("admin",), at("/admin/accounts/user/")),
    State("Django admin", "user", ("admin",), first_of("/admin/accounts/user/", ADMIN_ROW)),
    State("Django admin", "new user", ("admin",), at("/admin/accounts/user/add/")),
    State("Django admin", "new user with errors", ("admin",), wrongly_sent_to_admin),
    State("Django admin", "authentication log", ("admin",), at("/admin/auditlog/tokenuse/")),
    State("Django admin", "use of a token", ("admin",), first_of("/admin/auditlog/tokenuse/", ADMIN_ROW)),
    State("Django admin", "activity log", ("admin",), at("/admin/auditlog/activity/?q=user")),
    # Errors
    State("Errors", "bad request", ("user", NOBODY), at(f"/login/?q={'x' * 9_000}")),
    State("Errors", "not found", ("user", NOBODY), at("/nothing-here/")),
    State("Errors", "not allowed", ("user",), at("/organization/users/invite/")),
    State("Errors", "wrong method", ("admin",), at("/organization/policy/save/")),
]

# The same with many rows, long names, right-to-left names and every state, in a portal after `Portal.add_many_rows`.
MANY = "Many rows"
BUILD = "build_and_release"


def containing(path: str, name: str, rest: str = "") -> Opener:
    """The page that the first link with this part of a name leads to, or one below it."""

    def opens(page: Any, links: Links) -> None:
        go(page, path)
        go(page, str(page.get_by_role("link", name=name).first.get_attribute("href")) + rest)

    return opens


CROWDED_STATES = [
    State(MANY, "overview", ("admin",), at("/")),
    State(MANY, "tokens", ("admin",), TOKENS),
    State(MANY, "token", ("admin",), containing("/profile/tokens/", "continuous-integration")),
    State(MANY, "authentication log", ("admin",), at("/organization/authentication-log/")),
    State(MANY, "activity log", ("admin",), at("/organization/activity-log/")),
    State(MANY, "users", ("admin",), at("/organization/users/")),
    State(MANY, "user", ("admin",), containing("/organization/users/?q=wolfeschlegel", "Maximiliane")),
    State(MANY, "groups", ("admin",), at("/organization/groups/")),
    State(MANY, "group", ("admin",), containing("/organization/groups/", "Platform reliability")),
    State(MANY, "tokens of the organization", ("admin",), at("/organization/tokens/")),
    State(MANY, "access review", ("admin",), at("/organization/access-review/")),
    State(MANY, "mail", ("admin",), at("/organization/mails/")),
    State(MANY, "expire: dialog", ("admin",), dialog(TOKENS, "[data-expire]")),
    State(MANY, "new token", ("admin",), new_token),
    State(MANY, "pipelines", ("admin",), at("/pipelines/")),
    State(MANY, "runs", ("admin",), at("/pipelines/runs/")),
    State(MANY, "pipeline", ("admin",), containing(f"/pipelines/?q={BUILD}", BUILD)),
    State(MANY, "30 steps", ("admin",), containing(f"/pipelines/?q={BUILD}", BUILD, "steps/")),
    State(MANY, "access rules", ("admin",), containing(f"/pipelines/?q={BUILD}", BUILD, "access-rules/")),
    State(MANY, "run", ("admin",), containing(f"/pipelines/?q={BUILD}", BUILD, "runs/2/")),
]


# What they need


def prepare(chromium: Chromium, portal: Portal) -> Links:
    """Signs everybody in, adds second factors, waits for the demo's runs, and returns links from mails.

    The portal must have a provider of single sign-on (accounts/tests/openid.py).
    """
    use_localhost(portal)
    people = {login for state in STATES for login in state.people if login}
    for login in sorted(people):
        chromium.signed_in(portal, address_of(login)).close()
    use_single_sign_on(chromium, portal)
    add_second_factors(chromium, portal)
    ask_for_mails(chromium, portal)
    wait_for_runs(chromium, portal)
    return {word: wait_for_link(portal, word) for word in ("/password/reset/", "/invitation/", "/confirm-email/")}


def use_localhost(portal: Portal) -> None:
    """Browsers create passkeys for names only, and the provider sends people back to the portal's own address."""
    portal.url = portal.url.replace("127.0.0.1", "localhost")


def use_single_sign_on(chromium: Chromium, portal: Portal) -> None:
    issuer = portal.environment["OIDC_ISSUER"]
    tell(issuer, CONNECTED, email=address_of(CONNECTED), email_verified=True)
    tell(issuer, "unverified", email=address_of("power"), email_verified=False)
    tell(issuer, "stranger", email="stranger@elsewhere.example", email_verified=True)
    with chromium.new_context(base_url=portal.url) as context:
        page = context.new_page()
        at_the_provider(page, {})
        page.locator("input[name=sub]").fill(CONNECTED)
        page.get_by_role("button", name="Authorize").click()
        page.locator("#user-menu").wait_for()


def add_second_factors(chromium: Chromium, portal: Portal) -> None:
    with chromium.signed_in(portal, address_of(TWO_FACTOR)) as context:
        page = context.new_page()
        device = context.new_cdp_session(page)
        device.send("WebAuthn.enable")
        abilities = {"hasResidentKey": True, "hasUserVerification": True, "isUserVerified": True}
        device.send(
            "WebAuthn.addVirtualAuthenticator",
            {"options": {"protocol": "ctap2", "transport": "internal", **abilities}},
        )
        go(page, "/profile/security/two-factor/app/add/")
        page.locator("[name=code]").fill(code_of(page.locator("#totp-secret").text_content()))
        page.locator("#activate-app").click()
        page.wait_for_url(lambda url: "/app/add/" not in url)
        go(page, "/profile/security/passkeys/add/")
        page.locator("[name=name]").fill("Laptop")
        page.locator("#add-passkey").click()
        page.wait_for_url(lambda url: "/passkeys/add/" not in url)
        chromium.remember(portal, address_of(TWO_FACTOR), context)


def ask_for_mails(chromium: Chromium, portal: Portal) -> None:
    with chromium.signed_in(portal, address_of("admin")) as context:
        page = context.new_page()
        go(page, "/organization/users/invite/")
        page.locator("[name=email]").fill("new@demo.example")
        page.locator("[name=name]").fill("Nora Lind")
        page.locator("main form button[type=submit]").click()
        page.wait_for_url(lambda url: "/invite/" not in url)
    with chromium.new_context(base_url=portal.url) as context:
        page = context.new_page()
        go(page, "/password/reset/")
        page.locator("[name=email]").fill(address_of("guest"))
        page.locator("main form button[type=submit]").click()
        page.wait_for_url("**/sent/")
    with chromium.signed_in(portal, address_of("auditor")) as context:
        page = context.new_page()
        go(page, "/profile/security/email/")
        page.locator("[name=email]").fill("aya@demo.example")
        page.locator("main form button[type=submit]").first.click()
        page.wait_for_load_state()


def wait_for_runs(chromium: Chromium, portal: Portal) -> None:
    """Waits until the worker has run the demo's pipelines to their end or to an approval."""
    with chromium.signed_in(portal, address_of("admin")) as context:
        page = context.new_page()
        deadline = time.monotonic() + 60
        while True:
            go(page, "/pipelines/runs/")
            if not re.search(r"\b(Queued|Running)\b", page.locator("tbody").first.inner_text()):
                return
            assert time.monotonic() < deadline, "The demo's runs do not end."
            page.wait_for_timeout(300)


def wait_for_link(portal: Portal, word: str) -> str:
    """The path of the link with this word in a mail of the demo."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for path in sorted((portal.data / "demo-mails").glob("*")):
            if found := re.search(rf"https?://[^/\s]+(\S*{re.escape(word)}\S*)", text_of(path)):
                return found[1]
        time.sleep(0.2)
    raise AssertionError(f"No mail has a link with {word}.")


def text_of(path: Path) -> str:
    """The texts of the mails in a file."""
    mails = path.read_bytes().split(b"-" * 79)
    return "\n".join(
        str(part.get_content())
        for mail in mails
        for part in message_from_bytes(mail.lstrip(), policy=policy.default).walk()
        if part.get_content_type() == "text/plain"
    )
