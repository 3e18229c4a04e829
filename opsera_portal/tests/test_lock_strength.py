"""A row that is deleted or whose unique columns change is locked FOR UPDATE from the beginning.

PostgreSQL takes this lock for the change itself. If the transaction took a weaker lock before, it
waits for transactions that refer to the row, and they may wait for it. That is a deadlock.
"""

import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.services import delete_group, save_policy
from accounts.tests.factories import GroupFactory, OperatorFactory
from pipelines.services import delete_pipeline
from pipelines.tests.factories import PipelineFactory
from tokens.services import revoke_own
from tokens.tests.factories import TokenFactory

pytestmark = [
    pytest.mark.each_database,
    pytest.mark.django_db,
    pytest.mark.skipif(connection.vendor != "postgresql", reason="only PostgreSQL locks rows"),
]


def rename_organization(administrator):
    changes = {"name": "Another name"}
    save_policy(actor=OperatorFactory(), organization=administrator.organization, changes=changes)


def delete_a_group(administrator):
    delete_group(actor=administrator, group=GroupFactory(organization=administrator.organization))


def delete_a_pipeline(administrator):
    delete_pipeline(actor=administrator, pipeline=PipelineFactory(owner=administrator))


def expire_a_token(administrator):
    TokenFactory(owner=administrator)
    revoke_own(actor=administrator, reason="")


@pytest.mark.parametrize(
    ("change", "table"),
    [
        (rename_organization, "accounts_organization"),
        (delete_a_group, "accounts_group"),
        (delete_a_pipeline, "pipelines_pipeline"),
        (expire_a_token, "tokens_token"),
    ],
)
def test_first_lock_of_the_row_is_for_update(administrator, change, table):
    with CaptureQueriesContext(connection) as captured:
        change(administrator)

    locks = [
        match[1] for query in captured if (match := re.search(rf'FOR ((?:NO KEY )?UPDATE) OF "{table}"', query["sql"]))
    ]
    assert locks[0] == "UPDATE"
