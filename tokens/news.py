"""What is told about tokens: the same to each person who answers for their owner, and never to a service account."""

import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from accounts.answering import people_answering_for
from accounts.models import User
from accounts.notifications.kinds import Kind
from accounts.notifications.telling import News
from tokens.models import Token


def readers_of(tokens: Iterable[Token]) -> dict[uuid.UUID, list[User]]:
    """Who is told about these tokens, by the owner's id."""
    return people_answering_for({token.owner_id: token.owner for token in tokens}.values())


def news_about(
    token: Token, readers: Iterable[User], kind: Kind, *, once: object = "", at: datetime | None = None, **details: Any
) -> Iterator[News]:
    """One for each reader. ``once``: what it is about, besides the token. The details of a service account's token have
    the name of the account."""
    if token.owner.is_service_account:
        details["account"] = token.owner.name
    for reader in readers:
        yield News(
            kind=kind,
            person_id=reader.pk,
            once=f"{token.pk} {once}".strip(),
            token_id=token.pk,
            token_name=token.name,
            details=details,
            at=at,
        )
