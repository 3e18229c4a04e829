"""300 people in all roles and states, 200 groups of them, and mails to them that were not delivered."""

import random
from collections.abc import Sequence
from datetime import timedelta

from django.utils import timezone

from accounts.mails import invitation_mail
from accounts.models import Group, Organization, User
from accounts.roles import SiteRole
from core.models import OutgoingMail
from opsera_portal.demo.many import names

PEOPLE, GROUPS = 300, 200
# Of ten people, one is invited and one deactivated.
INVITED, DEACTIVATED = 3, 7
MEMBERS_OF_LARGEST_GROUP = 240
LONG_NAME = names.filled("Maximiliane Wolfeschlegelsteinhausenbergerdorff ", 100)
# The longest address that fits into the database: 64 characters before the @, and 254 in all.
LONG_EMAIL = f"{'maximiliane.' * 5}wolf@{'wolfeschlegelsteinhausenbergerdorff.' * 4}{'x' * 37}.example"

ANSWERS = (
    "550 5.1.1 The mailbox does not exist.",
    "451 4.7.1 Greylisting in action, please come back later.",
    "The mail server cannot be reached: [Errno 111] Connection refused",
    names.filled("554 5.7.1 Message rejected by policy: see https://mail.example/rejected?id=", 300),
)


def add_people(organization: Organization, password: str) -> list[User]:
    """The first one has the longest name and address, and can sign in with this password."""
    first = User.objects.create_user(
        LONG_EMAIL, password, name=LONG_NAME, site_role=SiteRole.USER, organization=organization
    )
    rng, now = random.Random("people"), timezone.now()
    people = []
    for number, name in enumerate(names.of_people(PEOPLE - 1), start=1):
        state = number % 10
        joined_at = None if state == INVITED else now - timedelta(days=rng.randint(10, 900), minutes=number)
        person = User(
            email=f"person-{number}@many.example",
            name=name,
            site_role=SiteRole.values[number % len(SiteRole.values)],
            organization=organization,
            is_active=state != DEACTIVATED,
            joined_at=joined_at,
            last_login=joined_at and now - timedelta(minutes=rng.randint(1, 14_000)),
        )
        person.set_unusable_password()
        people.append(person)
    return [first, *User.objects.bulk_create(people, batch_size=100)]


def add_groups(organization: Organization, people: Sequence[User]) -> list[Group]:
    """One has almost everybody, one nobody, the others a few people. The first person is in many of them."""
    taken = Group.objects.filter(organization=organization).values_list("name", flat=True)
    ordinary = (f"Team {number:03}" for number in range(1, GROUPS - len(names.GROUPS) + 1))
    wanted = names.unused([*names.GROUPS, *ordinary], taken)
    groups = Group.objects.bulk_create([Group(organization=organization, name=name) for name in wanted])
    rng = random.Random("groups")
    of_groups = [
        people[:MEMBERS_OF_LARGEST_GROUP],
        people[:60],
        *(rng.sample(people, 12) for _ in names.GROUPS[3:]),
        [],
    ]
    of_groups += [
        list({people[0]} if number % 5 == 0 else set()) + rng.sample(people[1:], rng.randint(0, 9))
        for number in range(GROUPS - len(of_groups))
    ]
    memberships = Group.members.through
    memberships.objects.bulk_create(
        [
            memberships(group_id=group.pk, user_id=member.pk)
            for group, members in zip(groups, of_groups, strict=True)
            for member in members
        ],
        batch_size=1000,
    )
    return groups


def add_undelivered_mails(people: Sequence[User]) -> list[OutgoingMail]:
    """Invitations that the server refused for good, and others that wait.

    A worker never sends them: when their next attempt is due, they have expired, and it gives them up.
    """
    invited = [person for person in people if person.is_invited]
    now = timezone.now()
    mails = invitation_mail.put_each((person.pk, [str(person.pk)]) for person in invited)
    for number, (mail, person) in enumerate(zip(mails, invited, strict=True)):
        mail.created_at = now - timedelta(hours=number, minutes=5)
        mail.email = person.email
        mail.last_error = ANSWERS[number % len(ANSWERS)]
        mail.attempts = number % 7 + 1
        mail.next_attempt_at = mail.expires_at
        if number % 3 == 0:
            mail.state, mail.ended_at = OutgoingMail.State.FAILED, now
            mail.refusals = 3
    fields = ["created_at", "email", "last_error", "attempts", "next_attempt_at", "state", "ended_at", "refusals"]
    OutgoingMail.objects.bulk_update(mails, fields)
    return mails
