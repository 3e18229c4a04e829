"""The people and tokens that a big log is about: a large organization, and a few small ones."""

from collections.abc import Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.core.management import call_command
from django.db import connection, transaction
from django.utils import timezone

from accounts.models import Organization, User
from benchmarks.big_log import entries
from tokens.models import Token

OWNERS, TOKENS_EACH, DAYS = 2_000, 5, 400
OWNERS_OF_SMALL, SMALL = 50, 4
# Of the tokens: these have expired, and are still sent. The first belongs to the owner with the most entries.
ENDED = {4, *range(OWNERS * TOKENS_EACH - 20, OWNERS * TOKENS_EACH)}
# More than the period: nothing is removed unless the benchmark says so.
KEPT_DAYS = 3_660


@dataclass(frozen=True)
class People:
    """``busy_token`` has a fifth of all entries. ``usual`` is one of many in the same organization."""

    busy: User
    usual: User
    auditor: User
    auditor_of_small: User
    busy_token: Token
    usual_token: Token

    @classmethod
    def load(cls) -> "People":
        busy, usual = User.objects.get(email=email(0)), User.objects.get(email=email(OWNERS // 2))
        auditors = User.objects.filter(site_role="auditor").order_by("email")
        tokens = [Token.objects.get(owner=owner, name="token 0") for owner in (busy, usual)]
        return cls(busy, usual, auditors[0], auditors[1], *tokens)


def email(number: int) -> str:
    return f"user{number}@bench.example"


def prepare() -> None:
    """Creates the tables, the people and their tokens, unless they exist."""
    call_command("migrate", verbosity=0)
    call_command("createcachetable", verbosity=0)
    if entries.TOKENS_TABLE in connection.introspection.table_names():
        return
    with transaction.atomic():
        number_tokens(create_tokens(create_owners(create_organizations())), ended=ENDED)


def create_organizations() -> list[Organization]:
    organizations = [
        Organization(name=f"Bench {number}", slug=f"bench-{number}", log_retention_days=KEPT_DAYS)
        for number in range(1 + SMALL)
    ]
    Organization.objects.bulk_create(organizations)
    for number, organization in enumerate(organizations):
        User.objects.create_user(
            f"auditor{number}@bench.example", None, name="A", site_role="auditor", organization=organization
        )
    return organizations


def create_owners(organizations: list[Organization]) -> list[User]:
    first_of_small = OWNERS - SMALL * OWNERS_OF_SMALL
    owners = [
        User(
            email=email(number),
            name="U",
            site_role="user",
            organization=organizations[max(0, (number - first_of_small) // OWNERS_OF_SMALL + 1)],
        )
        for number in range(OWNERS)
    ]
    User.objects.bulk_create(owners, batch_size=500)
    return owners


def create_tokens(owners: list[User]) -> list[Token]:
    now = timezone.now()
    tokens = [
        token_of(owners[number // TOKENS_EACH], number % TOKENS_EACH, now, is_ended=number in ENDED)
        for number in range(len(owners) * TOKENS_EACH)
    ]
    return Token.objects.bulk_create(tokens, batch_size=500)


def token_of(owner: User, number: int, now: datetime, *, is_ended: bool) -> Token:
    created_at = now - timedelta(days=DAYS if is_ended else 20)
    return Token(
        owner=owner,
        organization=owner.organization,
        name=f"token {number}",
        live_name_key=f"token {number}",
        scope="api" if number % 2 == 0 else "api-readonly pipeline",
        created_at=created_at,
        expires_at=created_at + timedelta(days=60),
        revealed_at=created_at,
    )


def number_tokens(tokens: list[Token], *, ended: Set[int] = frozenset()) -> None:
    """Creates the table from which the entries take their tokens (`entries.py`)."""

    def stored(pk: UUID | None) -> Any:
        return Token._meta.pk.get_db_prep_value(pk, connection)

    rows = [
        (
            place,
            stored(token.pk),
            token.name,
            token.scope,
            stored(token.owner_id),
            token.owner.email,
            stored(token.organization_id),
            token.organization.slug,
            int(place in ended),
        )
        for place, token in enumerate(tokens)
    ]
    marks = ", ".join(["%s"] * len(entries.TOKEN_COLUMNS))
    with connection.cursor() as cursor:
        cursor.execute(entries.tokens_table(connection.vendor))
        cursor.executemany(f"INSERT INTO {entries.TOKENS_TABLE} VALUES ({marks})", rows)  # noqa: S608
