"""Services for organizations, people and groups, with their entries in the activity log."""

import threading

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction

from accounts import services
from accounts.models import Group, Organization, User
from accounts.roles import SiteRole
from accounts.services import people
from accounts.tests.factories import PASSWORD, GroupFactory, OperatorFactory, OrganizationFactory, UserFactory
from auditlog.models import Activity


@pytest.fixture
def second_administrator(organization):
    return UserFactory(organization=organization, email="second@acme.example", site_role=SiteRole.ADMINISTRATOR)


def entries():
    """(action, actor, target, details) of each entry, the oldest first."""
    return [
        (entry.action, entry.actor_email, entry.target_name, entry.details) for entry in Activity.objects.order_by("at")
    ]


def new_organization(name="Acme", **administrator):
    administrator = {"email": "ada@acme.example", "name": "Ada Admin", "password": PASSWORD} | administrator
    return services.set_up_organization(name=name, administrator=administrator)


def save(actor, user, **changes):
    return services.change_user(actor=actor, user=user, **changes)


# An organization with its first Administrator


@pytest.mark.django_db
def test_organization_is_created_with_an_administrator_who_can_sign_in():
    organization, user = new_organization(name="  Acme Ltd ")

    assert (organization.name, organization.slug, organization.max_token_lifetime_days) == ("Acme Ltd", "acme-ltd", 92)
    user.refresh_from_db()
    assert (user.organization, user.site_role, user.is_active) == (organization, SiteRole.ADMINISTRATOR, True)
    assert user.check_password(PASSWORD)


@pytest.mark.django_db
def test_first_administrator_is_in_the_log_of_the_new_organization():
    organization, _ = new_organization()

    assert entries() == [("user.created", "ada@acme.example", "ada@acme.example", {"site_role": "administrator"})]
    assert Activity.objects.get().organization == organization


@pytest.mark.django_db
def test_email_address_is_stored_in_lower_case():
    _, user = new_organization(email="Ada@ACME.example")

    assert user.email == "ada@acme.example"


@pytest.mark.parametrize(
    ("taken", "name", "slug"),
    [
        ([], "Öffentliche Dienste", "offentliche-dienste"),
        ([], "日本", "organization"),
        (["acme"], "ACME!", "acme-2"),
        (["acme", "acme-2"], "Acme", "acme-3"),
        ([], "x" * 100, "x" * 40),
        (["x" * 40], "x" * 100, "x" * 40 + "-2"),
    ],
)
@pytest.mark.django_db
@pytest.mark.each_database
def test_slug_comes_from_the_name_and_is_unique(taken, name, slug):
    for each in taken:
        OrganizationFactory(slug=each)

    assert new_organization(name=name)[0].slug == slug


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": " "},
        {"name": "x" * 101},
        {"name": "Elsewhere"},
        {"email": "not an address"},
        {"email": "SAM@elsewhere.example"},
        {"administrator_name": " "},
    ],
    ids=str,
)
@pytest.mark.django_db
def test_wrong_or_taken_values_create_nothing(wrong):
    UserFactory(email="sam@elsewhere.example", organization=OrganizationFactory(name="Elsewhere", slug="elsewhere"))
    fields = {"name": "Acme", "email": "ada@acme.example", "administrator_name": "Ada"} | wrong

    with pytest.raises(ValidationError):
        services.set_up_organization(
            name=fields["name"],
            administrator={
                "email": fields["email"],
                "name": fields["administrator_name"],
                "password": PASSWORD,
            },
        )

    assert (Organization.objects.count(), User.objects.count(), entries()) == (1, 1, [])


# People


@pytest.mark.parametrize(
    ("change", "recorded"),
    [
        ({"site_role": "auditor"}, [("user.role_changed", {"from": "user", "to": "auditor"})]),
        ({"is_active": False}, [("user.deactivated", {})]),
        ({"name": "Olga New"}, [("user.changed", {"fields": ["name"]})]),
        (
            {"email": "olga@acme.example"},
            [("authentication.email_changed", {"from": "owner@acme.example", "to": "olga@acme.example"})],
        ),
        ({"password": "another long secret"}, [("authentication.password_changed", {})]),
        ({}, []),
        (
            {"site_role": "guest", "is_active": False, "name": "Olga"},
            [
                ("user.role_changed", {"from": "user", "to": "guest"}),
                ("user.deactivated", {}),
                ("user.changed", {"fields": ["name"]}),
            ],
        ),
    ],
    ids=str,
)
def test_change_has_one_log_entry_for_each_changed_field(administrator, owner, change, recorded):
    save(administrator, owner, **change)

    saved = User.objects.get(pk=owner.pk)
    assert saved.check_password(change.pop("password", PASSWORD))
    assert {field: getattr(saved, field) for field in change} == change
    assert [(action, details) for action, _, _, details in entries()] == recorded


@pytest.mark.each_database
def test_change_keeps_fields_that_were_changed_meanwhile(administrator, owner):
    form = User.objects.get(pk=owner.pk)
    owner.set_password("chosen meanwhile by Olga")
    owner.site_role = SiteRole.GUEST
    owner.notification_choices = {"end_near": "off"}
    owner.save()
    save(administrator, form, name="Olga New")

    saved = User.objects.get(pk=owner.pk)
    assert (saved.name, saved.site_role, saved.wants_expiry_mails) == ("Olga New", SiteRole.GUEST, False)
    assert saved.check_password("chosen meanwhile by Olga")
    assert [action for action, *_ in entries()] == ["user.changed"]


def test_log_entry_about_a_person_names_actor_target_and_organization(administrator, owner):
    save(administrator, owner, site_role=SiteRole.AUDITOR)

    entry = Activity.objects.get()
    assert (entry.actor, entry.actor_email, entry.type) == (administrator, administrator.email, "user")
    assert (entry.target_id, entry.target_name) == (str(owner.pk), owner.email)
    assert (entry.organization, entry.account) == (owner.organization, "acme")


def test_log_entry_does_not_contain_the_new_password(administrator, owner):
    save(administrator, owner, password="a wholly new password")

    entry = Activity.objects.get()
    assert (entry.action, entry.details) == ("authentication.password_changed", {})


def test_activation_is_logged(administrator, organization):
    person = UserFactory(organization=organization, is_active=False)

    save(administrator, person, is_active=True)

    assert User.objects.get(pk=person.pk).is_active
    assert entries() == [("user.activated", administrator.email, person.email, {})]


def test_new_person_is_logged(administrator, organization):
    person = services.create_user(actor=administrator, email="new@acme.example", name="New", password=PASSWORD)

    assert person.organization == organization
    assert person.check_password(PASSWORD)
    assert entries() == [("user.created", administrator.email, "new@acme.example", {"site_role": "guest"})]


def test_change_by_an_operator_is_in_the_log_of_the_organization(owner):
    operator = OperatorFactory()

    save(operator, owner, site_role=SiteRole.POWER_USER)

    entry = Activity.objects.get()
    assert (entry.actor, entry.organization, entry.account) == (operator, owner.organization, "acme")


def test_change_that_cannot_be_logged_is_not_saved(administrator, owner, monkeypatch):
    def fails(**entry):
        raise OSError("disk full")

    monkeypatch.setattr(people, "record", fails)

    with pytest.raises(OSError, match="disk full"):
        save(administrator, owner, site_role=SiteRole.ADMINISTRATOR)

    assert User.objects.get(pk=owner.pk).site_role == SiteRole.USER


def test_change_by_an_unknown_actor_is_refused(owner):
    with pytest.raises(services.NotAllowed):
        save(User(email="nobody@acme.example"), owner, site_role=SiteRole.ADMINISTRATOR)

    assert User.objects.get(pk=owner.pk).site_role == SiteRole.USER


# The last active Administrator

LOSSES = [{"site_role": SiteRole.USER}, {"is_active": False}, {"site_role": SiteRole.GUEST, "is_active": False}]


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.each_database
def test_last_administrator_cannot_be_removed(administrator, stranger, loss):
    with pytest.raises(services.LastAdministrator, match="needs an active Administrator"):
        save(administrator, administrator, **loss)

    saved = User.objects.get(pk=administrator.pk)
    assert (saved.site_role, saved.is_active) == (SiteRole.ADMINISTRATOR, True)
    assert entries() == []


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_operator_cannot_remove_the_last_administrator(administrator, loss):
    with pytest.raises(services.LastAdministrator):
        save(OperatorFactory(), administrator, **loss)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.each_database
def test_one_of_two_administrators_can_be_removed(administrator, second_administrator, loss):
    save(administrator, second_administrator, **loss)

    with pytest.raises(services.LastAdministrator):
        save(administrator, administrator, **loss)


def test_deactivated_administrator_does_not_count(administrator, organization):
    UserFactory(organization=organization, site_role=SiteRole.ADMINISTRATOR, is_active=False)

    with pytest.raises(services.LastAdministrator):
        save(administrator, administrator, is_active=False)


def test_last_administrator_can_be_renamed(administrator):
    save(administrator, administrator, name="Ada New")

    assert User.objects.get(pk=administrator.pk).name == "Ada New"


@pytest.mark.django_db
def test_operator_does_not_count_as_the_last_administrator():
    operator = OperatorFactory(site_role=SiteRole.ADMINISTRATOR)

    save(operator, operator, is_active=False)

    assert not User.objects.get(pk=operator.pk).is_active


@pytest.mark.parametrize("losses", [LOSSES[:1] * 2, LOSSES[1:2] * 2, LOSSES[:2]], ids=str)
@pytest.mark.django_db(transaction=True)
def test_one_administrator_remains_if_two_are_removed_at_once(administrator, second_administrator, losses):
    operator = OperatorFactory()
    barrier = threading.Barrier(2)
    results = []

    def remove(person, loss):
        try:
            person = User.objects.get(pk=person.pk)
            barrier.wait()
            save(operator, person, **loss)
            results.append("removed")
        except services.LastAdministrator:
            results.append("refused")
        finally:
            connection.close()

    threads = [
        threading.Thread(target=remove, args=[second_administrator, losses[0]]),
        threading.Thread(target=remove, args=[administrator, losses[1]]),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(results) == ["refused", "removed"]
    assert User.objects.active().filter(site_role=SiteRole.ADMINISTRATOR).count() == 1
    assert len(entries()) == 1


# Groups


def test_new_group_is_logged(administrator, owner):
    group = services.create_group(actor=administrator, name="Builders", members=[owner])

    assert Group.objects.get() == group
    assert entries() == [("group.created", administrator.email, "Builders", {"members": [owner.email]})]


def test_changed_group_is_logged(administrator, organization):
    group = GroupFactory(organization=organization, name="Builders")

    services.change_group(actor=administrator, group=group, name="Testers")

    assert Group.objects.get().name == "Testers"
    assert entries() == [("group.changed", administrator.email, "Testers", {"from": "Builders", "to": "Testers"})]


@pytest.mark.each_database
def test_deleted_group_keeps_its_name_in_the_log(administrator, organization):
    group = GroupFactory(organization=organization, name="Builders")
    group_id = str(group.pk)

    services.delete_group(actor=administrator, group=group)

    assert not Group.objects.exists()
    assert entries() == [("group.deleted", administrator.email, "Builders", {})]
    assert Activity.objects.get().target_id == group_id


def test_signed_out_person_cannot_delete_a_group(organization):
    group = GroupFactory(organization=organization)

    with pytest.raises(services.NotAllowed):
        services.delete_group(actor=AnonymousUser(), group=group)

    assert Group.objects.filter(pk=group.pk).exists()


@pytest.mark.each_database
def test_group_name_is_unique_in_its_organization_ignoring_case(administrator, organization, stranger):
    GroupFactory(organization=organization, name="Builders")
    GroupFactory(organization=stranger.organization, name="Builders")

    with pytest.raises(services.NameTaken):
        services.create_group(actor=administrator, name="BUILDERS")
    assert entries() == []


# The token policy


def test_changed_policy_is_logged(administrator, organization):
    services.save_policy(
        actor=administrator,
        organization=organization,
        changes={"max_token_lifetime_days": 30, "log_retention_days": 400},
    )

    assert Organization.objects.get().max_token_lifetime_days == 30
    assert entries() == [
        ("policy.changed", administrator.email, "Acme", {"max_token_lifetime_days": {"from": 92, "to": 30}})
    ]


def test_policy_change_by_an_operator_is_in_the_log_of_the_organization(organization):
    services.save_policy(actor=OperatorFactory(), organization=organization, changes={"max_live_tokens": 7})

    entry = Activity.objects.get()
    assert (entry.organization, entry.account) == (organization, "acme")


def test_administrator_cannot_change_the_policy_of_another_organization(administrator, stranger):
    with pytest.raises(services.NotAllowed):
        services.save_policy(actor=administrator, organization=stranger.organization, changes={"max_live_tokens": 7})


def test_log_of_a_new_organization_starts_with_its_policy(db):
    operator = OperatorFactory()
    added = services.create_organization(actor=operator, name="New", slug="new", policy={"max_live_tokens": 7})

    assert added.max_live_tokens == 7
    assert entries() == [("policy.changed", operator.email, "New", added.policy)]


def test_only_operators_add_organizations(administrator):
    with pytest.raises(services.NotAllowed):
        services.create_organization(actor=administrator, name="New", slug="new", policy={})


@pytest.mark.parametrize(
    ("field", "value", "fits"),
    [
        ("max_token_lifetime_days", 0, False),
        ("max_token_lifetime_days", 1, True),
        ("max_token_lifetime_days", 366, True),
        ("max_token_lifetime_days", 367, False),
        ("max_live_tokens", 0, False),
        ("max_live_tokens", 1001, False),
        ("unused_tokens_end_after_days", 0, False),
        ("unused_tokens_end_after_days", 367, False),
        ("log_retention_days", 29, False),
        ("allowed_scopes", "", False),
    ],
)
@pytest.mark.each_database
def test_database_enforces_the_limits_of_the_policy(organization, field, value, fits):
    refused = False
    try:
        with transaction.atomic():
            Organization.objects.update(**{field: value})
    except IntegrityError:
        refused = True

    assert refused != fits
