"""The demo organization: people of every role, pipelines that really run, and some history to look at."""

import secrets
import string
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.db import transaction
from django.utils import timezone

from accounts.models import Group, Organization, User
from accounts.roles import SiteRole
from accounts.services import create_service_account, note_orphans
from core.api import scopes
from core.files import private_opener
from opsera_portal.demo import echo, services, told
from opsera_portal.demo.approvals import create_approvals
from opsera_portal.demo.history import create_history
from opsera_portal.demo.review import create_review
from pipelines import step_secrets
from pipelines.access import ItemRole
from pipelines.models import Pipeline, Step
from pipelines.services import lock_pipeline, set_access_rule, start_run
from tokens.lifetimes import now_in_seconds
from tokens.models import TrustRule
from tokens.names import name_key
from tokens.services import issue_token, reveal_token
from tokens.trust.forms import audience_for
from tokens.trust.issuers import GITHUB

_SIGNS = string.ascii_letters + string.digits

PEOPLE = {
    "admin": ("Dana Moreau", SiteRole.ADMINISTRATOR),
    "power": ("Piotr Nowak", SiteRole.POWER_USER),
    "user": ("Uma Patel", SiteRole.USER),
    "guest": ("Gil Santos", SiteRole.GUEST),
    "security": ("Sofia Berg", SiteRole.SECURITY_MANAGER),
    "auditor": ("Aya Tanaka", SiteRole.AUDITOR),
}


@dataclass(frozen=True)
class DemoPipeline:
    """``steps``: name, path at the echo endpoint and expected status, or the name of an approval. ``rules``: a login of
    `PEOPLE` or the name of a group, and the role."""

    name: str
    description: str
    owner: str
    steps: tuple[tuple[str, str, int] | str, ...]
    tags: tuple[str, ...] = ()
    rules: tuple[tuple[str, ItemRole], ...] = ()
    notified: tuple[str, ...] = ()
    is_locked: bool = False
    requested_by: tuple[str, ...] = ()


PIPELINES = (
    # First in every list because of its name. README runs it, and it succeeds.
    DemoPipeline(
        "Build and test",
        "Builds a branch and tests it. Run this one first: it takes a second and succeeds.",
        "user",
        (("Check out", "/checkout", 200), ("Build", "/build", 200), ("Test", "/test", 200)),
        tags=("build",),
        requested_by=("user",),
    ),
    DemoPipeline(
        "Nightly build",
        "Builds the main branch and runs the quick checks. It has no access rules, so every User can see and run it.",
        "user",
        (("Check out", "/checkout", 200), ("Build", "/slow/1", 200), ("Quick checks", "/test", 200)),
        tags=("nightly", "build"),
        requested_by=("admin", "user"),
    ),
    DemoPipeline(
        "Deploy to staging",
        "Puts the last good build on the staging servers. Builders manage it, Watchers can only see it.",
        "power",
        (("Fetch the build", "/artifact", 200), ("Roll out", "/slow/2", 200), ("Smoke test", "/smoke", 200)),
        tags=("deploy",),
        rules=(("Builders", ItemRole.MANAGER), ("Watchers", ItemRole.GUEST)),
        requested_by=("admin",),
    ),
    DemoPipeline(
        "Deploy to production",
        "Waits for an approval before anything is rolled out.",
        "power",
        (("Fetch the build", "/artifact", 200), "Release manager says go", ("Roll out", "/slow/2", 200)),
        tags=("deploy", "production"),
        rules=(("Builders", ItemRole.USER), ("Watchers", ItemRole.GUEST)),
        notified=("power", "admin"),
        requested_by=("user",),
    ),
    DemoPipeline(
        "Dependency scan",
        "Looks for known vulnerabilities. Its second step fails. Resume continues after it, Reset clears the run.",
        "security",
        (("Collect", "/collect", 200), ("Compare", "/status/503", 200), ("Report", "/report", 200)),
        tags=("security", "weekly"),
        notified=("security",),
        requested_by=("admin",),
    ),
    DemoPipeline(
        "Rotate certificates",
        "Only for the people in its access rules. For the User and the Guest of the demo it does not exist.",
        "admin",
        (("Request new ones", "/acme", 200), ("Install", "/install", 200)),
        tags=("security",),
        rules=(("power", ItemRole.USER),),
    ),
    DemoPipeline(
        "Rebuild the index",
        "A rule for a person wins over a stronger one for a group: Uma can only see it, but Builders manage it.",
        "power",
        (("Rebuild", "/slow/1", 200),),
        tags=("nightly",),
        rules=(("Builders", ItemRole.MANAGER), ("user", ItemRole.GUEST)),
    ),
    DemoPipeline(
        "Migrate the database",
        "Locked: nobody can start it until someone unlocks it.",
        "power",
        (("Back up", "/backup", 200), "Backup was restored on the test server", ("Migrate", "/migrate", 200)),
        tags=("deploy", "database"),
        is_locked=True,
    ),
    DemoPipeline(
        "Guest's own idea",
        "Its owner is a Guest now and can only see it, although it is their own.",
        "guest",
        (),
    ),
)


class NotTheDemo(Exception):
    """The database belongs to a real installation. The message says how this was seen."""


def check_database() -> None:
    """Raises ``NotTheDemo`` for a database with other organizations and without the demo."""
    demo = Organization.objects.filter(slug="demo").first()
    if demo is None:
        if other := Organization.objects.exclude(slug="other").first():
            raise NotTheDemo(
                f"This database has the organization “{other}” and no demo. Nothing was created: use another database."
            )
    elif not demo.users.filter(email="admin@demo.example").exists():
        raise NotTheDemo(f"The organization “{demo}” is not the demo. Nothing was created: use another database.")


def seed(*, echo_port: int) -> dict[str, str]:
    """Creates the two demo organizations if they are missing.

    Returns the passwords of the people that it created, by e-mail address. Each time, it also changes the steps to the
    current port of the echo endpoint.
    """
    created: dict[str, str] = {}
    with transaction.atomic():
        if not Organization.objects.filter(slug="demo").exists():
            created |= _create_demo(echo_port)
        if not Organization.objects.filter(slug="other").exists():
            created |= _create_other(echo_port)
        _set_port_of_steps(echo_port)
        told.set_port(echo_port)
        services.set_port(echo_port)
    return created


def write_accounts(created: dict[str, str], path: Path) -> None:
    """Saves the passwords in a file that only the person who runs the demo can read."""
    with open(path, "a", opener=private_opener) as file:
        path.chmod(0o600)
        file.writelines(f"{email}  {password}\n" for email, password in created.items())


def read_accounts(path: Path) -> dict[str, str]:
    """The passwords by e-mail address, in the order of their creation. Empty if there is no such file."""
    if not path.exists():
        return {}
    lines = (line.partition("  ") for line in path.read_text().splitlines())
    return {email: password for email, _, password in lines if password}


def _create_demo(echo_port: int) -> dict[str, str]:
    organization = Organization.objects.create(name="Demo Organization", slug="demo")
    passwords = {f"{login}@demo.example": new_password() for login in PEOPLE}
    people = {
        login: _create_person(
            f"{login}@demo.example",
            passwords[f"{login}@demo.example"],
            name=name,
            site_role=role,
            organization=organization,
        )
        for login, (name, role) in PEOPLE.items()
    }
    builders = Group.objects.create(organization=organization, name="Builders")
    builders.members.set([people["user"], people["power"]])
    watchers = Group.objects.create(organization=organization, name="Watchers")
    watchers.members.set([people["guest"], people["auditor"]])
    # Someone who left, and someone who has not accepted the invitation yet.
    User.objects.create_user(
        "left@demo.example", None, name="Lee Marsh", site_role=SiteRole.USER, organization=organization, is_active=False
    )
    User.objects.create_user(
        "invited@demo.example", None, name="Ines Vogel", site_role=SiteRole.USER, organization=organization
    )
    subjects: dict[str, User | Group] = {**people, builders.name: builders, watchers.name: watchers}
    pipelines = {
        described.name: _create_pipeline(organization, people[described.owner], described, echo_port)
        for described in PIPELINES
    }
    create_history(people, pipelines, services.create_service(organization, echo_port))
    create_approvals(people)
    told.tell(people)
    told.add_webhook(people["admin"], echo_port)
    for described in PIPELINES:
        pipeline = pipelines[described.name]
        for subject, role in described.rules:
            set_access_rule(actor=people["admin"], pipeline=pipeline, subject=subjects[subject], role=role)
        pipeline.notified_people.set([people[login] for login in described.notified])
        for login in described.requested_by:
            start_run(actor=people[login], pipeline=pipeline)
        if described.is_locked:
            lock_pipeline(actor=people["power"], pipeline=pipeline)
    _create_service_accounts(people)
    create_review(people)
    return passwords


def _create_service_accounts(people: dict[str, User]) -> None:
    """One with two tokens and a trust rule, and one that nobody active is responsible for."""
    deploy = create_service_account(
        actor=people["admin"],
        name="CI deploy",
        description="Deploys from the main branch.",
        site_role=SiteRole.USER,
        responsible=[people["user"], people["power"]],
    )
    for name, chosen in (("deploy", [scopes.PIPELINE]), ("report", [scopes.API_READONLY])):
        token = issue_token(
            actor=people["user"],
            owner=deploy,
            name=name,
            chosen=chosen,
            expires_at=now_in_seconds() + timedelta(days=60),
        )
        reveal_token(actor=people["user"], token=token)
    TrustRule.objects.create(
        organization=deploy.own_organization,
        account=deploy,
        name="Shop on GitHub",
        name_key=name_key("Shop on GitHub"),
        issuer=GITHUB,
        audience=audience_for(deploy.own_organization),
        claims={"repository": "acme/shop", "ref": "refs/heads/main"},
        scope=scopes.as_string([scopes.PIPELINE]),
    )
    left = User.objects.get(email="left@demo.example")
    backup = create_service_account(
        actor=people["admin"], name="Nightly backup", responsible=[people["admin"]], description="Reads the logs."
    )
    backup.service_account.responsible.set([left])
    note_orphans([backup.own_organization.pk])


def _create_other(echo_port: int) -> dict[str, str]:
    organization = Organization.objects.create(name="Other Organization", slug="other")
    password = new_password()
    user = _create_person(
        "admin@other.example",
        password,
        name="Otis Reed",
        site_role=SiteRole.ADMINISTRATOR,
        organization=organization,
    )
    described = DemoPipeline(
        "Other pipeline", "Nobody in another organization can see this.", "", (("Call", "/call", 200),)
    )
    _create_pipeline(organization, user, described, echo_port)
    return {user.email: password}


# A hash takes a fifth of a second of processor time, and with PORTAL_DEMO_PASSWORD all people have the same password.
_hash = cache(make_password)


def _create_person(email: str, password: str, **fields: Any) -> User:
    person = User.objects.create_user(email, **fields)
    person.password, person.joined_at = _hash(password), timezone.now()
    person.save(update_fields=["password", "joined_at"])
    return person


def _create_pipeline(organization: Organization, owner: User, described: DemoPipeline, echo_port: int) -> Pipeline:
    pipeline = Pipeline.objects.create(
        organization=organization,
        owner=owner,
        name=described.name,
        description=described.description,
        tags=list(described.tags),
    )
    for position, step in enumerate(described.steps, start=1):
        if isinstance(step, str):
            instructions = "Check the answers of the previous steps."
            Step.objects.create(
                pipeline=pipeline, position=position, name=step, kind=Step.Kind.APPROVAL, instructions=instructions
            )
            continue
        name, path, expected = step
        call = Step(
            pipeline=pipeline,
            position=position,
            name=name,
            url=f"http://{echo.ADDRESS}:{echo_port}{path}",
            body='{"from": "the demo"}',
            headers={"Content-Type": "application/json"},
            expected_status=expected,
        )
        give_secret(call)
        call.save()
    return pipeline


def _set_port_of_steps(echo_port: int) -> None:
    prefix = f"http://{echo.ADDRESS}:"
    for step in Step.objects.filter(url__startswith=prefix):
        path = step.url.removeprefix(prefix).partition("/")[2]
        url = f"{prefix}{echo_port}/{path}"
        if url != step.url:
            step.url = url
            # Secrets are bound to the server, including its port.
            give_secret(step)
            step.save(update_fields=["url", "secret_headers"])


def give_secret(step: Step) -> None:
    authorization = {"Authorization": f"Bearer {secrets.token_urlsafe(24)}"}
    step.secret_headers = step_secrets.encrypt(step, "secret_headers", authorization)


def new_password() -> str:
    """Only letters and digits, so that a double click selects all of it and no command takes it for an option."""
    return str(settings.DEMO_PASSWORD) or "".join(secrets.choice(_SIGNS) for _ in range(16))
