"""Access to Django admin: who can open which pages, and who sees which rows.

The tests share one world. They only read or try forbidden changes, and each cell is rolled back.
"""

import re
from html import unescape
from http.cookies import SimpleCookie

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.models import User
from accounts.roles import SiteRole
from accounts.tests.factories import OperatorFactory, OrganizationFactory, UserFactory
from auditlog.models import Activity
from opsera_portal.tests.admin_pages import MODELS, OTHERS, address, follow_to_sign_in, rows_of
from opsera_portal.tests.worlds import check_row, created_once
from tokens.tests.factories import TokenFactory, bearer

pytestmark = pytest.mark.django_db

# The rows belong to Acme. `stranger` is the Administrator of another organization. `others` are all
# other roles of Acme. `signed_out` includes a deactivated Administrator.
# ok: 200. no: 403. gone: redirected to the index, as for a missing row. in: redirected to sign in.
TABLE = """
page                  operator  administrator  stranger  others  signed_out
organization list     ok        ok             ok        no      in
organization add      ok        no             no        no      in
organization change   ok        ok             gone      no      in
organization delete   no        no             no        no      in
organization history  ok        ok             gone      no      in
user list             ok        ok             ok        no      in
user add              ok        ok             ok        no      in
user change           ok        ok             gone      no      in
user delete           no        no             no        no      in
user history          ok        ok             gone      no      in
service_account list    ok        ok             ok        no      in
service_account add     no        no             no        no      in
service_account change  ok        ok             gone      no      in
service_account delete  no        no             no        no      in
service_account history ok        ok             gone      no      in
group list            ok        ok             ok        no      in
group add             no        ok             ok        no      in
group change          ok        ok             gone      no      in
group delete          ok        ok             gone      no      in
group history         ok        ok             gone      no      in
notification list     ok        ok             ok        no      in
notification add      no        no             no        no      in
notification change   ok        ok             gone      no      in
notification delete   no        no             no        no      in
notification history  ok        ok             gone      no      in
trust_rule list       ok        ok             ok        no      in
trust_rule add        no        no             no        no      in
trust_rule change     ok        ok             gone      no      in
trust_rule delete     no        no             no        no      in
trust_rule history    ok        ok             gone      no      in
webhook list          ok        ok             ok        no      in
webhook add           no        no             no        no      in
webhook change        ok        ok             gone      no      in
webhook delete        no        no             no        no      in
webhook history       ok        ok             gone      no      in
delivery list         ok        ok             ok        no      in
delivery add          no        no             no        no      in
delivery change       ok        ok             gone      no      in
delivery delete       no        no             no        no      in
delivery history      ok        ok             gone      no      in
service list          ok        ok             ok        no      in
service add           no        no             no        no      in
service change        ok        ok             gone      no      in
service delete        no        no             no        no      in
service history       ok        ok             gone      no      in
service_rule list     ok        ok             ok        no      in
service_rule add      no        no             no        no      in
service_rule change   ok        ok             gone      no      in
service_rule delete   no        no             no        no      in
service_rule history  ok        ok             gone      no      in
secret list           ok        ok             ok        no      in
secret add            no        no             no        no      in
secret change         ok        ok             gone      no      in
secret delete         no        no             no        no      in
secret history        ok        ok             gone      no      in
token list            ok        ok             ok        no      in
token add             no        no             no        no      in
token change          ok        ok             gone      no      in
token delete          no        no             no        no      in
token history         ok        ok             gone      no      in
approval list         ok        ok             ok        no      in
approval add          no        no             no        no      in
approval change       ok        ok             gone      no      in
approval delete       no        no             no        no      in
approval history      ok        ok             gone      no      in
review_campaign list  ok        ok             ok        no      in
review_campaign add   no        no             no        no      in
review_campaign change ok        ok             gone      no      in
review_campaign delete no        no             no        no      in
review_campaign history ok        ok             gone      no      in
review_item list      ok        ok             ok        no      in
review_item add       no        no             no        no      in
review_item change    ok        ok             gone      no      in
review_item delete    no        no             no        no      in
review_item history   ok        ok             gone      no      in
token_use list        ok        ok             ok        no      in
token_use add         no        no             no        no      in
token_use change      ok        ok             gone      no      in
token_use delete      no        no             no        no      in
token_use history     ok        ok             gone      no      in
activity list         ok        ok             ok        no      in
activity add          no        no             no        no      in
activity change       ok        ok             gone      no      in
activity delete       no        no             no        no      in
activity history      ok        ok             gone      no      in
pipeline list         ok        ok             ok        no      in
pipeline add          no        ok             ok        no      in
pipeline change       ok        ok             gone      no      in
pipeline delete       no        ok             gone      no      in
pipeline history      ok        ok             gone      no      in
run list              ok        ok             ok        no      in
run add               no        no             no        no      in
run change            ok        ok             gone      no      in
run delete            no        no             no        no      in
run history           ok        ok             gone      no      in
mail list             ok        ok             ok        no      in
mail add              no        no             no        no      in
mail change           ok        ok             gone      no      in
mail delete           no        no             no        no      in
mail history          ok        ok             gone      no      in
provider list         ok        ok             ok        no      in
provider add          no        no             no        no      in
provider change       ok        ok             gone      no      in
provider delete       ok        ok             gone      no      in
provider history      ok        ok             gone      no      in
"""
HEAD, *ROWS = [line.split() for line in TABLE.strip().splitlines()]
COLUMNS = {"others": OTHERS, "signed_out": ["signed_out", "deactivated"]}


def each_row():
    """(name, page, expected) for each row; ``expected`` is a dict of person to word."""
    for name, page, *words in ROWS:
        expected = {
            who: word for column, word in zip(HEAD[1:], words, strict=True) for who in COLUMNS.get(column, [column])
        }
        yield pytest.param(name, page, expected, id=f"{name} {page}")


class World:
    """Acme and Elsewhere, a row of each model in both, and the people who try to open them."""

    def __init__(self):
        acme = OrganizationFactory(name="Acme", slug="acme")
        owner = UserFactory(organization=acme, email="owner@acme.example", name="Olga Owner")
        stranger = UserFactory(
            organization=OrganizationFactory(name="Elsewhere", slug="elsewhere"),
            email="stranger@elsewhere.example",
            name="Sam Stranger",
            site_role=SiteRole.ADMINISTRATOR,
        )
        deactivated = UserFactory(organization=acme, site_role=SiteRole.ADMINISTRATOR)
        self.people = {
            "administrator": UserFactory(organization=acme, site_role=SiteRole.ADMINISTRATOR),
            "stranger": stranger,
            "operator": OperatorFactory(),
            "deactivated": deactivated,
        } | {role: UserFactory(organization=acme, site_role=role) for role in OTHERS}
        self.cookies = {who: cookies_of(person) for who, person in self.people.items()}
        User.objects.filter(pk=deactivated.pk).update(is_active=False)
        self.ours = rows_of(owner, "acme")
        self.theirs = rows_of(stranger, "elsewhere")

    def sign_in(self, client, who):
        """Signs the browser in as this person, or out."""
        client.cookies = SimpleCookie(self.cookies.get(who, {}))
        return client


def cookies_of(person):
    client = Client()
    client.force_login(person)
    return {name: morsel.value for name, morsel in client.cookies.items()}


@pytest.fixture(scope="module")
def world(django_db_setup, django_db_blocker):
    yield from created_once(django_db_blocker, World)


@pytest.fixture
def sign_in(client, world):
    return lambda who: world.sign_in(client, who)


@pytest.fixture
def ours(world):
    return world.ours


@pytest.fixture
def theirs(world):
    return world.theirs


# Who can open which page


def test_table_contains_every_model_of_the_admin():
    assert {MODELS[row[0]] for row in ROWS} == set(admin.site._registry)


@pytest.mark.parametrize(("name", "page", "expected"), list(each_row()))
def test_page_opens_only_for_people_with_access(sign_in, ours, name, page, expected):
    check_row(
        f"{name} {page}",
        expected,
        lambda who: word_for(follow_to_sign_in(sign_in(who), address(name, page, ours[name]))),
        renders_all=False,
    )


def word_for(answer):
    """The word for this answer in TABLE, or its status."""
    if answer.status_code != 302:
        return {200: "ok", 403: "no"}.get(answer.status_code, answer.status_code)
    if answer.url.startswith("/login/?next="):
        return "in"
    return "gone" if answer.url == "/admin/" else f"302 {answer.url}"


@pytest.mark.parametrize("who", ["administrator", "operator"])
def test_index_lists_every_model_and_none_of_the_libraries(sign_in, who):
    page = sign_in(who).get("/admin/").content.decode()

    offered = set(re.findall(r'href="(/admin/\w+/\w+/)"', page))
    assert offered == {address(name) for name in MODELS}


def test_index_is_refused_to_every_other_role(sign_in):
    check_row("/admin/", dict.fromkeys(OTHERS, "no"), lambda who: word_for(follow_to_sign_in(sign_in(who), "/admin/")))


def test_demoted_administrator_loses_the_admin_with_the_next_request(world, sign_in):
    client = sign_in("administrator")
    assert client.get("/admin/").status_code == 200
    User.objects.filter(pk=world.people["administrator"].pk).update(site_role=SiteRole.POWER_USER)

    assert follow_to_sign_in(client, "/admin/").status_code == 403


def test_token_gives_no_access_to_the_admin(client, world):
    answer = client.get("/admin/", headers=bearer(TokenFactory(owner=world.people["administrator"])))

    assert answer.status_code == 302


def test_signing_out_in_the_admin_is_recorded(sign_in):
    client = sign_in("administrator")

    assert client.get("/admin/logout/").status_code == 405
    client.post("/admin/logout/")

    assert "_auth_user_id" not in client.session
    assert Activity.objects.first().action == "authentication.signed_out"


# Who sees which rows


@pytest.mark.parametrize("name", MODELS)
def test_operator_sees_the_rows_of_every_organization(sign_in, ours, theirs, name):
    shown = sign_in("operator").get(address(name)).context["cl"].queryset

    assert {ours[name].pk, theirs[name].pk} <= set(shown.values_list("pk", flat=True))


@pytest.mark.parametrize("name", MODELS)
def test_administrator_sees_only_the_rows_of_their_organization(sign_in, ours, theirs, name):
    answer = sign_in("administrator").get(address(name))

    shown = set(answer.context["cl"].queryset.values_list("pk", flat=True))
    assert ours[name].pk in shown
    assert theirs[name].pk not in shown
    assert "elsewhere" not in answer.content.decode().lower()


@pytest.mark.parametrize("name", MODELS)
def test_no_search_finds_a_row_of_another_organization(sign_in, ours, theirs, name):
    client = sign_in("administrator")

    assert client.get(address(name), {"q": "elsewhere"}).context["cl"].result_count == 0
    assert client.get(address(name), {"q": "acme"}).context["cl"].result_count > 0


FORMS = [
    (name, page) for name, page, _, administrator, *_ in ROWS if page in {"add", "change"} and administrator == "ok"
]


@pytest.mark.parametrize(("name", "page"), FORMS)
def test_form_offers_no_row_of_another_organization(sign_in, ours, theirs, name, page):
    answer = sign_in("administrator").get(address(name, page, ours[name]))

    assert answer.status_code == 200
    assert "elsewhere" not in answer.content.decode().lower()


RELATIONS = [
    (field.model._meta.app_label, field.model._meta.model_name, field.name)
    for model in MODELS.values()
    for field in model._meta.get_fields()
    if field.is_relation and not field.auto_created
]


@pytest.mark.parametrize("relation", RELATIONS, ids=".".join)
def test_autocompletion_finds_no_row_of_another_organization(sign_in, ours, theirs, relation):
    query = dict(zip(["app_label", "model_name", "field_name"], relation, strict=True))

    answer = sign_in("administrator").get("/admin/autocomplete/", query | {"term": ""})

    found = answer.content.decode().lower()
    assert "elsewhere" not in found
    # A review campaign has no name: there is one in each of the two organizations.
    assert "acme" in found or found.count("review campaign") == 1 or answer.status_code in {403, 404}


def test_autocompletion_is_refused_to_other_roles(sign_in, ours):
    query = {"app_label": "pipelines", "model_name": "pipeline", "field_name": "owner", "term": ""}

    def attempt(who):
        return "open" if "results" in sign_in(who).get("/admin/autocomplete/", query).content.decode() else "closed"

    check_row("autocompletion", dict.fromkeys([*OTHERS, "signed_out"], "closed"), attempt)


HIDDEN = [
    ("user", "password__startswith"),
    ("user", "password"),
    ("user", "password__regex"),
    ("user", "name__startswith"),
    ("token", "live_name_key__startswith"),
    ("user", "organization__name__startswith"),
    ("token", "owner__password__startswith"),
    ("pipeline", "owner__password__startswith"),
    ("pipeline", "steps__headers__contains"),
    ("group", "members__password__startswith"),
    ("activity", "actor__password__startswith"),
    ("token_use", "owner__password__startswith"),
]


@pytest.mark.parametrize("who", ["administrator", "operator"])
def test_list_cannot_be_filtered_by_a_column_that_it_does_not_show(sign_in, who):
    """A filter on a hidden column would reveal its values letter by letter."""
    client = sign_in(who)

    def attempt(column):
        name, _, lookup = column.partition(" by ")
        return client.get(address(name), {lookup: "m"}).status_code

    check_row(who, {f"{name} by {lookup}": 400 for name, lookup in HIDDEN}, attempt)


NO_KEYS = ["not-a-key", "\x00", "9" * 40, "00000000-0000-4000-8000-000000000000", "🦄"]


@pytest.mark.each_database
@pytest.mark.parametrize("name", MODELS)
def test_impossible_id_is_not_found(sign_in, name):
    options = MODELS[name]._meta
    client = sign_in("administrator")

    def attempt(key):
        page = reverse(f"admin:{options.app_label}_{options.model_name}_change", args=[key])
        return word_for(client.get(page))

    check_row(name, dict.fromkeys(NO_KEYS, "gone"), attempt)


@pytest.mark.parametrize("name", MODELS)
def test_every_filter_that_a_list_offers_can_be_used(sign_in, ours, name):
    client = sign_in("administrator")
    page = client.get(address(name)).content.decode()

    offered = [unescape(query) for query in re.findall(r'href="(\?[^"]+)"', page)]

    assert offered
    check_row(
        name,
        dict.fromkeys(offered, 200),
        lambda query: client.get(address(name) + query).status_code,
        renders_all=False,
    )


QUERIES = [
    {"q": "\x00"},
    {"q": "🦄" * 500},
    {"p": "x"},
    {"o": "99.-99.x"},
    {"nonsense": "1"},
    {"id": "\x00"},
    {"id": "9" * 40},
    {"email": "\x00"},
    {"name": "\x00"},
    {"target__contains": "\x00"},
    {"status": "9" * 40},
    {"at__gte": "yesterday"},
    {"name__regex": "("},
    {"created_at__year": "99999999"},
    {"site_role__exact": "\x00"},
    {"outcome__exact": "\x00"},
    {"revoked_at__gte": "\x00"},
    {"is_active__exact": "maybe"},
    {"outcome__regex": "("},
]


@pytest.mark.each_database
@pytest.mark.parametrize("name", MODELS)
def test_invalid_query_of_a_list_is_never_a_server_error(sign_in, ours, name):
    client = sign_in("administrator")
    queries = {ascii(query)[:60]: query for query in QUERIES}
    assert len(queries) == len(QUERIES)

    def attempt(column):
        status = client.get(address(name), queries[column]).status_code
        return "answered" if status < 500 else status

    check_row(name, dict.fromkeys(queries, "answered"), attempt)


@pytest.mark.parametrize("name", MODELS)
def test_number_of_queries_does_not_grow_with_the_rows_of_a_list(world, sign_in, name):
    organization = world.ours["organization"]
    client = sign_in("operator" if name == "organization" else "administrator")

    def queries():
        with CaptureQueriesContext(connection) as captured:
            assert client.get(address(name)).status_code == 200
        return len(captured)

    rows_of(UserFactory(organization=organization), "few")
    queries()
    few = queries()
    for number in range(6):
        home = OrganizationFactory() if name == "organization" else organization
        rows_of(UserFactory(organization=home), f"many {number}")

    # Once a minute, a request also notes that the session is in use.
    assert min(queries(), queries()) == few


# Logs and tokens are read-only

READ_ONLY = {"token": ["name", "scope", "expires_at"], "token_use": ["target", "status"], "activity": ["action", "at"]}


def contents(name):
    return list(MODELS[name].objects.order_by("pk").values())


@pytest.mark.parametrize("who", ["administrator", "operator", "stranger"])
@pytest.mark.parametrize("name", READ_ONLY)
def test_a_forged_post_adds_changes_and_deletes_nothing(sign_in, ours, name, who):
    client = sign_in(who)
    before = contents(name)
    forged = dict.fromkeys(READ_ONLY[name], "1") | {"post": "yes", "_save": "Save"}

    for page in ("add", "change", "delete"):
        assert client.post(address(name, page, ours[name]), forged).status_code in {302, 403}
    for action in ("delete_selected", "delete"):
        client.post(address(name), {"action": action, "post": "yes", "_selected_action": [ours[name].pk]})
    client.post(address(name), {"form-TOTAL_FORMS": "1", "form-INITIAL_FORMS": "1", "form-0-id": ours[name].pk})

    assert contents(name) == before


@pytest.mark.parametrize("name", ["user", "organization", "pipeline", "group"])
def test_no_list_deletes_many_rows_at_once(sign_in, ours, name):
    client = sign_in("administrator")

    client.post(address(name), {"action": "delete_selected", "post": "yes", "_selected_action": [ours[name].pk]})

    assert MODELS[name].objects.filter(pk=ours[name].pk).exists()


@pytest.mark.parametrize("name", READ_ONLY)
def test_page_of_a_read_only_row_has_no_field(sign_in, ours, name):
    page = sign_in("administrator").get(address(name, "change", ours[name]))

    assert list(page.context["adminform"].form.fields) == []
    assert not page.context["has_change_permission"]
