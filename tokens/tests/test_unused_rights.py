"""What many tokens have and did not use: the pages, the file and the API."""

import csv
import io

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.roles import SiteRole
from accounts.tests.factories import UserFactory
from pipelines.models import TokenPipeline
from pipelines.tests.factories import PipelineFactory
from tokens import unused_rights as module
from tokens.models import Token
from tokens.narrowing import narrowing
from tokens.tests.factories import TokenFactory, bearer
from tokens.tests.test_narrowing import RUN, STATUS, act, call

PAGE, MINE = "/organization/unused-scopes/", "/profile/tokens/unused-scopes/"
ROUTE, MY_ROUTE = "/api/v1/organization/unused-scopes", "/api/v1/tokens/unused-scopes"


@pytest.fixture
def auditor(organization):
    return UserFactory(organization=organization, site_role=SiteRole.AUDITOR)


def rights(reader, *, days=90):
    tokens = Token.objects.order_by("name").for_token_table().with_pipelines(seen_by=reader)
    return {found.token.name: found for found in module.unused_rights(list(tokens), days=days)}


def ids(scopes):
    return [scope.id for scope in scopes]


@pytest.mark.each_database
def test_each_token_is_compared_with_what_it_did_itself(owner, auditor):
    used, unused = PipelineFactory(owner=owner), PipelineFactory(owner=owner)
    wide = TokenFactory(owner=owner, name="wide", scope="api security-logs")
    call(wide, "POST", RUN, days_ago=40)
    call(wide, "POST", STATUS, days_ago=2)
    call(wide, "GET", "/api/v1/users", status=403, code="forbidden")
    exact = TokenFactory(owner=owner, name="exact", scope="pipeline")
    call(exact, "POST", RUN)
    TokenFactory(owner=owner, name="idle", scope="api")
    limited = TokenFactory(owner=owner, name="limited", scope="pipeline", is_limited=True)
    for pipeline in (used, unused):
        TokenPipeline.objects.create(token=limited, pipeline=pipeline)
    call(limited, "POST", RUN)
    act(limited, used)
    act(exact, unused)

    found, lately = rights(auditor), rights(auditor, days=30)

    assert {name: ids(each.enough) for name, each in found.items()} == {
        "wide": ["pipeline"],
        "exact": ["pipeline"],
        "idle": [],
        "limited": ["pipeline"],
    }
    assert {name: ids(each.scopes) for name, each in found.items()} == {
        "wide": ["api", "security-logs"],
        "exact": [],
        "idle": ["api"],
        "limited": [],
    }
    assert ids(lately["wide"].enough) == ["pipeline-readonly"]
    assert [each.id for each in found["limited"].pipelines] == [unused.pk]
    assert (found["limited"].is_narrower, found["exact"].is_narrower, found["exact"].pipelines) == (True, False, None)
    assert (found["limited"].knows_all_pipelines, found["wide"].knows_all_pipelines) == (True, False)
    # The same as on the page of one token.
    for name in ("wide", "exact", "limited"):
        assert found[name].enough == narrowing(found[name].token, days=90, reader=owner).scopes


def test_number_of_queries_and_of_entries_does_not_grow(owner, auditor, monkeypatch):
    monkeypatch.setattr(module, "MOST_ENTRIES", 3)

    def queries():
        with CaptureQueriesContext(connection) as captured:
            found = rights(auditor)
        return len(captured), found

    pipeline = PipelineFactory(owner=owner)
    for number in range(2):
        limited = TokenFactory(owner=owner, name=f"first {number}", is_limited=True)
        TokenPipeline.objects.create(token=limited, pipeline=pipeline)
    few, _ = queries()
    for number in range(20):
        limited = TokenFactory(owner=owner, name=f"more {number}", is_limited=True)
        TokenPipeline.objects.create(token=limited, pipeline=pipeline)
    # The older use is not among the newest that are read, also if those were refused.
    call(limited, "POST", RUN, days_ago=3)
    for _ in range(3):
        call(limited, "GET", "/api/v1/users", status=403, code="forbidden")
    many, found = queries()

    assert few == many
    assert [name for name, each in found.items() if not each.is_complete] == [limited.name]
    assert found[limited.name].operations_used == 0
    # Actions of other tokens of its owner can hide those of a limited one.
    other = TokenFactory(owner=owner, name="other")
    for _ in range(3):
        act(other, pipeline)
    _, found = queries()
    assert {name for name, each in found.items() if each.is_complete} == {other.name}


def test_pages_file_and_api_say_the_same_and_only_what_the_reader_sees(client, api, owner, auditor):
    hidden = PipelineFactory(owner=owner, name="Hidden one")
    mine = TokenFactory(owner=owner, name="mine", scope="api security-logs")
    call(mine, "GET", "/api/v1/pipelines")
    limited = TokenFactory(owner=owner, name="=limited", scope="pipeline", is_limited=True)
    TokenPipeline.objects.create(token=limited, pipeline=hidden)
    call(limited, "GET", "/api/v1/pipelines")
    ended = TokenFactory(owner=owner, name="ended", revoked_at=mine.created_at)
    TokenFactory(name="of a stranger")

    client.force_login(auditor)
    page = client.get(PAGE)
    assert all(each.name in page.text for each in (mine, limited))
    assert ended.name not in page.text.partition("<table")[2]
    assert "of a stranger" not in page.text
    # Only its owner is offered to narrow it.
    narrow = reverse("tokens:token_narrower", args=[mine.pk])
    assert narrow not in page.text
    lines = list(csv.DictReader(io.StringIO(b"".join(client.get(page.context["export_url"])).decode("utf-8-sig"))))
    body = client.get(ROUTE).json()
    assert [(line["name"], line["enough_scopes"], line["unused_scopes"]) for line in lines] == [
        ("'=limited", "pipeline-readonly", "pipeline"),
        ("mine", "pipeline-readonly", "api security-logs"),
    ]
    assert {row["id"]: (row["enough_scopes"], row["unused_pipelines"]) for row in body["data"]} == {
        str(mine.pk): (["pipeline-readonly"], None),
        str(limited.pk): (["pipeline-readonly"], []),
    }
    assert [row["name"] for row in client.get(ROUTE, {"owner": owner.email, "page_size": 1, "days": 30}).json()["data"]]
    assert client.get(ROUTE, {"days": "31"}).status_code == 400
    assert client.get(PAGE, {"days": "x"}).status_code == 200
    assert client.get(f"{PAGE}export/", {"days": "x"}).status_code == 400
    assert client.get(f"{PAGE}export/", {"is_limited": "false"}).status_code == 200

    client.force_login(owner)
    own = client.get(MINE, {"days": "30"})
    assert f"{narrow}?days=30" in own.text
    assert client.get(PAGE).status_code == 403
    assert {row["name"] for row in api.get(MY_ROUTE, headers=bearer(mine)).json()["data"]} == {"mine", "=limited"}
    assert api.get(ROUTE, headers=bearer(mine)).status_code == 403
