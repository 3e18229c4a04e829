"""Creating a token that reaches only chosen pipelines: the service, the API and the form."""

import csv
import io
import re
import threading
import uuid
from datetime import timedelta
from html import unescape

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.roles import SiteRole
from accounts.tests.factories import UserFactory
from auditlog.actions import Action
from auditlog.models import Activity
from core.api.scopes import BY_ID
from pipelines.access import ItemRole
from pipelines.models import Pipeline, TokenPipeline
from pipelines.services import delete_pipeline
from pipelines.tests.factories import AccessRuleFactory, PipelineFactory, limit_to
from tokens import jwt, services
from tokens.models import Token
from tokens.tests.factories import TokenFactory, bearer

pytestmark = pytest.mark.django_db
PAGE = "/profile/tokens/"
API = "/api/v1/tokens"
UNKNOWN = "These pipelines don't exist, or you can't see them"


@pytest.fixture
def signed_in(client, owner):
    client.force_login(owner)
    return client


@pytest.fixture
def some(owner, member, stranger):
    """Pipelines that the owner can use, one that they can't see, and one of another organization."""
    hidden = PipelineFactory(owner=member, name="Hidden")
    AccessRuleFactory(pipeline=hidden, user=member, role=ItemRole.USER)
    return {
        "build": PipelineFactory(owner=owner, name="Build"),
        "deploy": PipelineFactory(owner=member, name="Deploy"),
        "hidden": hidden,
        "elsewhere": PipelineFactory(owner=stranger, name="Elsewhere"),
    }


def issue(owner, pipelines, name="nightly"):
    return services.issue_token(
        actor=owner,
        name=name,
        chosen=[BY_ID["pipeline"]],
        expires_at=timezone.now() + timedelta(days=5),
        pipelines=pipelines,
    )


def form(**values):
    return {"name": "nightly", "scopes": ["pipeline"], "lifetime": "1w", **values}


def text(answer):
    return " ".join(unescape(answer.text).split())


def ids_of(token):
    return set(TokenPipeline.objects.filter(token=token).values_list("pipeline_id", flat=True))


# The service


def test_token_reaches_the_chosen_pipelines(owner, some):
    token = issue(owner, [some["build"].pk, some["deploy"].pk])

    assert token.is_limited
    assert ids_of(token) == set(token.pipeline_ids) == {some["build"].pk, some["deploy"].pk}


def test_token_without_a_choice_is_not_limited(owner, some):
    token = issue(owner, None)

    assert (token.is_limited, token.pipeline_ids, ids_of(token)) == (False, None, set())


def test_pipeline_that_is_chosen_twice_counts_once(owner, some):
    assert ids_of(issue(owner, [some["build"].pk] * 200)) == {some["build"].pk}


def test_choice_is_in_the_activity_log_with_names_and_ids(owner, some):
    issue(owner, [some["deploy"].pk, some["build"].pk])

    entry = Activity.objects.get(action=Action.TOKEN_ISSUED)
    assert entry.details["pipelines"] == [
        {"name": "Build", "id": str(some["build"].pk)},
        {"name": "Deploy", "id": str(some["deploy"].pk)},
    ]


def test_entry_of_a_token_without_limit_names_no_pipelines(owner):
    issue(owner, None)

    assert "pipelines" not in Activity.objects.get(action=Action.TOKEN_ISSUED).details


@pytest.mark.parametrize(
    ("pipelines", "says"),
    [
        ([], "Choose at least one pipeline."),
        ([uuid.uuid4() for _ in range(101)], "A token can be limited to at most 100 pipelines."),
        ([uuid.UUID(int=1)], f"{UNKNOWN}: 00000000-0000-0000-0000-000000000001."),
    ],
)
def test_wrong_choice_creates_no_token(owner, pipelines, says):
    with pytest.raises(ValidationError) as refused:
        issue(owner, pipelines)

    assert refused.value.message_dict == {"pipelines": [says]}
    assert not Token.objects.exists()
    assert not Activity.objects.exists()


@pytest.mark.parametrize("which", ["hidden", "elsewhere"])
def test_pipeline_that_the_person_cannot_see_is_answered_like_an_unknown_one(owner, some, which):
    with pytest.raises(ValidationError) as refused:
        issue(owner, [some["build"].pk, some[which].pk])

    assert refused.value.message_dict == {"pipelines": [f"{UNKNOWN}: {some[which].pk}."]}
    assert not TokenPipeline.objects.exists()


def test_guest_can_choose_what_they_can_see(organization, some):
    guest = UserFactory(organization=organization, site_role=SiteRole.GUEST)

    assert ids_of(issue(guest, [some["build"].pk])) == {some["build"].pk}


@pytest.mark.each_database
def test_deleted_pipeline_leaves_no_row_and_the_token_stays_limited(owner, some):
    token = issue(owner, [some["build"].pk])

    delete_pipeline(actor=owner, pipeline=some["build"])

    token = Token.objects.get(pk=token.pk)
    assert (token.is_limited, token.pipeline_ids) == (True, [])
    assert not TokenPipeline.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("deletes_first", [True, False])
def test_pipeline_that_is_deleted_while_the_token_is_created(owner, some, deletes_first, monkeypatch):
    """Either the token is refused, or it reaches nothing afterwards: no row refers to a pipeline that is gone."""
    pipeline, outcomes = some["build"], []
    ready = threading.Barrier(2)

    def create():
        try:
            ready.wait(5)
            outcomes.append(issue(owner, [pipeline.pk]))
        except ValidationError as error:
            outcomes.append(error.message_dict)
        finally:
            connection.close()

    def delete():
        try:
            ready.wait(5)
            delete_pipeline(actor=owner, pipeline=pipeline)
        finally:
            connection.close()

    work = [delete, create] if deletes_first else [create, delete]
    threads = [threading.Thread(target=each) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert not Pipeline.objects.filter(pk=pipeline.pk).exists()
    assert not TokenPipeline.objects.exists()
    (outcome,) = outcomes
    if isinstance(outcome, Token):
        assert Token.objects.get().is_limited
    else:
        assert outcome == {"pipelines": [f"{UNKNOWN}: {pipeline.pk}."]}
        assert not Token.objects.exists()


# The API


def test_api_creates_a_limited_token_and_shows_its_pipelines(signed_in, some):
    answer = signed_in.post(
        API,
        {"name": "nightly", "scopes": ["pipeline"], "pipelines": [str(some["build"].pk)]},
        content_type="application/json",
    )

    assert answer.status_code == 201
    shown = {"is_limited": True, "pipelines": [str(some["build"].pk)]}
    assert answer.json().items() >= shown.items()
    headers = {"Authorization": f"Bearer {answer.json()['token']}"}
    in_use = signed_in.get("/api/v1/me", headers=headers).json()["token"]
    assert in_use["is_limited"] is True
    assert in_use["pipelines"] == shown["pipelines"]
    assert signed_in.get(API).json()["data"][0].items() >= shown.items()


@pytest.mark.parametrize("body", [{}, {"pipelines": None}])
def test_api_creates_a_token_without_limit(signed_in, some, body):
    answer = signed_in.post(API, {"name": "x", "scopes": ["pipeline"], **body}, content_type="application/json")

    assert (answer.status_code, answer.json()["is_limited"], answer.json()["pipelines"]) == (201, False, None)


@pytest.mark.parametrize(
    ("pipelines", "field", "says"),
    [
        ([], "pipelines", "This list may not be empty."),
        ("text", "pipelines", 'Expected a list of items but got type "str".'),
        ({}, "pipelines", 'Expected a list of items but got type "dict".'),
        (["x"], "pipelines.0", "Must be a valid UUID."),
        ([None], "pipelines.0", "This field may not be null."),
        ([1], "pipelines.0", "Must be a valid UUID."),
        ([str(uuid.UUID(int=n)) for n in range(101)], "pipelines", "There can be at most 100."),
        ([str(uuid.UUID(int=1))], "pipelines", f"{UNKNOWN}: {uuid.UUID(int=1)}."),
    ],
)
def test_api_refuses_a_wrong_choice(signed_in, pipelines, field, says):
    answer = signed_in.post(
        API, {"name": "x", "scopes": ["pipeline"], "pipelines": pipelines}, content_type="application/json"
    )

    assert answer.status_code == 400
    assert answer.json()["errors"] == {field: [says]}
    assert not Token.objects.exists()


@pytest.mark.parametrize("which", ["hidden", "elsewhere"])
def test_api_refuses_a_pipeline_that_the_person_cannot_see(signed_in, some, which):
    body = {"name": "x", "scopes": ["pipeline"], "pipelines": [str(some[which].pk)]}

    answer = signed_in.post(API, body, content_type="application/json")

    assert answer.json()["errors"] == {"pipelines": [f"{UNKNOWN}: {some[which].pk}."]}


@pytest.mark.parametrize(
    "path",
    [API, PAGE, "/api/v1/organization/tokens", "/organization/tokens/", "/api/v1/organization/access-review"],
)
def test_lists_need_as_many_queries_for_twenty_limited_tokens_as_for_two(client, administrator, path):
    client.force_login(administrator)
    pipelines = PipelineFactory.create_batch(3, owner=administrator)

    def queries():
        client.get(path)
        with CaptureQueriesContext(connection) as captured:
            assert client.get(path).status_code == 200
        return len(captured)

    counts = []
    for number in (2, 18):
        for _ in range(number):
            limit_to(TokenFactory(owner=administrator), *pipelines)
        counts.append(queries())

    assert counts[0] == counts[1]


# The lists and the page of a token


def test_lists_and_files_show_how_many_pipelines_a_token_reaches(client, administrator, some):
    client.force_login(administrator)
    token = limit_to(TokenFactory(owner=administrator), some["build"], some["deploy"])
    TokenFactory(owner=administrator, name="all")

    for path in (PAGE, "/organization/tokens/", "/organization/access-review/"):
        assert text(client.get(path)).count("Only 2 pipelines") == 1, path
    lines = b"".join(client.get("/organization/access-review/export/").streaming_content).decode().splitlines()
    (line,) = (line for line in lines if str(token.pk) in line)
    assert ",true," in line
    assert all(str(pipeline_id) in line for pipeline_id in token.pipeline_ids)


LISTS = (PAGE, "/organization/tokens/", "/organization/access-review/")


@pytest.mark.parametrize("path", LISTS)
def test_lists_name_the_pipelines_of_a_token(client, administrator, some, path):
    client.force_login(administrator)
    limit_to(TokenFactory(owner=administrator, name="one"), some["build"])
    limit_to(TokenFactory(owner=administrator, name="two"), some["build"], some["deploy"])

    shown = text(client.get(path))

    assert "Only “Build”" in shown
    assert 'title="Build, Deploy">Only 2 pipelines<span class="limit-names"> Build, Deploy</span>' in shown


def test_list_names_at_most_ten_pipelines_of_a_token(signed_in, owner):
    pipelines = [PipelineFactory(owner=owner, name=f"P{number:02}") for number in range(12)]
    limit_to(TokenFactory(owner=owner), *pipelines)

    assert 'P08, P09, and 2 more">Only 12 pipelines' in text(signed_in.get(PAGE))


def test_list_names_no_pipeline_that_the_reader_cannot_see(signed_in, owner, some):
    limit_to(TokenFactory(owner=owner, name="one"), some["hidden"])
    limit_to(TokenFactory(owner=owner, name="two"), some["hidden"], some["build"])

    shown = text(signed_in.get(PAGE))

    assert "Hidden" not in shown
    assert 'title="You can\'t see it.">Only 1 pipeline<' in shown
    assert 'title="Build, and 1 more">Only 2 pipelines<' in shown


def test_tokens_to_expire_name_their_pipelines(client, administrator, some):
    client.force_login(administrator)
    token = limit_to(TokenFactory(owner=administrator), some["build"])

    assert "Only “Build”" in text(client.get(f"/organization/tokens/expire/?id={token.pk}"))


def test_review_has_the_names_that_the_reader_can_see(client, administrator, some):
    client.force_login(administrator)
    PipelineFactory(owner=administrator, name="=1+1")
    token = limit_to(TokenFactory(owner=administrator), *Pipeline.objects.all())
    TokenFactory(owner=administrator, name="all")

    rows = {row["name"]: row for row in client.get("/api/v1/organization/access-review").json()["data"]}
    file = b"".join(client.get("/organization/access-review/export/").streaming_content).decode("utf-8-sig")
    cells = {row["name"]: row["pipeline_names"] for row in csv.DictReader(io.StringIO(file))}

    assert rows[token.name]["pipeline_names"] == ["=1+1", "Build", "Deploy", "Hidden"]
    assert rows["all"]["pipeline_names"] is None
    assert cells == {token.name: "'=1+1; Build; Deploy; Hidden", "all": ""}


LISTS_OF_API = (API, "/api/v1/organization/tokens", "/api/v1/organization/access-review")


@pytest.mark.parametrize(("value", "expected"), [("true", ["limited"]), ("false", ["all"])])
def test_lists_are_filtered_by_limit(client, administrator, some, value, expected):
    client.force_login(administrator)
    limit_to(TokenFactory(owner=administrator, name="limited"), some["build"])
    TokenFactory(owner=administrator, name="all")

    for path in LISTS:
        rows = client.get(f"{path}?is_limited={value}").context["table"].rows
        assert [row.record.name for row in rows] == expected, path
    for path in LISTS_OF_API:
        assert [row["name"] for row in client.get(f"{path}?is_limited={value}").json()["data"]] == expected, path


@pytest.mark.parametrize("value", ["1", "True", "yes", ""])
def test_wrong_value_of_the_limit_is_refused(client, administrator, value):
    client.force_login(administrator)

    for path in LISTS_OF_API:
        assert list(client.get(f"{path}?is_limited={value}").json()["errors"]) == ["is_limited"], path
    for path in LISTS if value else ():
        assert "is_limited" in client.get(f"{path}?is_limited={value}").context["filter"].errors, path
    if value:
        assert client.get(f"/organization/access-review/export/?is_limited={value}").status_code == 400


def test_review_counts_what_a_limited_token_can_do(client, administrator, some):
    client.force_login(administrator)
    limit_to(TokenFactory(owner=administrator, name="limited"), some["build"])
    TokenFactory(owner=administrator, name="all")

    rows = {row["name"]: row for row in client.get("/api/v1/organization/access-review").json()["data"]}

    # It can't create or duplicate pipelines.
    assert rows["all"]["operations_allowed"] - rows["limited"]["operations_allowed"] == 2


def test_page_of_a_token_names_its_pipelines(signed_in, owner, some):
    token = limit_to(TokenFactory(owner=owner), some["build"], some["deploy"])

    shown = text(signed_in.get(f"{PAGE}{token.pk}/"))

    assert "Only 2 pipelines" in shown
    for pipeline in (some["build"], some["deploy"]):
        assert f'href="/pipelines/{pipeline.pk}/"' in shown
    assert "This token reaches no pipelines except the chosen ones." in shown
    assert "The token reaches only chosen pipelines, so it can't create one." in shown
    assert f"pipelines={some['build'].pk}%2C{some['deploy'].pk}" in shown


def test_page_of_a_token_names_no_pipeline_that_the_reader_cannot_see(signed_in, owner, some):
    token = limit_to(TokenFactory(owner=owner), some["build"], some["hidden"])

    shown = text(signed_in.get(f"{PAGE}{token.pk}/"))

    assert "Only 2 pipelines" in shown
    assert "Hidden" not in shown
    assert "You can't see the others." in shown


def test_found_token_is_shown_with_its_limit(signed_in, owner, some):
    token = limit_to(TokenFactory(owner=owner), some["build"])

    answer = signed_in.post("/tokens/lookup/", {"token": jwt.encode(token)[0]})

    assert "Only 1 pipeline" in text(answer)


def test_page_of_a_token_says_that_its_pipelines_are_gone(signed_in, owner, some):
    token = limit_to(TokenFactory(owner=owner))

    shown = text(signed_in.get(f"{PAGE}{token.pk}/"))

    assert "No pipeline" in shown
    assert "All chosen pipelines were deleted." in shown


def test_pages_of_a_token_without_limit_say_that_it_reaches_all_pipelines(signed_in, owner):
    token, logs_only = TokenFactory(owner=owner, revealed_at=None), TokenFactory(owner=owner, scope="security-logs")

    assert "All that you can use" in signed_in.get(f"{PAGE}{token.pk}/reveal/").text
    assert "All that its owner can use" in signed_in.get(f"{PAGE}{token.pk}/").text
    assert 'id="token-pipelines"' not in signed_in.get(f"{PAGE}{logs_only.pk}/").text


def test_new_token_for_one_pipeline_comes_with_the_command_that_runs_it(signed_in, owner, some):
    one = issue(owner, [some["build"].pk])
    two = issue(owner, [some["build"].pk, some["deploy"].pk], name="two")

    shown = signed_in.get(f"{PAGE}{one.pk}/reveal/")

    assert f"&quot;pipelineId&quot;: &quot;{some['build'].pk}&quot;" in shown.text
    assert "Only 1 pipeline" in shown.text
    assert shown.context["examples"][0]["id"] == "run"
    assert 'id="example-run"' not in signed_in.get(f"{PAGE}{two.pk}/reveal/").text


def test_django_admin_shows_the_pipelines_and_cannot_change_them(client, administrator, some):
    client.force_login(administrator)
    token = limit_to(TokenFactory(owner=administrator), some["build"])

    shown = client.get(f"/admin/tokens/token/{token.pk}/change/").text

    assert str(some["build"].pk) in shown
    assert 'name="is_limited"' not in shown


# The form


def test_form_offers_the_pipelines_that_the_person_can_see(signed_in, some):
    offered = signed_in.get(PAGE).context["pipeline_choice"]["choices"]

    assert [choice["name"] for choice in offered] == ["Build", "Deploy"]


def test_form_says_which_pipelines_the_person_cannot_run(signed_in, owner, some):
    AccessRuleFactory(pipeline=some["deploy"], user=owner, role=ItemRole.GUEST)

    shown = signed_in.get(PAGE)

    assert [choice["can_run"] for choice in shown.context["pipeline_choice"]["choices"]] == [True, False]
    assert re.findall(r"<span data-name>(\w+)</span> <span class=\"hint\">· you can't run it", text(shown)) == [
        "Deploy"
    ]
    assert "A token can only read pipelines that you can't run." in text(shown)


def test_form_of_a_person_who_can_run_everything_says_nothing_about_it(signed_in, some):
    assert "you can't run" not in text(signed_in.get(PAGE))


@pytest.mark.parametrize("role", [SiteRole.GUEST, SiteRole.AUDITOR])
def test_person_whose_role_only_reads_cannot_run_any_offered_pipeline(client, organization, some, role):
    client.force_login(UserFactory(organization=organization, site_role=role))

    choices = client.get(PAGE).context["pipeline_choice"]["choices"]

    assert choices
    assert not any(choice["can_run"] for choice in choices)


def test_form_creates_a_limited_token(signed_in, some):
    chosen = [str(some["build"].pk), str(some["deploy"].pk)]

    answer = signed_in.post(PAGE, form(which_pipelines="only", pipelines=chosen))

    assert answer.status_code == 302
    assert set(map(str, Token.objects.get().pipeline_ids)) == set(chosen)


@pytest.mark.parametrize("values", [{}, {"which_pipelines": "all"}])
def test_form_creates_a_token_without_limit(signed_in, some, values):
    assert signed_in.post(PAGE, form(**values)).status_code == 302
    assert not Token.objects.get().is_limited


def test_form_that_names_only_pipelines_limits_the_token(signed_in, some):
    """Scripts send the form without the choice between the two."""
    signed_in.post(PAGE, form(pipelines=[str(some["build"].pk)]))

    assert Token.objects.get().pipeline_ids == [some["build"].pk]


@pytest.mark.parametrize(
    ("which", "pipelines", "says"),
    [
        ("only", [], "Choose at least one pipeline."),
        ("only", [str(uuid.UUID(int=1))], UNKNOWN),
        ("only", ["x", "\0", "", "🎉" * 300], UNKNOWN),
        ("only", ["x\n" * 3 + "\n".join(map(str, range(101)))], "at most 100 pipelines"),
        ("all", ["{build}"], "Choose “Only these”, or no pipelines."),
        ("only", ["{hidden}"], UNKNOWN),
        ("only", ["{elsewhere}"], UNKNOWN),
        ("only", ["Hidden"], UNKNOWN),
        ("some", [], "Select a valid choice."),
    ],
)
def test_form_with_a_wrong_choice_keeps_what_was_typed(signed_in, some, which, pipelines, says):
    chosen = [word.format(**{name: pipeline.pk for name, pipeline in some.items()}) for word in pipelines]
    right = [str(some["deploy"].pk)] if chosen else []

    answer = signed_in.post(PAGE, form(which_pipelines=which, pipelines=[*right, *chosen]))

    assert answer.status_code == 400
    assert says in text(answer)
    assert 'value="nightly"' in answer.text
    assert [choice["id"] for choice in answer.context["pipeline_choice"]["choices"] if choice["checked"]][-1:] == right
    assert not Token.objects.exists()


def test_error_about_a_pipeline_that_was_deleted_meanwhile(signed_in, owner, some):
    chosen = str(some["build"].pk)
    delete_pipeline(actor=owner, pipeline=some["build"])

    answer = signed_in.post(PAGE, form(which_pipelines="only", pipelines=[chosen]))

    assert f"{UNKNOWN}: {chosen}." in text(answer)


@pytest.fixture
def too_many_for_a_list(monkeypatch):
    monkeypatch.setattr("tokens.views.my_tokens.MOST_CHOICES", 1)


def test_many_pipelines_are_typed_by_name_or_id(signed_in, some, too_many_for_a_list):
    shown = signed_in.get(f"{PAGE}?pipelines={some['build'].pk}")

    assert "Names or IDs, one in each line" in shown.text
    assert re.search(r"<textarea name=\"pipelines\"[^>]*>\s*Build</textarea>", shown.text)
    signed_in.post(PAGE, form(which_pipelines="only", pipelines=f"Build\r\n\r\n {some['deploy'].pk} "))
    assert ids_of(Token.objects.get()) == {some["build"].pk, some["deploy"].pk}


def test_typed_name_of_a_hidden_pipeline_is_unknown(signed_in, some, too_many_for_a_list):
    answer = signed_in.post(PAGE, form(which_pipelines="only", pipelines="Build\nHidden\nElsewhere"))

    assert f"{UNKNOWN}: Hidden, Elsewhere." in text(answer)
    assert "Build\nHidden\nElsewhere</textarea>" in answer.text


# Links to the form


def filled(client, query):
    answer = client.get(f"{PAGE}?{query}")
    values = answer.context["form"]
    problems = answer.context["filled"].problems if answer.context["filled"] else []
    return values["which_pipelines"].value(), values["pipelines"].value(), problems


def test_link_chooses_pipelines(signed_in, some):
    build, deploy = some["build"].pk, some["deploy"].pk

    for query in (f"pipelines={build},{deploy}", f"pipelines={build}+{deploy}", f"pipelines={build}&pipelines=Deploy"):
        assert filled(signed_in, query) == ("only", [str(build), str(deploy)], []), query


@pytest.mark.parametrize("query", ["pipelines=", "pipelines=x", "pipelines=%00", "pipelines={hidden}", "pipelines=,,"])
def test_link_that_limits_never_fills_in_a_form_without_limit(signed_in, some, query):
    which, chosen, problems = filled(signed_in, query.format(hidden=some["hidden"].pk))

    assert (which, chosen) == ("only", [])
    assert problems[-1] == "The link limits the token to pipelines, but names none that you can see. Choose them."


def test_link_names_the_pipelines_that_it_leaves_out(signed_in, some):
    hidden = some["hidden"].pk

    which, chosen, problems = filled(signed_in, f"pipelines={some['build'].pk},{hidden}")

    assert (which, chosen) == ("only", [str(some["build"].pk)])
    assert problems == [f"These pipelines don't exist, or you can't see them, and were left out: {hidden}."]


def test_link_with_too_many_pipelines_says_so(signed_in, some):
    ids = ",".join([str(some["build"].pk), *(str(uuid.UUID(int=n)) for n in range(150))])

    which, chosen, problems = filled(signed_in, f"pipelines={ids}")

    assert (which, chosen) == ("only", [str(some["build"].pk)])
    assert problems[-1] == "A token can be limited to at most 100 pipelines."


@pytest.mark.parametrize("parameter", ["like={token}", "{link}"])
def test_another_token_like_it_has_the_same_limit(signed_in, owner, some, parameter):
    token = limit_to(TokenFactory(owner=owner), some["build"])
    link = signed_in.get(f"{PAGE}{token.pk}/").context["similar_url"].partition("?")[2]

    assert filled(signed_in, parameter.format(token=token.pk, link=link))[:2] == ("only", [str(some["build"].pk)])


@pytest.mark.parametrize("parameter", ["like={token}", "{link}"])
def test_token_like_one_whose_pipelines_are_gone_is_limited_too(signed_in, owner, parameter):
    token = limit_to(TokenFactory(owner=owner))
    link = signed_in.get(f"{PAGE}{token.pk}/").context["similar_url"].partition("?")[2]

    assert filled(signed_in, parameter.format(token=token.pk, link=link))[:2] == ("only", [])


# The page of a pipeline


def link_on_page_of(client, pipeline):
    found = re.search(r'href="([^"]*)"\s+id="token-for-pipeline"', client.get(f"/pipelines/{pipeline.pk}/").text)
    return found and found[1].replace("&amp;", "&")


@pytest.mark.parametrize(
    ("name", "token_name"),
    [("Build", "Build"), ("Deploy → prod / eu (1)", "Deploy prod eu 1"), ("x" * 90, "x" * 50), ("⚙️", "")],
)
def test_page_of_a_pipeline_links_to_the_form_for_a_token_that_only_runs_it(signed_in, owner, name, token_name):
    pipeline = PipelineFactory(owner=owner, name=name)

    answer = signed_in.get(link_on_page_of(signed_in, pipeline))

    values = {field: answer.context["form"][field].value() for field in ("scopes", "which_pipelines", "pipelines")}
    assert values == {"scopes": ["pipeline"], "which_pipelines": "only", "pipelines": [str(pipeline.pk)]}
    assert answer.context["form"]["name"].value() == (token_name or None)
    assert answer.context["filled"].problems == []


def test_person_who_cannot_run_a_pipeline_gets_no_such_link(client, organization, some):
    client.force_login(UserFactory(organization=organization, site_role=SiteRole.GUEST))

    assert link_on_page_of(client, some["build"]) is None


# The chain, from the form to the answer


def test_token_runs_only_its_pipeline(signed_in, api, owner, some):
    signed_in.post(PAGE, form(which_pipelines="only", pipelines=[str(some["build"].pk)]))
    token = Token.objects.get()
    services.reveal_token(actor=owner, token=token)

    def status_of(pipeline):
        body = {"pipelineId": str(pipeline.pk)}
        return api.post("/api/v1/pipeline/status", body, format="json", headers=bearer(token)).status_code

    assert [status_of(some[name]) for name in ("build", "deploy", "hidden", "elsewhere")] == [200, 403, 403, 403]
