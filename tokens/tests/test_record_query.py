"""The hand-written statement returns what the ORM returns."""

import uuid
from datetime import datetime, timedelta

import pytest
from django.db.models.signals import post_init, pre_init
from django.utils import timezone

from accounts.models import Organization, User
from tokens.models import Token
from tokens.record_query import find_token
from tokens.tests.factories import TokenFactory

pytestmark = [pytest.mark.django_db, pytest.mark.each_database]


def columns(row, *, without=()):
    return {
        field.attname: getattr(row, field.attname)
        for field in row._meta.concrete_fields
        if field.attname not in without
    }


@pytest.mark.parametrize("is_full", [True, False], ids=["every column has a value", "what may be null is null"])
def test_query_finds_what_the_orm_finds(owner, administrator, is_full, django_assert_num_queries):
    now = timezone.now()
    filled = {
        "revealed_at": now,
        "revoked_at": now + timedelta(microseconds=1),
        "revoked_by": administrator,
        "revoke_reason": "lost",
        "last_used_at": now,
        "last_used_ip": "2001:db8::1",
        "signing_key_id": "key",
    }
    made = TokenFactory(owner=owner, name="déjà vu", **(filled if is_full else {"revealed_at": None}))
    expected = Token.objects.select_related("owner", "organization").get(pk=made.pk)

    with django_assert_num_queries(1):
        # While queries are counted, Django's cursor runs the statement.
        watched = find_token(token_id=made.pk, owner_id=owner.pk)
        assert watched == expected
    assert watched.state == expected.state
    by_driver = find_token(token_id=made.pk, owner_id=owner.pk)
    for found in (watched, by_driver):
        assert columns(found) == columns(expected)
        assert columns(found.owner, without={"password", "last_login"}) == columns(
            expected.owner, without={"password", "last_login"}
        )
        assert columns(found.organization) == columns(expected.organization)
        assert not found._state.adding
        assert {moment.utcoffset() for moment in columns(found).values() if isinstance(moment, datetime)} == {
            timedelta()
        }


@pytest.mark.parametrize("model", [Token, User, Organization])
def test_skipped_signals_have_no_receivers(model):
    assert not pre_init.has_listeners(model)
    assert not post_init.has_listeners(model)


def test_two_requests_never_share_an_instance(owner):
    made = TokenFactory(owner=owner)

    first, second = (find_token(token_id=made.pk, owner_id=owner.pk) for _ in range(2))
    first.name, first.owner.name, first.organization.name = "a", "b", "c"

    assert (second.name, second.owner.name, second.organization.name) == (
        made.name,
        owner.name,
        owner.organization.name,
    )


def test_password_is_not_read(owner, django_assert_num_queries):
    made = TokenFactory(owner=owner)
    found = find_token(token_id=made.pk, owner_id=owner.pk)

    assert "password" in found.owner.get_deferred_fields()
    with django_assert_num_queries(1):
        assert found.owner.password == owner.password


def test_unknown_id_and_token_of_another_owner_are_not_found(owner, member):
    made = TokenFactory(owner=owner)

    assert find_token(token_id=uuid.uuid4(), owner_id=owner.pk) is None
    assert find_token(token_id=made.pk, owner_id=member.pk) is None
