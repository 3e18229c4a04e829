"""Looking up a found token, on the page and in the API."""

from datetime import timedelta

import pytest
import time_machine
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from django.apps import apps
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.roles import SiteRole
from accounts.tests.factories import UserFactory
from auditlog.models import Activity, TokenUse
from opsera_portal.tests.mails import delivered
from tokens import jwt
from tokens.leaks import finding
from tokens.models import Token
from tokens.states import TokenState
from tokens.tests.factories import TokenFactory, bearer
from tokens.tests.test_token_pattern import pem

PAGE = "/tokens/lookup/"
API = "/api/v1/tokens/lookup"


def signed(token):
    return jwt.encode(token)[0]


@pytest.fixture
def token(owner):
    return TokenFactory(owner=owner, name="nightly build", scope="api pipeline")


@pytest.fixture
def signed_in(client):
    def as_person(person):
        client.force_login(person)
        return client

    return as_person


@pytest.fixture
def session():
    def as_person(person):
        api = APIClient()
        api.force_login(person)
        return api

    return as_person


def text(answer):
    return answer.content.decode()


def test_owner_sees_which_token_it_is(signed_in, owner, token):
    answer = signed_in(owner).post(PAGE, {"token": signed(token)})

    assert answer.status_code == 200
    assert answer.context["token"] == token
    for shown in ("nightly build", str(token.pk), owner.name, owner.email, "Pipeline Access", "Active", "It works"):
        assert shown in text(answer)


@pytest.mark.parametrize(
    "pasted",
    [
        "Authorization: Bearer {}",
        '"{}"',
        "2026-11-24 INFO GET /x?t={}&a=b 200\n2026-11-24 INFO GET / 200",
        "  {}\n",
        "Bearer {}.",
    ],
)
def test_text_around_the_token_is_ignored(signed_in, session, owner, token, pasted):
    pasted = pasted.format(signed(token))

    assert signed_in(owner).post(PAGE, {"token": pasted}).context["token"] == token
    assert session(owner).post(API, {"token": pasted}).json()["id"] == str(token.pk)


@pytest.mark.parametrize(
    "key", [ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)], ids=["ES256", "RS256"]
)
def test_wrapped_token_is_joined(settings, signed_in, owner, token, key):
    settings.TOKEN_SIGNING_KEYS = pem(key)
    encoded = signed(token)
    wrapped = "\r\n  ".join(encoded[start : start + 76] for start in range(0, len(encoded), 76))

    assert signed_in(owner).post(PAGE, {"token": wrapped}).context["token"] == token


def test_text_with_several_tokens_is_refused(signed_in, session, owner, token):
    pasted = f"{signed(token)}\n{signed(TokenFactory(owner=owner))}"

    page, answer = signed_in(owner).post(PAGE, {"token": pasted}), session(owner).post(API, {"token": pasted})

    assert page.status_code == answer.status_code == 400
    assert "There are several tokens in this text" in text(page)
    assert "several tokens" in answer.json()["errors"]["token"][0]


PARTS = {
    "the first 20 characters": lambda encoded: encoded[:20],
    "the first 40 characters": lambda encoded: encoded[:40],
    "cut by a log": lambda encoded: f"GET / Bearer {encoded[:100]}... 200",
    "header and payload": lambda encoded: encoded.rpartition(".")[0],
    "without its last characters": lambda encoded: encoded[:-9],
    "cut off in a sentence": lambda encoded: f"{encoded[:-9]} was leaked yesterday",
    "cut off before a line": lambda encoded: f"{encoded[:-9]}\nwas leaked yesterday\nby somebody",
    "cut off before a word": lambda encoded: f"{encoded[:-9]}\nunfortunately",
    "without its middle": lambda encoded: f"{encoded[:60]}…{encoded[-60:]}",
    "without its first characters": lambda encoded: encoded[9:],
    "wrapped": lambda encoded: "\n".join(encoded[start : start + 76] for start in range(0, 400, 76)),
}


def test_rs256_token_with_half_a_signature_is_a_part(settings, signed_in, owner, token):
    settings.TOKEN_SIGNING_KEYS = pem(rsa.generate_private_key(65537, 2048))

    assert signed_in(owner).post(PAGE, {"token": signed(token)[:-171]}).status_code == 400
    assert signed_in(owner).post(PAGE, {"token": signed(token)}).status_code == 200


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("whose", ["own", "another's"])
def test_part_of_a_token_is_no_all_clear(signed_in, session, owner, stranger, part, whose):
    pasted = PARTS[part](signed(TokenFactory(owner=owner if whose == "own" else stranger)))

    page, answer = signed_in(owner).post(PAGE, {"token": pasted}), session(owner).post(API, {"token": pasted})

    assert page.status_code == answer.status_code == 400
    assert "This is only part of a token. Paste the whole token." in text(page)
    assert "This is not one of your tokens" not in text(page)
    assert answer.json()["errors"] == {"token": ["This is only part of a token. Paste the whole token."]}


# Whose tokens a person may look up


@pytest.mark.parametrize(
    ("role", "may"),
    [
        (SiteRole.ADMINISTRATOR, True),
        (SiteRole.SECURITY_MANAGER, True),
        (SiteRole.POWER_USER, False),
        (SiteRole.AUDITOR, False),
        (SiteRole.USER, False),
        (SiteRole.GUEST, False),
    ],
)
def test_some_roles_can_look_up_another_persons_token(signed_in, session, api, organization, token, role, may):
    person = UserFactory(organization=organization, site_role=role)
    own = TokenFactory(owner=person, scope="api-readonly")

    page = signed_in(person).post(PAGE, {"token": signed(token)})

    assert page.status_code == (200 if may else 404)
    assert session(person).post(API, {"token": signed(token)}).status_code == (200 if may else 403)
    assert api.post(API, {"token": signed(token)}, headers=bearer(own)).status_code == (200 if may else 403)
    assert signed_in(person).post(PAGE, {"token": signed(own)}).context["token"] == own


def forged():
    return finding.example()


NOT_FOUND = {
    "of another organization": lambda member, stranger: signed(TokenFactory(owner=stranger)),
    "of someone else": lambda member, stranger: signed(TokenFactory(owner=member)),
    "forged": lambda member, stranger: forged(),
    "of another product": lambda member, stranger: f"eyJhbGciOiJIUzI1NiJ9.e30.{'A' * 43}",
    "no token": lambda member, stranger: "hello",
}


@pytest.mark.parametrize("what", NOT_FOUND)
def test_answer_is_the_same_for_everything_except_own_tokens(signed_in, session, owner, member, stranger, what):
    """The same words, the same status and the same queries."""
    client, api = signed_in(owner), session(owner)
    pasted = NOT_FOUND[what](member, stranger)

    def page_of(pasted):
        with CaptureQueriesContext(connection) as captured:
            answer = client.post(PAGE, {"token": pasted})
        asked = [query["sql"].split(" WHERE ")[0] for query in captured]
        return answer.status_code, without_csrf(text(answer)), asked

    def answer_of(pasted):
        answer = api.post(API, {"token": pasted})
        return answer.status_code, {**answer.json(), "request_id": ""}

    page_of("warm up")
    expected = page_of("hello")
    assert page_of(pasted) == expected
    assert expected[0] == 404
    assert "This is not one of your tokens" in expected[1]
    assert sum("tokens_token" in query for query in expected[2]) == 1
    assert answer_of(pasted) == answer_of("hello")
    assert answer_of(pasted)[0] == 403


def without_csrf(page):
    before, _, rest = page.partition('name="csrfmiddlewaretoken" value="')
    middle, _, rest = rest.partition('name="csrfmiddlewaretoken" value="')
    return before + middle[64:] + rest[64:]


def test_administrator_learns_that_it_is_not_a_token_of_the_organization(signed_in, administrator, stranger):
    answer = signed_in(administrator).post(PAGE, {"token": signed(TokenFactory(owner=stranger))})

    assert answer.status_code == 404
    assert "This is not a token of your organization" in text(answer)
    assert "whose signing key was retired" in text(answer)
    assert not Activity.objects.filter(action="token.looked_up").exists()


# States


LIFE = {
    TokenState.ACTIVE: {},
    TokenState.SCHEDULED: {"not_before": timezone.now() + timedelta(days=1)},
    TokenState.WAITING: {"revealed_at": None, "waits_until": timezone.now() + timedelta(days=7)},
    TokenState.PENDING: {"revealed_at": None},
    TokenState.EXPIRED: {"created_at": timezone.now().replace(microsecond=0) - timedelta(days=60)},
    TokenState.REVOKED: {"revoked_at": timezone.now(), "revoke_reason": "lost laptop"},
    TokenState.OWNER_DEACTIVATED: {},
    TokenState.BLOCKED_BY_POLICY: {"expires_at": timezone.now().replace(microsecond=0) + timedelta(days=300)},
}


@pytest.mark.parametrize("state", TokenState, ids=lambda state: state.id)
def test_token_in_each_state_is_found_and_explained(signed_in, session, administrator, owner, state):
    token = TokenFactory(owner=owner, **LIFE[state])
    owner.is_active = state is not TokenState.OWNER_DEACTIVATED
    owner.save()

    page = signed_in(administrator).post(PAGE, {"token": signed(token)})

    assert page.context["token"].state is state
    assert str(finding.MEANINGS[state]) in text(page)
    assert str(state.label) in text(page)
    assert ('id="confirm-expire"' in text(page)) is not page.context["token"].has_ended
    assert session(administrator).post(API, {"token": signed(token)}).json()["state"] == state.id


def test_page_shows_how_the_token_was_ended(signed_in, owner, administrator):
    ended = TokenFactory(
        owner=owner, revoked_at=timezone.now(), revoked_by=administrator, revoke_reason="found in <b>a log</b>"
    )

    answer = text(signed_in(owner).post(PAGE, {"token": signed(ended)}))

    assert administrator.email in answer
    assert "found in &lt;b&gt;a log&lt;/b&gt;" in answer


# Uses


def test_last_uses_are_shown_newest_first(signed_in, session, api, owner, token):
    for number in range(finding.LAST_USES + 2):
        api.get(f"/api/v1/nothing/{number}", headers=bearer(token) | {"User-Agent": "curl/8"}, REMOTE_ADDR="192.0.2.7")

    page = signed_in(owner).post(PAGE, {"token": signed(token)})
    answer = session(owner).post(API, {"token": signed(token)}).json()

    shown = [use["entry"].target for use in page.context["last_uses"]]
    assert shown == [f"/api/v1/nothing/{number}" for number in (6, 5, 4, 3, 2)]
    assert shown == [use["target"] for use in answer["last_uses"]]
    assert text(page).replace("<wbr>", "").count("192.0.2.7") >= finding.LAST_USES
    assert "curl/8" in text(page)


def test_uses_of_other_tokens_are_not_shown(signed_in, api, owner, token):
    api.get("/api/v1/me", headers=bearer(TokenFactory(owner=owner)))

    assert "The log contains no uses of this token" in text(signed_in(owner).post(PAGE, {"token": signed(token)}))


def test_api_answers_with_the_metadata_of_lists(session, administrator, owner, token):
    listed = session(administrator).get("/api/v1/organization/tokens").json()["data"]

    answer = session(administrator).post(API, {"token": signed(token)})

    assert answer.json() == {**listed[0], "last_uses": []}
    assert answer.json()["owner_email"] == owner.email
    assert answer.headers["Cache-Control"] == "no-store"


# Expiring it


def test_owner_can_expire_the_found_token(signed_in, owner, token):
    client = signed_in(owner)
    page = text(client.post(PAGE, {"token": signed(token)}))
    assert f'action="/profile/tokens/{token.pk}/expire/"' in page

    client.post(f"/profile/tokens/{token.pk}/expire/", {"reason": "found in a log"})

    token.refresh_from_db()
    assert (token.revoked_by, token.revoke_reason) == (owner, "found in a log")


def test_expiring_another_persons_token_needs_a_reason(signed_in, owner, administrator, token):
    own = signed_in(owner).post(PAGE, {"token": signed(token)}).context["expire_form"]
    anothers = signed_in(administrator).post(PAGE, {"token": signed(token)}).context["expire_form"]

    assert not own.fields["reason"].required
    assert anothers.fields["reason"].required


# What is recorded and stored


@pytest.mark.parametrize("way", ["page", "api"])
def test_looking_up_another_persons_token_is_recorded(signed_in, session, administrator, owner, token, way):
    if way == "page":
        signed_in(administrator).post(PAGE, {"token": signed(token)})
    else:
        session(administrator).post(API, {"token": signed(token)})

    entry = Activity.objects.get(action="token.looked_up")
    assert (entry.actor, entry.target_id, entry.target_name) == (administrator, str(token.pk), "nightly build")
    assert entry.organization == owner.organization


def test_looking_up_ones_own_token_is_not_recorded(signed_in, session, owner, token):
    signed_in(owner).post(PAGE, {"token": signed(token)})
    session(owner).post(API, {"token": signed(token)})

    assert not Activity.objects.filter(action="token.looked_up").exists()


def everything_in_the_database():
    return "\n".join(str(list(model._base_manager.values())) for model in apps.get_models(include_auto_created=True))


WAYS = {
    "found on the page": (PAGE, "{}"),
    "several on the page": (PAGE, "{} {}x".format("{}", finding.example())),
    "too long on the page": (PAGE, "{} " + "x" * finding.MAX_PASTED_LENGTH),
    "with a null on the page": (PAGE, "{}\0"),
    "found in the API": (API, {"token": "{}"}),
    "several in the API": (API, {"token": "{} " + finding.example()}),
    "too long in the API": (API, {"token": "{} " + "x" * finding.MAX_PASTED_LENGTH}),
    "under another name in the API": (API, {"tokn": "{}"}),
    "as a name in the API": (API, {"{}": "token"}),
    "in a list in the API": (API, {"token": ["{}"]}),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("whose", ["own", "anothers"])
def test_pasted_text_is_not_stored(signed_in, session, administrator, stranger, token, caplog, way, whose):
    caplog.set_level("DEBUG")
    encoded = signed(token if whose == "own" else TokenFactory(owner=stranger))
    signature = encoded.rpartition(".")[2]
    address, pasted = WAYS[way]

    if address == PAGE:
        client = signed_in(administrator)
        answer = client.post(PAGE, {"token": pasted.replace("{}", encoded)})
    else:
        client = session(administrator)
        body = {
            name.replace("{}", encoded): [encoded] if isinstance(value, list) else value.replace("{}", encoded)
            for name, value in pasted.items()
        }
        answer = client.post(address, body)

    assert answer.status_code in {200, 400, 403, 404}
    for kept in (text(answer), str(answer.headers), everything_in_the_database(), caplog.text, str(delivered())):
        assert signature not in kept
        assert encoded[:200] not in kept


def test_page_tells_the_browser_to_store_nothing(signed_in, owner, token):
    for answer in (signed_in(owner).get(PAGE), signed_in(owner).post(PAGE, {"token": signed(token)})):
        assert "no-store" in answer.headers["Cache-Control"]
        [field] = [part for part in text(answer).split("<") if part.startswith("textarea")]
        assert 'autocomplete="off"' in field
        assert 'spellcheck="false"' in field
        assert field.partition(">")[2].strip() == ""


def test_error_report_contains_no_token(rf, owner, token):
    """Django's own report about a request that fails."""
    from django.views.debug import SafeExceptionReporterFilter

    from tokens.views.leaks import TokenLookupView

    request = rf.post(PAGE, {"token": signed(token)})
    request.user = owner
    request.client_address = "127.0.0.1"
    TokenLookupView.as_view()(request)

    assert SafeExceptionReporterFilter().get_post_parameters(request)["token"] == "********************"


# Limits and access


def test_person_above_the_limit_has_to_wait(signed_in, session, owner, member):
    client, api = signed_in(owner), session(owner)
    with time_machine.travel(timezone.now(), tick=False):
        for _ in range(finding.LOOK_UPS.amount - 1):
            assert api.post(API, {"token": "x"}).status_code == 403
        assert client.post(PAGE, {"token": "x"}).status_code == 404

        page, answer = client.post(PAGE, {"token": "x"}), api.post(API, {"token": "x"})

        assert page.status_code == answer.status_code == 429
        assert 1 <= int(page.headers["Retry-After"]) <= 60
        assert 1 <= int(answer.headers["Retry-After"]) <= 60
        assert signed_in(member).post(PAGE, {"token": "x"}).status_code == 404


def test_found_token_is_not_used_as_a_credential(api, client, owner, token):
    answer = api.post(API, {"token": signed(token)})

    assert answer.status_code == 401
    assert client.post(PAGE, {"token": signed(token)}).url.startswith("/login/")
    assert not TokenUse.objects.exists()


def test_look_up_is_a_use_of_the_sent_token_only(api, owner, token):
    other = TokenFactory(owner=owner)

    assert api.post(API, {"token": signed(other)}, headers=bearer(token)).status_code == 200
    assert [use.token_id for use in TokenUse.objects.all()] == [token.pk]
    assert Token.objects.get(pk=other.pk).last_used_at is None


def test_form_needs_its_csrf_token(owner, token):
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(owner)

    assert client.post(PAGE, {"token": signed(token)}, format="multipart").status_code == 403
    assert client.post(API, {"token": signed(token)}).status_code == 403


@pytest.mark.parametrize("page", ["/profile/tokens/", "/organization/tokens/"])
def test_lists_of_tokens_link_to_the_page(signed_in, administrator, page):
    assert f'href="{PAGE}"' in text(signed_in(administrator).get(page))
