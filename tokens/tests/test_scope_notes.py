"""The cards of the scopes follow the choice of pipelines: when the form is shown, and while a person changes it."""

import re

import pytest
import time_machine

from accounts.roles import SiteRole
from accounts.tests.factories import UserFactory
from opsera_portal.tests.naughty import NAUGHTY_STRINGS
from pipelines.access import ItemRole
from pipelines.tests.factories import AccessRuleFactory, PipelineFactory, limit_to
from tokens.models import Token
from tokens.tests.factories import TokenFactory
from tokens.views.scope_notes import CHANGES_OF_CHOICE

PAGE = "/profile/tokens/"
NOTES = "/profile/tokens/scopes/"
ONLY, ALL = "count only the chosen pipelines", "count all pipelines that you can use"


@pytest.fixture
def signed_in(client, owner):
    client.force_login(owner)
    return client


@pytest.fixture
def some(owner, member, stranger):
    """Two pipelines that the owner can run, one that they can only read, and two that they can't see."""
    found = {
        "build": PipelineFactory(owner=owner, name="Build"),
        "deploy": PipelineFactory(owner=member, name="Deploy"),
        "read": PipelineFactory(owner=member, name="Read"),
        "hidden": PipelineFactory(owner=member, name="Hidden"),
        "elsewhere": PipelineFactory(owner=stranger, name="Elsewhere"),
    }
    AccessRuleFactory(pipeline=found["read"], user=owner, role=ItemRole.GUEST)
    AccessRuleFactory(pipeline=found["hidden"], user=member, role=ItemRole.USER)
    return found


def choice(some, *names):
    return {"which_pipelines": "only", "pipelines": [str(some[name].pk) for name in names]}


def note_in(answer, scope="pipeline"):
    return re.search(rf'id="id_scopes_{scope}_note"[^>]*>([^<]*)<', answer.text)[1]


CHOICES = [
    (("build",), "Runs 1 pipeline and reads 1."),
    (("build", "deploy", "read"), "Runs 2 pipelines and reads 3."),
    (("read",), "Runs no pipelines and reads 1."),
    (("hidden", "elsewhere"), "Choose pipelines below."),
    ((), "Choose pipelines below."),
]


@pytest.mark.parametrize(("names", "says"), CHOICES)
def test_notes_count_only_the_chosen_pipelines(signed_in, some, names, says):
    answer = signed_in.post(NOTES, choice(some, *names))

    assert (answer.status_code, note_in(answer)) == (200, says)
    assert ONLY in answer.text
    assert not Token.objects.exists()


def test_notes_are_those_of_the_form_with_the_same_choice(signed_in, some):
    chosen = choice(some, "build", "read")

    by_script = signed_in.post(NOTES, chosen)
    shown_again = signed_in.post(PAGE, {"name": "", **chosen})
    by_link = signed_in.get(f"{PAGE}?pipelines={','.join(chosen['pipelines'])}")

    assert shown_again.status_code == 400
    for scope in ("api", "api-readonly", "pipeline", "pipeline-readonly", "security-logs"):
        notes = {note_in(answer, scope) for answer in (by_script, shown_again, by_link)}
        assert len(notes) == 1, scope
    for answer in (by_script, shown_again, by_link):
        assert ONLY in answer.text


@pytest.mark.parametrize("data", [{}, {"which_pipelines": "all"}, {"which_pipelines": "some"}])
def test_notes_without_a_choice_count_all_pipelines(signed_in, some, data):
    answer = signed_in.post(NOTES, data)

    assert note_in(answer) == "Runs 2 pipelines and reads 3." == note_in(signed_in.get(PAGE))
    assert ALL in answer.text


def test_notes_count_typed_names(signed_in, some):
    answer = signed_in.post(NOTES, {"which_pipelines": "only", "pipelines": "Build\r\nHidden\r\nno such\r\nRead"})

    assert note_in(answer) == "Runs 1 pipeline and reads 2."


def test_naughty_strings_are_answered_without_repeating_them(signed_in):
    answer = signed_in.post(NOTES, {"which_pipelines": "only", "pipelines": "\n".join(NAUGHTY_STRINGS)})

    assert note_in(answer) == "Choose pipelines below."
    assert "<script>" not in answer.text


def test_limited_card_counts_the_operations_like_the_page_of_a_token(signed_in, owner, some):
    token = limit_to(TokenFactory(owner=owner, scope="api"), some["build"])
    page = signed_in.get(f"{PAGE}{token.pk}/")

    note = note_in(signed_in.post(NOTES, choice(some, "build")), "api")

    numbers = f"{len(page.context['can_do'])} of {page.context['operation_count']} operations"
    assert numbers in note
    assert numbers not in note_in(signed_in.post(NOTES, {}), "api")


def test_choice_is_never_in_an_address(signed_in):
    assert signed_in.get(NOTES).status_code == 405


def test_signed_out_person_signs_in_first(client):
    answer = client.post(NOTES)

    assert answer.status_code == 302
    assert answer.url.startswith("/login/")


def test_stranger_learns_nothing_about_pipelines(client, stranger, some):
    client.force_login(stranger)

    assert note_in(client.post(NOTES, choice(some, "build", "hidden"))) == "Choose pipelines below."


@pytest.mark.parametrize("role", list(SiteRole))
def test_every_role_gets_the_notes(client, organization, some, role):
    client.force_login(UserFactory(organization=organization, site_role=role))

    assert "eads 1 pipeline" in note_in(client.post(NOTES, choice(some, "deploy")), "pipeline-readonly")


@time_machine.travel("2026-05-03 12:00:10Z", tick=False)
def test_person_above_the_limit_has_to_wait(client, owner):
    """At a fixed time, so that no new window begins meanwhile."""
    client.force_login(owner)
    for _ in range(CHANGES_OF_CHOICE.amount):
        assert CHANGES_OF_CHOICE.take(str(owner.pk)) is None

    answer = client.post(NOTES)

    assert (answer.status_code, answer["Retry-After"]) == (429, "50")


def test_notes_make_few_queries(signed_in, owner, some, django_assert_max_num_queries):
    PipelineFactory.create_batch(20, owner=owner)

    with django_assert_max_num_queries(6):
        signed_in.post(NOTES, choice(some, "build", "deploy", "read"))
