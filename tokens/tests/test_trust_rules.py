"""Trust rules on their page and in the API."""

import json

import pytest

from accounts.tests.factories import ServiceAccountFactory, UserFactory
from auditlog.models import Activity
from tokens.models import TrustRule
from tokens.tests.factories import TrustRuleFactory
from tokens.tests.issuers import AUDIENCE, github
from tokens.trust.issuers import GITHUB

PAGE = "/organization/trust/"
FORM = {
    "name": "Shop",
    "issuer": "https://id.example.com",
    "audience": AUDIENCE,
    "claims": "repository = acme/shop\nref = refs/heads/*\n",
    "scopes": ["pipeline"],
    "lifetime_minutes": "15",
    "is_enabled": "on",
}


@pytest.fixture
def admin(db):
    return UserFactory(site_role="administrator")


@pytest.fixture
def account(admin):
    return ServiceAccountFactory(organization=admin.organization, name="Deployer")


def actions():
    return list(Activity.objects.filter(action__contains="trust_rule").order_by("id").values_list("action", flat=True))


@pytest.mark.each_database
def test_administrator_adds_edits_and_deletes_a_rule(client, admin, account):
    client.force_login(admin)
    page = client.get(f"{PAGE}new/?preset=github").content.decode()
    for text in (GITHUB, "repository = acme/shop", f"/{admin.organization.slug}"):
        assert text in page

    form = FORM | {"account": account.pk}
    assert client.post(f"{PAGE}new/", form).status_code == 302
    rule = TrustRule.objects.get()
    assert (rule.claims, rule.scope) == ({"repository": "acme/shop", "ref": "refs/heads/*"}, "pipeline")
    assert client.post(f"{PAGE}new/", form | {"name": "sHOP"}).status_code == 400

    edit = f"{PAGE}{rule.pk}/"
    seen = client.get(edit).context["form"]["seen"].value()
    TrustRule.objects.update(lifetime_minutes=5)
    late = client.post(edit, form | {"lifetime_minutes": "30", "seen": seen})
    assert late.status_code == 409
    again = late.context["form"]["seen"].value()
    assert client.post(edit, form | {"lifetime_minutes": "30", "seen": again}).status_code == 302
    rule.refresh_from_db()
    assert rule.lifetime_minutes == 30
    assert "Deployer" in client.get(PAGE).content.decode()
    assert client.post(f"{edit}delete/").status_code == 302
    assert actions() == ["policy.trust_rule_created", "policy.trust_rule_changed", "policy.trust_rule_deleted"]


def test_wrong_rules_are_refused_and_nothing_is_saved(client, api, admin, account, settings):
    settings.OIDC_ORGANIZATION_HOSTS = ()
    client.force_login(admin)
    foreign = ServiceAccountFactory()
    for wrong, field in (
        ({"name": ""}, "name"),
        ({"name": "a/b"}, "name"),
        ({"issuer": "http://id.example.com"}, "issuer"),
        ({"issuer": "id"}, "issuer"),
        ({"audience": "a\u202eb"}, "audience"),
        ({"claims": ""}, "claims"),
        ({"claims": "repository"}, "claims"),
        ({"claims": "a = b\na = c"}, "claims"),
        ({"claims": "ref = *main"}, "claims"),
        # Everybody's jobs at GitHub have these.
        ({"issuer": GITHUB, "claims": "ref = refs/heads/main"}, "claims"),
        ({"issuer": GITHUB, "claims": "repository = */shop"}, "claims"),
        ({"issuer": GITHUB, "claims": "sub = repo:a*/shop:ref:refs/heads/main"}, "claims"),
        ({"account": foreign.pk}, "account"),
        ({"account": admin.pk}, "account"),
        ({"scopes": ["tokens:rotate"]}, "scopes"),
        ({"scopes": ["scim"]}, "scopes"),
        ({"pipelines": "unknown"}, "pipelines"),
        ({"lifetime_minutes": "61"}, "lifetime_minutes"),
    ):
        answer = client.post(f"{PAGE}new/", FORM | {"account": account.pk} | wrong)
        assert (answer.status_code, list(answer.context["form"].errors)) == (400, [field]), wrong
    settings.OIDC_ORGANIZATION_HOSTS = ("id.example.com",)
    answer = client.post(f"{PAGE}new/", FORM | {"account": account.pk, "issuer": "https://other.example.com"})
    assert "id.example.com" in str(answer.context["form"].errors["issuer"])
    assert not TrustRule.objects.exists()


def test_api_mirrors_the_page(api, admin, account):
    api.force_login(admin)
    body = {
        "name": "Shop",
        "issuer": "https://id.example.com",
        "audience": AUDIENCE,
        "claims": [{"claim": "sub", "value": "job:*"}],
        "service_account_id": str(account.pk),
        "scopes": ["api"],
    }
    made = api.post("/api/v1/trust-rules", body)
    assert (made.status_code, made.json() | body) == (201, made.json())
    assert (made.json()["lifetime_minutes"], made.json()["pipelines"], made.json()["is_enabled"]) == (15, None, True)
    twice = [{"claim": "sub", "value": "a"}, {"claim": "sub", "value": "b"}]
    assert api.post("/api/v1/trust-rules", body | {"claims": twice}).json()["errors"].keys() == {"claims"}
    assert api.post("/api/v1/trust-rules", body).json()["code"] == "name_taken"
    address = f"/api/v1/trust-rules/{made.json()['id']}"
    changed = api.patch(address, {"is_enabled": False}, headers={"If-Match": made.headers["ETag"]})
    assert (changed.status_code, changed.json()["is_enabled"]) == (200, False)
    assert api.patch(address, {"is_enabled": True}, headers={"If-Match": made.headers["ETag"]}).status_code == 412
    assert [rule["id"] for rule in api.get("/api/v1/trust-rules").json()["data"]] == [made.json()["id"]]
    assert api.delete(address).status_code == 204


def test_dry_run_says_which_rule_would_match_and_why_the_others_do_not(client, admin, account):
    client.force_login(admin)
    for name, fields in {
        "other": {"claims": {"repository": "acme/other"}},
        "off": {"is_enabled": False},
        "first": {},
        "second": {"claims": {"repository": "acme/*"}},
        "gitlab": {"issuer": "https://gitlab.com"},
        "environment": {"claims": {"environment": "production"}},
    }.items():
        TrustRuleFactory(account=account, name=name, **fields)
    TrustRuleFactory(name="foreign")
    claims = github(iss=GITHUB, aud=AUDIENCE)

    answer = client.post(f"{PAGE}try/", {"token": json.dumps(claims)})

    result = {item["rule"].name: (item["wins"], item["why"]) for item in answer.context["result"]}
    assert result == {
        "other": (False, "The claim repository is acme/shop. The rule wants acme/other."),
        "off": (False, "It is switched off."),
        "first": (True, "It matches: the job gets a token of Deployer with API Access."),
        "second": (False, "It matches too, but an older rule comes first."),
        "gitlab": (False, f"The claim iss is {GITHUB}. The rule wants https://gitlab.com."),
        "environment": (False, "The claim environment is missing. The rule wants production."),
    }
    # What was pasted is not sent back.
    assert (answer.headers["Cache-Control"].count("no-store"), "octocat" in answer.content.decode()) == (1, False)
    for wrong in ("", "{", "no token", "[1]"):
        answer = client.post(f"{PAGE}try/", {"token": wrong})
        assert (answer.status_code, "no token" in answer.content.decode()) == (400, False)
