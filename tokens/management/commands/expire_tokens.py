"""Expires live tokens in an incident."""

import uuid
from argparse import ArgumentParser, ArgumentTypeError
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db.models import Count

from accounts.models import Organization, User
from core.text import counted
from tokens.keys.ring import key_ring
from tokens.keys.signing_key import ids_like
from tokens.management.bulk_expiry import expire, in_words
from tokens.models import Token
from tokens.querysets import TokenQuerySet
from tokens.services import REASON_MAX_LENGTH

LISTED = 10


def moment(text: str) -> datetime:
    """An ISO 8601 day (its first moment) or time, in UTC unless it has another offset."""
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"give a time like 2026-05-03 or 2026-05-03T14:05 (UTC), not {text!r}") from None
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def token_id(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise ArgumentTypeError(f"give the id of a token, a UUID, not {text!r}") from None


class Command(BaseCommand):
    help = (
        "Expires live tokens in an incident, immediately and for good. Selects the tokens that match all given "
        "options, and only lists them unless you pass --execute. Each expired token gets an entry in the activity "
        "log, and each owner one mail. The portal keeps answering. You can stop the command with Ctrl-C; run it again "
        "to expire the rest."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        which = parser.add_argument_group("which tokens")
        which.add_argument("--owner", metavar="EMAIL", help="tokens of this person")
        which.add_argument("--organization", metavar="SLUG", help="tokens of this organization")
        which.add_argument(
            "--created-before",
            metavar="WHEN",
            type=moment,
            help="tokens created before this time (UTC), for example 2026-05-03 or 2026-05-03T14:05",
        )
        which.add_argument("--created-after", metavar="WHEN", type=moment, help="tokens created at this time or later")
        which.add_argument(
            "--signing-key", metavar="KEY", help="tokens signed with this key; `signing_keys list` shows the ids"
        )
        which.add_argument(
            "--id", metavar="UUID", type=token_id, action="append", help="this token; you can repeat the option"
        )
        which.add_argument("--all", action="store_true", help="every live token of the installation")
        parser.add_argument(
            "--execute", "--yes", action="store_true", help="expire the tokens; without it, only list them"
        )
        parser.add_argument("--reason", default="", help="for the owners and the activity log; required with --execute")

    def handle(self, *args: Any, execute: bool, reason: str, **options: Any) -> None:
        tokens = self._selected(options)
        reason = reason.strip()
        if execute and not reason:
            raise CommandError("Give a --reason: the owners are told why.")
        if len(reason) > REASON_MAX_LENGTH:
            raise CommandError(f"The reason may have at most {REASON_MAX_LENGTH} characters.")
        count = tokens.live().count()
        if not count:
            self.stdout.write("No live token matches. Nothing to do.")
        elif execute:
            ended = expire(tokens, reason=reason, stderr=self.stderr)
            self.stdout.write(f"Expired {in_words(ended)}. Their owners get a mail.")
        else:
            self._tell(tokens.live(), count)

    def _selected(self, options: dict[str, Any]) -> TokenQuerySet:
        narrowed = [
            self._by_owner(options["owner"]),
            self._by_organization(options["organization"]),
            self._by_signing_key(options["signing_key"]),
            {"created_at__lt": options["created_before"]} if options["created_before"] else {},
            {"created_at__gte": options["created_after"]} if options["created_after"] else {},
            self._by_ids(options["id"]),
        ]
        if not any(narrowed) and not options["all"]:
            raise CommandError("Select the tokens, for example with --owner EMAIL, or all of them with --all.")
        tokens = Token.objects.all()
        for conditions in narrowed:
            tokens = tokens.filter(**conditions)
        return tokens

    def _by_owner(self, email: str | None) -> dict[str, Any]:
        if email is None:
            return {}
        owner = User.objects.filter(email__iexact=email.strip()).first()
        if owner is None:
            raise CommandError(f"Nobody has the e-mail address {email!r}.")
        return {"owner": owner}

    def _by_organization(self, slug: str | None) -> dict[str, Any]:
        if slug is None:
            return {}
        organization = Organization.objects.filter(slug=slug).first()
        if organization is None:
            raise CommandError(f"There is no organization {slug!r}.")
        return {"organization": organization}

    def _by_signing_key(self, key_id: str | None) -> dict[str, Any]:
        """Accepts a retired key too: its tokens may not have been expired."""
        if key_id is None:
            return {}
        of_key = {"signing_key_id__in": ids_like(key_id)}
        if not key_id or not (key_ring().find(key_id) or Token.objects.filter(**of_key).exists()):
            raise CommandError(f"There is no signing key {key_id!r}: `signing_keys list` shows all keys.")
        return of_key

    def _by_ids(self, ids: list[uuid.UUID] | None) -> dict[str, Any]:
        if not ids:
            return {}
        unknown = set(ids) - set(Token.objects.filter(pk__in=ids).values_list("pk", flat=True))
        if unknown:
            raise CommandError(f"There is no token with the id {', '.join(sorted(map(str, unknown)))}.")
        return {"pk__in": ids}

    def _tell(self, live: TokenQuerySet, count: int) -> None:
        owners = live.order_by().values("owner__email").annotate(count=Count("pk")).order_by("-count", "owner__email")
        people = len(owners)
        self.stdout.write(f"Would expire {in_words(count)} of {counted(people, 'person', 'people')}:")
        for owner in owners[:LISTED]:
            self.stdout.write(f"  {owner['owner__email']}: {owner['count']:,}")
        self._further(people)
        self.stdout.write("The tokens, newest first:")
        for token in live.select_related("owner", "organization").order_by("-created_at", "-pk")[:LISTED]:
            self.stdout.write(
                f"  {token.pk}  {token.name}  {token.owner.email}  {token.organization.slug}  "
                f"created {token.created_at:%Y-%m-%d %H:%M}  "
                + (f"last used {token.last_used_at:%Y-%m-%d %H:%M}" if token.last_used_at else "never used")
            )
        self._further(count)
        self.stdout.write("Nothing was changed. To expire them, add --execute and --reason.")

    def _further(self, count: int) -> None:
        if count > LISTED:
            self.stdout.write(f"  and {count - LISTED:,} more")
