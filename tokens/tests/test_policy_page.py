"""The page of the policy: who can read it, and how a change is reviewed and saved."""

from datetime import timedelta
from html.parser import HTMLParser
from urllib.parse import parse_qs, urlsplit

import pytest
from allauth.mfa.models import Authenticator
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import Organization
from accounts.roles import SiteRole
from accounts.tests.factories import UserFactory
from accounts.tests.factors import make_recent
from auditlog.models import Activity
from tokens.tests.factories import TokenFactory, now_in_seconds

PAGE = "/organization/policy/"
SAVE = "/organization/policy/save/"
READERS = [SiteRole.SECURITY_MANAGER, SiteRole.AUDITOR]


class Fields(HTMLParser):
    """The fields that a browser would send with the form of this ``action``."""

    def __init__(self, answer, action):
        super().__init__()
        self.action, self.is_inside, self.sent = action, False, {}
        self.feed(answer.content.decode())

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "form":
            self.is_inside = attrs.get("action") == self.action
        if tag == "select":
            self.select = attrs["name"]
        if tag == "option" and self.is_inside and "selected" in attrs:
            self.sent[self.select] = [attrs["value"]]
        is_off = attrs.get("type") == "checkbox" and "checked" not in attrs
        if tag == "input" and self.is_inside and not is_off:
            self.sent.setdefault(attrs["name"], []).append(attrs.get("value", ""))


@pytest.fixture
def page(client, administrator):
    """The page as an Administrator uses it: open, review, save."""
    client.force_login(administrator)

    class Page:
        def open(self):
            return Fields(client.get(PAGE), PAGE).sent

        def review(self, opened=None, **typed):
            return client.post(PAGE, (opened or self.open()) | typed)

        def save(self, reviewed):
            return client.post(SAVE, Fields(reviewed, SAVE).sent, follow=True)

    return Page()


def policy():
    return Organization.objects.get(slug="acme").policy


def test_change_is_reviewed_before_it_is_saved(page, organization):
    reviewed = page.review(max_token_lifetime_days="30", allowed_scopes=["api", "pipeline"], two_factor_roles=["user"])
    assert policy() == organization.policy

    saved = page.save(reviewed)

    assert saved.redirect_chain == [(PAGE, 302)]
    assert "The policy is saved" in saved.content.decode()
    assert policy() == organization.policy | {
        "max_token_lifetime_days": 30,
        "allowed_scopes": ["api", "pipeline"],
        "two_factor_roles": ["user"],
    }


def test_review_lists_each_change_and_its_effect(page, owner, member):
    for person in (owner, owner, member):
        created_at = now_in_seconds() - timedelta(days=40)
        TokenFactory(owner=person, created_at=created_at, expires_at=created_at + timedelta(days=90), scope="pipeline")

    answer = page.review(
        max_token_lifetime_days="60",
        allowed_scopes=["api"],
        unused_tokens_end_after_days="30",
        max_replacement_overlap_hours="1",
        max_live_tokens="1",
        two_factor_roles=["user"],
        log_retention_days="30",
    )

    assert [(change["before"], change["after"]) for change in answer.context["changes"]] == [
        ("92 days", "60 days"),
        (
            "API Access, API Access (Read Only), Pipeline Access, Pipeline Access (Read Only), "
            "Security Logs (Read Only), Replace Itself",
            "API Access",
        ),
        ("50", "1"),
        ("Never", "30 days"),
        ("168 hours", "1 hour"),
        ("None", "User"),
        ("400 days", "30 days"),
    ]
    assert answer.context["consequences"] == [
        "3 tokens of 2 people will be blocked from their next use: 3 have a lifetime that is too long, "
        "3 have a scope that is not allowed, 3 were unused for too long, 3 belong to people without two-factor. "
        "A token that breaks several rules is counted for each of them.",
        "Unused tokens are expired within the hour, and their owners get a mail.",
        "2 people must set up two-factor before doing anything else in the portal.",
        "1 person over the new limit keeps their tokens but can't create more.",
        "Tokens that are being replaced now keep their end.",
        "Entries older than 30 days are permanently removed from both logs within a day.",
    ]
    text = answer.content.decode()
    assert text.index(owner.email) < text.index(member.email)
    assert owner.name in text


def test_review_uses_the_singular_for_one_token(page, owner):
    TokenFactory(owner=owner)

    answer = page.review(max_token_lifetime_days="1")

    assert answer.context["consequences"] == [
        "1 token of 1 person will be blocked from their next use: 1 has a lifetime that is too long."
    ]


def test_unchanged_values_cannot_be_saved(page):
    answer = page.review()

    assert "Nothing would change" in answer.content.decode()
    assert SAVE not in answer.content.decode()


def test_empty_number_of_days_lets_unused_tokens_work(page):
    Organization.objects.update(unused_tokens_end_after_days=30)

    page.save(page.review(unused_tokens_end_after_days=""))

    assert policy()["unused_tokens_end_after_days"] is None


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ({"max_token_lifetime_days": "367"}, "less than or equal to 366"),
        ({"max_token_lifetime_days": ""}, "required"),
        ({"allowed_scopes": []}, "Allow at least one scope"),
        ({"allowed_scopes": ["everything"]}, "everything is not one of the available choices"),
        ({"unused_tokens_end_after_days": "0"}, "greater than or equal to 1"),
        ({"two_factor_roles": ["king"]}, "king is not one of the available choices"),
        ({"max_live_tokens": "9" * 400}, "less than or equal to 1000"),
        ({"log_retention_days": "\x00"}, "whole number"),
    ],
)
@pytest.mark.parametrize("address", [PAGE, SAVE])
def test_wrong_value_is_an_error_beside_its_field_and_the_form_keeps_its_values(
    client, page, organization, address, typed, says
):
    answer = client.post(address, page.open() | {"max_live_tokens": "7"} | typed)

    assert answer.status_code == 400
    ((field, (error, *_)),) = answer.context["form"].errors.items()
    assert (field, says in error) == (next(iter(typed)), True)
    if "max_live_tokens" not in typed:
        assert 'name="max_live_tokens" value="7"' in answer.content.decode()
    assert policy() == organization.policy


# Changes between opening, reviewing and saving


def test_tokens_created_after_the_review_are_shown_before_saving(page, owner, organization):
    TokenFactory(owner=owner)
    reviewed = page.review(max_token_lifetime_days="1")
    TokenFactory(owner=owner)

    again = page.save(reviewed)

    assert again.status_code == 409
    assert "its effect is different now" in again.content.decode()
    assert "2 tokens of 1 person" in again.content.decode()
    assert policy() == organization.policy

    page.save(again)
    assert policy()["max_token_lifetime_days"] == 1


def test_change_by_somebody_else_is_shown_and_not_overwritten(page, administrator):
    opened = page.open()
    Organization.objects.update(max_live_tokens=7)

    answer = page.review(opened, max_token_lifetime_days="30")

    assert answer.status_code == 409
    assert "Somebody else changed the policy" in answer.content.decode()
    assert [change["before"] for change in answer.context["changes"]] == ["92 days", "7"]


def test_change_by_somebody_else_after_the_review_is_not_overwritten(page):
    reviewed = page.review(max_token_lifetime_days="30")
    Organization.objects.update(max_live_tokens=7)

    answer = page.save(reviewed)

    assert answer.status_code == 409
    assert "Somebody else changed the policy" in answer.content.decode()
    assert (policy()["max_live_tokens"], policy()["max_token_lifetime_days"]) == (7, 92)


def test_change_without_a_review_is_not_saved(client, page, organization):
    answer = client.post(SAVE, page.open() | {"max_token_lifetime_days": "1"})

    assert answer.status_code == 409
    assert policy() == organization.policy


# Access


@pytest.mark.parametrize("role", READERS)
def test_readers_see_the_rules_in_words_and_no_form(client, organization, role):
    client.force_login(UserFactory(organization=organization, site_role=role))

    text = client.get(PAGE).content.decode()

    assert "92 days" in text
    assert 'name="max_token_lifetime_days"' not in text


@pytest.mark.parametrize("address", [PAGE, SAVE])
@pytest.mark.parametrize("role", [role for role in SiteRole if role != SiteRole.ADMINISTRATOR])
def test_other_roles_cannot_change_the_policy(client, organization, administrator, role, address):
    client.force_login(administrator)
    sent = Fields(client.get(PAGE), PAGE).sent
    client.force_login(UserFactory(organization=organization, site_role=role))

    assert client.post(address, sent | {"max_live_tokens": "7"}).status_code == 403
    assert policy() == organization.policy


def test_person_with_an_old_sign_in_must_sign_in_again_and_the_form_keeps_its_values(client, page):
    opened = page.open()
    session = client.session
    session["account_authentication_methods"] = [{"method": "password", "at": 0}]
    session.save()

    answer = page.review(opened, max_token_lifetime_days="30", allowed_scopes=["api", "pipeline"])

    assert answer.url.startswith("/login/again/?")
    (back,) = parse_qs(urlsplit(answer.url).query)["next"]
    assert "csrf" not in back
    found = Fields(client.get(back), PAGE).sent
    assert (found["max_token_lifetime_days"], found["allowed_scopes"]) == (["30"], ["api", "pipeline"])


def test_old_sign_in_cannot_save_the_policy(client, page, organization):
    reviewed = page.review(max_token_lifetime_days="30")
    session = client.session
    session["account_authentication_methods"] = []
    session.save()

    assert page.save(reviewed).redirect_chain[0][0].startswith("/login/again/?")
    assert policy() == organization.policy


def test_administrator_without_two_factor_must_set_it_up_first(page):
    answer = page.review(two_factor_roles=["administrator"])

    assert answer.status_code == 400
    assert "Set up two-factor for yourself first" in answer.context["form"].errors["two_factor_roles"][0]


def test_administrator_with_two_factor_can_require_it_of_everyone(page, client, administrator):
    Authenticator.objects.create(user=administrator, type=Authenticator.Type.TOTP, data={})
    make_recent(client)

    page.save(page.review(two_factor_roles=SiteRole.values))

    assert policy()["two_factor_roles"] == SiteRole.values


def test_page_counts_blocked_tokens_and_links_to_them(client, page, owner):
    blocked = TokenFactory(owner=owner)
    TokenFactory(owner=owner, scope="pipeline")
    Organization.objects.update(allowed_scopes="pipeline")

    answer = client.get(PAGE)

    assert answer.context["blocked_now"] == 1
    listed = client.get("/organization/tokens/", {"state": answer.context["blocked_state"]})
    assert [row.record for row in listed.context["table"].rows] == [blocked]


def test_each_change_writes_one_log_entry(page):
    page.save(page.review(max_token_lifetime_days="30"))

    actions = Activity.objects.exclude(action__startswith="authentication").values_list("action", flat=True)
    assert list(actions) == ["policy.changed"]


def test_queries_of_a_review_do_not_grow_with_tokens_and_people(page, owner):
    def queries():
        with CaptureQueriesContext(connection) as captured:
            page.review(opened, max_token_lifetime_days="1", unused_tokens_end_after_days="30", two_factor_roles="user")
        return len(captured)

    opened = page.open()
    TokenFactory(owner=owner)
    queries()
    few = queries()
    for _ in range(20):
        TokenFactory(owner=UserFactory(organization=owner.organization))

    assert queries() == few
