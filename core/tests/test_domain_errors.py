"""Refusals of a service: how a form shows them, and how the API answers them."""

import json

import pytest
from django import forms
from django.core.exceptions import PermissionDenied, ValidationError
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from core.api.problems import exception_handler
from core.errors import DomainError, NameTaken, NotAllowed
from core.pages.forms import refusals_in


class NameForm(forms.Form):
    name = forms.CharField()


def answer_to(error):
    request = Request(APIRequestFactory().get("/"))
    response = exception_handler(error, {"request": request, "view": None})
    return response.status_code, json.loads(json.dumps(response.data))


def errors_of(error):
    form = NameForm({"name": "x"})
    with refusals_in(form):
        raise error
    return dict(form.errors)


@pytest.mark.parametrize(
    ("error", "status", "code", "detail"),
    [
        (DomainError(), 409, "conflict", "This is not possible in the current state."),
        (DomainError("Full.", code="too_many"), 409, "too_many", "Full."),
        (NameTaken(), 409, "name_taken", "This name is already in use."),
        (NotAllowed(), 403, "forbidden", "You aren't allowed to do this, or it doesn't exist."),
    ],
)
def test_refusal_becomes_problem_document(error, status, code, detail):
    answered, body = answer_to(error)

    assert (answered, body["status"], body["code"], body["detail"]) == (status, status, code, detail)
    assert "errors" not in body


@pytest.mark.parametrize(
    ("error", "errors"),
    [
        (ValidationError("Wrong."), {"non_field_errors": ["Wrong."]}),
        (ValidationError({"name": ["Too long."]}), {"name": ["Too long."]}),
    ],
)
def test_invalid_input_becomes_problem_document_with_errors_by_field(error, errors):
    status, body = answer_to(error)

    assert (status, body["code"], body["errors"]) == (400, "invalid_request", errors)


@pytest.mark.parametrize(
    ("error", "errors"),
    [
        (NameTaken(), {"name": ["This name is already in use."]}),
        (DomainError("Full."), {"__all__": ["Full."]}),
        (DomainError("Elsewhere.", field="owner"), {"__all__": ["Elsewhere."]}),
        (ValidationError("Wrong."), {"__all__": ["Wrong."]}),
        (
            ValidationError({"name": ["Too long."], "owner": ["Unknown."]}),
            {"name": ["Too long."], "__all__": ["Unknown."]},
        ),
    ],
)
def test_refusal_is_shown_beside_its_field(error, errors):
    assert errors_of(error) == errors


def test_missing_permission_is_not_a_form_error():
    with pytest.raises(PermissionDenied):
        errors_of(NotAllowed())
