"""Error pages for failures of the portal itself."""

import pytest
from django.db import connection
from django.test import Client

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.each_database]


@pytest.fixture
def client():
    """A client that gets error pages, like a browser, instead of exceptions."""
    return Client(raise_request_exception=False)


def without_the_table(table):
    class Away:
        def __enter__(self):
            with connection.cursor() as cursor:
                cursor.execute(f"ALTER TABLE {table} RENAME TO {table}_away")

        def __exit__(self, *error):
            with connection.cursor() as cursor:
                cursor.execute(f"ALTER TABLE {table}_away RENAME TO {table}")

    return Away()


def test_error_page_works_without_the_database(client, owner):
    client.force_login(owner)
    with without_the_table("django_session"):
        answer = client.get("/profile/tokens/")

    assert answer.status_code in {500, 503}
    assert "<h1" in answer.content.decode()
    assert "Traceback" not in answer.content.decode()


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL calls a missing table another kind of error")
def test_pages_and_api_answer_503_if_the_database_is_unavailable(client, owner):
    client.force_login(owner)
    with without_the_table("tokens_token"):
        page, api = client.get("/profile/tokens/"), client.get("/api/v1/tokens")

    assert (page.status_code, api.status_code) == (503, 503)
    assert api.json()["code"] == "unavailable"
