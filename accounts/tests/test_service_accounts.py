"""Service accounts: the services, that nobody can sign in as one, and which lists of people they are in."""

from functools import partial

import pytest
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.test import Client, RequestFactory

from accounts import invitations, services
from accounts.models import OrganizationProvider, User
from accounts.roles import SiteRole
from accounts.security.email_change import AddressTaken, ask_email_change
from accounts.services.guard import ManagedByProvider
from accounts.signin import password_reset
from accounts.signin.single_sign_on.links import Identity, NotLinked, connect
from accounts.signin.single_sign_on.provider import Provider
from accounts.tests.factories import PASSWORD, GroupFactory, ServiceAccountFactory, UserFactory, hashed
from accounts.tests.factors import HOST, Passkey, add_passkey, make_recent, signed_in_just_now
from accounts.tests.test_passkeys import sign_in_with
from auditlog.models import Activity
from core.models import OutgoingMail
from core.seen import ChangedMeanwhile
from opsera_portal.tests.mails import delivered


@pytest.fixture
def account(organization, owner):
    return ServiceAccountFactory(organization=organization, name="CI deploy", responsible=[owner])


def entries():
    return [(entry.action, entry.details) for entry in Activity.objects.filter(type="service_account").order_by("id")]


def create(administrator, owner, **fields):
    return services.create_service_account(actor=administrator, **({"name": "CI", "responsible": [owner]} | fields))


@pytest.mark.each_database
def test_administrator_creates_and_changes_service_account(administrator, owner, member, stranger, organization):
    group = GroupFactory(organization=organization, name="Releases")
    user = create(administrator, owner, name="  CI déploy ", description="The  nightly build", groups=[group])
    user.refresh_from_db()

    assert (user.name, user.site_role, user.organization) == ("CI déploy", SiteRole.GUEST, organization)
    assert user.email.startswith("ci-deploy-")
    assert user.email.endswith("@service-account.invalid")
    assert not user.has_usable_password()
    assert (user.state, user.needs_two_factor, user.is_orphaned) == ("active", False, False)
    assert user.service_account.description == "The nightly build"

    def change(**fields):
        return services.change_service_account(actor=administrator, account=user, **fields)

    change(name="CI", site_role="user", groups=[], responsible=[member])
    change(name="CI")
    assert entries() == [
        ("service_account.created", {"site_role": "guest", "groups": ["Releases"], "responsible": [owner.email]}),
        (
            "service_account.changed",
            {"fields": ["name", "site_role"], "from": "guest", "to": "user", "groups_removed": ["Releases"]},
        ),
        ("service_account.responsible_changed", {"added": [member.email], "removed": [owner.email]}),
    ]
    with pytest.raises(ChangedMeanwhile):
        change(name="X", seen="old")
    for field, wrong in {
        "responsible": [],
        "site_role": "administrator",
        "name": " ",
        "description": "x" * 501,
        "groups": [GroupFactory()],
    }.items():
        with pytest.raises(ValidationError) as error:
            change(**{field: wrong})
        assert list(error.value.message_dict) == [field]
    managed = GroupFactory(organization=organization)
    OrganizationProvider.objects.create(organization=organization).managed_groups.add(managed)
    for place in (change, partial(create, administrator, owner)):
        with pytest.raises(ManagedByProvider):
            place(groups=[managed])
    for person in (stranger, user, UserFactory(organization=organization, joined_at=None)):
        with pytest.raises(ValidationError):
            change(responsible=[person])
    for actor in (owner, stranger, user):
        with pytest.raises(services.NotAllowed):
            services.change_service_account(actor=actor, account=user, name="Mine")


@pytest.mark.each_database
def test_service_account_is_orphaned_while_nobody_responsible_is_active(administrator, owner, member, account):
    account.service_account.responsible.add(member)

    def after(person, is_active):
        services.set_active(actor=administrator, user=person, is_active=is_active)
        return User.objects.get(pk=account.pk).is_orphaned

    assert not after(member, is_active=False)
    assert list(services.only_responsible_for(owner)) == [account]
    assert after(owner, is_active=False)
    assert list(User.objects.orphaned()) == [account]
    services.change_service_account(actor=administrator, account=account, responsible=[owner, administrator])
    account.refresh_from_db()
    assert not account.is_orphaned
    assert not after(owner, is_active=True)


def test_service_account_has_tokens_off_while_it_is_deactivated(administrator, owner, account):
    for is_active in (False, False, True):
        services.set_service_account_active(actor=administrator, account=account, is_active=is_active)

    assert [action for action, _ in entries()] == ["service_account.deactivated", "service_account.activated"]
    with pytest.raises(services.NotAllowed):
        services.set_service_account_active(actor=owner, account=account, is_active=False)


@pytest.mark.each_database
def test_database_refuses_what_would_let_service_account_in(account):
    for forbidden in (
        {"password": hashed(PASSWORD)},
        {"site_role": "administrator"},
        {"is_superuser": True, "organization": None},
        {"last_login": "2026-01-01T00:00:00Z"},
        {"email": "ci@acme.example"},
        {"is_service_account": False},
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            User.objects.filter(pk=account.pk).update(**forbidden)


def test_nobody_can_sign_in_as_service_account(client, administrator, owner, account):
    """Every way in, one after the other; the last part shows that any session is refused, however it began."""
    # A password.
    client.post("/login/", {"login": account.email, "password": PASSWORD})
    assert SESSION_KEY not in client.session
    # A link for a new password, and an invitation.
    client.post("/password/reset/", {"email": account.email})
    assert not password_reset.can_reset(account)
    with pytest.raises(services.NotAllowed):
        services.send_invitation(actor=administrator, user=account)
    assert not account.is_invited
    link = invitations.link_for(account)
    assert "id_new_password1" not in client.get(link[link.index("/invitation/") :], follow=True).text
    assert delivered() == []
    # A passkey, should somebody manage to add one.
    device = Passkey()
    add_passkey(account, device=device)
    browser = Client(HTTP_HOST=HOST)
    assert sign_in_with(browser, device).status_code == 403
    assert SESSION_KEY not in browser.session
    # An identity provider that claims the address.
    with pytest.raises(NotLinked):
        connect(
            provider=Provider("oidc-acme", "Acme ID", "https://id.example.com", "portal", "a secret"),
            identity=Identity("subject", account.email, account.email),
            request=RequestFactory().get("/"),
        )
    # A person who wants the address, or an actor that is one.
    request = signed_in_just_now(RequestFactory().post("/"), owner)
    for reserved in ("New@Service-Account.invalid", "New@Erased.invalid"):
        with pytest.raises(AddressTaken):
            ask_email_change(actor=owner, email=reserved, request=request)
        with pytest.raises(ValidationError):
            User(email=reserved, name="New").clean()
    with pytest.raises(User.DoesNotExist):
        ask_email_change(actor=account, email="new@acme.example", request=request)
    with pytest.raises(ValidationError):
        services.invite_user(actor=administrator, email=f"x-{account.email}", name="X")
    # The services and pages that change people, and Django admin.
    for change in ({"password": PASSWORD}, {"site_role": "user"}, {"email": "x@acme.example"}, {"is_active": True}):
        with pytest.raises(services.NotAllowed):
            services.change_user(actor=administrator, user=account, **change)
    with pytest.raises(services.NotAllowed):
        services.reset_two_factor(actor=administrator, user=account)
    client.force_login(administrator)
    make_recent(client)
    assert client.get(f"/organization/users/{account.pk}/").status_code == 404
    assert client.get(f"/admin/accounts/user/{account.pk}/change/").status_code == 302
    assert client.get(f"/api/v1/users/{account.pk}").status_code == 403
    # A session that somebody made: pages, API and Django admin.
    with pytest.raises(IntegrityError), transaction.atomic():
        Client().force_login(account)
    session = client.session
    session[SESSION_KEY] = str(account.pk)
    session[BACKEND_SESSION_KEY] = "accounts.backends.PortalAuthenticationBackend"
    session[HASH_SESSION_KEY] = account.get_session_auth_hash()
    session.save()
    for path, status in {"/profile/": 302, "/profile/tokens/": 302, "/admin/": 302, "/api/v1/me": 401}.items():
        assert client.get(path).status_code == status
    assert not OutgoingMail.objects.filter(person=account).exists()


def test_lists_of_people_have_no_service_accounts(client, administrator, owner, account):
    client.force_login(administrator)

    people = client.get("/api/v1/users").json()["data"]
    assert account.email not in {person["email"] for person in people}
    assert account.name not in client.get("/organization/users/").text
    suggested = client.post("/suggestions/subjects/", {"text": "CI"}).text
    assert "Service account" in suggested
    assert User.objects.people().filter(is_service_account=True).count() == 0
