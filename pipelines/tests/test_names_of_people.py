"""Pages show people by name and address, but the name only to people who can see the organization's people."""

from html import unescape

import pytest
from django.utils.html import strip_tags

from accounts.tests.factories import UserFactory
from pipelines.tests.factories import AccessRuleFactory, PipelineFactory, RunFactory


@pytest.fixture
def nora(organization):
    return UserFactory(organization=organization, name="Nora Fresh", email="nora@acme.example")


@pytest.fixture
def pipeline(nora, owner):
    """Everything about it is Nora's, and the owner of the tests manages it."""
    pipeline = PipelineFactory(owner=nora, name="Deploy")
    pipeline.notified_people.add(nora)
    AccessRuleFactory(pipeline=pipeline, user=nora, role="user")
    AccessRuleFactory(pipeline=pipeline, user=owner, role="manager")
    RunFactory(pipeline=pipeline, number=1, started_by=nora, started_by_email=nora.email)
    return pipeline


def words(client, path):
    answer = client.get(path)
    assert answer.status_code == 200
    return " ".join(unescape(strip_tags(answer.text)).split())


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/pipelines/", ["Nora Fresh nora@acme.example"]),
        (
            "/pipelines/{pk}/",
            ["Owner Nora Fresh nora@acme.example", "Nora Fresh nora@acme.example: User", "people Nora Fresh nora@"],
        ),
        ("/pipelines/{pk}/runs/1/", ["by Nora Fresh (nora@acme.example)"]),
    ],
)
def test_names_are_for_people_who_can_see_the_organization(client, administrator, owner, pipeline, path, shown):
    path = path.format(pk=pipeline.pk)

    client.force_login(administrator)
    page = words(client, path)
    client.force_login(owner)
    for_owner = words(client, path)

    assert [text for text in shown if text not in page] == []
    assert "nora@acme.example" in for_owner
    assert "Nora Fresh" not in for_owner


def test_run_of_a_deleted_person_has_the_address(client, administrator, pipeline):
    pipeline.runs.update(started_by=None)
    client.force_login(administrator)

    assert "by nora@acme.example" in words(client, f"/pipelines/{pipeline.pk}/runs/1/")
