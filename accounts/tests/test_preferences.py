"""A person's own preferences: notifications, language and time zone."""

import re
from collections import defaultdict
from datetime import datetime
from importlib import import_module
from zoneinfo import ZoneInfo

import pytest
from django.apps import apps
from django.test import Client
from django.utils import timezone, translation

from accounts import services
from accounts.models import User
from accounts.notifications.kinds import KINDS
from accounts.tests.factories import PASSWORD, UserFactory
from accounts.tests.factors import add_app, code_of
from auditlog.models import Activity
from core.reading import time_zones
from tokens.tests.factories import TokenFactory, bearer

PREFERENCES = "/api/v1/me/preferences"


@pytest.fixture
def owner(organization):
    """Someone who has just been invited: without a language and a time zone."""
    return UserFactory(organization=organization, time_zone="")


def wants_mails(person):
    person.refresh_from_db()
    return person.wants_expiry_mails


def test_mails_are_on_by_default_and_can_be_switched_off(api, owner):
    api.force_login(owner)
    before = api.get(PREFERENCES).json()
    channels = before.pop("notifications")
    assert before == {"wants_expiry_mails": True, "language": "", "time_zone": ""}
    assert channels == {kind.id: kind.default for kind in KINDS}

    answer = api.patch(PREFERENCES, {"wants_expiry_mails": False})

    after = {**before, "wants_expiry_mails": False, "notifications": {**channels, "end_near": "portal"}}
    assert answer.json() == api.get(PREFERENCES).json() == after
    assert not wants_mails(owner)


def test_channel_of_each_kind_is_chosen_on_the_page_and_by_api(api, client, owner):
    for browser in (api, client):
        browser.force_login(owner)
    page = "/profile/preferences/notifications/"
    chosen = {kind.id: kind.default.value for kind in KINDS} | {"first_use": "off", "leaked": "portal_and_digest"}

    assert client.post(page, chosen).url == "/profile/preferences/?notifications=#notifications"
    assert api.get(PREFERENCES).json()["notifications"] == chosen
    answer = api.patch(PREFERENCES, {"notifications": {"end_near": "digest", "leaked": "portal"}})

    assert answer.json()["notifications"] == {**chosen, "end_near": "digest", "leaked": "portal"}
    assert answer.json()["wants_expiry_mails"] is True
    assert 'value="digest" selected' in client.get("/profile/preferences/").text
    changes = Activity.objects.filter(action="user.preferences_changed")
    logged = changes.order_by("id").values_list("details", flat=True)
    assert list(logged) == [
        {"notifications": {"first_use": "off", "leaked": "portal_and_digest"}},
        {"notifications": {"end_near": "digest", "leaked": "portal"}},
    ]
    # Security stays in the portal, and nothing else is changed.
    wrong = client.post(page, {**chosen, "leaked": "mail"})
    assert (wrong.status_code, list(wrong.context["notification_form"].errors)) == (400, ["leaked"])
    for body in (
        {"leaked": "off"},
        {"leaked": "mail"},
        {"first_use": "loud"},
        {"first_use": None},
        {"unknown": "off"},
        [],
        "off",
    ):
        assert api.patch(PREFERENCES, {"notifications": body, "language": "de"}).status_code == 400
    both = {"wants_expiry_mails": True, "notifications": {"end_near": "off"}}
    assert list(api.patch(PREFERENCES, both).json()["errors"]) == ["wants_expiry_mails"]
    assert shown_to(owner) == ("", "")


def test_page_offers_the_kinds_that_the_person_can_get(client, owner, administrator):
    for person, is_offered in ((owner, False), (administrator, True)):
        client.force_login(person)
        page = client.get("/profile/preferences/", {"notifications": ""}).text
        assert ("failed for three days" in page, page.count("always in the portal")) == (is_offered, 1)
        assert re.search(r'href="/profile/notifications/"\s+aria-current="page"', page)


def test_people_who_switched_mails_off_before_the_upgrade_are_told_in_the_portal(owner, member):
    User.objects.filter(pk=owner.pk).update(expiry_mails_of_previous_release=False)

    import_module("accounts.migrations.0017_notifications_and_webhooks").keep_choices(apps, None)

    assert (wants_mails(owner), wants_mails(member)) == (False, True)
    assert owner.notification_choices == {"end_near": "portal"}


def test_person_changes_only_their_own_preference(api, owner, member):
    api.force_login(owner)
    api.patch(PREFERENCES, {"wants_expiry_mails": False})

    assert wants_mails(member)


def test_token_can_read_but_not_change_preferences(api, owner):
    headers = bearer(TokenFactory(owner=owner))

    assert api.get(PREFERENCES, headers=headers).status_code == 200
    assert api.patch(PREFERENCES, {"wants_expiry_mails": False}, headers=headers).status_code == 403
    assert wants_mails(owner)


@pytest.mark.parametrize(
    "body", [{}, {"wants_expiry_mails": None}, {"wants_expiry_mails": "no"}, {"wants_expiry_mails": 0}, {"x": True}, []]
)
def test_values_other_than_true_and_false_are_refused(api, owner, body):
    api.force_login(owner)

    assert api.patch(PREFERENCES, body).status_code == 400
    assert wants_mails(owner)


def test_changed_preference_is_logged_once(owner):
    for _ in range(2):
        services.set_preferences(actor=owner, wants_expiry_mails=False)

    entry = Activity.objects.get()
    assert (entry.actor, entry.target_id, entry.action) == (owner, str(owner.pk), "user.preferences_changed")
    assert entry.details == {"notifications": {"end_near": "portal"}}


def shown_to(person):
    person.refresh_from_db()
    return person.language, person.time_zone


def test_language_and_time_zone_are_saved_on_the_page(client, owner):
    client.force_login(owner)
    page = "/profile/preferences/"

    answer = client.post(page, {"language": "de", "time_zone": "Europe/Berlin"}, follow=True)

    assert shown_to(owner) == ("de", "Europe/Berlin")
    assert answer.headers["Content-Language"] == "de"
    entry = Activity.objects.get(action="user.preferences_changed")
    assert entry.details == {"language": "de", "time_zone": "Europe/Berlin"}


def test_activity_log_says_that_preferences_were_changed(client, owner):
    client.force_login(owner)
    client.post("/profile/preferences/", {"language": "en", "time_zone": "Europe/Berlin"})
    entry = Activity.objects.get(action="user.preferences_changed")

    page = client.get(f"/profile/activity-log/{entry.public_id}/").text

    assert "Preferences changed" in page
    assert "User changed" not in page


def test_language_and_time_zone_are_saved_by_api(api, owner):
    api.force_login(owner)

    answer = api.patch(PREFERENCES, {"language": "pl", "time_zone": "Asia/Calcutta"})

    assert (answer.json()["language"], answer.json()["time_zone"]) == ("pl", "Asia/Calcutta")
    assert shown_to(owner) == ("pl", "Asia/Calcutta")


WRONG = {
    "language": ["xx", "de-DE", "DE", "x" * 20, "\0", None, 5],
    "time_zone": ["", "Europe/Nowhere", "europe/berlin", "../UTC", "/etc/passwd", "Etc/GMT+3", "x" * 65, "\0", None, 5],
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in WRONG.items() for value in values])
def test_unknown_language_and_time_zone_are_refused(api, client, owner, field, value):
    api.force_login(owner)
    client.force_login(owner)

    answer = api.patch(PREFERENCES, {field: value})

    assert (answer.status_code, list(answer.json()["errors"])) == (400, [field])
    # People may type a name in any case.
    if value not in {None, "europe/berlin"}:
        page = client.post("/profile/preferences/", {"time_zone": "UTC", field: value})
        assert page.context["form"].errors.keys() == {field}
    assert shown_to(owner) == ("", "")


def sign_in(person, **headers):
    """Signs in from a browser in this time zone, and returns the first page."""
    client = Client(headers=headers)
    page = "/profile/authentication-log/"

    def first_page(time_zone):
        fields = {"login": person.email, "password": PASSWORD, "browser_time_zone": time_zone, "next": page}
        return client.post("/login/", fields, follow=True)

    return first_page


def test_first_page_is_in_the_time_zone_of_the_browser(owner):
    page = sign_in(owner)("Asia/Tokyo").text

    assert "Times are in Asia/Tokyo (now UTC+9)." in page
    assert shown_to(owner) == ("", "Asia/Tokyo")
    assert not Activity.objects.filter(action="user.preferences_changed").exists()


def test_second_step_of_signing_in_sends_the_time_zone_too(client, owner):
    secret = add_app(owner)
    step = client.post("/login/", {"login": owner.email, "password": PASSWORD}, follow=True).text
    assert 'name="browser_time_zone"' in step

    client.post("/login/two-factor/", {"code": code_of(secret), "browser_time_zone": "Asia/Tokyo"})

    assert shown_to(owner) == ("", "Asia/Tokyo")


def test_each_form_that_signs_in_has_a_field_for_the_time_zone(client, db):
    forms = re.findall(r"<form.*?</form>", client.get("/login/").text, re.DOTALL)

    assert [form.count('name="browser_time_zone"') for form in forms] == [1, 1]


def test_time_zone_of_the_first_browser_is_kept(owner):
    for name in ("Europe/Berlin", "Asia/Tokyo"):
        sign_in(owner)(name)

    assert shown_to(owner) == ("", "Europe/Berlin")


@pytest.mark.parametrize("name", ["Mars/Olympus", "Etc/GMT-3", "europe/berlin", "../UTC", "", "x" * 70, "\0"])
def test_time_zone_that_the_portal_does_not_know_is_ignored(owner, name):
    page = sign_in(owner)(name).text

    assert "Times are in UTC." in page
    assert shown_to(owner) == ("", "")


def test_language_of_the_browser_is_never_the_choice_of_the_person(client, owner):
    sign_in(owner, accept_language="de")("UTC")
    client.force_login(owner)

    page = client.get("/profile/", headers={"Accept-Language": "pl"})

    assert page.headers["Content-Language"] == "pl"
    assert shown_to(owner) == ("", "UTC")


def test_mails_are_in_the_language_of_the_last_browser(owner):
    languages = []
    for accepted in ("pl", "de-AT", "en", "fr"):
        sign_in(owner, accept_language=accepted)("UTC")
        owner.refresh_from_db()
        languages.append(owner.browser_language)

    assert languages == ["pl", "de", "", ""]


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("America/New York", "America/New_York"),
        ("America/New_York", "America/New_York"),
        (" new york ", "America/New_York"),
        ("KOLKATA", "Asia/Kolkata"),
        ("America/Argentina/Buenos Aires", "America/Argentina/Buenos_Aires"),
        ("utc", "UTC"),
    ],
)
def test_time_zone_is_found_by_what_people_type(client, owner, typed, name):
    client.force_login(owner)

    client.post("/profile/preferences/", {"language": "", "time_zone": typed})

    assert shown_to(owner) == ("", name)


def test_names_with_the_same_city_are_of_the_same_time_zone():
    by_city = defaultdict(set)
    for name in time_zones():
        offsets = tuple(ZoneInfo(name).utcoffset(datetime(2026, month, 1)) for month in range(1, 13))
        by_city[name.rpartition("/")[2]].add(offsets)

    assert [city for city, offsets in by_city.items() if len(offsets) > 1] == []


def test_every_time_zone_is_suggested(client, owner):
    client.force_login(owner)

    page = client.get("/profile/preferences/").content.decode()

    suggested = re.findall(r'<option value="([^"]+)"></option>', page)
    assert [name.replace(" ", "_") for name in suggested] == list(time_zones())
    assert re.search(r'<input type="text" name="time_zone"[^>]* list="id_time_zone_suggestions"', page)


def test_form_changes_only_what_the_person_changed(client, organization):
    person = UserFactory(organization=organization, time_zone="UTC")
    client.force_login(person)
    form = client.get("/profile/preferences/").context["form"]

    client.post("/profile/preferences/", {"language": "de", "time_zone": form["time_zone"].value()})

    assert Activity.objects.get(action="user.preferences_changed").details == {"language": "de"}


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/login/?next=" + "x" * 20_000, {}, 414),
        ("/login/", {"Host": "evil.example"}, 400),
        ("/nothing-here/", {}, 404),
    ],
)
def test_early_errors_are_in_the_language_of_the_browser(client, path, headers, status):
    answer = client.get(path, headers={"Accept-Language": "de", **headers})

    assert '<html lang="de">' in answer.content.decode(), answer.status_code


@pytest.mark.parametrize(
    ("own", "browser", "expected"),
    [
        ("", "", "en"),
        ("", "de-AT,de;q=0.9,en;q=0.5", "de"),
        ("", "fr,pl;q=0.5", "pl"),
        ("", "fr", "en"),
        ("", "x" * 5_000, "en"),
        ("en", "de", "en"),
        ("pl", "de", "pl"),
    ],
)
def test_page_is_in_the_language_of_the_person_or_else_of_the_browser(client, owner, own, browser, expected):
    owner.language = own
    owner.save()
    client.force_login(owner)

    answer = client.get("/profile/preferences/", headers={"Accept-Language": browser})

    assert answer.headers["Content-Language"] == expected
    assert ("Accept-Language" in answer.headers["Vary"]) == (own == "")


def test_api_and_administration_are_in_english_and_utc(api, client, owner):
    owner.language, owner.time_zone = "de", "Asia/Tokyo"
    owner.save()
    api.force_login(owner)
    german = {"Accept-Language": "de"}

    assert api.get("/api/v1/pipelines", {"page_size": "x"}, headers=german).json()["errors"] == {
        "page_size": ["A valid integer is required."]
    }
    assert translation.get_language() == "en"
    assert client.get("/admin/login/", headers=german, follow=True).status_code == 200


def test_language_of_a_page_does_not_stay_in_the_thread(client, owner):
    owner.language, owner.time_zone = "de", "Asia/Tokyo"
    owner.save()
    client.force_login(owner)

    client.get("/profile/preferences/")

    assert (translation.get_language(), timezone.get_current_timezone_name()) == ("en", "UTC")
