"""The overview shows the use of your own tokens and, if you can read all tokens, of everyone's."""

import re
from datetime import UTC, timedelta
from html import unescape
from urllib.parse import urljoin

import pytest
from django.utils import timezone

from accounts.roles import ROLES, Ability, SiteRole
from accounts.tests.factories import UserFactory
from auditlog.tests.test_logs import use
from tokens.tests.factories import TokenFactory, bearer

REVOKED = {"status": 401, "code": "revoked"}
FORBIDDEN = {"status": 403, "code": "forbidden"}


def ended(owner, name="old"):
    return TokenFactory(owner=owner, name=name, revoked_at=timezone.now() - timedelta(hours=1))


def names(found):
    return sorted(token.last.token_name for token in found)


@pytest.fixture
def uses_of_ended_tokens(owner, member, stranger):
    for person, name in ((owner, "mine"), (member, "a colleague's"), (stranger, "a stranger's")):
        use(ended(person, name), **REVOKED)


def test_token_that_was_not_shown_yet_is_counted_as_live(client, owner):
    TokenFactory(owner=owner, revealed_at=None)
    client.force_login(owner)

    assert client.get("/").context["live_token_count"] == 1
    assert len(client.get("/profile/tokens/?state=live").context["table"].rows) == 1


def test_figures_and_chart_show_only_own_uses(client, owner, member):
    token = TokenFactory(owner=owner)
    TokenFactory(owner=owner, created_at=timezone.now().replace(microsecond=0) - timedelta(days=28))
    for days in (0, 1, 29, 31):
        use(token, timezone.now() - timedelta(days=days))
    use(token, status=403, code="forbidden")
    use(TokenFactory(owner=member))
    client.force_login(owner)

    context = client.get("/").context

    assert (context["live_token_count"], context["expiring_soon_count"]) == (2, 1)
    assert (context["used"], context["refused"]) == (4, 1)
    assert sum(day.total for day in context["days"]) == 4
    assert len(context["days"]) == 30


def test_each_figure_leads_to_the_rows_that_it_counts(client, owner):
    TokenFactory(owner=owner, expires_at=timezone.now() + timedelta(days=6))
    nearly_over = TokenFactory(owner=owner, created_at=timezone.now().replace(microsecond=0) - timedelta(days=28))
    for days in (0, 29, 31):
        use(nearly_over, timezone.now() - timedelta(days=days))
        use(nearly_over, timezone.now() - timedelta(days=days), status=403, code="forbidden")
    client.force_login(owner)

    links = re.findall(r'<dd>\s*<a href="([^"]+)">(\d+)</a>', client.get("/").content.decode())

    rows = [len(client.get(unescape(link)).context["table"].rows) for link, _number in links]
    assert rows == [int(number) for _link, number in links] == [2, 1, 4, 2]


def numbers_and_entries_behind_them(client, path):
    """The number of each bar, and how many entries its link shows; then the same for the figures."""
    page = client.get(path).content.decode()
    bars = re.findall(r'<a class="chart-bar" href="([^"]+)".*?<title>[^:]+: (\d+) allowed, (\d+) refused', page, re.S)
    figures = re.findall(r'<a href="(/profile/authentication-log/\?since_at=[^"]+)">(\d+)</a>', page)
    numbers = [(url, int(allowed) + int(refused)) for url, allowed, refused in bars]
    for url, number in [*numbers, *((url, int(number)) for url, number in figures)]:
        shown = client.get(urljoin(path, unescape(url)))
        yield number, len(shown.context["table"].rows)


@pytest.mark.each_database
@pytest.mark.parametrize("zone", ["Asia/Kolkata", "America/New_York", "UTC"])
def test_number_of_a_bar_is_the_number_of_entries_that_its_link_shows(client, organization, zone):
    person = UserFactory(organization=organization, site_role=SiteRole.ADMINISTRATOR, time_zone=zone)
    token = TokenFactory(owner=person)
    midnight = timezone.now().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for hours, number in ((-24, 1), (-20, 2), (-4, 3), (0, 4)):
        for second in range(number):
            use(token, midnight - timedelta(days=1, hours=hours, seconds=second + 1), **FORBIDDEN)
    client.force_login(person)

    for path in ("/", f"/profile/tokens/{token.pk}/", "/organization/authentication-log/"):
        found = list(numbers_and_entries_behind_them(client, path))
        assert len(found) >= 2
        assert [number for number, _ in found] == [entries for _, entries in found]


def test_overview_lists_expired_tokens_in_use_with_addresses_and_counts(client, api, owner):
    token = ended(owner, "old laptop")
    for _ in range(3):
        api.get("/api/v1/me", headers=bearer(token))
    client.force_login(owner)

    answer = client.get("/")

    [found] = answer.context["ended_in_use"]
    assert (found.last.token_id, found.count, found.last.ip) == (token.pk, 3, "127.0.0.1")
    page = answer.content.decode()
    assert "<strong>An expired token is still in use:</strong> old laptop, last just now" in page
    for words in ("old laptop", "Used 3 times", "GET /api/v1/me", f"?token_id={token.pk}&amp;after_end=true"):
        assert words in page
    assert f'href="/profile/tokens/{token.pk}/"' in page


def test_overview_lists_five_expired_tokens_in_use_and_counts_the_others(client, owner):
    for number in range(7):
        use(ended(owner, f"old {number}"), **REVOKED)
    client.force_login(owner)

    page = client.get("/").content.decode()

    assert "<strong>Expired tokens are still in use:</strong> old 6, last just now, and 6 more" in page
    assert page.count("Used 1 time ") == 5
    assert "And 2 more" in page


@pytest.mark.parametrize("role", SiteRole)
def test_people_who_read_all_tokens_see_expired_tokens_of_others_in_use(
    client, organization, uses_of_ended_tokens, role
):
    person = UserFactory(organization=organization, site_role=role)
    use(ended(person, "my own"), **REVOKED)
    client.force_login(person)

    answer = client.get("/")

    reads = Ability.READ_TOKENS in ROLES[role].abilities
    assert names(answer.context["ended_in_use"]) == ["my own"]
    assert names(answer.context["ended_in_use_of_others"]) == (["a colleague's", "mine"] if reads else [])
    page = answer.content.decode()
    assert ("Other people's expired tokens are still in use" in page) == reads
    if reads:
        assert page.index('id="ended-in-use"') < page.index('id="ended-in-use-of-others"') < page.index("Live tokens")


def test_power_user_does_not_see_expired_tokens_of_others_in_use(client, organization, uses_of_ended_tokens):
    client.force_login(UserFactory(organization=organization, site_role=SiteRole.POWER_USER))

    assert "colleague" not in client.get("/").content.decode()


def test_overview_does_not_warn_if_no_expired_token_is_in_use(client, administrator):
    client.force_login(administrator)

    page = client.get("/").content.decode()

    assert "still in use" not in page
    assert "No expired token of other people was used" in page


def test_person_without_tokens_sees_first_steps_and_no_chart(client, owner):
    client.force_login(owner)

    page = client.get("/").content.decode()

    assert "First steps" in page
    assert "per day" not in page


def test_number_of_queries_does_not_grow_with_uses(client, administrator, owner, django_assert_max_num_queries):
    client.force_login(administrator)
    counts = []
    for number in (2, 6):
        for n in range(number):
            for person in (administrator, owner):
                use(ended(person), timezone.now() - timedelta(hours=n), ip=f"192.0.2.{n}", **REVOKED)
                use(TokenFactory(owner=person))
        with django_assert_max_num_queries(18) as captured:
            client.get("/")
        counts.append(len(captured))

    assert counts[0] == counts[1]


@pytest.mark.parametrize(("role", "is_shown"), [(SiteRole.USER, True), (SiteRole.GUEST, False)])
def test_recent_runs_are_only_for_people_who_can_run_pipelines(client, organization, role, is_shown):
    client.force_login(UserFactory(organization=organization, site_role=role))
    page = client.get("/").text

    assert ("Open one and choose “Run pipeline”" in page) is is_shown
    assert ("Your recent runs" in page) is is_shown
