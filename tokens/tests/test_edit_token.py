"""Renaming a token, and its description."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from accounts.roles import SiteRole
from accounts.tests.factories import OperatorFactory, UserFactory
from auditlog.models import Activity
from auditlog.tests.test_logs import use
from core.errors import NameTaken, NotAllowed
from core.seen import ChangedMeanwhile
from tokens import jwt, seen, services
from tokens.models import Token
from tokens.names import name_key
from tokens.tests.factories import TokenFactory, bearer


@pytest.fixture
def token(owner):
    return TokenFactory(owner=owner, name="nightly build", description="On the old server")


@pytest.fixture
def ended(owner):
    return TokenFactory(owner=owner, name="retired", revoked_at=timezone.now())


@pytest.fixture
def page(token):
    return reverse("tokens:token_detail", args=[token.pk])


def edit(token, **changes):
    return services.edit_token(**({"actor": token.owner, "token": token} | changes))


# The service


@pytest.mark.each_database
def test_name_and_description_are_changed_and_recorded(token):
    edit(token, name="  Nightly 2 ", description="On\r\nthe  new server")

    token.refresh_from_db()
    assert (token.name, token.live_name_key, token.description) == (
        "Nightly 2",
        name_key("Nightly 2"),
        "On the new server",
    )
    entry = Activity.objects.get()
    assert (entry.action, entry.target_name, entry.details) == (
        "token.changed",
        "Nightly 2",
        {"fields": ["name", "description"], "from": "nightly build", "to": "Nightly 2"},
    )


def test_same_values_are_no_change(token):
    edit(token, name="nightly build", description="On the old server")

    assert not Activity.objects.exists()


def test_log_does_not_keep_descriptions(token):
    edit(token, description="")

    assert "old server" not in str(Activity.objects.get().details)


def test_log_entries_keep_the_name_that_the_token_had_then(token):
    entry = use(token)

    edit(token, name="renamed")

    entry.refresh_from_db()
    assert entry.token_name == "nightly build"


@pytest.mark.each_database
@pytest.mark.parametrize("name", ["Deploy", "deploy", "ＤＥＰＬＯＹ"])
def test_name_of_another_live_token_is_refused(token, owner, name):
    TokenFactory(owner=owner, name="Deploy")

    with pytest.raises(NameTaken):
        edit(token, name=name)
    token.refresh_from_db()
    assert token.name == "nightly build"


def test_name_can_change_only_its_case(token):
    assert edit(token, name="Nightly Build").name == "Nightly Build"


@pytest.mark.each_database
def test_name_of_an_ended_token_is_free(token, owner):
    start = timezone.now() - timedelta(days=9)
    past = TokenFactory(owner=owner, name="Deploy", created_at=start, expires_at=start + timedelta(days=1))

    edit(token, name="deploy")

    past.refresh_from_db()
    assert (past.name, past.live_name_key) == ("Deploy", None)


def test_names_of_other_people_are_free(token, member):
    TokenFactory(owner=member, name="Deploy")

    assert edit(token, name="Deploy").name == "Deploy"


@pytest.mark.parametrize("name", ["", "x" * 51, "a/b", "a\nb"])
def test_bad_name_is_refused_as_for_a_new_token(token, name):
    with pytest.raises(ValidationError) as refused:
        edit(token, name=name)
    assert list(refused.value.message_dict) == ["name"]


@pytest.mark.parametrize("text", ["x" * 501, "a\x07b", "a\u202eb", "x" + "\u0301" * 5])
def test_bad_description_is_refused(token, text):
    with pytest.raises(ValidationError) as refused:
        edit(token, description=text)
    assert list(refused.value.message_dict) == ["description"]


@pytest.mark.parametrize("text", ["", "x" * 500, "Läuft auf „build-7“: <b>täglich</b> ✓"])
def test_good_description_is_kept(token, text):
    assert edit(token, description=text).description == text


def test_token_that_was_pasted_as_a_description_is_not_stored(token):
    signed_jwt, _ = jwt.encode(token)

    edited = edit(token, description=f"It is {signed_jwt} today")

    assert signed_jwt.rsplit(".", 1)[1] not in edited.description


def test_ended_token_keeps_its_name_but_can_be_described(ended):
    with pytest.raises(services.NameOfEndedToken) as refused:
        edit(ended, name="other")
    edit(ended, name="retired", description="Replaced by the new one")

    assert "keeps its name" in refused.value.message
    ended.refresh_from_db()
    assert (ended.name, ended.description, ended.live_name_key) == ("retired", "Replaced by the new one", None)


def test_nobody_but_the_owner_can_edit_a_token(token, member, administrator, stranger):
    for actor in (member, administrator, stranger, OperatorFactory()):
        with pytest.raises(NotAllowed):
            services.edit_token(actor=actor, token=token, description="mine")


def test_old_fingerprint_is_refused(token):
    old = seen.of_texts(token)
    edit(token, description="First")

    with pytest.raises(ChangedMeanwhile):
        edit(token, description="Second", seen=old)


@pytest.mark.each_database
@pytest.mark.django_db(transaction=True)
def test_one_of_many_simultaneous_renames_gets_the_name(owner):
    tokens = [TokenFactory(owner=owner) for _ in range(4)]

    def rename(token):
        try:
            services.edit_token(actor=owner, token=token, name="Wanted")
        except NameTaken:
            return "taken"
        finally:
            connection.close()
        return "renamed"

    with ThreadPoolExecutor(4) as threads:
        outcomes = sorted(threads.map(rename, tokens))

    assert outcomes == ["renamed", "taken", "taken", "taken"]


# The page


def test_owner_edits_a_token_on_its_page(client, owner, token, page):
    client.force_login(owner)
    assert 'id="edit-token"' in client.get(page).text

    answer = client.post(page, {"name": "renamed", "description": "For the release"})

    assert answer.url == page
    shown = client.get(page).text
    assert "renamed" in shown
    assert "For the release" in shown


def test_wrong_name_is_shown_beside_its_field_with_what_was_typed(client, owner, token, page):
    TokenFactory(owner=owner, name="Deploy")
    client.force_login(owner)

    answer = client.post(page, {"name": "deploy", "description": "typed text"})

    assert answer.status_code == 400
    assert "One of your live tokens has this name already." in answer.text
    assert "typed text" in answer.text
    assert "<details" in answer.text.split('id="edit-token"')[0][-80:]
    assert 'id="edit-token" open' in " ".join(answer.text.split())


@pytest.mark.parametrize("role", [SiteRole.ADMINISTRATOR, SiteRole.SECURITY_MANAGER, SiteRole.AUDITOR])
def test_people_who_only_see_a_token_have_no_form(client, organization, token, page, role):
    client.force_login(UserFactory(organization=organization, site_role=role))

    assert 'id="edit-token"' not in client.get(page).text
    assert "On the old server" in client.get(page).text
    assert client.post(page, {"name": "theirs", "description": ""}).status_code == 403


def test_form_of_an_ended_token_does_not_change_the_name(client, owner, ended):
    client.force_login(owner)
    page = reverse("tokens:token_detail", args=[ended.pk])

    answer = client.post(page, {"name": "other", "description": "Replaced"})

    assert answer.status_code == 302
    ended.refresh_from_db()
    assert (ended.name, ended.description) == ("retired", "Replaced")


def test_two_tabs_of_an_owner_and_the_api(client, api, owner, token, page):
    client.force_login(owner)
    api.force_login(owner)
    old = seen.of_texts(token)
    api.patch(f"/api/v1/tokens/{token.pk}", {"description": "By API"})

    answer = client.post(page, {"name": "nightly build", "description": "On the page", "seen": old})

    assert answer.status_code == 409
    assert "On the page" in answer.text


def test_new_token_can_be_described(client, owner):
    client.force_login(owner)

    client.post(
        "/profile/tokens/",
        {"name": "new", "description": "For a test", "scopes": ["api"], "lifetime": "1w", "expires_at": ""},
    )

    assert Token.objects.get().description == "For a test"


# The API


@pytest.fixture
def by_session(api, owner):
    api.force_login(owner)
    return api


def test_owner_edits_a_token_by_api(by_session, token):
    address = f"/api/v1/tokens/{token.pk}"

    answer = by_session.patch(address, {"name": "renamed", "description": "New"})

    assert answer.status_code == 200
    assert (answer.json()["name"], answer.json()["description"]) == ("renamed", "New")
    assert by_session.get(address).json() == answer.json()
    assert by_session.get("/api/v1/tokens").json()["data"][0]["description"] == "New"


def test_old_etag_is_refused(by_session, token):
    address = f"/api/v1/tokens/{token.pk}"
    etag = by_session.get(address)["ETag"]
    by_session.patch(address, {"name": "renamed"}, headers={"If-Match": etag})

    assert by_session.patch(address, {"name": "again"}, headers={"If-Match": etag}).status_code == 412


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "invalid_request"),
        ({"name": ""}, 400, "invalid_request"),
        ({"name": 1}, 400, "invalid_request"),
        ({"description": "x" * 501}, 400, "invalid_request"),
        ({"description": None}, 400, "invalid_request"),
        ({"scopes": ["api"]}, 400, "invalid_request"),
        ({"name": "Deploy"}, 409, "name_taken"),
    ],
)
def test_wrong_body_is_refused(by_session, owner, token, body, status, code):
    TokenFactory(owner=owner, name="Deploy")

    answer = by_session.patch(f"/api/v1/tokens/{token.pk}", body)

    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_name_of_an_ended_token_is_refused_by_api(by_session, ended):
    answer = by_session.patch(f"/api/v1/tokens/{ended.pk}", {"name": "other"})

    assert (answer.status_code, answer.json()["code"]) == (409, "already_ended")


def test_token_cannot_edit_itself(api, token):
    answer = api.patch(f"/api/v1/tokens/{token.pk}", {"description": "harmless"}, headers=bearer(token))

    assert answer.status_code == 403
    token.refresh_from_db()
    assert token.description == "On the old server"


def test_new_token_can_be_described_by_api(by_session):
    answer = by_session.post("/api/v1/tokens", {"name": "new", "description": "For\na test", "scopes": ["api"]})

    assert (answer.status_code, answer.json()["description"]) == (201, "For a test")


# Lists


@pytest.mark.parametrize("address", ["/api/v1/tokens", "/api/v1/organization/tokens"])
def test_lists_find_a_part_of_the_description(api, administrator, address):
    TokenFactory(owner=administrator, name="one", description="On build-7")
    TokenFactory(owner=administrator, name="two", description="On deploy-1")
    api.force_login(administrator)

    found = api.get(address, {"q": "BUILD-7"}).json()["data"]

    assert [row["name"] for row in found] == ["one"]


def test_description_is_shown_in_django_admin_and_cannot_be_changed_there(client, administrator):
    token = TokenFactory(owner=administrator, description="On build-7")
    client.force_login(administrator)

    shown = client.get(reverse("admin:tokens_token_change", args=[token.pk])).text

    assert "On build-7" in shown
    assert 'name="description"' not in shown
