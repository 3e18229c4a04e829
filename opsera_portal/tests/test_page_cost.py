"""What a row of the largest tables costs, counted in a way that does not depend on the machine: calls of Python
functions. Most of the time of such a page goes into its rows.
"""

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import Group, User
from accounts.tests.factories import GroupFactory, UserFactory
from auditlog.models import Activity, TokenUse
from auditlog.tests.entries import action, use
from opsera_portal.tests.test_token_path_cost import calls_of
from pipelines.models import Pipeline
from pipelines.tests.factories import PipelineFactory
from tokens.models import Token
from tokens.tests.factories import TokenFactory

pytestmark = [pytest.mark.django_db, pytest.mark.http]

FEW, MANY = 5, 25


def people(owner, number):
    group = GroupFactory(organization=owner.organization)
    found = User.objects.bulk_create(UserFactory.build_batch(number, organization=owner.organization))
    Group.members.through.objects.bulk_create(Group.members.through(group=group, user=person) for person in found)


def tokens(owner, number):
    now = timezone.now()
    Token.objects.bulk_create(
        TokenFactory.build_batch(number, owner=owner, last_used_at=now, expires_at=now + timedelta(days=3))
    )


def pipelines(owner, number):
    Pipeline.objects.bulk_create(PipelineFactory.build_batch(number, owner=owner, tags=["nightly"]))


def uses(owner, number):
    fields = {"owner_id": owner.pk, "owner_email": owner.email, "ip": "192.0.2.1"}
    TokenUse.objects.bulk_create(use(owner.organization, **fields) for _ in range(number))


def actions(owner, number):
    fields = {"actor_id": owner.pk, "actor_email": owner.email, "ip": "192.0.2.1"}
    Activity.objects.bulk_create(action(owner.organization, **fields) for _ in range(number))


# A tenth more than measured, for a row with all of its columns.
@pytest.mark.parametrize(
    ("path", "add", "most"),
    [
        ("/organization/users/", people, 390),
        ("/organization/tokens/", tokens, 680),
        ("/profile/tokens/", tokens, 655),
        ("/organization/access-review/", tokens, 535),
        ("/organization/tokens/expire-matching/", tokens, 430),
        ("/pipelines/", pipelines, 300),
        ("/organization/authentication-log/", uses, 405),
        ("/organization/activity-log/", actions, 335),
    ],
)
def test_row_of_a_table_calls_few_functions(client, administrator, path, add, most):
    client.force_login(administrator)

    def page():
        assert client.get(path).status_code == 200

    add(administrator, FEW)
    page()
    before = calls_of(page)
    add(administrator, MANY - FEW)
    calls = (calls_of(page) - before) / (MANY - FEW)

    # Far less would mean that the bound no longer watches anything.
    assert most * 0.75 < calls <= most
