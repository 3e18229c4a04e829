"""The access review of an organization: its people with live tokens, and what these tokens can do.

The page, the CSV file and the API operation begin with the same tokens and the same filters.
"""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from itertools import accumulate
from typing import Any

from django.db.models import CharField, Count, Exists, F, OuterRef, Prefetch, Window
from django.db.models.functions import Cast

from accounts.models import User
from auditlog.exports import HarmlessText, harmless_text
from core.db.batches import batches_of
from tokens.models import Token
from tokens.querysets import TokenQuerySet

UNUSED_FOR = timedelta(days=90)
# How many tokens of a person a page lists. The policy allows up to 1000.
LISTED = 50
# How many tokens a page for printing has. The file has all.
MOST_PRINTED = 1000
# People whose tokens are read together for a file.
PEOPLE_AT_ONCE = 200
# Columns of the file with text that people chose, and where it comes from.
CHOSEN_TEXT = {"name": "name", "owner_name": "owner__name", "owner_email": "owner__email"}


def reviewed_tokens(reader: User) -> TokenQuerySet:
    """The live tokens of the organization, for people whose role can see them. Includes tokens that don't work now:
    of deactivated people, blocked by policy, or not shown yet."""
    return Token.objects.of_organization_readable_by(reader).live()


def owners_of(tokens: TokenQuerySet, reader: User) -> list[str]:
    """The ids of the people who own these tokens, by e-mail address.

    All of them at once: for one page, the database would have to find, count and sort them, too. As text, because
    reading 5,000 UUIDs takes longer than the query.
    """
    owned = Exists(tokens.order_by().filter(owner=OuterRef("pk")))
    people = User.objects.of_organization_readable_by(reader).filter(owned).order_by("email", "pk")
    return list(people.values_list(Cast("pk", CharField()), flat=True))


def how_many_fit(owners: Sequence[str], tokens: TokenQuerySet) -> int:
    """How many of these people, from the first on, have at most ``MOST_PRINTED`` listed tokens together; at least 1."""
    counted = tokens.order_by().values_list(Cast("owner", CharField())).annotate(number=Count("pk"))
    numbers = {owner: min(number, LISTED) for owner, number in counted}
    rows = accumulate(numbers.get(owner, 0) for owner in owners)
    return sum(until <= MOST_PRINTED for until in rows) or 1


def tokens_of(people: Sequence[str], tokens: TokenQuerySet, reader: User) -> list[Token]:
    """The first tokens of each of these people, by e-mail address and name. ``of_owner`` is how many there are of this
    person."""
    first: TokenQuerySet = tokens.annotate(of_owner=Window(Count("pk"), partition_by="owner"))
    first = first.order_by("name", "pk").with_pipelines(seen_by=reader).prefetch_related("organization")[:LISTED]
    owners = User.objects.of_organization_readable_by(reader).filter(pk__in=people).with_second_factors()
    owners = owners.order_by("email", "pk").prefetch_related(Prefetch("tokens", first, to_attr="reviewed_tokens"))
    return [token for owner in owners for token in owner.reviewed_tokens]


def csv_lines(tokens: TokenQuerySet, reader: User, columns_of: Callable[[Token], dict[str, Any]]) -> Iterator[bytes]:
    """The lines of all tokens, by the owner's e-mail address and the token's name.

    ``columns_of`` returns the columns of a token. Texts that a spreadsheet would read as a formula are changed by the
    database, as in the files of the logs.
    """
    harmless = {f"harmless_{column}": HarmlessText(F(source)) for column, source in CHOSEN_TEXT.items()}
    rows = tokens.annotate(**harmless).for_token_table().with_pipelines(seen_by=reader)
    rows = rows.order_by("owner__email", "owner_id", "name", "pk")
    for some in batches_of(owners_of(tokens, reader), PEOPLE_AT_ONCE):
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerows(_cells(token, columns_of(token)) for token in rows.filter(owner__pk__in=some))
        yield text.getvalue().encode()


def _cells(token: Token, columns: dict[str, Any]) -> list[Any]:
    harmless = {column: getattr(token, f"harmless_{column}") for column in CHOSEN_TEXT}
    # Names can contain spaces.
    names = harmless_text("; ".join(columns["pipeline_names"] or ()))
    service = columns["service"]["short_name"] if columns["service"] else ""
    return [_cell(value) for value in (columns | harmless | {"service": service, "pipeline_names": names}).values()]


def _cell(value: Any) -> Any:
    """As in the files of the logs: lists are separated by spaces."""
    if isinstance(value, list):
        return " ".join(value)
    return str(value).lower() if isinstance(value, bool) else value
