"""Names can use any script. Characters that hide or cover other text are refused."""

import pytest
from django.core.exceptions import ValidationError

from accounts import services
from accounts.models import Group
from accounts.tests.factories import UserFactory
from core.text import is_printable
from pipelines.models import Pipeline, check_tags
from pipelines.services import create_pipeline

HINDI, THAI, PERSIAN = "क्\u200dषमा", "สร้างทุกคืน", "می\u200cخواهم"
READABLE = [
    HINDI,
    THAI,
    PERSIAN,
    "Zürich",
    "🎉 nightly",
    "👩\u200d💻 builds",
    "👩🏽\u200d💻",
    "❤️\u200d🔥",
    "e\u0301\u0302",
]
UNREADABLE = ["a\nb", "a\u200bb", "a\u200db", "\u200d", "a\u202eb", "x" + "\u0302" * 5, "x" + "\u20dd" * 5, "a\0b"]


@pytest.mark.parametrize("name", READABLE)
def test_readable_name_is_accepted(name):
    assert is_printable(name)


@pytest.mark.parametrize("name", UNREADABLE)
def test_name_that_hides_or_covers_something_is_refused(name):
    assert not is_printable(name)


@pytest.mark.parametrize("name", [HINDI, THAI, PERSIAN])
def test_every_kind_of_name_accepts_scripts_that_need_marks_and_joiners(administrator, name):
    group = services.create_group(actor=administrator, name=name)
    pipeline = create_pipeline(actor=administrator, name=name, tags=[name])
    person = UserFactory(organization=administrator.organization, name=name)

    person.full_clean()

    assert (group.name, pipeline.name, pipeline.tags, person.name) == (name, name, [name], name)


@pytest.mark.parametrize("name", ["x" + "\u0302" * 5, "a\u200db"])
def test_every_kind_of_name_refuses_stacked_marks_and_needless_joiners(administrator, name):
    with pytest.raises(ValidationError):
        services.create_group(actor=administrator, name=name)
    with pytest.raises(ValidationError):
        create_pipeline(actor=administrator, name=name)
    with pytest.raises(ValidationError):
        check_tags([name])
    with pytest.raises(ValidationError):
        UserFactory.build(organization=administrator.organization, name=name).full_clean()
    assert not Group.objects.exists()
    assert not Pipeline.objects.exists()


def test_names_are_stored_in_composed_form(administrator):
    group = services.create_group(actor=administrator, name="Zu\u0308rich")
    pipeline = create_pipeline(actor=administrator, name="Zu\u0308rich", tags=["Zu\u0308rich", "Zürich"])

    assert (group.name, pipeline.name, pipeline.tags) == ("Zürich", "Zürich", ["Zürich"])
