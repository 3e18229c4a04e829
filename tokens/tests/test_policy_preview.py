"""The effect of a policy change, before and when it is saved."""

import threading
from datetime import timedelta

import pytest
from allauth.mfa.models import Authenticator
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from accounts.models import Organization
from accounts.roles import SiteRole
from accounts.services import NotAllowed, PolicyChangedMeanwhile, TwoFactorFirst
from accounts.tests.factories import UserFactory
from auditlog.models import Activity
from tokens import services
from tokens.models import Token
from tokens.policy.preview import EffectChanged, OwnerEffect, change_policy, review_policy
from tokens.tests.factories import TokenFactory, now_in_seconds

DAY = timedelta(days=1)


@pytest.fixture
def change(administrator):
    def change(version=None, shown=None, actor=None, **changes):
        return change_policy(actor=actor or administrator, changes=changes, version=version, shown=shown)

    return change


@pytest.fixture
def effect(administrator):
    return lambda **changes: review_policy(actor=administrator, changes=changes).effect


def lived(owner, *, days, **fields):
    """A live token that was created ``days`` days ago."""
    created_at = now_in_seconds() - days * DAY
    return TokenFactory(owner=owner, created_at=created_at, expires_at=created_at + 90 * DAY, **fields)


# The effect


@pytest.mark.each_database
def test_newly_blocked_tokens_are_counted_by_rule_and_owner(owner, member, effect):
    lived(owner, days=1)
    lived(owner, days=1, scope="pipeline")
    TokenFactory(owner=member, scope="api-readonly pipeline")
    TokenFactory(owner=member)

    found = effect(max_token_lifetime_days=30, allowed_scopes="api api-readonly")

    assert (found.blocked_tokens, found.blocked_people) == (3, 2)
    assert {rule: count for rule, count in found.by_rule.items() if count} == {"lifetime": 2, "scope": 2}
    assert found.owners == [OwnerEffect(owner.email, owner.name, 2), OwnerEffect(member.email, member.name, 1)]


@pytest.mark.each_database
def test_only_working_tokens_are_counted(owner, member, effect):
    TokenFactory(owner=owner, revoked_at=now_in_seconds())
    TokenFactory(owner=owner, created_at=now_in_seconds() - 40 * DAY)
    member.is_active = False
    member.save()
    TokenFactory(owner=member)

    assert effect(max_token_lifetime_days=1).blocked_tokens == 0


@pytest.mark.each_database
def test_already_blocked_tokens_are_not_counted(owner, organization, effect):
    lived(owner, days=1)
    TokenFactory(owner=owner)
    Organization.objects.update(max_token_lifetime_days=60)

    found = effect(max_token_lifetime_days=7)

    assert (found.blocked_tokens, found.by_rule["lifetime"]) == (1, 1)


def test_tokens_of_another_organization_are_not_counted(stranger, effect):
    TokenFactory(owner=stranger)

    assert effect(max_token_lifetime_days=1).blocked_tokens == 0


@pytest.mark.each_database
def test_tokens_that_will_work_again_are_counted(owner, effect):
    lived(owner, days=1)
    Organization.objects.update(max_token_lifetime_days=30)

    found = effect(max_token_lifetime_days=92)

    assert (found.unblocked_tokens, found.blocked_tokens) == (1, 0)


@pytest.mark.each_database
def test_tokens_that_expire_soon_as_unused_are_counted_separately(owner, effect):
    for days in (31, 30, 29, 24, 22):
        lived(owner, days=days)
    lived(owner, days=60, last_used_at=now_in_seconds() - DAY)

    found = effect(unused_tokens_end_after_days=30)

    # Two are over the limit of 30 days now, two more within 7 days.
    assert (found.by_rule["unused"], found.unused_soon) == (2, 2)


@pytest.mark.parametrize(
    ("changes", "looks"),
    [
        ({"max_token_lifetime_days": 30, "allowed_scopes": "api", "unused_tokens_end_after_days": 7}, 1),
        ({"max_live_tokens": 5}, 1),
        ({"log_retention_days": 100}, 0),
    ],
    ids=lambda value: str(value),
)
@pytest.mark.each_database
def test_tokens_are_read_at_most_once(owner, effect, changes, looks):
    lived(owner, days=40)

    with CaptureQueriesContext(connection) as captured:
        effect(**changes)

    assert sum('FROM "tokens_token"' in query["sql"] for query in captured) == looks


@pytest.mark.each_database
def test_people_who_must_set_up_two_factor_are_counted(owner, member, effect):
    Authenticator.objects.create(user=member, type=Authenticator.Type.TOTP, data={})
    UserFactory(organization=owner.organization, is_active=False)
    TokenFactory(owner=owner)
    TokenFactory(owner=member)

    found = effect(two_factor_roles="user")

    assert found.people_to_set_up_two_factor == 1
    assert (found.blocked_tokens, found.by_rule["two_factor"]) == (1, 1)


def test_people_who_already_had_to_set_up_two_factor_are_not_counted(owner, effect):
    Organization.objects.update(two_factor_roles="user")

    assert effect(two_factor_roles="guest user").people_to_set_up_two_factor == 0


@pytest.mark.each_database
def test_people_over_the_new_limit_are_counted_and_keep_their_tokens(owner, member, change, effect):
    for _ in range(3):
        TokenFactory(owner=owner)
    TokenFactory(owner=member)
    found = effect(max_live_tokens=2)

    change(max_live_tokens=2)

    assert (found.people_above_max_live_tokens, found.blocked_tokens) == (1, 0)
    assert Token.objects.active().count() == 4


def test_people_who_were_already_over_the_limit_are_not_counted(owner, member, effect):
    TokenFactory.create_batch(4, owner=owner)
    TokenFactory.create_batch(3, owner=member)
    Organization.objects.update(max_live_tokens=3)

    assert effect(max_live_tokens=2).people_above_max_live_tokens == 1


def test_review_changes_nothing(owner, effect):
    before = Organization.objects.get(pk=owner.organization.pk).policy

    effect(max_token_lifetime_days=1)

    assert Organization.objects.get(pk=owner.organization.pk).policy == before
    assert not Activity.objects.exists()


# Saving it


def test_change_has_the_effect_that_the_review_showed(owner, change, effect):
    token = lived(owner, days=1)
    said = effect(max_token_lifetime_days=30)

    done = change(max_token_lifetime_days=30, shown=said.fingerprint).effect

    assert done == said
    assert not Token.objects.get(pk=token.pk).fits_policy


def test_log_entry_has_old_and_new_value_of_each_changed_field(organization, change):
    change(max_token_lifetime_days=30, allowed_scopes="pipeline api", max_live_tokens=50)

    entry = Activity.objects.get()
    assert (entry.action, entry.target_id) == ("policy.changed", str(organization.pk))
    every = ["api", "api-readonly", "pipeline", "pipeline-readonly", "security-logs", "tokens:rotate"]
    assert entry.details == {
        "max_token_lifetime_days": {"from": 92, "to": 30},
        "allowed_scopes": {"from": every, "to": ["api", "pipeline"]},
    }


def test_change_without_a_difference_writes_no_log_entry(change):
    change(max_token_lifetime_days=92)

    assert not Activity.objects.exists()


@pytest.mark.parametrize("role", [role for role in SiteRole if role != SiteRole.ADMINISTRATOR])
def test_only_administrators_can_change_the_policy(organization, change, role):
    with pytest.raises(NotAllowed):
        change(actor=UserFactory(organization=organization, site_role=role), max_live_tokens=1)


def test_person_demoted_meanwhile_cannot_change_the_policy(administrator, change):
    type(administrator).objects.filter(pk=administrator.pk).update(site_role=SiteRole.USER)

    with pytest.raises(NotAllowed):
        change(max_live_tokens=1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_token_lifetime_days", 0),
        ("max_token_lifetime_days", 367),
        ("allowed_scopes", ""),
        ("allowed_scopes", "api everything"),
        ("max_live_tokens", 0),
        ("max_live_tokens", 1001),
        ("unused_tokens_end_after_days", 0),
        ("unused_tokens_end_after_days", 367),
        ("max_replacement_overlap_hours", -1),
        ("max_replacement_overlap_hours", 169),
        ("two_factor_roles", "user king"),
        ("log_retention_days", 29),
        ("log_retention_days", 3661),
    ],
)
def test_invalid_value_is_an_error_of_its_field_and_nothing_is_saved(organization, change, field, value):
    with pytest.raises(ValidationError) as caught:
        change(**{"max_live_tokens": 7} | {field: value})

    assert list(caught.value.message_dict) == [field]
    assert Organization.objects.get(pk=organization.pk).policy == organization.policy
    assert not Activity.objects.exists()


# Concurrent changes


@pytest.mark.each_database
def test_change_by_somebody_else_is_not_overwritten(organization, change):
    opened = organization.policy_version
    change(max_live_tokens=7, version=opened)

    with pytest.raises(PolicyChangedMeanwhile):
        change(max_token_lifetime_days=30, version=opened)

    saved = Organization.objects.get(pk=organization.pk)
    assert (saved.max_live_tokens, saved.max_token_lifetime_days) == (7, 92)


@pytest.mark.each_database
def test_simultaneous_changes_of_different_fields_are_both_kept(organization, change):
    change(max_live_tokens=7)
    change(max_token_lifetime_days=30)

    saved = Organization.objects.get(pk=organization.pk)
    assert (saved.max_live_tokens, saved.max_token_lifetime_days) == (7, 30)


@pytest.mark.each_database
def test_change_is_refused_if_it_would_block_more_tokens_than_shown(owner, organization, change, effect):
    lived(owner, days=1)
    shown = effect(max_token_lifetime_days=30).fingerprint
    lived(owner, days=1)

    with pytest.raises(EffectChanged):
        change(max_token_lifetime_days=30, shown=shown)

    assert Organization.objects.get(pk=organization.pk).max_token_lifetime_days == 92
    assert not Activity.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_one_of_two_changes_of_the_same_version_is_saved(organization, administrator):
    opened = organization.policy_version
    second = UserFactory(organization=organization, site_role=SiteRole.ADMINISTRATOR)
    barrier = threading.Barrier(2)
    results = []

    def save(actor, days):
        try:
            barrier.wait()
            change_policy(actor=actor, changes={"max_token_lifetime_days": days}, version=opened)
            results.append("saved")
        except PolicyChangedMeanwhile:
            results.append("told")
        finally:
            connection.close()

    threads = [threading.Thread(target=save, args=case) for case in ((administrator, 30), (second, 60))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(results) == ["saved", "told"]
    assert Activity.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_no_token_is_created_while_the_policy_changes(administrator, owner):
    """Creating a token waits for the change, so the review's numbers stay correct."""
    issued = []

    def issue():
        try:
            services.issue_token(actor=owner, name="late", chosen=[], expires_at=now_in_seconds() + 60 * DAY)
        except ValidationError as error:
            issued.append(str(error))
        finally:
            connection.close()

    thread = threading.Thread(target=issue)
    with transaction.atomic():
        change_policy(actor=administrator, changes={"max_token_lifetime_days": 30})
        thread.start()
        thread.join(0.1)
        assert issued == []
    thread.join()

    assert "30 days at most" in issued[0]


# People can't lock themselves out


def test_two_factor_is_needed_to_require_it_of_ones_own_role(organization, change):
    with pytest.raises(TwoFactorFirst):
        change(two_factor_roles="administrator")

    assert Organization.objects.get(pk=organization.pk).two_factor_roles == ""


def test_person_with_two_factor_can_require_it_of_their_own_role(administrator, organization, change):
    Authenticator.objects.create(user=administrator, type=Authenticator.Type.TOTP, data={})

    change(two_factor_roles="administrator")

    assert Organization.objects.get(pk=organization.pk).requires_two_factor_of(SiteRole.ADMINISTRATOR)


def test_person_without_two_factor_can_require_it_of_other_roles(organization, change):
    change(two_factor_roles="user")

    assert Organization.objects.get(pk=organization.pk).requires_two_factor_of(SiteRole.USER)


def test_requirement_that_the_actor_does_not_meet_cannot_be_removed(organization, change):
    Organization.objects.update(two_factor_roles="administrator")

    with pytest.raises(TwoFactorFirst):
        change(two_factor_roles="")
