"""Networks from which an organization lets its tokens be used."""

import pytest
from django.urls import reverse

from accounts.models import Organization
from accounts.tests.factors import make_recent
from auditlog.models import TokenUse
from tokens.tests.factories import TokenFactory, bearer, now_in_seconds

ME, PAGE, POLICY, API = "/api/v1/me", "/profile/tokens/", "/organization/policy/", "/api/v1/organization/policy"


@pytest.fixture
def limited(organization):
    organization.token_networks = "192.0.2.0/24 2001:db8::/32"
    organization.save()


@pytest.mark.each_database
def test_token_is_used_only_where_its_own_networks_and_the_policy_allow_it(api, owner, stranger, limited):
    counted = TokenFactory(owner=owner, max_uses=5)
    everywhere = bearer(counted)
    own = bearer(TokenFactory(owner=owner, networks="192.0.2.128/25 198.51.100.0/24"))

    def answers(headers):
        addresses = ("192.0.2.1", "192.0.2.200", "::ffff:192.0.2.200", "2001:db8::9", "198.51.100.1", "203.0.113.1", "")
        codes = (api.get(ME, headers=headers, REMOTE_ADDR=address).json().get("code", "ok") for address in addresses)
        return dict(zip(addresses, codes, strict=True))

    ok, own_refused, refused = "ok", "network_not_allowed", "network_policy"
    assert list(answers(everywhere).values()) == [ok, ok, ok, ok, refused, refused, refused]
    assert list(answers(own).values()) == [own_refused, ok, ok, own_refused, refused, own_refused, own_refused]
    assert api.get(ME, headers=bearer(TokenFactory(owner=stranger)), REMOTE_ADDR="203.0.113.1").status_code == 200
    counted.refresh_from_db()
    assert counted.use_count == 4
    assert TokenUse.objects.filter(reason=refused, outcome="refused", ip="198.51.100.1").count() == 2


def test_refusal_names_the_address_and_not_the_networks(api, owner, limited):
    token = TokenFactory(owner=owner)

    answer = api.get(ME, headers=bearer(token), REMOTE_ADDR="198.51.100.1")

    says = "Your organization's policy doesn't let tokens be used from 198.51.100.1."
    assert (answer.status_code, answer.json()["detail"]) == (401, says)
    assert says in answer.headers["WWW-Authenticate"]
    assert "192.0.2" not in answer.text
    token.refresh_from_db()
    assert token.last_used_at is None


def test_pages_say_whether_the_reader_is_inside(client, owner, administrator, limited):
    token = TokenFactory(owner=owner)
    detail = reverse("tokens:token_detail", args=[token.pk])

    def said(page, address, id_):
        return client.get(page, REMOTE_ADDR=address).text.partition(f'id="{id_}"')[2][:900]

    for person, pages in (
        (owner, {PAGE: "policy-networks", detail: "token-policy-networks"}),
        (administrator, {"/organization/tokens/": "policy-networks", detail: "token-policy-networks"}),
    ):
        client.force_login(person)
        for page, id_ in pages.items():
            assert "192.0.2.0/24" in said(page, "192.0.2.1", id_)
            assert ": inside" in said(page, "192.0.2.1", id_)
            assert ": outside" in said(page, "198.51.100.1", id_)
    assert "form-policy-networks" not in client.get("/organization/tokens/").text
    assert "It can do this only from its networks." in client.get(detail).text
    Organization.objects.update(token_networks="")
    assert "policy-networks" not in client.get(detail).text


@pytest.mark.each_database
def test_policy_takes_networks_and_the_preview_counts_tokens_used_outside(client, administrator, owner):
    used = {"last_used_at": now_in_seconds()}
    for address in ("192.0.2.1", "198.51.100.1", "198.51.100.1", "2001:db8::1"):
        TokenFactory(owner=owner, last_used_ip=address, **used)
    TokenFactory(owner=owner, last_used_ip="198.51.100.1", revoked_at=now_in_seconds(), **used)
    TokenFactory(owner=owner)
    client.force_login(administrator)
    make_recent(client)
    change = {"token_networks": ["192.0.2.0/24", "192.0.2.0/24", "2001:DB8::/32"]}
    form = {name: "" if value is None else value for name, value in client.get(POLICY).context["form"].initial.items()}

    preview = client.post(f"{API}/preview", change, "application/json").json()
    page = client.post(POLICY, form | {"token_networks": "192.0.2.0/24; 2001:DB8::/32"})
    saved = client.patch(API, change, "application/json").json()

    assert preview["effect"]["tokens_used_outside"] == saved["effect"]["tokens_used_outside"] == 2
    assert "2 live tokens were last used from outside the new networks. From there, they will be refused." in page.text
    assert "192.0.2.0/24, 2001:db8::/32" in page.text
    assert saved["token_networks"] == ["192.0.2.0/24", "2001:db8::/32"]
    assert client.get(API).json()["token_networks"] == saved["token_networks"]
    assert client.get(POLICY).context["form"]["token_networks"].value() == "192.0.2.0/24\n2001:db8::/32"
    for wrong in ("192.0.2.0/24", None, 7, [7], [None], [""], ["\x00"], ["192.0.2.1/24"], ["1.2.3.4"] * 21, ["1" * 61]):
        answer = client.patch(API, {"token_networks": wrong}, "application/json")
        assert (answer.status_code, "token_networks" in str(answer.json()["errors"])) == (400, True), wrong
    kept = client.post(POLICY, form | {"token_networks": "192.0.2.1/24"})
    assert (kept.status_code, kept.context["form"]["token_networks"].value()) == (400, "192.0.2.1/24")
