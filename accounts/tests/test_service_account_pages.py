"""The pages and the API of service accounts, and the policy about their tokens."""

import threading
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from accounts import services as accounts
from accounts.models import Organization, User
from accounts.tests.factories import GroupFactory, ServiceAccountFactory, UserFactory
from accounts.tests.factors import make_recent
from auditlog.models import Activity
from core.api import scopes
from opsera_portal.tests.mails import delivered
from tokens import services
from tokens.expiry.orphaned import end_orphaned
from tokens.models import Token
from tokens.policy import rules
from tokens.tests.factories import TokenFactory, bearer

PAGES, API = "/organization/service-accounts/", "/api/v1/service-accounts"


@pytest.fixture
def account(organization, owner):
    return ServiceAccountFactory(organization=organization, name="CI deploy", site_role="user", responsible=[owner])


def test_administrator_creates_edits_and_deactivates_on_pages(client, administrator, owner, organization):
    group = GroupFactory(organization=organization, name="Releases")
    client.force_login(administrator)
    make_recent(client)
    form = {
        "name": "CI",
        "site_role": "user",
        "groups": "releases",
        "responsible": f"{owner.name}\n{administrator.email}",
    }
    for wrong in ({"responsible": ""}, {"responsible": "nobody@acme.example"}, {"site_role": "administrator"}):
        assert client.post(f"{PAGES}new/", form | wrong).status_code == 400
    answer = client.post(f"{PAGES}new/", form)
    account = User.objects.service_accounts().get()
    page = f"{PAGES}{account.pk}/"

    assert answer.url == f"{page}tokens/"
    assert list(account.member_groups.all()) == [group]
    opened = client.get(f"{page}edit/").context["form"]
    edited = {name: opened[name].value() for name in ("name", "groups", "responsible", "seen")} | {"site_role": "guest"}
    assert client.post(f"{page}edit/", edited | {"name": "CI 2"}).url == page
    UserFactory(organization=organization, name="Zoe")
    assert client.post(f"{page}edit/", edited | {"name": "CI 3", "seen": "of another page"}).status_code == 409
    shown = client.get(page).text
    assert "CI 2" in shown
    assert "Service account" in shown
    assert f"?user_email={account.email.replace('@', '%40')}" in shown
    assert owner.name in client.get(f"{PAGES}?q=Olga&state=active&sort=-live_token_count").text
    assert "Tokens that stop working" in client.get(f"{page}deactivate/").text
    client.post(f"{page}deactivate/")
    assert "This service account is deactivated" in client.get(f"{page}tokens/").text
    client.post(f"{page}activate/")
    assert client.get(f"{PAGES}?state=deactivated").text.count("data-service-account") == 0


def test_orphan_is_announced_before_and_after(client, administrator, owner, account):
    client.force_login(administrator)
    asked = client.get(f"/organization/users/{owner.pk}/deactivate/").text
    assert "Nobody else is responsible for this service account" in asked
    assert f"{PAGES}{account.pk}/edit/" in asked
    accounts.set_active(actor=administrator, user=owner, is_active=False)

    assert 'id="orphaned-accounts"' in client.get("/").text
    assert 'id="orphaned"' in client.get(f"{PAGES}{account.pk}/").text
    assert "CI deploy" in client.get(f"{PAGES}?state=orphaned").text
    assert "CI deploy" not in client.get(f"{PAGES}?state=active").text


def test_api_mirrors_the_pages(api, administrator, owner, member, account):
    api.force_login(administrator)
    made = api.post(API, {"name": "Nightly", "responsible": [str(owner.pk)], "site_role": "user"}, format="json").json()
    assert (made["state"], made["live_tokens"], made["responsible"][0]["id"]) == ("active", 0, str(owner.pk))
    route = f"{API}/{made['id']}"
    changed = api.patch(route, {"responsible": [str(member.pk)], "description": "x"}, format="json")
    assert changed.json()["description"] == "x"
    stale = api.patch(route, {"name": "y"}, format="json", headers={"If-Match": '"old"'})
    assert stale.status_code == 412
    assert api.post(API, {"name": "x", "responsible": []}, format="json").status_code == 400
    assert api.patch(route, {"site_role": "administrator"}, format="json").status_code == 400
    assert api.get(f"{API}?q=night").json()["count"] == 1
    api.logout()
    by_token = {"headers": bearer(TokenFactory(owner=administrator))}
    assert api.post(f"{route}/activate", **by_token).status_code == 403
    assert api.post(f"{route}/deactivate", **by_token).json()["state"] == "deactivated"

    api.force_login(owner)
    assert [row["id"] for row in api.get(API).json()["data"]] == [str(account.pk)]
    tokens = f"{API}/{account.pk}/tokens"
    issued = api.post(tokens, {"name": "deploy", "scopes": ["api-readonly"]}, format="json")
    assert issued.status_code == 201
    token = issued.json()
    assert [row["name"] for row in api.get(tokens).json()["data"]] == ["deploy"]
    assert api.get(f"/api/v1/tokens/{token['id']}").json()["name"] == "deploy"
    assert api.get("/api/v1/tokens").json()["count"] == 0
    api.logout()
    me = api.get("/api/v1/me", headers={"Authorization": f"Bearer {token['token']}"}).json()
    assert me["user"]["is_service_account"] is True


@pytest.mark.each_database
def test_policy_limits_lifetime_creators_and_orphans(api, administrator, owner, member, organization, account):
    organization.two_factor_roles = "user"
    organization.max_service_token_lifetime_days = 10
    organization.save()
    now = timezone.now()
    long, short = TokenFactory(owner=account), TokenFactory(owner=account, expires_at=now + timedelta(days=5))
    of_person = TokenFactory(owner=administrator)

    def compare():
        """Each rule says the same of one token and in a query. Returns the rules that block the tokens."""
        policy, found = Organization.objects.get(pk=organization.pk), {}
        for token in Token.objects.select_related("owner"):
            for rule in rules.RULES:
                is_found = Token.objects.filter(rule.query(policy, now), pk=token.pk).exists()
                assert bool(rule.blocks(token, policy, now)) == is_found, rule.id
            obstacle = rules.obstacle(token, policy, now)
            found[token.pk] = obstacle and obstacle.id
        return [found[token.pk] for token in (long, short, of_person)]

    assert compare() == ["service_lifetime", None, None]
    refused = api.get("/api/v1/me", headers=bearer(long))
    assert refused.status_code == 401
    assert "tokens of service accounts a lifetime of 10 days" in refused.json()["detail"]
    assert api.get("/api/v1/me", headers=bearer(short)).status_code == 200
    with pytest.raises(ValidationError):
        issue(owner, account, days=11)
    Organization.objects.update(service_token_creators="administrators")
    with pytest.raises(services.OnlyAdministrators):
        issue(owner, account, days=1)
    issue(administrator, account, days=1)

    accounts.set_active(actor=administrator, user=owner, is_active=False)
    User.objects.filter(pk=account.pk).update(orphaned_at=now - timedelta(days=8))
    assert compare() == ["service_lifetime", None, None]
    Organization.objects.update(orphaned_service_tokens_end_after_days=7)
    assert compare() == ["service_lifetime", "orphaned", None]
    assert api.get("/api/v1/me", headers=bearer(short)).status_code == 401
    end_orphaned(threading.Event())
    assert not Token.objects.live().filter(owner=account).exists()
    assert Token.objects.live().filter(owner=administrator).exists()
    entry = Activity.objects.filter(action="token.ended_orphaned").first()
    assert (entry.actor, entry.details["reason"]) == (account, "Nobody active was responsible for 7 days.")
    (mail,) = delivered()
    assert mail.to == [administrator.email]
    assert "nobody active is responsible for the service account “CI deploy”" in mail.body


def issue(actor, account, *, days):
    expires_at = timezone.now() + timedelta(days=days)
    return services.issue_token(actor=actor, owner=account, name=f"t{days}", chosen=[scopes.API], expires_at=expires_at)


def test_job_notices_people_who_were_deactivated_without_the_services(owner, account):
    User.objects.filter(pk=owner.pk).update(is_active=False)
    end_orphaned(threading.Event())

    account.refresh_from_db()
    assert account.is_orphaned
