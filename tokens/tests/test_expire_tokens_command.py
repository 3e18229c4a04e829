"""`manage.py expire_tokens`, the command for incidents."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts.tests.factories import UserFactory
from auditlog.models import Activity
from opsera_portal.tests.mails import delivered
from tokens import services
from tokens.keys.ring import key_ring
from tokens.management import bulk_expiry
from tokens.models import Token
from tokens.tests.factories import TokenFactory

REASON = "laptop stolen"
KEY = "a-key-that-was-retired"


def run(*arguments):
    out = StringIO()
    call_command("expire_tokens", *arguments, stdout=out, stderr=StringIO())
    return out.getvalue()


def execute(*arguments):
    return run(*arguments, "--execute", "--reason", REASON)


@pytest.fixture
def tokens(owner, member, stranger):
    now = timezone.now().replace(microsecond=0)
    return {
        "old": TokenFactory(owner=owner, name="old", created_at=now - timedelta(days=20)),
        "new": TokenFactory(owner=owner, name="new", created_at=now - timedelta(days=1), signing_key_id=KEY),
        "members": TokenFactory(owner=member, name="members", created_at=now - timedelta(days=20)),
        "theirs": TokenFactory(owner=stranger, name="theirs", created_at=now - timedelta(days=1)),
        "ended": TokenFactory(owner=owner, name="ended", created_at=now - timedelta(days=40), signing_key_id=KEY),
    }


def ended():
    return sorted(Token.objects.revoked().values_list("name", flat=True))


def day(days_ago):
    return (timezone.now() - timedelta(days=days_ago)).date().isoformat()


@pytest.mark.parametrize(
    ("selectors", "expected"),
    [
        (["--owner", "OWNER@acme.example"], ["new", "old"]),
        (["--organization", "acme"], ["members", "new", "old"]),
        (["--created-before", day(10)], ["members", "old"]),
        (["--created-after", day(10)], ["new", "theirs"]),
        (["--created-after", f"{day(30)}T00:00+02:00", "--created-before", day(10)], ["members", "old"]),
        (["--signing-key", KEY], ["new"]),
        (["--owner", "owner@acme.example", "--created-before", day(10)], ["old"]),
        (["--organization", "elsewhere", "--owner", "owner@acme.example"], []),
        (["--all"], ["members", "new", "old", "theirs"]),
        (["--all", "--organization", "elsewhere"], ["theirs"]),
    ],
    ids=lambda value: " ".join(value),
)
@pytest.mark.each_database
def test_options_are_combined(tokens, selectors, expected):
    execute(*selectors)

    assert ended() == expected


def test_option_id_can_be_repeated(tokens):
    execute("--id", str(tokens["old"].pk), "--id", str(tokens["theirs"].pk))

    assert ended() == ["old", "theirs"]


def test_command_only_lists_tokens_without_execute(tokens):
    said = run("--organization", "acme")

    for words in (
        "Would expire 3 live tokens of 2 people:",
        "  owner@acme.example: 2\n  member@acme.example: 1\n",
        f"{tokens['old'].pk}  old  owner@acme.example  acme  created",
        "Nothing was changed.",
    ):
        assert words in said
    assert "theirs" not in said
    assert ended() == []


def test_command_lists_at_most_ten_tokens(organization):
    for _ in range(12):
        TokenFactory(owner=UserFactory(organization=organization))

    said = run("--all")

    assert "12 live tokens of 12 people" in said
    assert said.count("never used") == 10
    assert said.count("and 2 more") == 2


def test_log_entry_names_the_operator_and_the_reason(owner, tokens):
    execute("--id", str(tokens["old"].pk))

    entry = Activity.objects.get()
    assert (entry.action, entry.actor, entry.target_name) == ("token.ended_by_operator", owner, "old")
    assert entry.details == {"by": "operator", "reason": REASON}
    tokens["old"].refresh_from_db()
    assert (tokens["old"].revoked_by, tokens["old"].revoke_reason) == (None, REASON)


def test_command_says_how_many_tokens_it_expired(tokens):
    assert execute("--owner", "owner@acme.example") == "Expired 2 live tokens. Their owners get a mail.\n"


def test_each_owner_gets_one_mail(settings, tokens, monkeypatch, django_capture_on_commit_callbacks):
    monkeypatch.setattr(services, "BATCH", 1)
    with django_capture_on_commit_callbacks(execute=True):
        execute("--organization", "acme")

    assert sorted((message.to[0], message.subject) for message in delivered()) == [
        ("member@acme.example", "Your access token “members” was expired early"),
        ("owner@acme.example", "Your 2 access tokens were expired early"),
    ]
    assert all(
        "the operator of the portal expired" in message.body and REASON in message.body for message in delivered()
    )


@pytest.mark.parametrize("selectors", [["--owner", "member@acme.example", "--signing-key", KEY]])
def test_command_says_that_nothing_matches(tokens, selectors):
    assert run(*selectors) == execute(*selectors) == "No live token matches. Nothing to do.\n"


@pytest.mark.parametrize(
    ("arguments", "explanation"),
    [
        ([], "Select the tokens"),
        (["--execute", "--reason", REASON], "Select the tokens"),
        (["--all", "--execute"], "--reason"),
        (["--all", "--execute", "--reason", "  "], "--reason"),
        (["--all", "--execute", "--reason", "x" * 201], "at most 200"),
        (["--owner", "nobody@acme.example"], "Nobody has the e-mail address 'nobody@acme.example'"),
        (["--owner", ""], "Nobody has the e-mail address"),
        (["--organization", "acmee"], "no organization 'acmee'"),
        (["--organization", ""], "no organization"),
        (["--signing-key", "x"], "no signing key 'x'"),
        (["--signing-key", ""], "no signing key"),
        (["--created-before", "yesterday"], "like 2026-05-03"),
        (["--created-after", "2026-13-01"], "like 2026-05-03"),
        (["--id", "x"], "a UUID"),
        (["--id", "6f1e1a0e-7d0a-4c3b-9f0e-0d6f0f6a9b11"], "no token with the id 6f1e1a0e"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_wrong_argument_is_named_and_expires_nothing(tokens, arguments, explanation):
    with pytest.raises(CommandError, match=explanation):
        run(*arguments)

    assert ended() == []


def test_current_signing_key_can_be_given(tokens):
    assert run("--signing-key", key_ring().current.id) == "No live token matches. Nothing to do.\n"


@pytest.mark.each_database
def test_tokens_end_batch_by_batch(tokens, monkeypatch):
    """`core/tests/test_batches.py` tests the pauses between batches, in which others may write."""
    monkeypatch.setattr(services, "BATCH", 1)

    ended_so_far = [len(ended()) for _ in services.end_by_operator(Token.objects.all(), reason="incident")]

    assert ended_so_far == [1, 2, 3, 4]


@pytest.mark.each_database
def test_ctrl_c_keeps_expired_tokens_expired_and_their_owners_get_mails(
    settings, tokens, monkeypatch, django_capture_on_commit_callbacks
):
    monkeypatch.setattr(services, "BATCH", 2)

    def interrupt(self, text):
        raise KeyboardInterrupt

    monkeypatch.setattr(bulk_expiry.Progress, "say", interrupt)
    with (
        django_capture_on_commit_callbacks(execute=True),
        pytest.raises(CommandError, match="Interrupted: 2 live tokens expired") as error,
    ):
        execute("--organization", "acme")

    assert error.value.returncode == 130
    assert len(ended()) == 2
    assert delivered()


@pytest.mark.each_database
def test_token_created_meanwhile_expires_too(owner, tokens):
    batches = services.end_by_operator(Token.objects.owned_by(owner), reason=REASON)
    next(batches)
    TokenFactory(owner=owner, name="late")

    assert list(batches) == [1]
    assert ended() == ["late", "new", "old"]
