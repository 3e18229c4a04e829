"""Replacing a token by one with the same name, scopes and limits."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import time_machine
from django.core.exceptions import ValidationError
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from accounts.roles import SiteRole
from accounts.tests.factories import UserFactory
from auditlog.models import Activity
from auditlog.tests.test_logs import use
from core.errors import DomainError, NotAllowed
from pipelines.models import TokenPipeline
from pipelines.tests.factories import PipelineFactory
from tokens import jwt, replacement, services
from tokens.expiry import notices
from tokens.models import Token
from tokens.names import name_key
from tokens.tests.factories import TokenFactory, bearer, now_in_seconds

ME = "/api/v1/me"


@pytest.fixture
def token(owner):
    return TokenFactory(owner=owner, name="nightly build", description="For CI", scope="api-readonly pipeline")


def page_of(token):
    return reverse("tokens:token_replace", args=[token.pk])


def replace(token, **options):
    return replacement.replace_token(**({"actor": token.owner, "token": token} | options))


def shown(token):
    """The headers of a request with the new token, after its owner has seen it."""
    _, signed_jwt = services.reveal_token(actor=token.owner, token=token)
    return {"Authorization": f"Bearer {signed_jwt}"}


# The service


@pytest.mark.each_database
def test_new_token_is_like_the_old_one_and_both_work_for_the_overlap(api, token):
    headers = bearer(token)

    new = replace(token, overlap_hours=24)

    token.refresh_from_db()
    assert (new.name, new.description, new.scope) == (token.name, token.description, token.scope)
    assert (new.live_name_key, token.live_name_key) == (name_key(token.name), None)
    assert token.replaced_by == new
    assert token.expires_at - now_in_seconds() <= timedelta(hours=24)
    assert api.get(ME, headers=headers).status_code == 200
    assert api.get(ME, headers=shown(new)).status_code == 200
    with time_machine.travel(token.expires_at, tick=False):
        assert api.get(ME, headers=headers).json()["code"] == "expired"


def test_new_token_lives_as_long_as_the_old_one_was_to_live(owner):
    start = now_in_seconds() - timedelta(days=20)
    token = TokenFactory(owner=owner, created_at=start, expires_at=start + timedelta(days=31, hours=5))

    new = replace(token)

    assert new.lifetime == timedelta(days=31, hours=5)


def test_new_token_lives_as_long_as_the_policy_allows(organization, owner):
    token = TokenFactory(owner=owner, expires_at=now_in_seconds() + timedelta(days=90))
    organization.max_token_lifetime_days = 10
    organization.save()

    assert replace(token).lifetime == timedelta(days=10)


def test_old_token_never_lives_longer_than_before(owner):
    token = TokenFactory(owner=owner, expires_at=now_in_seconds() + timedelta(hours=2))
    end = token.expires_at

    replace(token, overlap_hours=168)

    token.refresh_from_db()
    assert token.expires_at == end


def test_without_overlap_the_old_token_ends_immediately(api, token):
    headers = bearer(token)

    new = replace(token, overlap_hours=0)

    assert api.get(ME, headers=headers).json()["code"] == "revoked"
    assert api.get(ME, headers=shown(new)).status_code == 200


@pytest.mark.each_database
def test_replacing_the_new_token_ends_the_oldest_one(token):
    second = replace(token)
    shown(second)

    third = replace(second)

    token.refresh_from_db()
    second.refresh_from_db()
    assert token.revoked_at is not None
    assert second.is_being_replaced
    assert second.replaced_by == third


def test_limit_is_kept_without_pipelines_that_were_deleted(owner):
    kept, deleted = PipelineFactory(owner=owner), PipelineFactory(owner=owner)
    token = TokenFactory(owner=owner, is_limited=True)
    for pipeline in (kept, deleted):
        TokenPipeline.objects.create(token=token, pipeline=pipeline)
    deleted.delete()

    new = replace(token)

    assert new.is_limited
    assert new.pipeline_ids == [kept.pk]


def test_token_that_reaches_no_pipeline_is_not_replaced(owner):
    token = TokenFactory(owner=owner, is_limited=True)

    with pytest.raises(ValidationError, match="reaches no pipeline any more"):
        replace(token)

    token.refresh_from_db()
    assert token.replaced_at is None
    assert Token.objects.count() == 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"revoked_at": timezone.now(), "live_name_key": None}, "already_ended"),
        ({"revealed_at": None}, "not_revealed"),
        ({"replaced_at": timezone.now()}, "already_replaced"),
    ],
    ids=["ended", "never shown", "replaced"],
)
def test_token_that_cannot_be_replaced_says_why_and_stays(owner, changes, code):
    token = TokenFactory(owner=owner, **changes)

    with pytest.raises(DomainError) as refused:
        replace(token)

    assert refused.value.code == code
    assert Token.objects.count() == 1
    assert not Activity.objects.exists()


def test_scope_that_the_policy_no_longer_allows_changes_nothing(organization, token):
    organization.allowed_scopes = "api-readonly"
    organization.save()

    with pytest.raises(ValidationError, match="does not allow tokens with this scope"):
        replace(token)

    token.refresh_from_db()
    assert (token.replaced_at, token.live_name_key) == (None, name_key(token.name))


@pytest.mark.parametrize("hours", [-1, 169])
def test_overlap_is_at_most_a_week(token, hours):
    with pytest.raises(ValidationError, match="Choose 0 to 168 hours"):
        replace(token, overlap_hours=hours)


def test_policy_limits_the_overlap_on_the_page_and_in_the_api(client, organization, token):
    client.force_login(token.owner)
    for most, offered, chosen in ((168, [0, 1, 24, 72, 168], 24), (24, [0, 1, 24], 24), (8, [0, 1, 8], 8), (0, [0], 0)):
        organization.max_replacement_overlap_hours = most
        organization.save()
        form = client.get(page_of(token)).context["form"]
        assert [hours for hours, _ in form.fields["overlap_hours"].choices] == offered
        assert form.fields["overlap_hours"].initial == chosen

        assert all("UTC" in label for hours, label in form.fields["overlap_hours"].widget.choices if hours)

    organization.max_replacement_overlap_hours = 168
    organization.save()
    for left, offered in ((96, [0, 1, 24, 72, 168]), (24, [0, 1, 168])):
        Token.objects.filter(pk=token.pk).update(expires_at=now_in_seconds() + timedelta(hours=left))
        field = client.get(page_of(token)).context["form"].fields["overlap_hours"]
        assert [hours for hours, _ in field.widget.choices] == offered
        assert field.widget.choices[-1][1].startswith("Until it expires anyway (")
        assert field.initial == 168
    organization.max_replacement_overlap_hours = 0
    organization.save()

    refused = client.post(page_of(token), {"overlap_hours": "24"})
    assert (refused.status_code, "the times that your organization allows" in refused.text) == (400, True)
    address = f"/api/v1/tokens/{token.pk}/replace"
    by_api = client.post(address, {"overlap_hours": 1}, "application/json")
    assert "allows no overlap" in by_api.json()["errors"]["overlap_hours"][0]
    assert Token.objects.count() == 1

    # Without a choice, it is what the policy allows.
    assert client.post(address, {}, "application/json").status_code == 201
    token.refresh_from_db()
    assert token.has_ended


@pytest.mark.parametrize("actor", [SiteRole.USER, SiteRole.ADMINISTRATOR])
def test_only_the_owner_replaces_a_token(organization, token, actor):
    with pytest.raises(NotAllowed):
        replace(token, actor=UserFactory(organization=organization, site_role=actor))


def test_replaced_token_does_not_count_for_the_number_of_live_tokens(organization, token):
    organization.max_live_tokens = 1
    organization.save()

    new = replace(token)

    shown(new)
    with pytest.raises(DomainError, match="you have reached that"):
        services.issue_token(
            actor=token.owner, name="second", chosen=new.scopes, expires_at=now_in_seconds() + timedelta(days=1)
        )


def test_both_changes_are_recorded(token):
    new = replace(token, overlap_hours=1)

    token.refresh_from_db()
    entries = {entry.action: entry for entry in Activity.objects.all()}
    assert entries["token.replaced"].target_id == str(token.pk)
    assert entries["token.replaced"].details == {
        "replaced_by": str(new.pk),
        "works_until": token.expires_at.isoformat(),
    }
    assert entries["token.issued"].details["replaces"] == str(token.pk)


def test_replaced_token_is_not_announced_as_ending(owner, token):
    start, at = now_in_seconds() - timedelta(days=60), timezone.now()
    Token.objects.filter(pk=token.pk).update(created_at=start, expires_at=now_in_seconds() + timedelta(days=5))
    token.refresh_from_db()
    assert list(notices.due(7, at=at)) == [token]
    assert list(Token.objects.expiring_soon()) == [token]

    replace(token)

    token.refresh_from_db()
    assert not any(notices.due(days, at=at).exists() for days in (7, 1))
    assert not Token.objects.expiring_soon().exists()
    assert not token.expires_soon
    with time_machine.travel(token.expires_at, tick=False):
        assert not notices.due(notices.ENDED, at=timezone.now()).exists()


@pytest.mark.django_db(transaction=True)
def test_of_two_requests_at_once_one_replaces_the_token(token):
    def attempt(_):
        try:
            return replace(Token.objects.get(pk=token.pk))
        except replacement.AlreadyReplaced:
            return None
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as threads:
        created = [new for new in threads.map(attempt, range(2)) if new]

    assert len(created) == 1
    token.refresh_from_db()
    assert token.replaced_by == created[0]
    assert Token.objects.count() == 2


# What callers are told


def test_answers_to_a_replaced_token_name_the_new_one(api, token):
    headers = bearer(token)
    before = api.get(ME, headers=headers).headers

    new = replace(token)

    token.refresh_from_db()
    after = api.get(ME, headers=headers).headers
    assert "Deprecation" not in before
    assert after["Deprecation"] == f"@{int(token.replaced_at.timestamp())}"
    assert f'/profile/tokens/{new.pk}/>; rel="successor-version"' in after["Link"]
    assert f'/profile/tokens/{token.pk}/>; rel="sunset"' in after["Link"]
    assert "Deprecation" not in api.get(ME, headers=shown(new)).headers


# By API


def test_api_replaces_and_shows_the_token_once(client, api, token):
    client.force_login(token.owner)

    answer = client.post(f"/api/v1/tokens/{token.pk}/replace", {"overlap_hours": 2}, "application/json")

    body = answer.json()
    assert answer.status_code == 201
    assert answer["Cache-Control"] == "no-store"
    assert api.get(ME, headers={"Authorization": f"Bearer {body['token']}"}).json()["token"]["id"] == body["id"]
    old = client.get(f"/api/v1/tokens/{token.pk}").json()
    assert (old["replaced_by"], body["replaced_by"], body["replaced_at"]) == (body["id"], None, None)
    again = client.post(f"/api/v1/tokens/{token.pk}/replace", {}, "application/json")
    assert (again.status_code, again.json()["code"]) == (409, "already_replaced")
    assert Token.objects.count() == 2


@pytest.mark.parametrize("hours", ["x", None, 1.5, 169, -1, True, []])
def test_api_refuses_other_overlaps(client, token, hours):
    client.force_login(token.owner)

    answer = client.post(f"/api/v1/tokens/{token.pk}/replace", {"overlap_hours": hours}, "application/json")

    assert answer.status_code == 400
    assert "overlap_hours" in answer.text
    assert Token.objects.count() == 1


# Pages


def test_page_replaces_the_token_and_leads_to_the_new_one(client, token):
    client.force_login(token.owner)
    assert page_of(token) in client.get(reverse("tokens:token_detail", args=[token.pk])).text
    use(token, ip="203.0.113.77")
    asked = client.get(page_of(token))
    assert ("nightly build" in asked.text, asked.context["addresses_lately"]) == (True, ["203.0.113.77"])

    answer = client.post(page_of(token), {"overlap_hours": "72"})

    token.refresh_from_db()
    assert answer.url == reverse("tokens:token_reveal", args=[token.replaced_by_id])
    shown = client.get(answer.url)
    assert jwt.decode(shown.context["signed_jwt"]).token_id == token.replaced_by_id
    assert "The old token, which expires" in shown.text


@pytest.mark.parametrize("hours", ["", "2", "x", "\x00", "169", ["24", "x"]])
def test_form_with_another_overlap_replaces_nothing(client, token, hours):
    client.force_login(token.owner)

    answer = client.post(page_of(token), {"overlap_hours": hours})

    assert answer.status_code == 400
    assert "The token was not replaced" in answer.text
    assert Token.objects.count() == 1


def test_page_of_a_token_that_cannot_be_replaced_leads_back(client, token):
    client.force_login(token.owner)
    replace(token)

    answer = client.get(page_of(token), follow=True)

    assert answer.redirect_chain == [(reverse("tokens:token_detail", args=[token.pk]), 302)]
    assert "can&#x27;t be replaced" in answer.text or "can’t be replaced" in answer.text
    assert page_of(token) not in answer.text


def test_pages_of_both_tokens_tell_how_far_the_change_is(client, token):
    client.force_login(token.owner)
    new = replace(token)
    old_page, new_page = (reverse("tokens:token_detail", args=[each.pk]) for each in (token, new))

    assert "This token is being replaced" in client.get(old_page).text
    assert new_page in client.get(old_page).text
    assert "the old one was not used" in client.get(new_page).text
    assert "Being replaced</span>" in client.get(reverse("tokens:token_list")).text

    use(token, ip="203.0.113.77")
    Token.objects.filter(pk=token.pk).update(last_used_at=timezone.now(), last_used_ip="203.0.113.77")

    answer = client.get(new_page)
    assert "is still used" in answer.text
    assert "203.0.113.77" in answer.text.replace("<wbr>", "").partition('id="old-addresses"')[2].partition("</ul>")[0]


def test_other_person_of_the_organization_sees_no_form(client, organization, token):
    administrator = UserFactory(organization=organization, site_role=SiteRole.ADMINISTRATOR)
    client.force_login(administrator)

    assert client.get(page_of(token)).status_code == 404
    assert client.post(page_of(token), {"overlap_hours": "24"}).status_code == 404
    assert page_of(token) not in client.get(reverse("tokens:token_detail", args=[token.pk])).text
