"""The organization's tokens: finding them, and expiring one, several or all of them."""

import re
import uuid
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from accounts.roles import SiteRole
from accounts.tests.factories import OrganizationFactory, UserFactory
from auditlog.actions import Action
from auditlog.models import Activity
from core.errors import NotAllowed
from opsera_portal.tests.mails import delivered
from opsera_portal.tests.worlds import check_row
from tokens import services
from tokens.mails import LISTED_IN_MAIL, expired_mail
from tokens.models import Token
from tokens.tests.factories import TokenFactory, bearer

PAGE = "/organization/tokens/"
SELECTED = "/organization/tokens/expire/"
MATCHING = "/organization/tokens/expire-matching/"
API = "/api/v1/organization/tokens"

REASON = "found in a public repository"


@pytest.fixture
def tasks_at_once(settings):
    """Tasks for the worker run at once, so mails arrive."""


@pytest.fixture
def security_manager(organization):
    return UserFactory(organization=organization, name="Sid Security", site_role=SiteRole.SECURITY_MANAGER)


def ago(**span):
    return timezone.now().replace(microsecond=0) - timedelta(**span)


def ended(*tokens):
    return [token.name for token in Token.objects.filter(pk__in=[t.pk for t in tokens]).revoked().order_by("name")]


def selected(*tokens):
    return SELECTED + "?" + "&".join(f"id={token.pk.hex}" for token in tokens)


# Finding


@pytest.fixture
def some(owner, member):
    long_ago = ago(days=60)
    return {
        "nightly": TokenFactory(
            owner=owner, name="nightly", created_at=ago(days=29, hours=12), last_used_at=ago(days=1)
        ),
        "deploy": TokenFactory(owner=member, name="deploy", scope="pipeline", created_at=ago(days=3)),
        "idle": TokenFactory(owner=member, name="idle", created_at=long_ago, expires_at=ago(days=-20)),
        "gone": TokenFactory(owner=owner, name="gone", created_at=long_ago),
    }


def narrowed(**day):
    return (timezone.now() - timedelta(**day)).date().isoformat()


@pytest.mark.each_database
def test_page_and_api_find_the_same_tokens(api, client, administrator, some):
    client.force_login(administrator)
    api.force_login(administrator)
    found = {
        "q=night": ["nightly"],
        "q=olga": ["gone", "nightly"],
        "q=MEMBER@acme": ["deploy", "idle"],
        "q=nobody": [],
        "owner=mo mem": ["deploy", "idle"],
        "scope=pipeline": ["deploy"],
        "state=expired": ["gone"],
        "state=live": ["deploy", "idle", "nightly"],
        "ends_within=1": ["nightly"],
        "ends_within=30": ["deploy", "idle", "nightly"],
        "unused_for=30": ["gone", "idle"],
        f"created_from={narrowed(days=10)}": ["deploy"],
        f"created_to={narrowed(days=50)}": ["gone", "idle"],
        f"created_to={narrowed(days=50)}&q=idle": ["idle"],
    }

    def attempt(query):
        on_page = [row.record.name for row in client.get(f"{PAGE}?{query}").context["table"].page.object_list]
        in_api = [row["name"] for row in api.get(f"{API}?{query}").json()["data"]]
        return sorted(on_page), sorted(in_api)

    check_row(PAGE, {query: (names, names) for query, names in found.items()}, attempt)


@pytest.mark.parametrize(
    "path", ["/organization/tokens/", "/organization/tokens/expire-matching/", "/profile/tokens/{pk}/"]
)
def test_owners_have_name_and_address(client, administrator, owner, path):
    token = TokenFactory(owner=owner)
    client.force_login(administrator)

    page = client.get(path.format(pk=token.pk)).text.replace("<wbr>", "")

    assert re.search(rf'{owner.name} <span class="hint( below)?">{owner.email}</span>', page)


@pytest.mark.parametrize("spelled", [str, lambda pk: pk.hex, lambda pk: f" {str(pk).upper()} "])
@pytest.mark.each_database
def test_pasted_id_finds_its_token(client, administrator, some, spelled):
    client.force_login(administrator)

    table = client.get(PAGE, {"q": spelled(some["idle"].pk)}).context["table"]

    assert [row.record.name for row in table.page.object_list] == ["idle"]


@pytest.mark.slow
def test_longest_page_of_the_api_can_name_a_thousand_owners(api, organization, administrator):
    """SQLite refuses a condition with a thousand alternatives."""
    owners = User.objects.bulk_create(UserFactory.build_batch(1000, organization=organization))
    Token.objects.bulk_create(TokenFactory.build(owner=owner) for owner in owners)
    api.force_login(administrator)

    answer = api.get(API, {"page_size": 1000})

    assert (answer.status_code, len({row["owner_email"] for row in answer.json()["data"]})) == (200, 1000)


@pytest.mark.parametrize(
    "wrong",
    [{"created_from": "yesterday"}, {"created_from": "2026-05-02", "created_to": "2026-05-01"}, {"unused_for": "7"}],
)
def test_wrong_filter_is_named(api, client, administrator, wrong):
    client.force_login(administrator)
    api.force_login(administrator)

    assert 'class="field has-error"' in client.get(PAGE, wrong).content.decode().replace("field  has", "field has")
    assert api.get(API, wrong).status_code == 400


@pytest.mark.each_database
def test_list_makes_the_same_number_of_queries_for_2_and_20_tokens(client, administrator):
    client.force_login(administrator)
    counts = []
    for number in (2, 18):
        for _ in range(number):
            TokenFactory(owner=UserFactory(organization=administrator.organization), revoked_by=administrator)
        with CaptureQueriesContext(connection) as captured:
            client.get(PAGE)
        counts.append(len(captured))

    assert counts[0] == counts[1]


@pytest.mark.each_database
def test_page_and_api_list_tokens_of_the_same_time_in_the_same_order(client, api, administrator):
    """Both use the order of the index. Otherwise, each page would read all tokens before it."""
    for person in (client, api):
        person.force_login(administrator)
    moment = timezone.now()
    for _ in range(5):
        TokenFactory(owner=administrator, created_at=moment)

    page = [str(row.record.pk) for row in client.get(PAGE).context["table"].page.object_list]

    assert page == [row["id"] for row in api.get(API).json()["data"]]


def test_only_people_who_may_expire_tokens_see_checkboxes(client, organization, some, security_manager):
    for person, may in [(security_manager, True), (UserFactory(organization=organization, site_role="auditor"), False)]:
        client.force_login(person)
        page = client.get(PAGE).content.decode()
        assert (some["idle"].pk.hex in page) == may
        assert ("Expire selected" in page) == may


def test_ended_token_has_no_checkbox(client, administrator, some):
    client.force_login(administrator)

    assert some["gone"].pk.hex not in client.get(PAGE).content.decode()


# The service


def test_each_expired_token_has_a_log_entry(administrator, some):
    services.revoke_tokens(actor=administrator, token_ids=[some["idle"].pk, some["deploy"].pk], reason=REASON)

    entries = Activity.objects.filter(action="token.revoked").values_list("actor_email", "target_name", "details")
    assert sorted(entries) == [
        ("admin@acme.example", "deploy", {"reason": REASON}),
        ("admin@acme.example", "idle", {"reason": REASON}),
    ]


def test_token_that_ended_before_is_not_changed(administrator, owner, some):
    services.revoke_token(actor=owner, token=some["nightly"], reason="first")

    now_ended = services.revoke_tokens(
        actor=administrator, token_ids=[some["nightly"].pk, some["idle"].pk], reason="second"
    )

    assert [token.name for token in now_ended] == ["idle"]
    some["nightly"].refresh_from_db()
    assert (some["nightly"].revoked_by, some["nightly"].revoke_reason) == (owner, "first")


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_another_persons_token_is_not_expired_without_a_reason(administrator, some, reason):
    with pytest.raises(ValidationError):
        services.revoke_tokens(actor=administrator, token_ids=[some["idle"].pk], reason=reason)
    with pytest.raises(ValidationError):
        services.revoke_all(actor=administrator, tokens=Token.objects.all(), reason=reason)

    assert not Token.objects.revoked().exists()


def test_own_tokens_need_no_reason(owner, some):
    assert services.revoke_all(actor=owner, tokens=Token.objects.all()) == 1
    assert ended(*some.values()) == ["nightly"]


@pytest.mark.each_database
def test_matching_tokens_expire_in_batches(administrator, member, monkeypatch):
    monkeypatch.setattr(services, "BATCH", 2)
    tokens = [TokenFactory(owner=member) for _ in range(5)]

    assert services.revoke_all(actor=administrator, tokens=Token.objects.all(), expected=5, reason=REASON) == 5
    assert len(ended(*tokens)) == Activity.objects.filter(action="token.revoked").count() == 5


@pytest.mark.each_database
def test_nothing_expires_if_the_number_of_tokens_has_changed(administrator, some):
    with pytest.raises(services.CountChanged) as changed:
        services.revoke_all(actor=administrator, tokens=Token.objects.all(), expected=2, reason=REASON)

    assert changed.value.count == 3
    assert not Token.objects.revoked().exists()


def test_tokens_of_another_organization_do_not_expire(administrator, stranger, some):
    theirs = TokenFactory(owner=stranger)

    services.revoke_all(actor=administrator, tokens=Token.objects.all(), reason=REASON)
    with pytest.raises(NotAllowed):
        services.revoke_tokens(actor=administrator, token_ids=[theirs.pk], reason=REASON)

    assert ended(theirs) == []


# The pages


def test_confirmation_lists_tokens_and_owners_and_warns_about_scripts(client, administrator, some):
    client.force_login(administrator)

    page = client.get(selected(some["nightly"], some["deploy"])).content.decode()

    for words in (
        "Expire 2 tokens?",
        "nightly",
        "owner@<wbr>acme.example",
        "deploy",
        "member@<wbr>acme.example",
        "2 people",
    ):
        assert words in page
    assert "<strong>1</strong> of them was used in the last 7 days" in page
    assert "idle" not in page
    assert ended(*some.values()) == []


def test_selected_tokens_expire_with_the_reason(client, administrator, some):
    client.force_login(administrator)

    answer = client.post(selected(some["nightly"], some["deploy"]), {"reason": REASON, "count": 2}, follow=True)

    assert answer.redirect_chain == [(PAGE, 302)]
    assert "Expired 2 tokens." in answer.content.decode()
    assert ended(*some.values()) == ["deploy", "nightly"]
    assert set(Token.objects.revoked().values_list("revoke_reason", "revoked_by")) == {(REASON, administrator.pk)}


def test_page_asks_for_a_missing_reason_and_expires_nothing(client, administrator, some):
    client.force_login(administrator)

    answer = client.post(selected(some["nightly"]), {"reason": " ", "count": 1})

    assert (answer.status_code, "Give a reason." in answer.content.decode()) == (400, True)
    assert ended(*some.values()) == []


def test_selected_token_that_ended_meanwhile_is_not_changed(client, administrator, owner, some):
    client.force_login(administrator)
    services.revoke_token(actor=owner, token=some["nightly"], reason="mine")

    answer = client.post(selected(some["nightly"], some["idle"]), {"reason": REASON, "count": 2}, follow=True)

    assert "Expired 1 token." in answer.content.decode()
    some["nightly"].refresh_from_db()
    assert some["nightly"].revoke_reason == "mine"


@pytest.mark.parametrize("address", [SELECTED, MATCHING + "?q=nothing+of+this+name"])
def test_list_says_that_there_is_nothing_to_expire(client, administrator, address):
    client.force_login(administrator)

    assert "Nothing to expire" in client.get(address, follow=True).content.decode()


@pytest.mark.parametrize("unknown", ["theirs", "none", "no id"])
def test_unknown_id_makes_the_whole_selection_not_found(client, administrator, stranger, some, unknown):
    client.force_login(administrator)
    wrong = {"theirs": TokenFactory(owner=stranger).pk.hex, "none": uuid.uuid4().hex, "no id": "x"}[unknown]
    address = f"{selected(some['idle'])}&id={wrong}"

    assert client.get(address).status_code == 404
    assert client.post(address, {"reason": REASON, "count": 2}).status_code == 404
    assert not Token.objects.revoked().exists()


@pytest.mark.each_database
def test_tokens_that_match_the_filters_expire(client, administrator, some):
    client.force_login(administrator)
    address = MATCHING + "?owner=member&scope="

    question = client.get(MATCHING + "?owner=member")
    assert "Expire 2 tokens?" in question.content.decode()
    assert client.post(address, {"reason": REASON, "count": 2}).status_code == 400
    answer = client.post(MATCHING + "?owner=member", {"reason": REASON, "count": 2})

    assert (answer.status_code, answer.url) == (302, PAGE + "?owner=member")
    assert ended(*some.values()) == ["deploy", "idle"]


def test_all_tokens_of_the_organization_expire_without_filters(client, administrator, stranger, some):
    client.force_login(administrator)
    theirs = TokenFactory(owner=stranger)

    client.post(MATCHING, {"reason": REASON, "count": 3})

    assert ended(theirs, *some.values()) == ["deploy", "idle", "nightly"]


def test_page_asks_again_if_the_number_of_tokens_has_changed(client, administrator, member, some):
    client.force_login(administrator)
    TokenFactory(owner=member, name="new")

    answer = client.post(MATCHING + "?owner=member", {"reason": REASON, "count": 2})

    page = answer.content.decode()
    assert (answer.status_code, ended(*some.values())) == (409, [])
    assert "The list has changed: there are now 3 tokens." in page
    assert REASON in page
    assert client.post(MATCHING + "?owner=member", {"reason": REASON, "count": 3}).status_code == 302


@pytest.mark.parametrize("query", ["state=nonsense", "owmer=member", "created_from=yesterday", "unused_for="])
def test_wrong_filter_expires_nothing(client, administrator, some, query):
    """If the filter were ignored, more tokens would expire than intended."""
    client.force_login(administrator)

    assert client.get(f"{MATCHING}?{query}").status_code == 400
    assert client.post(f"{MATCHING}?{query}", {"reason": REASON, "count": 3}).status_code == 400
    assert ended(*some.values()) == []


def test_confirmation_lists_one_page_of_tokens_and_counts_the_others(client, administrator, member):
    client.force_login(administrator)
    Token.objects.bulk_create(TokenFactory.build(owner=member, organization=member.organization) for _ in range(53))

    page = client.get(MATCHING).content.decode()

    assert "Expire 53 tokens?" in page
    assert page.count("data-token=") == 50
    assert "And 3 more." in page


def test_page_of_one_token_asks_for_a_reason_only_if_it_is_needed(client, administrator, owner, some):
    client.force_login(administrator)
    address = f"/profile/tokens/{some['idle'].pk}/expire/"
    assert "Reason (optional)" not in client.get(address).content.decode()
    assert client.post(address, {"reason": ""}).status_code == 400

    client.force_login(owner)
    address = f"/profile/tokens/{some['nightly'].pk}/expire/"
    assert "Reason (optional)" in client.get(address).content.decode()
    assert client.post(address, {"reason": ""}).status_code == 302

    assert ended(*some.values()) == ["nightly"]


# The API


def expire(api, actor, token_ids, **body):
    body = {"ids": [str(token_id) for token_id in token_ids], "reason": REASON} | body
    return api.post(f"{API}/expire", body, headers=bearer(TokenFactory(owner=actor)))


def test_api_gives_the_result_for_each_token(api, administrator, some):
    answer = expire(api, administrator, [some["gone"].pk, some["idle"].pk])

    assert answer.status_code == 200
    assert answer.json() == {
        "count": 2,
        "data": [
            {"id": str(some["gone"].pk), "outcome": "already_ended"},
            {"id": str(some["idle"].pk), "outcome": "expired"},
        ],
        "next": None,
    }
    assert ended(*some.values()) == ["idle"]


def test_foreign_and_unknown_ids_get_the_same_refusal(api, administrator, stranger, some):
    theirs = TokenFactory(owner=stranger)

    foreign = expire(api, administrator, [some["idle"].pk, theirs.pk])
    unknown = expire(api, administrator, [some["idle"].pk, uuid.uuid4()])

    assert (foreign.status_code, unknown.status_code) == (403, 403)
    assert {**foreign.json(), "request_id": ""} == {**unknown.json(), "request_id": ""}
    assert not Token.objects.revoked().exists()


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"reason": ""}, "reason"),
        ({"reason": "   "}, "reason"),
        ({"reason": "x" * 201}, "reason"),
        ({"ids": []}, "ids"),
        ({"ids": ["x"]}, "ids.0"),
        ({"ids": [7]}, "ids.0"),
        ({"ids": "x"}, "ids"),
        ({"ids": ["6f1e1a0e-7d0a-4c3b-9f0e-0d6f0f6a9b11"] * 2}, "ids"),
        ({"ids": [str(uuid.UUID(int=number)) for number in range(1001)]}, "ids"),
        ({"all": True}, "all"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_wrong_body_is_a_400_that_names_the_field(api, administrator, some, wrong, field):
    answer = expire(api, administrator, [some["idle"].pk], **wrong)

    assert (answer.status_code, list(answer.json()["errors"])) == (400, [field])
    assert not Token.objects.revoked().exists()


@pytest.mark.each_database
def test_api_expires_a_thousand_tokens_in_one_request(api, administrator, member):
    build = TokenFactory.build
    tokens = Token.objects.bulk_create(build(owner=member, organization=member.organization) for _ in range(1000))

    with CaptureQueriesContext(connection) as captured:
        answer = expire(api, administrator, [token.pk for token in tokens])

    assert (answer.json()["count"], Token.objects.revoked().count()) == (1000, 1000)
    assert len(captured) < 60


def test_api_needs_a_reason_for_another_persons_token(api, administrator, some):
    headers = bearer(TokenFactory(owner=administrator))

    answer = api.post(f"/api/v1/tokens/{some['idle'].pk}/expire", {}, headers=headers)

    assert (answer.status_code, list(answer.json()["errors"])) == (400, ["reason"])
    assert ended(*some.values()) == []


# The mail


@pytest.fixture
def acting(client, api, administrator, django_capture_on_commit_callbacks, tasks_at_once):
    """Runs a function, and then its on-commit callbacks."""

    def act(what):
        with django_capture_on_commit_callbacks(execute=True):
            return what()

    client.force_login(administrator)
    return act


def test_each_owner_gets_one_mail_about_all_of_their_tokens(acting, client, some, member):
    second = TokenFactory(owner=member, name="second")
    acting(lambda: client.post(selected(some["nightly"], some["idle"], second), {"reason": REASON, "count": 3}))

    mails = {message.to[0]: message for message in delivered()}
    assert len(delivered()) == 2
    assert mails["owner@acme.example"].subject == "Your access token “nightly” was expired early"
    message = mails["member@acme.example"]
    assert message.subject == "Your 2 access tokens were expired early"
    for words in ("idle", str(some["idle"].pk), "second", REASON, "Ada Admin (admin@acme.example)", "/profile/tokens/"):
        assert words in message.body
    assert "nightly" not in message.body


@pytest.mark.parametrize("way", ["page", "matching", "single page", "api", "single api", "admin"])
def test_owner_gets_a_mail_from_page_api_and_admin(acting, client, api, administrator, some, way):
    token, reason = some["idle"], {"reason": REASON}
    acting(
        {
            "page": lambda: client.post(selected(token), reason | {"count": 1}),
            "matching": lambda: client.post(f"{MATCHING}?q=idle", reason | {"count": 1}),
            "single page": lambda: client.post(f"/profile/tokens/{token.pk}/expire/", reason),
            "api": lambda: expire(api, administrator, [token.pk]),
            "single api": lambda: api.post(
                f"/api/v1/tokens/{token.pk}/expire", reason, headers=bearer(TokenFactory(owner=administrator))
            ),
            "admin": lambda: client.post(
                "/admin/tokens/token/", reason | {"action": "expire", "_selected_action": [token.pk]}
            ),
        }[way]
    )

    assert [(message.to, "idle" in message.subject) for message in delivered()] == [(["member@acme.example"], True)]
    assert ended(*some.values()) == ["idle"]


def test_person_gets_no_mail_about_their_own_action(acting, client, administrator):
    token = TokenFactory(owner=administrator)
    acting(lambda: client.post(selected(token), {"reason": REASON, "count": 1}))

    assert ended(token) == [token.name]
    assert delivered() == []


def test_deactivated_owner_gets_no_mail(some, member):
    services.end_tokens([some["idle"].pk], action=Action.TOKEN_REVOKED)
    member.is_active = False
    member.save()

    expired_mail.put(member.pk, str(member.pk), [str(some["idle"].pk)], 1)

    assert delivered() == []


def test_mail_about_many_tokens_lists_some_and_counts_the_others(acting, administrator, member):
    count = LISTED_IN_MAIL + 20
    build = TokenFactory.build
    Token.objects.bulk_create(build(owner=member, organization=member.organization) for _ in range(count))
    acting(lambda: services.revoke_all(actor=administrator, tokens=Token.objects.all(), reason=REASON))

    [message] = delivered()
    assert message.subject == f"Your {count} access tokens were expired early"
    assert message.body.count("token ") >= LISTED_IN_MAIL
    assert "and 20 more" in message.body


def test_reason_stays_on_one_line_of_the_mail_and_contains_no_token(acting, administrator, some):
    token_text = bearer(some["nightly"])["Authorization"].removeprefix("Bearer ")
    reason = f"leak\n\nTo: someone\n{token_text[:90]}"
    acting(lambda: services.revoke_token(actor=administrator, token=some["idle"], reason=reason))

    [message] = delivered()
    assert "Reason: leak To: someone [token]\n" in message.body
    assert token_text[:40] not in message.body


@pytest.mark.each_database
def test_token_is_not_expired_if_the_log_entry_fails(administrator, some, monkeypatch):
    """Log entries are written last; if that fails, the change is undone."""

    def fail(*args, **kwargs):
        raise RuntimeError("the log cannot be written")

    monkeypatch.setattr(Activity.objects, "bulk_create", fail)
    with pytest.raises(RuntimeError):
        services.revoke_tokens(actor=administrator, token_ids=[some["idle"].pk], reason=REASON)

    assert ended(*some.values()) == []


def test_organization_with_the_same_names_is_not_changed(client, administrator, some):
    other = UserFactory(organization=OrganizationFactory(), name="Mo Member", email="member@acme.example.org")
    theirs = TokenFactory(owner=other, name="idle")
    client.force_login(administrator)

    client.post(f"{MATCHING}?q=idle", {"reason": REASON, "count": 1})

    assert ended(theirs, some["idle"]) == ["idle"]
    assert ended(theirs) == []
