import pytest
from django.http import BadHeaderError, HttpResponse

from core.http.own_headers import checked, list_at_once, set_checked, set_missing, set_own


def test_headers_are_the_same_as_those_that_django_sets():
    ours, djangos = HttpResponse(), HttpResponse()

    set_checked(ours, checked({"Sunset": "soon"}))
    set_own(ours, "RateLimit", "r=1")
    djangos["Sunset"], djangos["RateLimit"] = "soon", "r=1"

    assert ours.headers == djangos.headers
    assert ours["sunset"] == "soon"
    assert ours.serialize_headers() == djangos.serialize_headers()


def test_missing_headers_are_set_and_others_stay():
    response = HttpResponse(headers={"cache-control": "private"})

    set_missing(response, checked({"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}))

    assert response["Cache-Control"] == "private"
    assert response["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("value", ["two\r\nlines: 1", "two\nlines"])
def test_value_with_a_line_break_is_refused(value):
    with pytest.raises(BadHeaderError):
        checked({"Link": value})


def test_listed_headers_contain_what_is_set_later():
    response = HttpResponse()
    before = dict(response.items())

    list_at_once(response)
    response["X-Request-ID"] = "7"

    assert dict(response.items()) == {**before, "X-Request-ID": "7"}
