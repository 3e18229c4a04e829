import datetime
import uuid
from decimal import Decimal

import pytest
from rest_framework.renderers import JSONRenderer

from core.api.renderers import OneEncoderRenderer

DATA = {
    "name": "Grüße \u2028\u2029 </script> 😀",
    "at": datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC),
    "id": uuid.UUID(int=7),
    "amount": Decimal("1.50"),
    "none": None,
    "list": [1, 2.5, True],
}


@pytest.mark.parametrize("media_type", [None, "application/json", "application/json; indent=4"])
@pytest.mark.parametrize("data", [DATA, [], None, "text"])
def test_answers_are_the_same_as_those_of_drf(data, media_type):
    assert OneEncoderRenderer().render(data, media_type, {}) == JSONRenderer().render(data, media_type, {})


def test_number_that_json_does_not_have_is_refused():
    with pytest.raises(ValueError, match="Out of range float"):
        OneEncoderRenderer().render(float("nan"), "application/json", {})
