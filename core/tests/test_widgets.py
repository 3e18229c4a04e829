"""`QuickSelect` renders the same HTML as Django's `Select`."""

import pytest
from django import forms
from django.test.html import parse_html

from core.pages.widgets import QuickSelect

CHOICES = [("", "Any"), ("a", "Alpha"), ("b", "<Beta> & “more”"), ('c"', "Gamma")]


@pytest.mark.parametrize("value", [None, "", "a", 'c"', "unknown"])
@pytest.mark.parametrize("attrs", [{"id": "id_group"}, {"id": "id_group", "required": True, "aria-describedby": "x"}])
def test_long_select_renders_the_same_html_as_django(value, attrs):
    expected = forms.Select(choices=CHOICES).render("group", value, attrs)

    assert parse_html(QuickSelect(choices=CHOICES).render("group", value, attrs)) == parse_html(expected)
