"""Compares states, queries and answers to requests with the documented rules, for random tokens and policies, and for
families of tokens that replace themselves.

``plain_reading`` follows the documentation and shares no code with the product.
"""

import ipaddress
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.db import connection, transaction
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from rest_framework.test import APIClient

from accounts.models import Organization
from accounts.tests.factories import OrganizationFactory, UserFactory
from auditlog.models import TokenUse
from tokens.filters import TokenFilter
from tokens.models import Token
from tokens.policy.preview import effect_of
from tokens.states import TokenState
from tokens.tests.factories import TokenFactory, bearer, now_in_seconds

pytestmark = pytest.mark.each_database
ROTATE = "/api/v1/tokens/current/rotate"
# Fewer on PostgreSQL, where each takes longer. A few are enough to find differences in SQL.
EXAMPLES = 25 if connection.vendor == "sqlite" else 8

DAY, SECOND = timedelta(days=1), timedelta(seconds=1)
# Before or after the present moment; the limits of the rules, and a second beside them.
PAST = st.sampled_from([timedelta(0), SECOND, 600 * SECOND, 601 * SECOND, 7 * DAY, 7 * DAY + SECOND, 8 * DAY])
START = st.none() | PAST.map(lambda ago: -ago) | st.sampled_from([SECOND, DAY, 20 * DAY])
ADDRESSES = st.sampled_from(["192.0.2.1", "192.0.2.200", "198.51.100.1", "2001:db8::1"])
NETWORKS = st.sampled_from(["", "192.0.2.0/24", "192.0.2.128/25 2001:db8::/32", "198.51.100.1", "0.0.0.0/0"])


@dataclass
class Limited:
    """A token. Times are relative to the present moment; ``lifetime`` counts from the creation.

    ``approved``: when, for a token that needed approval; ``waits``: it needs approval and has none.
    """

    created: timedelta
    lifetime: timedelta
    not_before: timedelta | None
    revealed: bool
    revoked: bool
    networks: str
    uses_left: int | None
    used: timedelta | None
    used_from: str
    waits: bool
    approved: timedelta | None

    def __post_init__(self):
        self.revealed = self.revealed and not self.waits
        self.approved = None if self.waits or self.approved is None else max(self.approved, self.created)
        if self.not_before is not None:
            self.not_before = min(max(self.not_before, self.created), self.created + self.lifetime - SECOND)


@dataclass
class World:
    tokens: list
    owner_is_active: bool
    unused_days: int | None
    networks: str
    new_networks: str
    address: str


LIMITED = st.builds(
    Limited,
    created=PAST.map(lambda ago: -ago),
    lifetime=st.sampled_from([DAY, 7 * DAY, 30 * DAY]),
    not_before=START,
    revealed=st.sampled_from([True, True, True, False]),
    revoked=st.sampled_from([False, False, False, True]),
    networks=NETWORKS,
    uses_left=st.sampled_from([None, None, 1, 2]),
    used=st.none() | PAST.map(lambda ago: -ago),
    used_from=ADDRESSES,
    waits=st.sampled_from([False, False, False, True]),
    approved=st.none() | st.none() | st.sampled_from([-SECOND, -DAY, -DAY - SECOND, -7 * DAY]),
)
WORLDS = st.builds(
    World,
    tokens=st.lists(LIMITED, min_size=1, max_size=4),
    owner_is_active=st.sampled_from([True, True, True, False]),
    unused_days=st.sampled_from([None, None, 7]),
    networks=NETWORKS,
    new_networks=NETWORKS,
    address=ADDRESSES,
)


# Few random tokens work, and fewer can be used up.
USABLE = World(
    tokens=[
        Limited(
            created=-DAY,
            lifetime=30 * DAY,
            not_before=None,
            revealed=True,
            revoked=False,
            networks="192.0.2.0/24",
            uses_left=uses_left,
            used=None,
            used_from="",
            waits=False,
            approved=None,
        )
        for uses_left in (None, 1, 2)
    ],
    owner_is_active=True,
    unused_days=7,
    networks="192.0.2.1",
    new_networks="",
    address="192.0.2.1",
)


def plain_state(world, token):
    if token.revoked:
        return "revoked"
    shown_until = token.created + (7 * DAY if token.waits else 600 * SECOND)
    if token.approved is not None:
        shown_until = max(shown_until, token.approved + DAY)
    if token.created + token.lifetime <= timedelta(0) or (not token.revealed and shown_until <= timedelta(0)):
        return "expired"
    if not world.owner_is_active:
        return "owner_deactivated"
    if not token.revealed:
        return "waiting" if token.waits else "pending"
    usable_since = max(token.created, token.not_before or token.created, token.approved or token.created)
    since = usable_since if token.used is None else token.used
    if world.unused_days is not None and -since > world.unused_days * DAY:
        return "blocked_by_policy"
    return "scheduled" if token.not_before is not None and token.not_before > timedelta(0) else "active"


REFUSALS = {
    "revoked": {"revoked", "expired", "owner_deactivated"},
    "expired": {"expired", "not_revealed", "owner_deactivated"},
    "owner_deactivated": {"owner_deactivated"},
    "pending": {"not_revealed"},
    "waiting": {"not_revealed"},
    "blocked_by_policy": {"blocked_by_policy"},
    "scheduled": {"not_started"},
}


def is_in(networks, address):
    inside = [ipaddress.ip_address(address) in ipaddress.ip_network(network) for network in networks.split()]
    return not inside or any(inside)


def plain_answers(world, token, uses=0):
    """The reasons that the log may give, after so many uses in this world."""
    state = plain_state(world, token)
    if state != "active":
        return REFUSALS[state]
    if not is_in(token.networks, world.address):
        return {"network_not_allowed"}
    if not is_in(world.networks, world.address):
        return {"network_policy"}
    return {"ok"} if token.uses_left is None or uses < token.uses_left else {"used_up"}


def built(world, now):
    organization = OrganizationFactory(
        unused_tokens_end_after_days=world.unused_days, token_networks=world.networks, max_token_lifetime_days=366
    )
    owner = UserFactory(organization=organization, is_active=world.owner_is_active)
    rows = {}
    for token in world.tokens:
        created_at = now + token.created
        row = TokenFactory(
            owner=owner,
            created_at=created_at,
            expires_at=created_at + token.lifetime,
            not_before=None if token.not_before is None else now + token.not_before,
            waits_until=created_at + min(7 * DAY, token.lifetime) if token.waits else None,
            approved_at=None if token.approved is None else now + token.approved,
            revealed_at=now + max(token.created, token.approved or token.created) if token.revealed else None,
            revoked_at=now if token.revoked else None,
            networks=token.networks,
            max_uses=token.uses_left,
            last_used_at=None if token.used is None else now + token.used,
            last_used_ip=None if token.used is None else token.used_from,
        )
        rows[row.pk] = token
    return organization, rows


def some(examples):
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        # Finding a smaller example takes minutes.
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )


@example(USABLE)
@given(WORLDS)
@some(EXAMPLES)
def test_states_queries_and_answers_agree_with_the_documented_rules(db, world):
    now = now_in_seconds()
    with transaction.atomic(), time_machine.travel(now, tick=False):
        organization, rows = built(world, now)
        expected = {pk: plain_state(world, token) for pk, token in rows.items()}

        tokens = Token.objects.filter(organization=organization)
        found = list(tokens.for_token_table())
        assert {token.pk: token.state.id for token in found} == expected
        for state in TokenState:
            filtered = TokenFilter.filter_state(None, tokens, "state", state.id)
            assert {token.pk for token in filtered} == {pk for pk, is_of in expected.items() if is_of == state.id}
        assert {token.pk for token in tokens.waiting()} == {
            pk for pk, token in rows.items() if token.waits and expected[pk] not in {"revoked", "expired"}
        }
        assert set(tokens.active()) == {token for token in found if token.is_active}
        assert set(tokens.expiring_soon()) == {token for token in found if token.expires_soon}
        assert tokens.counts().expiring_soon == sum(token.expires_soon for token in found)

        after = Organization.objects.get(pk=organization.pk)
        after.token_networks = world.new_networks
        assert effect_of(organization, after).tokens_used_outside == sum(
            world.owner_is_active
            and expected[pk] not in {"revoked", "expired"}
            and token.used is not None
            and is_in(world.networks, token.used_from)
            and not is_in(world.new_networks, token.used_from)
            for pk, token in rows.items()
        )

        client = APIClient()
        for token in found:
            headers = bearer(token)
            for uses in range((rows[token.pk].uses_left or 0) + 1):
                client.get("/api/v1/me", headers=headers, REMOTE_ADDR=world.address)
                reason = TokenUse.objects.latest("id").reason
                assert reason in plain_answers(world, rows[token.pk], uses), rows[token.pk]
            # A token that was created at this moment ends a microsecond later.
            if reason == "used_up" and rows[token.pk].created:
                expected[token.pk] = "expired"
        assert {token.pk: token.state.id for token in tokens.for_token_table()} == expected
        transaction.set_rollback(True)


# Families of tokens that replace themselves

HOUR = timedelta(hours=1)


@dataclass
class Step:
    """After ``wait``, with another policy if ``longest_days`` is given, a token of the family rotates: the newest, or
    one that is so much older."""

    wait: timedelta
    longest_days: int | None
    older: int
    overlap_hours: int


@dataclass
class Member:
    """A token of a family, as the documentation describes it. Times are absolute."""

    created: datetime
    ends: datetime
    is_replaced: bool = False
    is_ended: bool = False

    @property
    def lifetime(self):
        return self.ends - self.created

    def is_live(self, at):
        return not self.is_ended and at < self.ends


STEPS = st.builds(
    Step,
    wait=st.sampled_from([timedelta(0), SECOND, HOUR, HOUR, DAY, 7 * DAY]),
    longest_days=st.sampled_from([None, None, None, 5, 28, 366]),
    older=st.sampled_from([0, 0, 0, 0, 1, 2]),
    overlap_hours=st.sampled_from([0, 0, 1, 24, 24, 25]),
)
MOST_OVERLAP = 24
# February has 28 days then, and no test goes beyond 22 March.
FEBRUARY = datetime(2027, 2, 1, tzinfo=UTC)


def month_after(moment):
    return moment.replace(month=moment.month + 1)


def plain_end(token, now, longest):
    """As long as the token was to live, also if that was a month, or as long as the policy allows."""
    end = month_after(now) if token.ends == month_after(token.created) else now + token.lifetime
    return min(end, now + longest)


def plain_rotation(family, step, now, longest):
    """The status or the codes that the answer may have. Changes the family as the documentation says."""
    token = family[max(0, len(family) - 1 - step.older)]
    if token.is_replaced:
        for member in family:
            member.is_ended = True
        return {"token_reused"}
    if not token.is_live(now):
        return {"revoked", "expired"}
    if token.lifetime > longest:
        return {"blocked_by_policy"}
    if step.overlap_hours > MOST_OVERLAP:
        return {"invalid_request"}
    for member in family:
        member.is_ended = member.is_ended or member is not token
    family.append(Member(now, plain_end(token, now, longest)))
    token.is_replaced, token.is_ended = True, step.overlap_hours == 0
    token.ends = min(token.ends, now + step.overlap_hours * HOUR) if step.overlap_hours else token.ends
    return {"ok"}


# A month is longer in March than the policy allows. Then someone uses a copy.
INTO_MARCH = [Step(wait=7 * DAY, longest_days=28, older=0, overlap_hours=24)] * 4
COPY = Step(wait=SECOND, longest_days=None, older=1, overlap_hours=0)


@example(28 * DAY, [*INTO_MARCH, COPY])
@given(st.sampled_from([DAY, 20 * DAY, 28 * DAY]), st.lists(STEPS, min_size=3, max_size=7))
@some(EXAMPLES // 2)
def test_rotations_of_a_family_agree_with_the_documented_rules(db, lifetime, steps):
    with transaction.atomic(), time_machine.travel(FEBRUARY, tick=False) as clock:
        organization = OrganizationFactory(max_token_lifetime_days=366, max_replacement_overlap_hours=MOST_OVERLAP)
        first = TokenFactory(
            owner=UserFactory(organization=organization),
            scope="pipeline-readonly tokens:rotate",
            networks="192.0.2.0/24",
            expires_at=FEBRUARY + lifetime,
        )
        family, ids, headers = [Member(FEBRUARY, FEBRUARY + lifetime)], [first.pk], [bearer(first)]
        for step in steps:
            clock.shift(step.wait)
            if step.longest_days:
                Organization.objects.filter(pk=organization.pk).update(max_token_lifetime_days=step.longest_days)
            organization.refresh_from_db()
            now, longest = now_in_seconds(), timedelta(days=organization.max_token_lifetime_days)
            sender = headers[max(0, len(headers) - 1 - step.older)]
            body = {"overlap_hours": step.overlap_hours}
            answer = APIClient().post(ROTATE, body, format="json", headers=sender, REMOTE_ADDR="192.0.2.1")
            expected = plain_rotation(family, step, now, longest)

            assert answer.json().get("code", "ok") in expected
            if answer.status_code == 201:
                ids.append(uuid.UUID(answer.json()["id"]))
                headers.append({"Authorization": f"Bearer {answer.json()['token']}"})
            by_id = Token.objects.filter(organization=organization).in_bulk()
            stored = [by_id.pop(pk) for pk in ids]
            assert by_id == {}
            assert [(token.created_at, not token.has_ended and token.expires_at) for token in stored] == [
                (member.created, member.is_live(now) and member.ends) for member in family
            ]
            assert {(token.scope, token.networks, token.owner_id) for token in stored} == {
                (first.scope, first.networks, first.owner_id)
            }
            assert answer.status_code != 201 or stored[-1].lifetime <= longest
            assert sum(not token.has_ended for token in stored) <= 2
        transaction.set_rollback(True)
