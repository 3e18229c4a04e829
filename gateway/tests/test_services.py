"""What Administrators do with services: their pages, the API, and what the activity log keeps."""

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.services import groups as group_services
from accounts.tests.factories import GroupFactory, UserFactory
from auditlog.detail_texts import in_words
from auditlog.models import Activity, TokenUse
from auditlog.tests.entries import use
from core.errors import DomainError, NameTaken, NotAllowed
from core.seen import ChangedMeanwhile
from gateway import health, seen, services
from gateway.forms import ServiceForm, initial_of, lines_of
from gateway.models import Service, ServiceCredential
from gateway.secrets import digest_of
from gateway.tests.factories import READ, RULES, WRITE, ServiceFactory, ServiceRuleFactory
from tokens.tests.factories import TokenFactory

PAGES = "/organization/services/"
API = "/api/v1/services"
FORM = {
    "name": "Grafana",
    "slug": "grafana",
    "address": "https://Grafana.example.com/",
    "description": "Dashboards",
    "check_by": "forward_auth",
    "scopes": "read | Read | Look at dashboards | reads\n\nwrite|Write",
    "rules": "GET,HEAD  /api/** read\n* /api/** write",
    "site_roles": ["user", "administrator"],
    "allows_sessions": "on",
}
BODY = {"name": "Grafana", "short_name": "grafana", "scopes": [READ], "path_rules": ["GET /api/** read"]}


@pytest.fixture
def service(organization):
    return ServiceFactory(organization=organization, name="Grafana", slug="grafana")


@pytest.fixture
def admin_client(client, administrator):
    client.force_login(administrator)
    return client


def actions():
    return list(Activity.objects.filter(action__startswith="service.").order_by("id").values_list("action", flat=True))


@pytest.mark.each_database
def test_administrator_adds_and_edits_a_service(admin_client):
    added = admin_client.post(f"{PAGES}new/", FORM)
    service = Service.objects.get()
    page = f"{PAGES}{service.pk}/"
    assert (added.status_code, added.url) == (302, page)
    assert service.scopes == [
        {"name": "read", "label": "Read", "description": "Look at dashboards", "only_reads": True},
        {"name": "write", "label": "Write", "description": "", "only_reads": False},
    ]
    assert (service.address, service.site_roles) == ("https://grafana.example.com", "administrator user")
    assert service.rules == "GET,HEAD /api/** read\n* /api/** write"
    assert (service.allows_sessions, service.needs_approval) == (True, False)

    form = admin_client.get(f"{page}edit/").context["form"]
    again = form.initial | {"allows_sessions": "on", "name": "Graphs"}
    del again["needs_approval"]
    assert admin_client.post(f"{page}edit/", again).status_code == 302
    service.refresh_from_db()
    assert (service.name, service.slug, len(service.scopes)) == ("Graphs", "grafana", 2)
    assert actions() == ["service.created", "service.changed"]
    [detail] = in_words(Activity.objects.order_by("-id").first().details, "service.changed")
    assert (detail.label, detail.lines) == ("Name", ["From: Grafana", "To: Graphs"])
    assert "Graphs" in admin_client.get(PAGES).content.decode()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("scopes", "read"),
        ("scopes", "read | Read | Look | writes"),
        ("scopes", "read | Read | Look | reads | more"),
        ("rules", "GET /api/** admin"),
        ("slug", "Grafana!"),
        ("address", "grafana"),
        ("name", "a\0"),
        ("check_by", "magic"),
    ],
)
def test_wrong_input_is_explained_beside_its_field(admin_client, field, value):
    answer = admin_client.post(f"{PAGES}new/", FORM | {field: value})
    assert answer.status_code == 400
    assert list(answer.context["form"].errors) == [field]
    assert not Service.objects.exists()


def test_names_are_unique_in_the_organization(administrator, stranger, service):
    with pytest.raises(NameTaken) as by_name:
        services.create_service(actor=administrator, name="GRAFANA", slug="other")
    with pytest.raises(NameTaken) as by_slug:
        services.create_service(actor=administrator, name="Other", slug="grafana")
    assert (by_name.value.field, by_slug.value.field) == ("name", "slug")
    services.create_service(actor=stranger, name="Grafana", slug="grafana")


def test_organization_has_a_limited_number_of_services(administrator, service, monkeypatch):
    monkeypatch.setattr(services, "SERVICES_LIMIT", 1)
    with pytest.raises(services.TooManyServices):
        services.create_service(actor=administrator, name="Other", slug="other")


def test_edit_of_what_someone_else_changed_is_refused_once(admin_client, service):
    page = f"{PAGES}{service.pk}/edit/"
    form = admin_client.get(page).context["form"]
    Service.objects.update(description="Changed")
    sent = {**FORM, "rules": RULES, "scopes": form.initial["scopes"], "seen": form["seen"].value()}
    late = admin_client.post(page, sent)
    assert late.status_code == 409
    assert admin_client.post(page, sent | {"seen": late.context["form"]["seen"].value()}).status_code == 302


def test_only_administrators_change_a_service(owner, stranger, service):
    for person in (owner, stranger):
        with pytest.raises(NotAllowed):
            services.change_service(actor=person, service=service, name="Mine")
        with pytest.raises(NotAllowed):
            services.create_secret(actor=person, service=service)


def test_service_is_switched_off_and_on(admin_client, service):
    for page, is_enabled in (("switch-off", False), ("switch-off", False), ("switch-on", True)):
        assert admin_client.post(f"{PAGES}{service.pk}/{page}/").status_code == 302
        service.refresh_from_db()
        assert service.is_enabled is is_enabled
    assert actions() == ["service.switched_off", "service.switched_on"]


@pytest.mark.each_database
def test_service_with_a_token_can_not_be_deleted(admin_client, administrator, owner, service):
    ServiceRuleFactory(service=service, user=owner)
    token = TokenFactory(owner=owner, service=service)
    answer = admin_client.post(f"{PAGES}{service.pk}/delete/", follow=True)
    assert "Switch it off instead." in answer.content.decode()
    assert actions() == []
    token.delete()
    assert admin_client.post(f"{PAGES}{service.pk}/delete/").url == PAGES
    assert (Service.objects.count(), actions()) == (0, ["service.deleted"])


@pytest.mark.each_database
def test_person_and_group_get_access_and_lose_it(admin_client, administrator, owner, member, service):
    Service.objects.update(site_roles="")
    group = GroupFactory(organization=service.organization, name="Operators")
    page = f"{PAGES}{service.pk}/access/"
    for who in (owner.email, "operators", owner.email):
        assert admin_client.post(page, {"who": who}).status_code == 302
    assert admin_client.post(page, {"who": "nobody@elsewhere.example"}).status_code == 400
    assert service.access_rules.count() == 2

    # Memberships count at once.
    assert not Service.objects.usable_by(member).exists()
    group.members.add(member)
    assert Service.objects.usable_by(member).exists()

    with pytest.raises(DomainError, match="Operators"):
        group_services.delete_group(actor=administrator, group=group)
    for rule in service.access_rules.all():
        assert admin_client.post(f"{page}{rule.pk}/remove/").status_code == 302
    assert not Service.objects.usable_by(member).exists()
    details = [entry.details for entry in Activity.objects.filter(action="service.access_changed").order_by("id")]
    assert details[:2] == [{"added": [owner.email]}, {"added": ["Operators"]}]
    assert {tuple(entry["removed"]) for entry in details[2:]} == {(owner.email,), ("Operators",)}


def test_access_list_is_replaced_as_a_whole(administrator, owner, member, stranger, service):
    before = seen.of_access(service, [])
    services.set_access(actor=administrator, service=service, subjects=[owner, member], seen=before)
    with pytest.raises(ChangedMeanwhile):
        services.set_access(actor=administrator, service=service, subjects=[], seen=before)
    for wrong in ([stranger], [owner, owner], [GroupFactory()]):
        with pytest.raises(Exception, match="rules"):
            services.set_access(actor=administrator, service=service, subjects=wrong)
    services.set_access(actor=administrator, service=service, subjects=[member])
    assert [rule.user for rule in service.access_rules.all()] == [member]
    assert Activity.objects.order_by("-id").first().details == {"removed": [owner.email]}


def test_access_list_is_limited(administrator, owner, member, service, monkeypatch):
    monkeypatch.setattr(services, "RULES_LIMIT", 1)
    services.add_access(actor=administrator, service=service, subject=owner)
    with pytest.raises(Exception, match="at most 1 access rule"):
        services.add_access(actor=administrator, service=service, subject=member)
    with pytest.raises(Exception, match="at most 1 access rule"):
        services.set_access(actor=administrator, service=service, subjects=[owner, member])


@pytest.mark.each_database
def test_at_most_two_secrets_work_at_once(administrator, service):
    def working():
        return set(service.credentials.working(timezone.now()))

    first, text = services.create_secret(actor=administrator, service=service)
    assert (first.digest, len(text)) == (digest_of(text), 47)
    second, _ = services.create_secret(actor=administrator, service=service, overlap_hours=168)
    assert working() == {first, second}
    third, _ = services.create_secret(actor=administrator, service=service)
    assert working() == {second, third}
    second.refresh_from_db()
    assert timedelta(hours=23) < second.ends_at - timezone.now() <= timedelta(hours=24)
    fourth, _ = services.create_secret(actor=administrator, service=service, overlap_hours=0)
    assert working() == {fourth}
    services.end_secret(actor=administrator, service=service, secret=fourth)
    assert working() == set()
    with pytest.raises(services.SecretHasEnded):
        services.end_secret(actor=administrator, service=service, secret=fourth)
    logged = str(list(Activity.objects.values_list("details", flat=True)))
    assert text not in logged
    assert first.digest not in logged


def test_ended_secrets_do_not_pile_up(administrator, service):
    for _round in range(services.ENDED_SECRETS_KEPT + 3):
        services.create_secret(actor=administrator, service=service, overlap_hours=0)
    assert service.credentials.count() == services.ENDED_SECRETS_KEPT + 1


def test_secret_is_on_one_page_once(admin_client, service):
    page = f"{PAGES}{service.pk}/secret/"
    made = admin_client.post(page)
    secret = made.context["secret"]
    assert secret in made.content.decode()
    assert made["Cache-Control"] == "no-store"
    assert admin_client.post(page, {"overlap_hours": "169"}).status_code == 400
    assert admin_client.post(page, {"overlap_hours": "1"}).status_code == 200
    details = admin_client.get(f"{PAGES}{service.pk}/").content.decode()
    old = service.credentials.get(digest=digest_of(secret))
    assert secret not in details
    assert old.digest not in details
    assert admin_client.post(f"{PAGES}{service.pk}/secrets/{old.pk}/end/").status_code == 302
    assert not service.credentials.working(timezone.now()).filter(pk=old.pk).exists()


def test_security_manager_sees_services_and_changes_nothing(client, service, administrator):
    services.create_secret(actor=administrator, service=service)
    client.force_login(UserFactory(organization=service.organization, site_role="security_manager"))
    assert client.get(PAGES).status_code == 200
    page = client.get(f"{PAGES}{service.pk}/").content.decode()
    for button in ("edit-service", "edit-access", "create-secret", "switch-service", "delete-service", "/end/"):
        assert button not in page


@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        ("GET", "/api/dashboards/7", "GET /api/dashboards/7 needs the scope Read (line 1)."),
        ("POST", "/public/a?b=c", "POST /public/a?b=c is open to every token of the service (line 3)."),
        ("DELETE", "/admin/", "DELETE /admin/ is refused (line 4)."),
        ("GET", "/other", "GET /other is refused: no line matches."),
        ("GET", "/public/../admin", "GET /public/../admin is refused: The path has a part of only dots or spaces."),
        ("GET", "//api", "GET //api is refused: The path has two slashes in a row."),
    ],
)
def test_page_says_what_the_path_rules_do_with_a_request(admin_client, service, method, path, said):
    answer = admin_client.get(f"{PAGES}{service.pk}/", {"method": method, "path": path})
    assert answer.context["decision"].sentence == said


def test_try_of_nothing_is_explained(admin_client, service):
    assert admin_client.get(f"{PAGES}{service.pk}/", {"method": "GET", "path": ""}).status_code == 400
    assert admin_client.get(f"{PAGES}{service.pk}/", {"method": "BREW", "path": "/"}).status_code == 400


@pytest.mark.each_database
def test_health_counts_the_uses_of_a_service(service, monkeypatch, django_assert_num_queries):
    now = timezone.now()
    for days, outcome in ((0, "allowed"), (0, "refused"), (3, "refused"), (8, "refused")):
        at = now - timedelta(days=days, minutes=1)
        use(at=at, service_id=service.pk, outcome=outcome, duration_ms=4 + days).save()
    use(at=now).save()
    with django_assert_num_queries(2):
        found = health.of(service)
    assert (found.day, found.day_refused, found.week, found.week_refused) == (2, 1, 3, 2)
    assert (found.average_ms, found.is_complete, found.last_use) == (5, True, now - timedelta(minutes=1))
    [row] = health.with_health(Service.objects.for_service_table())
    assert (row.lately_refused, row.last_use) == (2, now - timedelta(minutes=1))

    monkeypatch.setattr(health, "MOST_COUNTED", 1)
    assert (health.of(service).week, health.of(service).is_complete) == (1, False)
    assert TokenUse.objects.count() == 5


@pytest.mark.each_database
def test_api_manages_a_service(api, administrator, owner):
    api.force_login(administrator)
    made = api.post(API, BODY | {"site_roles": ["user"]}, format="json")
    assert made.status_code == 201
    address = f"{API}/{made.data['id']}"
    assert made.data["scopes"][0]["id"] == "service:grafana:read"
    assert made.data["path_rules"] == ["GET /api/** read"]
    assert made.data["audience"].endswith(f"/services/{made.data['id']}")

    off = api.patch(address, {"is_enabled": False, "name": "Graphs"}, format="json", headers={"If-Match": made["ETag"]})
    assert (off.data["is_enabled"], off.data["name"], off.data["short_name"]) == (False, "Graphs", "grafana")
    stale = api.patch(address, {"name": "Old"}, format="json", headers={"If-Match": made["ETag"]})
    assert stale.status_code == 412
    on = api.patch(address, {"is_enabled": True}, format="json", headers={"If-Match": off["ETag"]})
    assert on.data["is_enabled"]

    body = {"method": "GET", "path": "/api/x"}
    tried = api.post(f"{address}/try", body, format="json").data
    assert (tried["is_open"], tried["scope"], tried["line"]) == (True, "service:grafana:read", 1)
    refused = api.post(f"{address}/try", body | {"path": "/api//x"}, format="json").data
    assert (refused["is_open"], refused["code"]) == (False, "ambiguous_path")

    rules = api.put(f"{address}/access-rules", {"rules": [{"user_email": owner.email}]}, format="json")
    assert (rules.status_code, rules.data["count"]) == (200, 1)
    assert api.get(f"{address}/access-rules").data == rules.data

    first = api.post(f"{address}/secrets", {}, format="json")
    assert (first.status_code, first["Cache-Control"]) == (201, "no-store")
    assert ServiceCredential.objects.get().digest == digest_of(first.data["secret"])
    second = api.post(f"{address}/secrets", {"overlap_hours": 1}, format="json")
    listed = api.get(f"{address}/secrets").data["data"]
    assert [row["id"] for row in listed] == [second.data["id"], first.data["id"]]
    assert "secret" not in listed[0]
    assert api.delete(f"{address}/secrets/{first.data['id']}").status_code == 204
    assert api.delete(f"{address}/secrets/{first.data['id']}").status_code == 409
    assert api.delete(address).status_code == 204


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"short_name": "other"},
        {"name": None},
        {"name": "a\0"},
        {"scopes": [WRITE | {"name": 7}]},
        {"scopes": [WRITE | {"x": 1}]},
        {"scopes": "read"},
        {"path_rules": ["GET /api/** missing"]},
        {"path_rules": ["GET /api/** any\nGET / any x"]},
        {"site_roles": ["user", "user"]},
        {"check_by": ""},
        {"needs_approval": "yes"},
    ],
)
def test_api_refuses_wrong_bodies(api, administrator, service, wrong):
    api.force_login(administrator)
    assert api.patch(f"{API}/{service.pk}", wrong, format="json").status_code == 400


def test_user_sees_only_services_that_they_may_use(api, owner, service):
    closed = ServiceFactory(organization=service.organization, site_roles="auditor")
    api.force_login(owner)
    assert [row["name"] for row in api.get(API).data["data"]] == ["Grafana"]
    assert api.get(f"{API}/{closed.pk}").status_code == 403
    assert api.get(f"{API}/{service.pk}/access-rules").status_code == 403


@pytest.mark.parametrize("only_reads", [True, False])
@pytest.mark.parametrize("description", ["", "Look at dashboards", "reads"])
def test_scope_stays_the_same_if_its_line_is_not_changed(service, description, only_reads):
    scopes = [{"name": "read", "label": "Read", "description": description, "only_reads": only_reads}]
    form = ServiceForm(initial_of(service) | {"scopes": lines_of(scopes), "rules": ""}, service=service)

    assert form.is_valid(), form.errors
    assert form.cleaned_data["scopes"] == scopes


def test_all_mistakes_in_the_form_are_named_at_once():
    sent = {
        "slug": "Two words",
        "address": "ftp://x",
        "check_by": "forward_auth",
        "scopes": "read",
        "rules": "GET / any",
    }
    form = ServiceForm(sent)

    assert set(form.errors) == {"name", "slug", "address", "scopes"}
