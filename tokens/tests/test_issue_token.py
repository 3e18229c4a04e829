import threading
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection
from django.utils import timezone

from auditlog.models import Activity
from core.api.scopes import API, API_READONLY, PIPELINE
from core.errors import NameTaken, NotAllowed
from tokens import services
from tokens.models import Token
from tokens.tests.factories import TokenFactory, now_in_seconds


def issue(owner, name="nightly build", **changes):
    values = {"actor": owner, "name": name, "chosen": [PIPELINE], "expires_at": now_in_seconds() + timedelta(days=7)}
    return services.issue_token(**(values | changes))


@pytest.mark.each_database
def test_metadata_is_saved_and_the_activity_recorded(owner):
    token = issue(owner, chosen=[PIPELINE, API])

    assert (token.owner, token.organization, token.name) == (owner, owner.organization, "nightly build")
    assert token.scope == "api pipeline"
    assert (token.revealed_at, token.revoked_at, token.signing_key_id) == (None, None, "")
    entry = Activity.objects.get()
    assert (entry.action, entry.actor, entry.target_id) == ("token.issued", owner, str(token.pk))


@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        ("  nightly  ", "nightly"),
        ("n", "n"),
        ("x" * 50, "x" * 50),
        ("CI: O'Neil_2.0 - main", "CI: O'Neil_2.0 - main"),
        ("Zürich 東京 Ωμέγα", "Zürich 東京 Ωμέγα"),
        ("Zu\u0308rich", "Zürich"),
        ("\u0663\u0664", "\u0663\u0664"),
        ("रात का निर्माण", "रात का निर्माण"),
        ("ज़ीरो", "ज\u093cीरो"),
        ("สร้างทุกคืน", "สร้างทุกคืน"),
        ("இரவு கட்டமைப்பு", "இரவு கட்டமைப்பு"),
        ("ကြွေး", "ကြွေး"),
        ("a\u0323\u0302", "ậ"),
        ("क्\u200dष", "क्\u200dष"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("x\u0302\u0303\u0304\u0305", "x\u0302\u0303\u0304\u0305"),
    ],
)
@pytest.mark.each_database
def test_good_names_are_stored_trimmed_and_composed(owner, raw, kept):
    assert issue(owner, raw).name == kept


@pytest.mark.parametrize(
    "raw", ["", "   ", "x" * 51, "a/b", "a\x00b", "a\nb", "a\tb", "<b>", "a@b", "🎉", "a\u200bb", "a\u00a0b", "ﷺ" * 51]
)
def test_bad_names_are_refused_and_nothing_is_created(owner, raw):
    with pytest.raises(ValidationError):
        issue(owner, raw)
    assert not Token.objects.exists()


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param("\u0301abc", id="mark at the start"),
        pytest.param("a \u0301", id="mark on a space"),
        pytest.param("a-\u0301", id="mark on punctuation"),
        pytest.param("x" + "\u0302" * 5, id="five marks in a row"),
        pytest.param("x" + "\u0302\u0302\u200d" * 3, id="five marks around joiners"),
        pytest.param("a\u20dd", id="enclosing mark"),
        pytest.param("a\u200db", id="joiner between Latin letters"),
        pytest.param("\u200cمی", id="joiner at the start"),
        pytest.param("می\u200c", id="joiner at the end"),
        pytest.param("क्\u200d\u200dष", id="two joiners"),
        pytest.param("a\ufe0f", id="variation selector"),
        pytest.param("a\u034fb", id="grapheme joiner"),
        pytest.param("\u3164", id="Hangul filler"),
    ],
)
def test_marks_and_joiners_that_no_script_needs_are_refused(owner, raw):
    with pytest.raises(ValidationError):
        issue(owner, raw)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("क्\u200dष", "क्ष"),
        ("می\u200cخواهم", "میخواهم"),
        ("x\u0323\u0302", "x\u0302\u0323"),
        ("Nightly", "nightly"),
        ("straße", "STRASSE"),
        ("Zürich", "Zu\u0308rich"),
        ("ﬁnal", "final"),
        ("Ⅳ", "iv"),
        ("ΣΑΣ", "σας"),
    ],
)
@pytest.mark.each_database
def test_names_that_differ_only_in_case_or_form_are_the_same(owner, first, second):
    first = first.replace("Ⅳ", "IV")
    issue(owner, first)

    with pytest.raises(NameTaken):
        issue(owner, second)


@pytest.mark.each_database
def test_two_people_can_use_the_same_name(owner, member):
    issue(owner)
    issue(member)


@pytest.mark.parametrize(
    "ended",
    [
        {"revoked_at": timezone.now()},
        {"created_at": now_in_seconds() - timedelta(days=40)},
        {"created_at": now_in_seconds() - timedelta(minutes=11), "revealed_at": None},
    ],
    ids=["expired early", "expired", "never shown in time"],
)
@pytest.mark.each_database
def test_name_is_free_after_the_token_has_ended(owner, ended):
    TokenFactory(owner=owner, name="nightly build", **ended)

    assert issue(owner).name == "nightly build"


@pytest.mark.parametrize("live", [{}, {"revealed_at": None}], ids=["active", "pending"])
@pytest.mark.each_database
def test_name_of_a_live_token_is_in_use(owner, live):
    TokenFactory(owner=owner, name="nightly build", **live)

    with pytest.raises(NameTaken):
        issue(owner)


@pytest.mark.each_database
def test_database_constraint_keeps_names_unique(owner):
    TokenFactory(owner=owner, name="nightly")

    with pytest.raises(IntegrityError):
        TokenFactory(owner=owner, name="NIGHTLY")


@pytest.mark.django_db(transaction=True)
def test_one_of_many_simultaneous_requests_gets_the_name(owner):
    results = []
    barrier = threading.Barrier(6)

    def request():
        try:
            barrier.wait()
            issue(owner)
            results.append("made")
        except NameTaken:
            results.append("taken")
        finally:
            connection.close()

    threads = [threading.Thread(target=request) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(results) == ["made"] + ["taken"] * 5
    assert Token.objects.count() == 1


@pytest.mark.parametrize(
    ("span", "is_allowed"),
    [
        (timedelta(seconds=1), True),
        (timedelta(days=92), True),
        (timedelta(days=92, seconds=1), False),
        (timedelta(0), False),
        (timedelta(days=-1), False),
    ],
)
def test_end_must_be_in_the_future_and_within_the_maximum_lifetime(owner, span, is_allowed):
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    with time_machine.travel(now, tick=False):
        if is_allowed:
            assert issue(owner, expires_at=now + span).lifetime == span
        else:
            with pytest.raises(ValidationError):
                issue(owner, expires_at=now + span)


def test_deactivated_person_cannot_create_a_token(owner):
    owner.is_active = False

    with pytest.raises(NotAllowed):
        issue(owner, chosen=[API_READONLY])
