"""Tokens of service accounts: who makes, shows, changes and ends them, who reads about them, and who gets the mails."""

import re
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from accounts import services as accounts
from accounts.models import Notification, User
from accounts.roles import SiteRole
from accounts.tests.factories import ServiceAccountFactory, UserFactory
from auditlog.models import Activity, TokenUse
from core.api import scopes
from core.errors import DomainError, NameTaken, NotAllowed
from opsera_portal.tests.mails import delivered
from tokens import replacement, services
from tokens.expiry import notices
from tokens.models import Token
from tokens.tests.factories import TokenFactory, bearer


@pytest.fixture
def account(organization, owner):
    return ServiceAccountFactory(organization=organization, name="CI deploy", site_role="user", responsible=[owner])


def issue(actor, account, name="deploy", **fields):
    fields = {"chosen": [scopes.API], "expires_at": timezone.now() + timedelta(days=7)} | fields
    return services.issue_token(actor=actor, owner=account, name=name, **fields)


@pytest.mark.each_database
def test_responsible_person_makes_shows_replaces_and_ends_token(api, owner, member, stranger, administrator, account):
    token = issue(owner, account)
    assert (token.owner, token.created_by, token.organization) == (account, owner, account.organization)
    entry = Activity.objects.get(action="token.issued")
    assert (entry.actor, entry.details["owner"]) == (owner, account.email)
    for somebody in (administrator, member, account):
        with pytest.raises(services.CannotBeRevealed):
            services.reveal_token(actor=somebody, token=token)
    _, signed = services.reveal_token(actor=owner, token=token)
    me = api.get("/api/v1/me", headers={"Authorization": f"Bearer {signed}"}).json()
    assert (me["user"]["name"], me["site_role"]) == ("CI deploy", "user")
    assert TokenUse.objects.get().owner == account
    # Its name is taken for the account, and free for people.
    with pytest.raises(NameTaken):
        issue(administrator, account)
    issue(owner, None)

    services.edit_token(actor=owner, token=token, name="deploy 2")
    new = replacement.replace_token(actor=owner, token=Token.objects.get(pk=token.pk))
    assert (new.owner, new.created_by, new.name) == (account, owner, "deploy 2")
    for somebody in (member, stranger):
        with pytest.raises(NotAllowed):
            issue(somebody, account, name="x")
        with pytest.raises(NotAllowed):
            services.edit_token(actor=somebody, token=token, name="x")
        with pytest.raises(NotAllowed):
            replacement.replace_token(actor=somebody, token=new)
        with pytest.raises(NotAllowed):
            services.revoke_token(actor=somebody, token=new, reason="x")
    services.revoke_token(actor=owner, token=new, reason="not needed")
    assert Token.objects.live().filter(owner=account).count() == 1


def test_token_is_refused_where_service_account_cannot_have_it(owner, member, administrator, account):
    with pytest.raises(NotAllowed):
        issue(owner, member)
    token = issue(owner, account)
    accounts.change_service_account(actor=administrator, account=account, responsible=[member])
    with pytest.raises(services.CannotBeRevealed):
        services.reveal_token(actor=owner, token=token)
    with pytest.raises(NotAllowed):
        issue(owner, account, name="x")
    account.organization.max_live_tokens = 1
    account.organization.save()
    with pytest.raises(DomainError, match="This service account has 1 live tokens"):
        issue(member, account, name="x")
    accounts.set_service_account_active(actor=administrator, account=account, is_active=False)
    with pytest.raises(accounts.ServiceAccountInactive):
        issue(member, account, name="x")


def test_responsible_person_reads_metadata_and_log_of_its_tokens(client, api, owner, member, account):
    token = TokenFactory(owner=account, name="deploy")
    api.get("/api/v1/me", headers=bearer(token))
    entry = TokenUse.objects.get()
    client.force_login(owner)
    page = client.get(f"/profile/tokens/{token.pk}/").text

    assert str(entry.request_id) in page
    assert "Service account" in page
    assert "Edit name and description" in page
    assert client.get(f"/profile/authentication-log/{entry.request_id}/").status_code == 200
    export = "/profile/authentication-log/export/"
    assert b"/api/v1/me" in client.get(f"{export}?token_id={token.pk}").getvalue()
    assert b"/api/v1/me" not in client.get(export).getvalue()
    assert "deploy" not in client.get("/profile/tokens/").text.partition("tokens-heading")[2]
    assert client.get(f"/profile/tokens/{token.pk}/narrower/").status_code == 200
    client.force_login(member)
    for path in (f"/profile/tokens/{token.pk}/", f"/profile/authentication-log/{entry.request_id}/"):
        assert client.get(path).status_code == 404


def test_page_creates_and_reveals_token_of_service_account(client, owner, member, account):
    path = f"/organization/service-accounts/{account.pk}/tokens/"
    client.force_login(owner)
    page = client.get(path)
    assert "Tokens of CI deploy" in page.text
    assert f'action="{path}"' in page.text
    assert 'id="my-service-accounts"' in client.get("/profile/tokens/").text
    User.objects.filter(pk=account.pk).update(site_role=SiteRole.GUEST)
    form = " ".join(client.get(f"{path}?name=a&scopes=security-logs").text.split())
    for text in ("All that the service account can use", "see any pipeline yet", "an Administrator can give it"):
        assert text in form, text
    assert "With the service account&#x27;s role, these scopes allow nothing" in form
    assert not re.search(r"your role|all that I can use|that you can use", form, re.IGNORECASE)
    User.objects.filter(pk=account.pk).update(site_role=account.site_role)
    answer = client.post(path, {"name": "nightly", "scopes": ["api"], "lifetime": "1d"})
    token = Token.objects.get(owner=account)

    shown = client.get(answer.url)
    assert "can act as the service account" in " ".join(shown.text.split())
    assert "pipeline that “CI deploy” can run" in shown.text
    assert "your pipelines" not in shown.text
    page = client.get(f"/profile/tokens/{token.pk}/").text
    assert "Shown to the person who created it" in page
    assert "within the owner&#x27;s role and access rules" in page
    assert "already been shown" in client.get(answer.url).text
    assert "nightly" in client.get(path).text
    assert client.post(f"{path}name/", {"name": "Nightly"}).text.count("has this name already") == 1
    notes = client.post(f"{path}scopes/", {"scopes": ["api"]})
    assert (notes.status_code, "all pipelines that the service account can use" in notes.text) == (200, True)
    replaced = client.post(f"/profile/tokens/{token.pk}/replace/", {"overlap_hours": 0})
    assert client.get(replaced.url).status_code == 200
    new = Token.objects.get(owner=account, revoked_at=None)
    ended = client.post(f"/profile/tokens/{new.pk}/expire/", {"reason": "done"})
    assert ended.url.startswith(path)
    client.force_login(member)
    assert client.get(path).status_code == 404
    assert 'id="my-service-accounts"' not in client.get("/profile/tokens/").text


def test_mails_about_its_tokens_go_to_those_who_answer_for_it(organization, owner, member, administrator, account):
    account.service_account.responsible.add(member)
    member.language = "de"
    member.save()
    UserFactory(organization=organization, site_role=SiteRole.ADMINISTRATOR, email="a2@acme.example")
    token, soon = (
        TokenFactory(owner=account, name="deploy"),
        TokenFactory(owner=account, name="soon", created_at=timezone.now() - timedelta(days=29)),
    )
    Token.objects.filter(pk=soon.pk).update(expires_at=timezone.now() + timedelta(hours=20))

    issue(owner, account, "made")
    (mail,) = delivered()
    by = f"{owner.name} ({owner.email})"
    assert (mail.to, mail.subject) == ([member.email], f"CI deploy (Dienstkonto): {by} hat das Token „made“ erstellt.")
    services.revoke_token(actor=owner, token=token, reason="found in a repository")
    mail = delivered()[1]
    assert mail.to == [member.email]
    assert mail.subject.startswith("CI deploy")
    assert "found in a repository" in mail.body
    assert f"/organization/service-accounts/{account.pk}/tokens/" in mail.body
    assert "service-account.invalid" not in mail.body
    notices.tell(account.pk)
    assert sorted(mail.to[0] for mail in delivered()[2:]) == [member.email, owner.email]
    # Nobody is left: Administrators are told.
    for person in (owner, member):
        accounts.set_active(actor=administrator, user=person, is_active=False)
    list(services.end_by_operator(Token.objects.filter(pk=soon.pk), reason="key retired"))
    told = delivered()[4:]
    assert sorted(mail.to[0] for mail in told) == ["a2@acme.example", administrator.email]
    assert "no responsible person of it is active" in told[0].body
    # Each reader is told once; the service account never, and nobody about what they did.
    rows = Notification.objects.exclude(person__site_role=SiteRole.ADMINISTRATOR).values_list("person", "kind")
    assert sorted(rows) == sorted(
        [(owner.pk, "end_near"), *((member.pk, kind) for kind in ("created_for_you", "end_near", "expired_early"))]
    )


def test_reason_is_required_for_tokens_of_service_accounts(administrator, account):
    with pytest.raises(ValidationError):
        services.revoke_token(actor=administrator, token=TokenFactory(owner=account))
