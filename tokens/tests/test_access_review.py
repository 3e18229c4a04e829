"""The access review: who has which live tokens, with what they can do; as a page, a file and an API operation."""

import csv
import io
import re
import threading
from datetime import timedelta
from html import unescape

import pytest
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.serializers import ModelSerializer

from accounts.models import User
from accounts.roles import ROLES, Ability, SiteRole
from accounts.tests.factories import UserFactory
from auditlog import exports
from auditlog.models import Activity
from opsera_portal.tests.test_access import ROUTES, cells, send, things_of
from opsera_portal.tests.worlds import check_row
from pipelines.tests.factories import PipelineFactory, StepFactory
from tokens import access_review, tables
from tokens.allowed_operations import OperationCounter
from tokens.api.serializers import AccessReviewSerializer
from tokens.models import Token
from tokens.states import TokenState
from tokens.tests.factories import TokenFactory, bearer
from tokens.views.access_review import PEOPLE_ON_A_PAGE

PAGE = "/organization/access-review/"
EXPORT = "/organization/access-review/export/"
API = "/api/v1/organization/access-review"
pytestmark = pytest.mark.django_db


def ago(**span):
    return timezone.now().replace(microsecond=0) - timedelta(**span)


@pytest.fixture
def auditor(organization):
    return UserFactory(organization=organization, email="auditor@acme.example", site_role=SiteRole.AUDITOR)


@pytest.fixture
def signed_in(client, auditor):
    client.force_login(auditor)
    return client


def file_of(client, query=None):
    content = b"".join(client.get(EXPORT, query).streaming_content).decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(content, newline="")))


def names_on(answer):
    return [token.name for token in answer.context["table"].data]


def rows_of_api(client, query=None):
    return client.get(API, query).json()["data"]


@pytest.fixture
def some(owner, member, stranger):
    long_ago = ago(days=100)
    return {
        "nightly": TokenFactory(owner=owner, name="nightly", created_at=ago(days=29), last_used_at=ago(days=1)),
        "deploy": TokenFactory(owner=member, name="deploy", scope="pipeline", created_at=ago(days=3)),
        "idle": TokenFactory(
            owner=member,
            name="idle",
            created_at=ago(days=91),
            expires_at=ago(days=-1),
            last_used_at=ago(days=90, hours=1),
        ),
        "expired": TokenFactory(owner=owner, name="expired", created_at=long_ago),
        "revoked": TokenFactory(owner=owner, name="revoked", revoked_at=ago(hours=1)),
        "lapsed": TokenFactory(owner=owner, name="lapsed", created_at=ago(hours=1), revealed_at=None),
        "elsewhere": TokenFactory(owner=stranger, name="elsewhere"),
    }


# Which tokens


@pytest.mark.each_database
def test_page_file_and_api_show_the_live_tokens_of_the_organization(signed_in, some):
    answer = signed_in.get(PAGE)

    assert names_on(answer) == ["deploy", "idle", "nightly"]
    assert [row["name"] for row in file_of(signed_in)] == ["deploy", "idle", "nightly"]
    assert [row["name"] for row in rows_of_api(signed_in)] == ["deploy", "nightly", "idle"]


FOUND = [
    ({"owner": "mo mem"}, ["deploy", "idle"]),
    ({"owner": "OWNER@acme"}, ["nightly"]),
    ({"owner": "stranger"}, []),
    ({"scope": "pipeline"}, ["deploy"]),
    ({"scope": "pipeline-readonly"}, []),
    ({"unused_for": "90"}, ["idle"]),
    ({"unused_for": "30", "scope": "pipeline"}, []),
    ({"owner": "nobody"}, []),
    ({"owner": "Ünï"}, []),
    ({"owner": "%"}, []),
]


@pytest.mark.each_database
def test_page_file_and_api_find_the_same_tokens(signed_in, some):
    queries = {str(query): query for query, _ in FOUND}

    def attempt(column):
        query = queries[column]
        answer = signed_in.get(PAGE, query)
        in_file = [row["name"] for row in file_of(signed_in, query)]
        in_api = sorted(row["name"] for row in rows_of_api(signed_in, query))
        return names_on(answer), in_file, in_api, answer.context["summary"].tokens

    check_row(PAGE, {str(query): (names, names, names, len(names)) for query, names in FOUND}, attempt)


WRONG = [
    "scope=everything",
    "scope=%00",
    "unused_for=7",
    "unused_for=-1",
    "unused_for=x",
    "owner=%00",
    "owner=" + "x" * 255,
]


@pytest.mark.parametrize("query", WRONG, ids=lambda query: query[:20])
def test_wrong_filter_is_named_and_shows_nothing(signed_in, some, query):
    name = query.partition("=")[0]
    answer = signed_in.get(f"{PAGE}?{query}")

    assert answer.status_code == 200
    assert list(answer.context["filter"].errors) == [name]
    assert names_on(answer) == []
    assert "Correct the marked filter" in answer.content.decode()
    assert 'id="export"' not in answer.content.decode()
    assert signed_in.get(f"{EXPORT}?{query}").status_code == 400
    refused = signed_in.get(f"{API}?{query}")
    assert (refused.status_code, list(refused.json()["errors"])) == (400, [name])


@pytest.mark.parametrize("query", ["state=active", "page=2", "scope=api&scope=pipeline", "format=csv"])
def test_unknown_and_repeated_parameters_are_refused_by_file_and_api(signed_in, query):
    assert signed_in.get(f"{EXPORT}?{query}").status_code == 400
    assert signed_in.get(f"{API}?{query}").status_code == 400


@pytest.mark.parametrize("page", ["0", "-1", "x", "", "99999", "9" * 5000, "%00", "1.5"], ids=lambda page: page[:6])
def test_page_that_does_not_exist_is_the_nearest_one(signed_in, some, page):
    answer = signed_in.get(f"{PAGE}?page={page}")

    assert answer.status_code == 200
    assert names_on(answer) == ["deploy", "idle", "nightly"]


# What it says


def test_page_groups_tokens_by_person(signed_in, some, owner, member):
    html = signed_in.get(PAGE).content.decode()
    groups = re.findall(r'data-(?:person|token)="([^"]+)"', html)

    assert groups == [
        str(member.pk),
        *(str(some[name].pk) for name in ("deploy", "idle")),
        str(owner.pk),
        str(some["nightly"].pk),
    ]
    assert f"{member.email} · User · 2 tokens" in html


def test_summary_counts_people_tokens_and_unused_tokens(signed_in, some):
    answer = signed_in.get(PAGE)

    assert answer.context["people"].paginator.count == 2
    assert answer.context["summary"]._asdict() == {"tokens": 3, "never_used": 1, "unused": 1}


def test_page_says_for_whom_when_and_which_part_it_is(signed_in, some, auditor):
    html = " ".join(signed_in.get(PAGE).content.decode().split())

    assert f"{auditor.organization.name}, " in html
    assert re.search(r"\d+ \w+ \d{4}, \d\d:\d\d UTC, for ", html)
    assert auditor.email in html
    assert "People 1 to 2 of 2" in html


def test_reader_without_any_token_to_review_sees_an_empty_table(signed_in):
    answer = signed_in.get(PAGE)

    assert "No live token matches." in answer.content.decode()
    assert "of 0" not in answer.content.decode()
    assert file_of(signed_in) == rows_of_api(signed_in) == []


def test_file_and_api_have_the_same_columns_and_values(signed_in, some):
    by_id = {row["id"]: row for row in rows_of_api(signed_in)}

    for row in file_of(signed_in):
        shown = by_id[row["id"]]
        assert list(row) == list(shown) == list(AccessReviewSerializer().fields)
        words = {name: " ".join(shown[name]) for name in ("scopes", "networks")}
        expected = shown | words | {"owner_is_active": "true", "is_limited": "false"}
        assert row == {name: "" if value is None else str(value) for name, value in expected.items()}


def test_row_is_what_its_fields_would_show(some):
    counter = OperationCounter()
    serializer = AccessReviewSerializer(context={"counter": counter})
    token = Token.objects.for_token_table().get(pk=some["nightly"].pk)
    token.operations_allowed, token.operations_total = counter.allowed(token, token.state), counter.total

    shown = serializer.to_representation(token)

    by_fields = ModelSerializer.to_representation(serializer, token) | {"state": "active", "scopes": ["api"]}
    assert {name: str(value) for name, value in shown.items()} == {
        name: str(value) for name, value in by_fields.items()
    }


# What a token can do

REASONS = {
    TokenState.PENDING: "Nothing yet: not shown to anybody",
    TokenState.SCHEDULED: "Nothing yet: its start time has not come",
    TokenState.OWNER_DEACTIVATED: "Nothing now: its owner is deactivated",
    TokenState.BLOCKED_BY_POLICY: "Nothing now: blocked by policy",
}


def token_in_state(state, owner):
    if state is TokenState.PENDING:
        return TokenFactory(owner=owner, revealed_at=None)
    if state is TokenState.SCHEDULED:
        return TokenFactory(owner=owner, not_before=ago(days=-1))
    if state is TokenState.OWNER_DEACTIVATED:
        User.objects.filter(pk=owner.pk).update(is_active=False)
        return TokenFactory(owner=owner)
    return TokenFactory(owner=owner, expires_at=ago(days=-300))


@pytest.mark.parametrize("state", REASONS)
def test_live_token_that_does_not_work_is_listed_and_can_do_nothing(signed_in, owner, state):
    token = token_in_state(state, owner)
    [row], html = rows_of_api(signed_in), signed_in.get(PAGE).content.decode()

    assert (row["id"], row["state"], row["operations_allowed"]) == (str(token.pk), state.id, 0)
    assert row["owner_is_active"] is (state is not TokenState.OWNER_DEACTIVATED)
    assert REASONS[state] in html
    assert " operations</td>" not in html


def test_number_is_that_of_the_tokens_own_page(signed_in, some):
    for row in rows_of_api(signed_in):
        context = signed_in.get(f"/profile/tokens/{row['id']}/").context
        expected = len(context["can_do"]), len(context["can_do"]) + len(context["cannot_do"])

        assert (row["operations_allowed"], row["operations_total"]) == expected
        assert f"<td>{expected[0]} of {expected[1]} operations</td>" in cell_starts_removed(signed_in.get(PAGE))


def cell_starts_removed(answer):
    return re.sub(r"<td [^>]*>", "<td>", answer.content.decode())


ALLOWED = [
    (SiteRole.ADMINISTRATOR, "api"),
    (SiteRole.ADMINISTRATOR, "security-logs"),
    (SiteRole.POWER_USER, "api"),
    (SiteRole.USER, "pipeline"),
    (SiteRole.USER, "security-logs"),
    (SiteRole.GUEST, "api"),
    (SiteRole.GUEST, "pipeline security-logs"),
    (SiteRole.AUDITOR, "api-readonly"),
    (SiteRole.SECURITY_MANAGER, "api"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("role", "scope"), ALLOWED, ids=str)
def test_number_is_what_the_api_really_allows(api, signed_in, organization, role, scope):
    """Each operation is sent for an object that the person owns, so that only scope and role can refuse it."""
    person = UserFactory(organization=organization, site_role=role)
    pipeline = PipelineFactory(owner=person, run_count=1)
    StepFactory(pipeline=pipeline)
    things = things_of(person, pipeline)
    token = TokenFactory(owner=person, scope=scope)
    [row] = [row for row in rows_of_api(signed_in) if row["id"] == str(token.pk)]

    allowed = [path for path in all_operations() if is_allowed(api, *path, things, token)]

    assert row["operations_allowed"] == len(allowed)


def all_operations():
    return sorted({(method, path) for method, path, _, _ in cells(ROUTES)})


def is_allowed(api, method, path, things, token):
    with transaction.atomic():
        answer = send(api, method, path, things, bearer(token))
        transaction.set_rollback(True)
    assert answer.status_code < 500
    return answer.status_code not in {401, 403}


# The file

HARMFUL = ["=1+1", "+1", "-1", "@SUM(A1)", " =1+1", "＝1+1", "'=1"]


@pytest.mark.parametrize("text", HARMFUL, ids=ascii)
def test_file_has_no_text_that_a_spreadsheet_reads_as_a_formula(signed_in, owner, text):
    User.objects.filter(pk=owner.pk).update(name=text, email=f"{text}@acme.example")
    TokenFactory(owner=owner, name=text)

    [row] = file_of(signed_in)

    assert (row["name"], row["owner_name"], row["owner_email"]) == (f"'{text}", f"'{text}", f"'{text}@acme.example")


def test_file_keeps_quotes_commas_and_other_alphabets(signed_in, owner):
    User.objects.filter(pk=owner.pk).update(name='Zoë "Z", 李')
    TokenFactory(owner=owner, name="größe; two")

    [row] = file_of(signed_in)

    assert (row["name"], row["owner_name"]) == ("größe; two", 'Zoë "Z", 李')


def test_file_has_its_name_and_is_not_kept(signed_in):
    answer = signed_in.get(EXPORT)

    assert re.fullmatch(
        r'attachment; filename="access-review-acme-\d{4}-\d\d-\d\d\.csv"', answer.headers["Content-Disposition"]
    )
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8; header=present"
    assert answer.headers["Cache-Control"] == "no-store"
    assert next(iter(answer.streaming_content)).startswith(b"\xef\xbb\xbfowner_id,")


def test_file_is_read_in_parts_and_has_everybody_in_order(signed_in, organization, monkeypatch):
    monkeypatch.setattr(access_review, "PEOPLE_AT_ONCE", 2)
    people = [UserFactory(organization=organization, email=f"{letter}@acme.example") for letter in "edcba"]
    for person in people:
        TokenFactory(owner=person, name="second")
        TokenFactory(owner=person, name="first")

    rows = file_of(signed_in)

    assert [(row["owner_email"][0], row["name"]) for row in rows] == [
        (letter, name) for letter in "abcde" for name in ("first", "second")
    ]


def test_file_that_fails_in_the_middle_does_not_look_complete(signed_in, some, monkeypatch):
    monkeypatch.setattr(access_review, "PEOPLE_AT_ONCE", 1)
    content = iter(signed_in.get(EXPORT).streaming_content)
    sent = next(content) + next(content)

    def fail(execute, sql, params, many, context):
        raise DatabaseError("The disk is gone.")

    with connection.execute_wrapper(fail):
        sent += next(content)
        with pytest.raises(DatabaseError):
            next(content)

    assert sent.endswith(exports.INCOMPLETE)


def test_files_at_the_same_time_are_limited_together_with_those_of_the_logs(signed_in, monkeypatch):
    monkeypatch.setattr(exports, "_places", threading.BoundedSemaphore(1))
    on_its_way = signed_in.get("/organization/authentication-log/export/")
    refused = signed_in.get(EXPORT)

    assert (on_its_way.status_code, refused.status_code, "Retry-After" in refused.headers) == (200, 429, True)


# Many people


def add_people(organization, number, tokens=1):
    people = User.objects.bulk_create(UserFactory.build_batch(number, organization=organization))
    Token.objects.bulk_create(token for person in people for token in TokenFactory.build_batch(tokens, owner=person))


def test_every_person_is_on_one_of_the_pages(signed_in, organization):
    add_people(organization, PEOPLE_ON_A_PAGE + 3)
    first, second = signed_in.get(PAGE), signed_in.get(PAGE, {"page": 2})
    owners = [[token.owner_id for token in answer.context["table"].data] for answer in (first, second)]

    assert list(map(len, owners)) == [PEOPLE_ON_A_PAGE, 3]
    assert not set(owners[0]) & set(owners[1])
    assert "Page 2 of 2: people 11 to 13 of 13" in " ".join(second.content.decode().split())


def test_links_to_other_pages_keep_the_filters(signed_in, organization):
    add_people(organization, PEOPLE_ON_A_PAGE + 1)
    html = signed_in.get(PAGE, {"scope": "api"}).content.decode()

    assert set(re.findall(r'rel="next"\s+href="([^"]+)"', html)) == {"?scope=api&amp;page=2"}
    assert f'href="{EXPORT}?scope=api"' in html


def test_page_to_print_has_all_people(signed_in, organization):
    add_people(organization, PEOPLE_ON_A_PAGE + 3, tokens=2)
    some_people = signed_in.get(PAGE, {"scope": "api"})
    address = unescape(re.search(r'href="([^"]+)" id="show-all"', some_people.content.decode())[1])
    printed = signed_in.get(address)

    assert len(printed.context["table"].data) == 2 * (PEOPLE_ON_A_PAGE + 3)
    html = printed.content.decode()
    assert "rel=" not in html.partition('id="access-review"')[2]
    assert "A page to print has at most" not in html
    assert f'href="{PAGE}?scope=api" id="show-pages"' in html


@pytest.mark.each_database
def test_page_to_print_says_how_many_people_fit(signed_in, organization, monkeypatch):
    monkeypatch.setattr(access_review, "LISTED", 3)
    monkeypatch.setattr(access_review, "MOST_PRINTED", 7)
    for letter, number in (("a", 5), ("b", 5), ("c", 1), ("d", 1)):
        TokenFactory.create_batch(number, owner=UserFactory(organization=organization, email=f"{letter}@acme.example"))
    printed = signed_in.get(PAGE, {"all": "1"})
    words = " ".join(printed.content.decode().split())

    assert len(printed.context["table"].data) == 7
    assert "This page has people 1 to 3 of 4. A page to print has at most 7 tokens." in words
    assert "The CSV file has all, or filter by person." in words
    assert len(file_of(signed_in)) == 12


@pytest.mark.parametrize("query", ["all=1", "all=1&page=3", "all=1&owner=nobody", "all=0", "all="])
def test_page_to_print_opens_also_without_a_token(signed_in, query):
    assert signed_in.get(f"{PAGE}?{query}").status_code == 200


@pytest.mark.each_database
def test_page_lists_the_first_tokens_of_a_person_and_links_to_all(signed_in, owner, monkeypatch):
    monkeypatch.setattr(access_review, "LISTED", 2)
    monkeypatch.setattr(tables, "LISTED", 2)
    for name in "abc":
        TokenFactory(owner=owner, name=name)
    answer = signed_in.get(PAGE)

    assert names_on(answer) == ["a", "b"]
    assert "3 tokens" in answer.content.decode()
    assert "The first 2 are listed." in answer.content.decode()
    assert 'href="/organization/tokens/?owner=owner%40acme.example"' in answer.content.decode()
    assert len(file_of(signed_in)) == 3


@pytest.mark.each_database
def test_page_makes_the_same_few_queries_for_many_people(signed_in, organization, owner):
    def queries():
        with CaptureQueriesContext(connection) as captured:
            assert signed_in.get(PAGE).status_code == 200
        return len(captured)

    TokenFactory(owner=owner)
    queries()
    with_one = queries()
    add_people(organization, PEOPLE_ON_A_PAGE, tokens=3)

    assert queries() == with_one <= 12


@pytest.mark.slow
def test_longest_page_of_the_api_can_name_a_thousand_people(signed_in, organization):
    add_people(organization, 1001)

    answer = signed_in.get(API, {"page_size": 1000}).json()
    rest = signed_in.get(API, {"page_size": 1000, "cursor": answer["next"].partition("cursor=")[2]}).json()

    emails = {row["owner_email"] for row in answer["data"] + rest["data"]}
    assert (answer["count"], rest["count"], rest["next"], len(emails)) == (1000, 1, None, 1001)


# Who can read it


@pytest.mark.parametrize("role", SiteRole)
def test_roles_that_read_everyones_tokens_can_review_them(client, organization, role, some):
    client.force_login(UserFactory(organization=organization, site_role=role))
    expected = 200 if Ability.READ_TOKENS in ROLES[role].abilities else 403

    assert [client.get(address).status_code for address in (PAGE, EXPORT, API)] == [expected] * 3


def test_stranger_sees_only_their_own_organization(client, stranger, some):
    client.force_login(stranger)

    assert names_on(client.get(PAGE)) == ["elsewhere"]
    assert [row["name"] for row in file_of(client)] == [row["name"] for row in rows_of_api(client)] == ["elsewhere"]
    assert rows_of_api(client, {"owner": "owner@acme.example"}) == []


def test_signed_out_person_sees_nothing(client, some):
    assert [client.get(address).status_code for address in (PAGE, EXPORT, API)] == [302, 302, 401]


def test_reading_it_leaves_no_entry_in_the_activity_log(signed_in, some):
    """As for the files of the logs: only what changes something is an action."""
    before = Activity.objects.count()

    signed_in.get(PAGE)
    file_of(signed_in)
    rows_of_api(signed_in)

    assert Activity.objects.count() == before


@pytest.mark.parametrize("address", [PAGE, EXPORT])
def test_nothing_can_be_sent_to_it(signed_in, address):
    assert signed_in.post(address).status_code == 405


def test_page_of_the_organizations_tokens_links_to_it(signed_in):
    assert f'href="{PAGE}"' in signed_in.get("/organization/tokens/").content.decode()
