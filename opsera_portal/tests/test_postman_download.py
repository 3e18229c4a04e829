"""Signed-in people download the committed Postman collection."""

from pathlib import Path

import pytest
from django.conf import settings

from accounts.roles import SiteRole
from accounts.tests.factories import UserFactory

COLLECTION = Path(settings.BASE_DIR) / "docs" / "postman" / "opsera-portal.postman_collection.json"


@pytest.mark.parametrize("role", SiteRole)
def test_download_is_the_committed_collection(client, organization, role):
    client.force_login(UserFactory(organization=organization, site_role=role))

    answer = client.get("/api/postman/")

    assert answer.content == COLLECTION.read_bytes()
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{COLLECTION.name}"'


def test_signed_out_visitor_is_sent_to_sign_in(client, db):
    answer = client.get("/api/postman/")

    assert (answer.status_code, answer.url) == (302, "/login/?next=/api/postman/")


def test_collection_cannot_be_posted(client, owner):
    client.force_login(owner)

    assert client.post("/api/postman/").status_code == 405
