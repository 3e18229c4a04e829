"""Forms that are sent too late are shown again, filled in. The tests crawl all pages to find them.

A form is too late if the session has ended, its CSRF token is old, or reauthentication is required.
"""

import re
from datetime import timedelta
from html import unescape
from urllib.parse import parse_qs, urlsplit

import pytest
import time_machine
from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from accounts.models import Group, User
from accounts.security import kept_forms
from accounts.signin.last_person import COOKIE
from core.models import KeptForm
from core.pages.form_filling import _forms_of
from opsera_portal.tests.test_access import PAGES, cells, fill, things_of
from opsera_portal.tests.worlds import check_row
from pipelines.models import Pipeline, Run, Step
from pipelines.tests.factories import AccessRuleFactory, PipelineFactory, RunFactory, StepFactory
from tokens.models import Token
from tokens.tests.factories import ApprovalRequestFactory

ORIGIN = {"HTTP_ORIGIN": "http://testserver"}
NEW_PIPELINE = "/pipelines/new/"
TYPED = {"name": 'Nightly "<b>é', "description": "first\n\nlast & <i>", "tags": "a, b"}

# Forms that are not shown again, or whose page can't be opened by its address alone.
NOT_WALKED = {
    "/login/two-factor/": "a step of signing in",
    "/login/two-factor/again/": "a step of signing in",
    "/login/passkey/": "a step of signing in",
    "/login/passkey/again/": "a step of signing in",
    "/login/single-sign-on/": "a step of signing in",
    "/login/single-sign-on/organization/": "a step of signing in",
    "/login/single-sign-on/again/": "a step of signing in",
    "/organization/trust/try/": "nothing is saved, and what is pasted is never kept",
    "/organization/single-sign-on/try/": "nothing is saved, and a provider must be set up",
    "/login/again/": "a step of signing in",
    "/profile/tokens/name/": "part of the form for a new token, without a button of its own",
    "/profile/tokens/scopes/": "part of the form for a new token, without a button of its own",
    "/organization/service-accounts/{account}/activate/": "a button, only if it is deactivated",
    "/organization/service-accounts/{account}/tokens/name/": "part of the form for a new token",
    "/organization/service-accounts/{account}/tokens/scopes/": "part of the form for a new token",
    "/suggestions/people/": "sent while somebody types in a field",
    "/suggestions/addresses/": "sent while somebody types in a field",
    "/suggestions/groups/": "sent while somebody types in a field",
    "/suggestions/subjects/": "sent while somebody types in a field",
    "/suggestions/pipelines/": "sent while somebody types in a field",
    "/suggestions/tags/": "sent while somebody types in a field",
    "/services/{service}/open/": "a button for a browser that comes from the host of the service",
    "/pipelines/{pipeline}/suggestions/owners/": "sent while somebody types in a field",
    "/pipelines/{pipeline}/suggestions/recipients/": "sent while somebody types in a field",
    "/organization/approvals/{approval}/approve/": "another button of the form to reject",
    "/profile/tokens/to-confirm/expire/": "another button of the form to confirm",
    "/organization/policy/save/": "part of the response to another form; tested below",
    "/profile/security/password/set/": "for people without a password",
    "/profile/security/single-sign-on/": "only where single sign-on is set up",
    "/profile/security/two-factor/app/remove/": "only with an authenticator app",
    "/password/reset/{text}/{text}/": "passwords only, behind a link that works once",
    "/invitation/{text}/{text}/": "passwords only, behind a link that works once",
    "/confirm-email/{text}/": "a button behind a link",
}


@pytest.fixture
def browser(administrator, things):
    """A client of an Administrator (who can open nearly every form) that checks CSRF tokens."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(administrator)
    return client


@pytest.fixture
def things(administrator, member):
    pipeline = PipelineFactory(owner=administrator, name="Pipeline")
    StepFactory(pipeline=pipeline)
    run = RunFactory(pipeline=pipeline, number=1)
    pipeline.run_count = 1
    pipeline.save()
    ruled = PipelineFactory(owner=administrator)
    found = things_of(administrator, pipeline) | {"ruled": ruled, "run": run}
    # Somebody else's, which the Administrator can decide about.
    found["approval"] = ApprovalRequestFactory(token__owner=member)
    found["rule"] = AccessRuleFactory(pipeline=ruled, user=member)
    StepFactory(pipeline=pipeline, position=2)
    found["group"].members.add(found["user"])
    return found


def forms_on(client, page):
    answer = client.get(page)
    if answer.status_code != 200 or not answer["Content-Type"].startswith("text/html"):
        return []
    path = urlsplit(page).path
    return [form for form in _forms_of(answer.text, path) if form.action != "/logout/"]


def typed_into(form):
    """New values for every visible field of the form."""
    typed = {}
    for control in form.controls:
        if control.name and control.kind not in {"hidden", "submit", "button"} and "disabled" not in control.attributes:
            typed.setdefault(control.name, [])
            if control.kind == "checkbox":
                if "checked" not in control.attributes:
                    typed[control.name].append(control.attributes.get("value") or "on")
            elif control.kind == "radio":
                typed[control.name] = [control.attributes["value"]]
            elif control.tag == "select":
                typed[control.name].append(control.options[-1].attributes["value"])
            else:
                typed[control.name].append(f'typed "é" <{control.name}>')
    return typed


def values_in(html, form):
    """The values that the page shows in this form, in the same shape as ``typed_into``."""
    values = {}
    for found in _forms_of(html, "/"):
        if found.action != form.action and found.names != form.names:
            continue
        for control in found.controls:
            shown = values.setdefault(control.name, [])
            if control.kind in {"checkbox", "radio"}:
                if "checked" in control.attributes:
                    shown.append(control.attributes.get("value") or "on")
            elif control.tag == "select":
                shown.extend(o.attributes["value"] for o in control.options if "selected" in o.attributes)
            elif control.tag == "textarea":
                shown.append(unescape(html[control.end : control.until].removeprefix("\n")))
            else:
                shown.append(control.attributes.get("value") or "")
    return values


def all_pages(things):
    paths = dict.fromkeys(path for method, path, _, _ in cells(PAGES) if not path.startswith("/login/"))
    further = [
        "/pipelines/{ruled}/access-rules/",
        "/organization/tokens/expire/?id={token}",
        "/profile/tokens/{waiting}/",
    ]
    return [fill(path, things) for path in [*paths, *further]]


def state_of_everything():
    rows = [list(model.objects.order_by("pk").values()) for model in (User, Group, Pipeline, Step, Run, Token)]
    for person in rows[0]:
        del person["last_login"]
    return rows


def end_session(client):
    UserSession.objects.all().delete()
    Session.objects.all().delete()


def send_with_an_old_token(client, form, page, typed):
    old = {"csrfmiddlewaretoken": "x" * 64}
    return client.post(form.action, typed | old, HTTP_REFERER=f"http://testserver{page}", **ORIGIN)


def send_without_a_session(client, form, page, typed):
    client.get(page)
    end_session(client)
    csrf = {"csrfmiddlewaretoken": client.cookies["csrftoken"].value}
    answer = client.post(form.action, typed | csrf, HTTP_REFERER=f"http://testserver{page}", **ORIGIN)
    assert urlsplit(answer.url).path == "/login/"
    client.force_login(client.person)
    answer.status_code, answer["Location"] = 303, parse_qs(urlsplit(answer.url).query)["next"][0]
    return answer


@pytest.mark.parametrize("send", [send_with_an_old_token, send_without_a_session])
@pytest.mark.slow
def test_every_late_form_is_shown_again_filled_in_and_changes_nothing(browser, administrator, things, send):
    browser.person = administrator
    walked = set()
    for page in all_pages(things):
        for form in forms_on(browser, page):
            is_open = form.action == "/password/reset/" and send is send_without_a_session
            if form.action in walked or form.action == "/login/" or is_open:
                continue
            walked.add(form.action)
            for control in form.controls:
                assert control.kind != "password" or kept_forms.is_secret(control.name), control.name
            typed = typed_into(form)
            before = state_of_everything()

            answer = send(browser, form, page, typed)
            assert answer.status_code == 303, (page, form.action)
            back = browser.get(answer["Location"])

            assert back.status_code == 200, (page, form.action, answer["Location"])
            assert b"data-kept-form" in back.content, (page, form.action)
            assert kept_forms._BUTTON not in back.text
            shown = values_in(back.text, form)
            for name in form.names:
                secret = kept_forms.is_secret(name)
                if secret:
                    assert shown[name] != typed[name], (form.action, name)
                else:
                    assert shown[name][: len(typed[name])] == typed[name], (form.action, name)
            assert state_of_everything() == before, form.action
    missing = posts(things) - walked - {fill(path, things) for path in NOT_WALKED}
    if send is send_without_a_session:
        # The only other session has ended, so the page does not show its button.
        missing.discard(fill("/profile/security/sessions/{session}/end/", things))
    assert not missing, missing


def posts(things):
    """All addresses that accept POST, except those of buttons that only appear in another state."""
    paths = {path for method, path, _, _ in cells(PAGES) if method == "POST"}
    return {fill(path, things) for path in paths if not path.startswith(BUTTONS_OF_ANOTHER_STATE)}


BUTTONS_OF_ANOTHER_STATE = (
    "/pipelines/{pipeline}/lock/",
    "/pipelines/{pipeline}/unlock/",
    "/pipelines/{pipeline}/stop/",
    "/pipelines/{pipeline}/resume/",
    "/pipelines/{pipeline}/reset/",
    "/pipelines/{pipeline}/run/",
    "/pipelines/{pipeline}/runs/1/",
    "/organization/users/{user}/activate/",
    "/organization/services/{service}/switch-on/",
    "/organization/webhooks/{webhook}/resume/",
    # Buttons of rows, which submit a form that is elsewhere on the page.
    "/organization/webhooks/{webhook}/deliveries/",
    "/profile/notifications/{notification}/read/",
    "/organization/users/{user}/invitation/",
)


@pytest.mark.parametrize("referer", ["page", "none", "foreign"])
@pytest.mark.slow
def test_every_post_without_a_session_leads_to_sign_in_and_back_to_a_page(client, administrator, things, referer):
    page = "/organization/users/?q=x&page=2"
    headers = {
        "page": {"HTTP_REFERER": f"http://testserver{page}"},
        "foreign": {"HTTP_REFERER": "https://evil.example/"},
    }

    def attempt(path):
        client.cookies.clear()
        answer = client.post(fill(path, things), **headers.get(referer, {}))
        if answer.status_code != 302 or urlsplit(answer.url).path != "/login/":
            return f"not sent to sign in, {answer.status_code}"
        back = parse_qs(urlsplit(answer.url).query)["next"][0]
        if not back.startswith("/") or (referer == "page" and back != page):
            return f"leads to {back}"
        client.force_login(administrator)
        status = client.get(back).status_code
        # This person has no authenticator app that could be removed.
        opens = status in ({404} if "/app/remove/" in back else {200, 302})
        return "leads back to a page" if opens else f"{status} at {back}"

    paths = sorted({path for method, path, _, _ in cells(PAGES) if method == "POST"})
    expected = dict.fromkeys(paths, "leads back to a page")
    check_row(f"with referer: {referer}", expected, attempt, renders_all=False)


@pytest.mark.parametrize(
    "referer",
    [
        "https://evil.example/profile/",
        "//evil.example/",
        "http://testserver@evil.example/",
        "http://testserver:81/profile/",
        "javascript:alert(1)",
        "/\\evil.example",
        "http://testserver/api/v1/tokens",
        "http://testserver/logout/",
        "http://testserver/login/again/",
        "http://testserver/nothing/here/",
        "http://testserver/organization/policy/save/",
        "http://testserver/profile/\x00",
        "http://testserver/profile/?" + "x" * 3000,
        "",
        "http://[::1",
    ],
)
def test_untrusted_referer_is_not_used_as_the_next_page(client, things, referer):
    pipeline = things["pipeline"].pk

    answer = client.post(f"/pipelines/{pipeline}/run/", HTTP_REFERER=referer)

    assert parse_qs(urlsplit(answer.url).query)["next"] == [f"/pipelines/{pipeline}/"]


def old_csrf(client, path=NEW_PIPELINE, typed=TYPED, **headers):
    return client.post(path, typed | {"csrfmiddlewaretoken": "x" * 64}, **headers)


def test_form_with_an_old_csrf_token_is_shown_again_with_a_working_one(browser):
    answer = old_csrf(browser, **ORIGIN)
    page = browser.get(answer.url).text

    assert answer.status_code == 303
    assert "Your session ended before this was saved. Check it and press “Create pipeline” again." in page
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)[1]
    saved = browser.post(NEW_PIPELINE, TYPED | {"csrfmiddlewaretoken": token}, **ORIGIN)
    assert saved.status_code == 302
    assert Pipeline.objects.get(name=TYPED["name"]).tags == ["a", "b"]


@pytest.mark.parametrize(
    "headers",
    [{}, {"HTTP_ORIGIN": "null"}, {"HTTP_ORIGIN": "https://evil.example"}, {"HTTP_REFERER": "https://evil.example/x"}],
    ids=["nothing", "null", "origin", "referer"],
)
def test_values_from_another_site_are_not_filled_in(browser, headers):
    answer = old_csrf(browser, **headers)

    assert answer.status_code == 403
    assert TYPED["tags"] not in answer.text
    assert not KeptForm.objects.exists()


def after_the_session(client, person, typed=TYPED, path=NEW_PIPELINE):
    """Sends the form in an ended session, and returns the address that opens after sign-in."""
    client.force_login(person)
    client.get("/profile/")
    end_session(client)
    answer = client.post(path, typed)
    return parse_qs(urlsplit(answer.url).query)["next"][0]


def test_typed_values_are_shown_only_to_the_person_who_typed_them(client, owner, member):
    back = after_the_session(client, owner)
    client.force_login(member)
    page = client.get(back).text
    client.force_login(owner)

    assert "data-kept-form" not in page
    assert "first" not in page
    assert "data-kept-form" in client.get(back).text


def test_signed_out_person_cannot_open_a_kept_form(client, owner):
    back = after_the_session(client, owner)

    assert client.get(back).url.startswith("/login/")


def test_kept_form_expires_after_an_hour(client, owner):
    back = after_the_session(client, owner)
    with time_machine.travel(timezone.now() + timedelta(minutes=61)):
        client.force_login(owner)
        assert "data-kept-form" not in client.get(back).text
        kept_forms.forget_old(None)
    assert not KeptForm.objects.exists()


def test_kept_values_are_encrypted_in_the_database(client, owner):
    after_the_session(client, owner)

    assert "Nightly" not in KeptForm.objects.get().sealed


def test_kept_form_moved_to_another_person_in_the_database_is_not_shown(client, owner, member):
    back = after_the_session(client, owner)
    KeptForm.objects.update(person_id=member.pk)
    client.force_login(member)

    assert "data-kept-form" not in client.get(back).text


def test_number_and_size_of_kept_forms_are_limited(client, owner):
    assert client.post(NEW_PIPELINE, TYPED).status_code == 302
    client.cookies[COOKIE] = "forged:cookie:value"
    assert client.post(NEW_PIPELINE, TYPED).status_code == 302
    assert not KeptForm.objects.exists()

    after_the_session(client, owner)
    for _ in range(kept_forms.KEPT_AT_MOST + 2):
        client.post(NEW_PIPELINE, TYPED)
    assert KeptForm.objects.count() == kept_forms.KEPT_AT_MOST

    KeptForm.objects.all().delete()
    client.post(NEW_PIPELINE, TYPED | {"description": "x" * kept_forms.MAX_BYTES})
    assert not KeptForm.objects.exists()


@pytest.mark.parametrize("kept", ["", "x", "\x00", "0" * 32, "a" * 5000])
def test_forged_id_of_a_kept_form_is_ignored(client, owner, kept):
    client.force_login(owner)

    answer = client.get(NEW_PIPELINE, {"kept": kept})

    assert answer.status_code == 200
    assert "data-kept-form" not in answer.text


def test_secrets_are_neither_kept_nor_shown(client, administrator, things):
    step = f"/pipelines/{things['pipeline'].pk}/steps/new/"
    typed = {"name": "Deploy", "url": "https://x.example/", "secret_headers": "Authorization: Bearer hush-hush"}
    back = after_the_session(client, administrator, typed, step)
    client.force_login(administrator)
    page = client.get(back).text

    assert 'value="Deploy"' in page
    assert "hush-hush" not in page
    after_the_session(client, administrator, {"token": "eyJhush"}, "/tokens/lookup/")
    row = KeptForm.objects.latest("kept_at")
    assert "hush" not in kept_forms._box.decrypt(row.sealed, kept_forms._context(row))


def test_form_is_shown_again_after_reauthentication(client, administrator):
    client.force_login(administrator)
    with time_machine.travel(timezone.now() + timedelta(minutes=20)):
        asked = client.post("/profile/tokens/", {"name": "nightly", "scopes": "api", "lifetime": "1w"})
        back = parse_qs(urlsplit(asked.url).query)["next"][0]
        client.force_login(administrator)
        page = client.get(back).text

    assert urlsplit(asked.url).path == "/login/again/"
    assert "Thank you. Nothing is saved yet: check it and press “Create token” again." in page
    assert 'value="nightly"' in page
    assert not Token.objects.exists()


def test_unsaved_policy_review_is_shown_again_as_the_policy_form(client, administrator):
    typed = {"max_token_lifetime_days": "77", "allowed_scopes": ["api"], "max_live_tokens": "7", "version": "x"}
    back = after_the_session(client, administrator, typed, "/organization/policy/save/")
    client.force_login(administrator)
    page = client.get(back).text

    assert back.startswith("/organization/policy/?")
    assert 'value="77"' in page
    assert "data-kept-form" in page


def test_message_names_the_button_that_was_pressed_too_late(client, administrator, things):
    pipeline = f"/pipelines/{things['pipeline'].pk}/"
    back = after_the_session(client, administrator, {}, f"{pipeline}lock/")
    client.force_login(administrator)

    assert back.startswith(f"{pipeline}?kept=")
    assert "Your session ended, so nothing was done. Press “Lock” again if you still want it." in client.get(back).text


# Signing in


def test_old_sign_in_page_redirects_a_person_who_signed_in_in_another_tab(browser):
    answer = browser.post(
        "/login/", {"login": "x", "password": "y", "next": "/pipelines/", "csrfmiddlewaretoken": "x" * 64}, **ORIGIN
    )

    assert (answer.status_code, answer.url) == (303, "/pipelines/")


@pytest.mark.parametrize("address", ["https://evil.example/", "//evil.example", "/logout/"])
def test_old_sign_in_page_does_not_redirect_to_unsafe_addresses(browser, address):
    typed = {"login": "x", "password": "y", "next": address, "csrfmiddlewaretoken": "x" * 64}

    assert browser.post("/login/", typed, **ORIGIN).url == "/"


@pytest.mark.django_db
@pytest.mark.parametrize(("path", "field"), [("/login/", "login"), ("/password/reset/", "email")])
def test_public_form_with_an_old_csrf_token_keeps_the_typed_address(path, field):
    typed = {field: "ada@acme.example", "password": "hush-hush", "csrfmiddlewaretoken": "x" * 64}
    client = Client(enforce_csrf_checks=True)

    answer = client.post(path, typed, **ORIGIN)

    assert answer.status_code == 403
    assert "This page was open for too long, so nothing was done." in answer.text
    assert 'value="ada@acme.example"' in answer.text
    assert "hush-hush" not in answer.text
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', answer.text)[1]
    assert client.post(path, typed | {"csrfmiddlewaretoken": token}, **ORIGIN).status_code != 403


SAYS_ENDED = 'id="session-ended"'


@pytest.mark.django_db
def test_first_visit_shows_no_message_about_a_session(client):
    assert SAYS_ENDED not in client.get("/profile/", follow=True).text


def test_sign_in_page_says_that_the_session_ended(client, owner):
    client.force_login(owner)
    end_session(client)

    assert SAYS_ENDED in client.get("/profile/", follow=True).text
    assert SAYS_ENDED in client.get("/login/").text
    client.force_login(owner)
    assert "data-kept-form" not in client.get("/profile/").text


def test_sign_in_page_says_that_the_session_expired(client, owner):
    client.force_login(owner)
    client.get("/profile/")
    with time_machine.travel(timezone.now() + timedelta(hours=3)):
        assert SAYS_ENDED in client.get("/profile/", follow=True).text


def test_person_who_signed_out_sees_no_message_about_a_session(client, owner):
    client.force_login(owner)
    client.get("/profile/")
    client.post("/logout/")

    assert SAYS_ENDED not in client.get("/login/").text


def test_pressing_a_button_after_sign_out_shows_that_the_session_ended(client, owner, things):
    client.force_login(owner)
    client.get("/profile/")
    client.post("/logout/")
    page = client.post(f"/pipelines/{things['pipeline'].pk}/run/", follow=True)

    assert page.redirect_chain[-1][0].startswith("/login/")
    assert SAYS_ENDED in page.text
    assert SAYS_ENDED not in client.get("/login/?next=/profile/").text


def test_htmx_request_without_a_session_redirects_the_whole_page_to_sign_in(client, things):
    run = f"/pipelines/{things['pipeline'].pk}/runs/1/"

    answer = client.get(f"{run}progress/", headers={"HX-Request": "true", "HX-Current-URL": f"http://testserver{run}"})
    by_hand = client.get(f"{run}progress/")

    assert answer.status_code == 200
    assert answer["HX-Redirect"] == f"/login/?next={run}"
    assert answer.content == b""
    assert by_hand.url == f"/login/?next={run}"


# Addresses that accept only POST


@pytest.mark.parametrize("path", sorted({path for _, path, _, value in cells(PAGES) if value == "post"}))
def test_get_of_a_post_only_address_shows_an_explanation(browser, things, path):
    answer = browser.get(fill(path, things))

    assert answer.status_code == 405
    assert answer["Allow"] == "POST"
    assert answer.text.count("<h1") == 1
    assert f'href="{fill("/pipelines/{pipeline}/", things)}"' in answer.text
    assert browser.head(fill(path, things)).status_code == 405


@pytest.mark.parametrize(
    ("method", "path", "page"),
    [
        ("post", "/pipelines/", "/pipelines/"),
        ("put", "/pipelines/{pipeline}/run/", "/pipelines/{pipeline}/"),
    ],
)
def test_wrong_method_on_a_page_is_not_called_a_button(client, administrator, things, method, path, page):
    client.force_login(administrator)
    answer = getattr(client, method)(fill(path, things))

    assert answer.status_code == 405
    assert "This address can't be opened this way" in answer.text
    assert "button" not in answer.text.partition("<main")[2].partition("</main")[0]
    assert f'href="{fill(page, things)}"' in answer.text


def test_api_answers_a_wrong_method_with_a_problem_document(browser):
    answer = browser.put("/api/v1/me", {}, content_type="application/json")

    assert answer.status_code in {403, 405}
    assert answer["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "password1",
        "new_password2",
        "oldpassword",
        "credential",
        "code",
        "token",
        "secret_headers",
        "Secret",
    ],
)
def test_field_named_like_a_secret_is_treated_as_secret(name):
    assert kept_forms.is_secret(name)


@pytest.mark.parametrize("name", ["name", "expire_tokens", "description", "wants_expiry_mails", "max_live_tokens"])
def test_other_fields_are_not_treated_as_secret(name):
    assert not kept_forms.is_secret(name)
