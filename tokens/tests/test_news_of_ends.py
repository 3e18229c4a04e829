"""What owners are told when others end, replace or create their tokens, or change their role: where they chose."""

import pytest
from django.db import transaction

from accounts import services
from accounts.models import Notification
from accounts.notifications.texts import sentence_of
from accounts.roles import SiteRole
from opsera_portal.tests.mails import delivered
from tokens.leaks.reporting import report_tokens
from tokens.mails import tell_created
from tokens.replacement import replace_token
from tokens.services import revoke_token
from tokens.tests.factories import TokenFactory

pytestmark = pytest.mark.django_db


def told(person):
    return [(row.kind, sentence_of(row)) for row in Notification.objects.of(person).order_by("id")]


def choose(person, **channels):
    services.set_preferences(actor=person, notifications=channels)


def test_each_kind_is_told_in_the_portal_and_mailed_as_chosen(owner, administrator):
    early, own, leaked, replaced, made = (
        TokenFactory(owner=owner, name=name) for name in ("early", "own", "leaked", "replaced", "made")
    )
    choose(owner, expired_early="portal", leaked="portal_and_digest")

    revoke_token(actor=administrator, token=early, reason="Found in a log")
    revoke_token(actor=owner, token=own)
    report_tokens(token_ids=[leaked.pk], url="https://example.com/paste")
    new = replace_token(actor=owner, token=replaced)
    with transaction.atomic():
        tell_created(made, actor=owner)
        tell_created(made, actor=administrator)
    services.change_site_role(actor=administrator, user=owner, site_role=SiteRole.POWER_USER)

    by = f"{administrator.name} ({administrator.email})"
    assert told(owner) == [
        ("expired_early", f"{by} expired “early” early."),
        ("leaked", "“leaked” was reported as leaked and has been expired."),
        ("replaced", "“replaced” was replaced by a new token."),
        ("created_for_you", f"{by} created the token “made” for you."),
        ("role_changed", f"{by} changed your site role from User to Power User."),
    ]
    rows = {row.kind: row for row in Notification.objects.of(owner)}
    assert rows["expired_early"].details == {"actor": by, "reason": "Found in a log"}
    assert rows["replaced"].details == {"replaced_by": str(new.pk)}
    assert [kind for kind, row in rows.items() if row.digest_at] == ["leaked"]
    assert [message.subject for message in delivered()] == [
        f"{by} created the token “made” for you.",
        f"{by} changed your site role from User to Power User.",
    ]


def test_people_are_not_told_what_they_did_themselves(administrator, owner):
    another = services.change_site_role(actor=administrator, user=owner, site_role=SiteRole.ADMINISTRATOR)
    Notification.objects.all().delete()

    services.change_site_role(actor=another, user=another, site_role=SiteRole.USER)
    revoke_token(actor=owner, token=TokenFactory(owner=owner))

    assert not Notification.objects.exists()
