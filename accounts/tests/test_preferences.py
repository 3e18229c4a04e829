"""A person's own preferences: mails about their expiring tokens."""

import pytest

from accounts import services
from auditlog.models import Activity
from tokens.tests.factories import TokenFactory, bearer

PREFERENCES = "/api/v1/me/preferences"


def wants_mails(person):
    person.refresh_from_db()
    return person.wants_expiry_mails


def test_mails_are_on_by_default_and_can_be_switched_off(api, owner):
    api.force_login(owner)
    assert api.get(PREFERENCES).json() == {"wants_expiry_mails": True}

    answer = api.patch(PREFERENCES, {"wants_expiry_mails": False})

    assert answer.json() == api.get(PREFERENCES).json() == {"wants_expiry_mails": False}
    assert not wants_mails(owner)


def test_person_changes_only_their_own_preference(api, owner, member):
    api.force_login(owner)
    api.patch(PREFERENCES, {"wants_expiry_mails": False})

    assert wants_mails(member)


def test_token_can_read_but_not_change_preferences(api, owner):
    headers = bearer(TokenFactory(owner=owner))

    assert api.get(PREFERENCES, headers=headers).status_code == 200
    assert api.patch(PREFERENCES, {"wants_expiry_mails": False}, headers=headers).status_code == 403
    assert wants_mails(owner)


@pytest.mark.parametrize(
    "body", [{}, {"wants_expiry_mails": None}, {"wants_expiry_mails": "no"}, {"wants_expiry_mails": 0}, {"x": True}, []]
)
def test_values_other_than_true_and_false_are_refused(api, owner, body):
    api.force_login(owner)

    assert api.patch(PREFERENCES, body).status_code == 400
    assert wants_mails(owner)


def test_changed_preference_is_logged_once(owner):
    for _ in range(2):
        services.set_expiry_mails(actor=owner, wanted=False)

    entry = Activity.objects.get()
    assert (entry.actor, entry.target_id, entry.action) == (owner, str(owner.pk), "user.changed")
    assert entry.details == {"wants_expiry_mails": False}
