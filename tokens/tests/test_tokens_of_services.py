"""Tokens for a service: creating, replacing, and what pages and the API say about them."""

import re
import threading
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import Organization
from accounts.tests.factories import GroupFactory, ServiceAccountFactory
from auditlog.models import Activity
from auditlog.tests import entries
from core.api.scopes import PIPELINE
from core.errors import DomainError
from gateway.models import Service
from gateway.tests.factories import ServiceFactory, ServiceRuleFactory
from opsera_portal.tests.mails import delivered
from tokens import services
from tokens.approval.models import ApprovalRequest
from tokens.expiry import notices
from tokens.models import Token
from tokens.replacement import can_be_replaced, replace_token
from tokens.service_choice import ServiceClosed
from tokens.tests.factories import TokenFactory

PAGE = "/profile/tokens/"
API = "/api/v1/tokens"


@pytest.fixture
def service(owner):
    return ServiceFactory(organization=owner.organization, name="Grafana", slug="grafana")


@pytest.fixture
def session(api, owner):
    api.force_login(owner)
    return api


def token_for(service, owner, *names, **values):
    chosen = " ".join(f"service:{service.slug}:{name}" for name in names or ("read",))
    return TokenFactory(owner=owner, service=service, scope=chosen, **values)


def issue(owner, service, *, scopes=("read",), **values):
    chosen = [scope for scope in service.all_scopes if scope.id.rpartition(":")[2] in scopes]
    wanted = {"name": "dashboards", "chosen": chosen, "expires_at": timezone.now() + timedelta(days=1)}
    return services.issue_token(actor=owner, service=service.pk, **wanted | values)


# The service that creates tokens


def test_token_for_a_service_has_its_scopes_and_an_entry_that_names_it(owner, service):
    token = issue(owner, service, scopes=("write", "read"))

    assert (token.service, token.scope) == (service, "service:grafana:read service:grafana:write")
    assert [scope.label for scope in Token.objects.get().scopes] == ["Read", "Write"]
    details = Activity.objects.get(action="token.issued").details
    assert details["service"] == {"name": "Grafana", "id": str(service.pk)}


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"chosen": [PIPELINE]}, "scopes"),
        ({"chosen": []}, "scopes"),
        ({"pipelines": []}, "pipelines"),
        ({"service": None}, "scopes"),
        ({"service": "11111111-1111-4111-8111-111111111111"}, "service"),
    ],
)
def test_wrong_choices_for_a_service_are_refused(owner, service, values, field):
    chosen = {"chosen": service.all_scopes} | values
    wanted = {"name": "x", "expires_at": timezone.now() + timedelta(days=1), "service": service.pk}

    with pytest.raises(services.ValidationError) as refused:
        services.issue_token(actor=owner, **wanted | chosen)

    assert list(refused.value.message_dict) == [field]
    assert not Token.objects.exists()


@pytest.mark.parametrize(
    "changed", [{"is_enabled": False}, {"site_roles": ""}, {"organization": "another"}], ids=lambda change: str(change)
)
def test_service_that_the_owner_cannot_use_is_refused(owner, service, changed, stranger):
    if "organization" in changed:
        changed = {"organization": stranger.organization}
    Service.objects.update(**changed)

    with pytest.raises(services.ValidationError) as refused:
        issue(owner, service)

    assert list(refused.value.message_dict) == ["service"]


def test_policy_of_scopes_does_not_concern_services_and_that_of_lifetimes_does(owner, service):
    Organization.objects.update(allowed_scopes="pipeline", max_token_lifetime_days=2)

    assert issue(owner, service).service == service
    with pytest.raises(services.ValidationError) as refused:
        issue(owner, service, name="long", expires_at=timezone.now() + timedelta(days=3))

    assert list(refused.value.message_dict) == ["expires_at"]


def test_service_can_need_approval(owner, service):
    Service.objects.update(needs_approval=True)
    with pytest.raises(services.ValidationError) as refused:
        issue(owner, service)
    assert "Tokens for Grafana need approval." in str(refused.value)

    assert issue(owner, service, approval_reason="For the wall.").waits_until is not None


def test_replacing_keeps_service_and_scopes_until_the_service_is_closed(owner, service):
    old = token_for(service, owner, "read", "write")
    new = replace_token(actor=owner, token=old, overlap_hours=1)
    assert (new.service, new.scope) == (service, old.scope)
    Token.objects.update(revealed_at=timezone.now())

    Service.objects.update(is_enabled=False)
    token = Token.objects.get(pk=new.pk)
    assert not can_be_replaced(token)
    with pytest.raises(ServiceClosed):
        replace_token(actor=owner, token=token)


def test_token_whose_scopes_are_gone_is_not_replaced(owner, service):
    token = token_for(service, owner, "read")
    Service.objects.update(scopes=[service.scopes[1]])

    with pytest.raises(DomainError, match="no longer has the scopes"):
        replace_token(actor=owner, token=token)


# The form


def sent(**values):
    return {"name": "dashboards", "lifetime": "1d", **values}


def test_form_offers_services_and_creates_a_token_for_one(client, owner, service):
    client.force_login(owner)
    page = client.get(f"{PAGE}?service=grafana")
    assert [choice["label"] for choice in page.context["service_choices"]] == ["The portal's API", "Grafana"]
    assert [card["id"] for card in page.context["scope_cards"]] == ["service:grafana:read", "service:grafana:write"]
    assert page.context["pipeline_choice"] is None
    assert "GET,HEAD /api/dashboards/**" in page.text
    assert 'id="filled-by-link"' not in page.text

    answer = client.post(f"{PAGE}?service=grafana", sent(service="grafana", scopes=["service:grafana:read"]))

    assert answer.status_code == 302
    assert Token.objects.get().service == service


def test_form_without_services_offers_no_choice(client, owner):
    client.force_login(owner)
    assert "What it is for" not in client.get(PAGE).text


@pytest.mark.parametrize("word", ["nope", "grafana\0", "x" * 500, "Ж"])
def test_unknown_service_is_an_error_and_loses_nothing(client, owner, service, word):
    client.force_login(owner)
    page = client.get(PAGE, {"service": word, "name": "typed"})
    assert "There is no such service" in page.text
    assert 'value="typed"' in page.text

    answer = client.post(PAGE, sent(service=word, scopes=["pipeline"], description="kept"))

    assert answer.status_code == 400
    assert "There is no such service" in answer.text
    assert "kept" in answer.text
    assert not Token.objects.exists()


def test_form_refuses_pipelines_and_scopes_of_the_portal_for_a_service(client, owner, service):
    client.force_login(owner)
    answer = client.post(PAGE, sent(service="grafana", scopes=["pipeline"], which_pipelines="only"))

    assert answer.status_code == 400
    assert answer.context["form"].errors.keys() == {"scopes", "pipelines"}


def test_form_for_a_service_is_kept_during_reauthentication(client, owner, service):
    client.force_login(owner)
    with time_machine.travel(timezone.now() + timedelta(hours=1)):
        asked = client.post(f"{PAGE}?service=grafana", sent(service="grafana", scopes=["service:grafana:write"]))
        back = parse_qs(urlsplit(asked["Location"]).query)["next"][0]
        assert back.startswith(f"{PAGE}?service=grafana&kept=")
        page = client.get(back).text

    assert 'value="dashboards"' in page
    assert re.search(r'value="service:grafana:write"[^>]* checked', page)
    assert not Token.objects.exists()


def test_links_and_like_fill_in_the_service(client, owner, service):
    client.force_login(owner)
    token = token_for(service, owner, "write")
    for query in (f"like={token.pk}", "service=grafana&scopes=service:grafana:write,pipeline&name=x"):
        form = client.get(f"{PAGE}?{query}").context["form"]
        assert (form["service"].value(), form["scopes"].value()) == ("grafana", ["service:grafana:write"])


def test_service_account_gets_tokens_for_the_services_that_it_can_use(client, administrator):
    account = ServiceAccountFactory(organization=administrator.organization, site_role="user")
    ServiceFactory(organization=administrator.organization, slug="for-admins", site_roles="administrator")
    service = ServiceFactory(organization=administrator.organization, slug="grafana", site_roles="user")
    client.force_login(administrator)
    page = f"/organization/service-accounts/{account.pk}/tokens/"
    choices = client.get(page).context["service_choices"]
    assert [choice["slug"] for choice in choices] == ["", "grafana"]

    client.post(page, sent(service="grafana", scopes=["service:grafana:read"]))

    token = Token.objects.get()
    assert (token.owner, token.service) == (account, service)


# The API


def test_api_creates_tokens_for_services_and_shows_them(session, owner, service):
    body = {"name": "x", "scopes": ["service:grafana:read"], "service": "grafana"}
    made = session.post(API, body)

    assert made.status_code == 201
    shown = {"id": str(service.pk), "name": "Grafana", "short_name": "grafana", "closed_because": ""}
    assert (made.json()["service"], made.json()["scopes"]) == (shown, ["service:grafana:read"])
    TokenFactory(owner=owner)
    for word in ("grafana", service.pk):
        assert [row["name"] for row in session.get(f"{API}?service={word}").json()["data"]] == ["x"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"service": "nope", "scopes": ["service:nope:read"]}, "service"),
        ({"service": 7, "scopes": ["service:grafana:read"]}, "service"),
        ({"service": "grafana", "scopes": ["service:grafana:nope"]}, "scopes"),
        ({"service": "grafana", "scopes": ["pipeline"]}, "scopes"),
        ({"scopes": ["service:grafana:read"]}, "scopes"),
        ({"service": None, "scopes": ["nope"]}, "scopes"),
    ],
)
def test_api_refuses_wrong_services_and_scopes(session, owner, service, body, field):
    answer = session.post(API, {"name": "x", **body})

    assert answer.status_code == 400
    assert {name.split(".")[0] for name in answer.json()["errors"]} == {field}


# What pages and the API say about them


def test_lists_say_which_service_refuses_a_token_with_few_queries(
    client, session, administrator, service, django_assert_max_num_queries
):
    """Each list reads services and access rules once, however many tokens it has."""
    other = ServiceFactory(organization=administrator.organization, name="Registry", site_roles="")
    ServiceRuleFactory(service=other, user=administrator)
    closed = ServiceFactory(organization=administrator.organization, name="Wiki", is_enabled=False)
    lost = ServiceFactory(organization=administrator.organization, name="Vault", site_roles="")
    client.force_login(administrator)
    session.force_login(administrator)
    token_for(service, administrator)

    def answers():
        pages = [PAGE, "/organization/tokens/", "/organization/access-review/"]
        return [client.get(page).text for page in pages] + [session.get("/api/v1/organization/tokens").text]

    answers()
    with CaptureQueriesContext(connection) as before:
        answers()
    for number in range(10):
        for each in (service, other, closed, lost):
            token_for(each, administrator, name=f"{each.name} {number}")
    with django_assert_max_num_queries(len(before) + 4 * 3):
        found = answers()

    for text in found:
        assert "Wiki is switched off." in text
        assert "owner may not use Vault." in text.replace("&#x27;", "'")
        assert "may not use Registry" not in text


def test_rule_for_a_group_opens_a_service_to_its_members(administrator, member):
    service = ServiceFactory(organization=member.organization, site_roles="")
    group = GroupFactory(organization=member.organization)
    ServiceRuleFactory(service=service, group=group)
    group.members.add(member)
    tokens = [token_for(service, owner) for owner in (administrator, member)]

    found = Token.objects.filter(pk__in=[token.pk for token in tokens]).for_token_table()

    assert {token.owner: token.opens_service for token in found} == {administrator: False, member: True}
    for token in Token.objects.all():
        assert token.opens_service == (token.owner == member)


def test_page_of_a_token_says_what_it_opens(client, owner, service):
    token = token_for(service, owner, "write")
    client.force_login(owner)
    page = client.get(f"{PAGE}{token.pk}/").text
    assert "POST /api/dashboards/**" in page
    assert "GET,HEAD /api/dashboards/**" not in page
    assert 'id="replace"' in page

    Service.objects.update(is_enabled=False)

    page = client.get(f"{PAGE}{token.pk}/").text
    assert "Grafana is switched off." in page
    assert 'id="replace"' not in page
    assert "Grafana is switched off." in client.get(f"{PAGE}{token.pk}/replace/", follow=True).text


@pytest.mark.parametrize("address", ["https://grafana.example.com", ""])
def test_new_token_is_shown_with_an_example_for_its_service(client, owner, service, address):
    Service.objects.update(address=address)
    token = token_for(service, owner, revealed_at=None)
    client.force_login(owner)

    page = client.get(f"{PAGE}{token.pk}/reveal/")

    assert [example["id"] for example in page.context["examples"]] == (["curl"] if address else [])
    assert "Postman" not in page.text
    assert ("curl https://grafana.example.com" in page.text) is bool(address)


def used(token, method, target, **values):
    known = {"token_id": token.pk, "scope": token.scope, "owner_id": token.owner_id, "service": token.service}
    entry = entries.use(token.organization, method=method, target=target, **known | values)
    entry.save()
    return entry


def test_refused_use_of_a_service_leads_to_the_form_with_the_missing_scope(client, owner, service):
    token = token_for(service, owner, "read")
    refused = {"status": 403, "outcome": "refused", "reason": "insufficient_scope"}
    entry = used(token, "POST", "/api/dashboards/7", **refused)
    client.force_login(owner)

    page = client.get(f"/profile/authentication-log/{entry.request_id}/")

    assert page.context["needed_scopes"] == ["Write"]
    form = client.get(page.context["form_url"]).context["form"]
    assert form["service"].value() == "grafana"
    assert form["scopes"].value() == ["service:grafana:read", "service:grafana:write"]


def test_fewest_scopes_are_those_that_the_requests_needed(client, session, owner, service):
    wide, public = (token_for(service, owner, "read", "write") for _ in range(2))
    used(wide, "POST", "/api/dashboards/7")
    used(wide, "DELETE", "/closed/now")
    used(public, "GET", "/public/logo")
    client.force_login(owner)
    page = client.get(f"{PAGE}{wide.pk}/narrower/")
    assert [scope.label for scope in page.context["found"].scopes] == ["Write"]
    assert "service=grafana" in page.context["scopes_url"]

    narrower = session.get(f"{API}/{wide.pk}/narrower").json()["periods"][0]
    rows = {row["id"]: row for row in session.get(f"{API}/unused-scopes").json()["data"]}

    assert narrower["enough_scopes"] == rows[str(wide.pk)]["enough_scopes"] == ["service:grafana:write"]
    assert rows[str(wide.pk)]["service"]["short_name"] == "grafana"
    assert rows[str(public.pk)]["enough_scopes"] == ["service:grafana:read"]
    assert rows[str(public.pk)]["unused_pipelines"] is None


def test_approvers_see_the_service(client, administrator, owner, service):
    Service.objects.update(needs_approval=True)
    issue(owner, service, approval_reason="For the wall.")
    approval = ApprovalRequest.objects.get()
    client.force_login(administrator)

    page = client.get(f"/organization/approvals/{approval.pk}/").text

    assert "It opens Grafana and nothing else." in page
    assert "GET,HEAD /api/dashboards/**" in page
    assert "Service: Grafana" in delivered()[0].body


def test_mail_about_a_token_names_its_service(owner, service):
    created_at = timezone.now() - timedelta(days=20)
    token_for(service, owner, created_at=created_at, expires_at=timezone.now() + timedelta(hours=20))
    Service.objects.update(is_enabled=False)

    notices.put_due(threading.Event())

    assert any("Service: Grafana (Grafana is switched off.)" in mail.body for mail in delivered())


def test_filters_find_the_tokens_of_a_service(client, administrator, service):
    token_for(service, administrator, name="for grafana")
    TokenFactory(owner=administrator, name="for the portal")
    client.force_login(administrator)
    for page in (f"{PAGE}?for_service=grafana", "/organization/tokens/?service=grafana"):
        text = client.get(page).text
        assert "for grafana" in text
        assert "for the portal" not in text
