"""A form that is sent several times creates one object or starts one run."""

import re
import threading
import uuid
from datetime import timedelta

import pytest
import time_machine
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.models import Group, User
from core.models import Submission
from core.pages import submissions
from pipelines.models import Pipeline, Run, Step
from pipelines.tests.factories import PipelineFactory, StepFactory
from tokens.models import Token

pytestmark = pytest.mark.each_database

TOKENS = "/profile/tokens/"
TOKEN = {"name": "nightly", "scopes": "api", "lifetime": "1w"}
FIELD = re.compile(r'name="submission"\s+value="([0-9a-f]{32})"')


@pytest.fixture
def pipeline(administrator):
    pipeline = PipelineFactory(owner=administrator)
    StepFactory(pipeline=pipeline)
    return pipeline


@pytest.fixture
def signed_in(client, administrator):
    client.force_login(administrator)
    return client


def id_on(client, page):
    return FIELD.search(client.get(page).text)[1]


FORMS = {
    "token": (TOKENS, TOKENS, TOKEN, Token),
    "pipeline": ("/pipelines/new/", "/pipelines/new/", {"name": "Release"}, Pipeline),
    "copy": ("/pipelines/{pk}/duplicate/", "/pipelines/{pk}/duplicate/", {"name": "Copy"}, Pipeline),
    "step": (
        "/pipelines/{pk}/steps/new/?kind=approval",
        "/pipelines/{pk}/steps/new/",
        {"kind": "approval", "name": "Look"},
        Step,
    ),
    "run": ("/pipelines/{pk}/", "/pipelines/{pk}/run/", {}, Run),
    "group": ("/organization/groups/", "/organization/groups/", {"name": "Release managers"}, Group),
    "invitation": (
        "/organization/users/invite/",
        "/organization/users/invite/",
        {"email": "new@acme.example", "name": "New", "site_role": "guest"},
        User,
    ),
}


@pytest.mark.parametrize("kind", FORMS)
def test_form_sent_twice_creates_one_object_and_redirects_to_it(signed_in, pipeline, kind):
    page, action, typed, model = FORMS[kind]
    page, action = page.format(pk=pipeline.pk), action.format(pk=pipeline.pk)
    sent = typed | {"submission": id_on(signed_in, page)}
    before = model.objects.count()

    first, second = signed_in.post(action, sent), signed_in.post(action, sent)

    assert (first.status_code, second.status_code) == (302, 302)
    assert first.url == second.url
    assert model.objects.count() == before + 1
    assert id_on(signed_in, page) != sent["submission"]


def test_two_forms_create_two_tokens(signed_in):
    for name in ("one", "two"):
        signed_in.post(TOKENS, TOKEN | {"name": name, "submission": id_on(signed_in, TOKENS)})

    assert Token.objects.count() == 2


def test_form_with_an_error_can_be_sent_again(signed_in):
    sent = TOKEN | {"submission": uuid.uuid4().hex}

    assert signed_in.post(TOKENS, sent | {"name": "a/b"}).status_code == 400
    assert not Submission.objects.exists()
    assert "/reveal/" in signed_in.post(TOKENS, sent).url


def test_refused_form_can_be_sent_again(client, owner, pipeline):
    client.force_login(owner)
    sent = {"email": "x@acme.example", "submission": uuid.uuid4().hex}

    assert client.post("/organization/users/invite/", sent).status_code == 403
    assert not Submission.objects.exists()


def test_form_can_be_sent_again_after_reauthentication(signed_in, administrator):
    sent = TOKEN | {"submission": uuid.uuid4().hex}
    with time_machine.travel(timezone.now() + timedelta(minutes=20)):
        assert signed_in.post(TOKENS, sent).url.startswith("/login/again/")
        signed_in.logout()
        signed_in.force_login(administrator)
        assert "/reveal/" in signed_in.post(TOKENS, sent).url


def test_same_id_of_another_person_is_another_form(client, owner, member):
    sent = TOKEN | {"submission": uuid.uuid4().hex}
    for person in (owner, member):
        client.force_login(person)
        assert "/reveal/" in client.post(TOKENS, sent).url

    assert Token.objects.count() == 2


def test_same_id_after_ten_minutes_is_a_new_form(signed_in, pipeline):
    sent = {"submission": uuid.uuid4().hex}
    signed_in.post(f"/pipelines/{pipeline.pk}/run/", sent)
    with time_machine.travel(timezone.now() + timedelta(minutes=11)):
        signed_in.post(f"/pipelines/{pipeline.pk}/run/", sent)
        assert Run.objects.count() == 2
        submissions.forget_past(None)
        assert Submission.objects.count() == 1


@pytest.mark.parametrize("form_id", ["", "x", "\x00", "0" * 33, "é" * 32, "1" * 5000])
def test_forged_form_id_is_ignored(signed_in, form_id):
    assert "/reveal/" in signed_in.post(TOKENS, TOKEN | {"submission": form_id}).url


@pytest.mark.django_db(transaction=True)
def test_form_sent_twice_at_the_same_time_creates_one_token(administrator):
    sent, answers = TOKEN | {"submission": uuid.uuid4().hex}, []
    clients = [Client(), Client()]
    for client in clients:
        client.force_login(administrator)
    gate = threading.Barrier(2)

    def send(client):
        try:
            gate.wait()
            answers.append(client.post(TOKENS, sent))
        finally:
            connection.close()

    threads = [threading.Thread(target=send, args=[client]) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [answer.status_code for answer in answers] == [302, 302]
    assert len({answer.url for answer in answers}) == 1
    assert Token.objects.count() == 1
