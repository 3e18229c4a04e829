"""The profile page, and the header with its menu on every page."""

import re
from html import unescape

import pytest
from django.test import Client

from accounts.roles import ROLES, Ability, SiteRole
from accounts.tests.factories import PASSWORD, GroupFactory, OperatorFactory, UserFactory
from tokens.tests.factories import TokenFactory, bearer

PAGE = "/profile/"
ORGANIZATION_PAGES = {
    SiteRole.ADMINISTRATOR: "/organization/users/",
    SiteRole.SECURITY_MANAGER: "/organization/users/",
    SiteRole.AUDITOR: "/organization/users/",
    SiteRole.POWER_USER: "/organization/users/",
    SiteRole.USER: None,
    SiteRole.GUEST: None,
}


def words(html):
    """The texts of the page, without markup."""
    pieces = re.split(r"<[^>]+>", html.replace("<wbr>", ""))
    return [" ".join(unescape(piece).split()) for piece in pieces if piece.strip()]


def between(answer, start, end):
    """The part of the page from the first ``start`` to the ``end`` after it."""
    _, _, rest = answer.content.decode().partition(start)
    return rest.partition(end)[0]


def links(html):
    """The addresses of the links in this part, by their text."""
    found = re.findall(r'<a\b[^>]*?href="([^"]*)"[^>]*>(.*?)</a>', html, re.DOTALL)
    return {" ".join(words(inside)): unescape(address) for address, inside in found}


def header_of(client, user, page=PAGE):
    client.force_login(user)
    return between(client.get(page), '<header class="top-bar">', "</header>")


# Access


@pytest.mark.django_db
def test_signed_out_person_is_sent_to_sign_in_and_back(client):
    answer = client.get(PAGE)

    assert (answer.status_code, answer.url) == (302, "/login/?next=/profile/")


@pytest.mark.django_db
def test_operator_is_sent_to_django_admin(client):
    client.force_login(OperatorFactory())

    assert client.get(PAGE).url == "/admin/"


def test_token_does_not_open_the_profile(client, owner):
    answer = client.get(PAGE, headers=bearer(TokenFactory(owner=owner)))

    assert (answer.status_code, answer.url) == (302, "/login/?next=/profile/")


# Its content


def test_profile_shows_my_account(client, owner):
    client.force_login(owner)

    said = words(between(client.get(PAGE), '<dl class="summary">', "</dl>"))

    assert said[1:8:2] == ["Olga Owner", "owner@acme.example", "Acme", "User"]


def test_profile_shows_only_my_groups(client, owner, member, organization):
    for name in ("Builders", "Testers"):
        GroupFactory(organization=organization, name=name).members.add(owner)
    GroupFactory(organization=organization, name="Strangers").members.add(member)
    client.force_login(owner)

    said = words(between(client.get(PAGE), '<dl class="summary">', "</dl>"))

    assert said[said.index("Groups") : said.index("Language")] == ["Groups", "Builders", "Testers"]


def test_profile_says_if_i_am_in_no_group(client, owner):
    client.force_login(owner)

    said = words(between(client.get(PAGE), '<dl class="summary">', "</dl>"))

    assert said[said.index("Groups") : said.index("Language")] == ["Groups", "None"]


@pytest.mark.parametrize("role", SiteRole)
def test_profile_shows_what_my_site_role_allows(client, organization, role):
    client.force_login(UserFactory(organization=organization, site_role=role))

    page = client.get(PAGE)

    may = words(between(page, "<h3>You can</h3>", "</ul>"))
    may_not = words(between(page, "<h3>You can't</h3>", "</ul>"))
    assert [line for line in may if line != "✓"] == [a.value for a in Ability if a in ROLES[role].abilities]
    assert [line for line in may_not if line != "✕"] == [a.value for a in Ability if a not in ROLES[role].abilities]
    assert ROLES[role].summary in unescape(page.content.decode())


def test_names_are_escaped(client, owner, organization):
    owner.name = "<script>alert(1)</script>"
    owner.save()
    GroupFactory(organization=organization, name="<img src=x>").members.add(owner)
    client.force_login(owner)

    page = client.get(PAGE).content.decode()

    assert "<script>alert" not in page
    assert "<img src=x" not in page


# Sessions


def sign_in(user, browser, ip):
    client = Client(headers={"User-Agent": browser}, REMOTE_ADDR=ip)
    client.post("/login/", {"login": user.email, "password": PASSWORD})
    return client


def session_rows(client):
    """(browser, address) of each row. The browser can have the mark “(this one)”."""
    rows = between(client.get(PAGE), "<tbody>", "</tbody>").split("</tr>")[:-1]
    cells = [[" ".join(words(cell)) for cell in row.split("</td>")] for row in rows]
    return sorted((row[0], row[1]) for row in cells)


def test_profile_lists_my_sessions_and_marks_this_browser(owner):
    here = sign_in(owner, "Firefox", "192.0.2.1")
    sign_in(owner, "Chromium", "2001:db8::2")

    assert session_rows(here) == [("Chromium", "2001:db8::2"), ("Firefox (this one)", "192.0.2.1")]


def test_ended_session_is_not_listed(owner):
    here = sign_in(owner, "Firefox", "192.0.2.1")
    sign_in(owner, "Chromium", "192.0.2.2").post("/logout/")

    assert session_rows(here) == [("Firefox (this one)", "192.0.2.1")]


def test_sessions_of_other_people_are_not_listed(owner, member):
    here = sign_in(owner, "Firefox", "192.0.2.1")
    sign_in(member, "Chromium", "192.0.2.2")

    assert session_rows(here) == [("Firefox (this one)", "192.0.2.1")]


def test_session_keys_are_not_on_the_page(owner):
    here = sign_in(owner, "Firefox", "192.0.2.1")
    elsewhere = sign_in(owner, "Chromium", "192.0.2.2")

    page = here.get(PAGE).content.decode()

    assert here.session.session_key not in page
    assert elsewhere.session.session_key not in page


# The header


@pytest.mark.parametrize("role", SiteRole)
def test_menu_under_my_name_links_to_my_pages(client, organization, role):
    menu = links(header_of(client, UserFactory(organization=organization, site_role=role)))

    assert menu["Profile"] == "/profile/"
    assert menu["Access tokens"] == "/profile/tokens/"
    assert menu["Authentication log"] == "/profile/authentication-log/"
    assert menu["API reference"] == "/api/docs/"
    assert menu["Pipelines"] == "/pipelines/"


@pytest.mark.parametrize("role", SiteRole)
def test_bar_links_to_tokens_and_log(client, organization, role):
    header = header_of(client, UserFactory(organization=organization, site_role=role))

    bar = links(header[header.index("main-navigation") : header.index("</nav>")])
    assert list(bar)[:3] == ["Access tokens", "Log", "Pipelines"]
    assert (bar["Access tokens"], bar["Log"]) == ("/profile/tokens/", "/profile/authentication-log/")


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("/profile/tokens/", "Access tokens"),
        ("/tokens/lookup/", "Access tokens"),
        ("/profile/authentication-log/", "Log"),
        ("/profile/activity-log/", "Log"),
        ("/pipelines/", "Pipelines"),
        ("/organization/tokens/", "Organization"),
        ("/organization/authentication-log/", "Organization"),
        ("/profile/", None),
        ("/", None),
    ],
)
def test_bar_marks_the_current_section(client, administrator, path, label):
    client.force_login(administrator)
    page = client.get(path).content.decode()

    bar = page[page.index("main-navigation") : page.index("</nav>")]
    assert re.findall(r'aria-current="true">([^<]+)<', bar) == ([label] if label else [])


def test_menu_shows_my_name(client, owner):
    header = header_of(client, owner)

    assert "Olga Owner" in words(header.partition("</summary>")[0])


def test_sign_out_is_a_button_that_posts(client, owner):
    header = header_of(client, owner)

    form = re.search(r'<form\b[^>]*method="post"[^>]*action="/logout/"[^>]*>(.*?)</form>', header, re.DOTALL)
    assert words(form[1]) == ["Sign out"]
    assert "csrfmiddlewaretoken" in form[1]


@pytest.mark.parametrize(("role", "address"), ORGANIZATION_PAGES.items())
def test_organization_link_opens_the_first_permitted_page(client, organization, role, address):
    menu = links(header_of(client, UserFactory(organization=organization, site_role=role)))

    assert menu.get("Organization") == address
    assert address is None or client.get(address).status_code == 200


@pytest.mark.parametrize("role", SiteRole)
def test_administration_link_is_for_administrators_only(client, organization, role):
    menu = links(header_of(client, UserFactory(organization=organization, site_role=role)))

    assert menu.get("Administration") == ("/admin/" if role == SiteRole.ADMINISTRATOR else None)


@pytest.mark.django_db
def test_header_has_no_links_for_signed_out_people(client):
    header = between(client.get("/login/"), '<header class="top-bar">', "</header>")

    assert links(header) == {"Opsera Portal": "/"}
    assert "Sign out" not in header


@pytest.mark.django_db
def test_header_of_operators_has_no_links_to_pages_of_members(client):
    menu = links(header_of(client, OperatorFactory(), page="/logout/"))

    assert menu == {
        "Opsera Portal": "/",
        "API reference": "/api/docs/",
        "Security": "/profile/security/",
        "Administration": "/admin/",
    }


@pytest.mark.parametrize(
    "page", [PAGE, "/", "/pipelines/", "/profile/tokens/", "/no-such-page/", "/api/docs/", "/logout/"]
)
def test_pages_of_signed_in_people_are_not_cached(client, owner, page):
    client.force_login(owner)

    assert client.get(page).headers["Cache-Control"] == "no-store"


def test_pages_of_django_admin_are_not_cached(client, administrator):
    client.force_login(administrator)

    assert client.get("/admin/").headers["Cache-Control"] == "no-store"
