"""Filters of lists. The page, the exports and the API operation of a list use the same filter set.

Pages show a wrong value as an error beside its field. The API answers 400, also for values that a form would ignore,
and its schema describes the parameters from the filter set (core/api/filtering.py).
"""

import ipaddress
import re
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, ClassVar
from uuid import UUID

import django_filters
from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db.models import Model, QuerySet
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy
from django_filters.fields import ModelChoiceField

from core import ids
from core.pages.widgets import MOST_TO_READ, PickerInput, QuickSelect
from core.reading import local
from core.text import Text

# Only for the API.
EMPTY = "Leave this parameter out, or give it a value."


class StrictFilterSet(django_filters.FilterSet):
    """``api_help``: the descriptions of parameters in the API's schema, by name; subclasses add to it. A filter of
    several lists has its own.

    ``usual``: the filters that a page always shows. The others are behind "More filters"; none are, if it is empty.
    """

    api_help: ClassVar[dict[str, str]] = {}
    usual: ClassVar[frozenset[str]] = frozenset()

    @property
    def usual_fields(self) -> list[forms.BoundField]:
        return [field for field in self.form if not self.usual or field.name in self.usual]

    @property
    def more_fields(self) -> list[forms.BoundField]:
        return [field for field in self.form if self.usual and field.name not in self.usual]

    @property
    def more_count(self) -> int:
        """How many of the filters behind "More filters" have a value."""
        return len([field for field in self.more_fields if field.name in self.form.changed_data])

    @classmethod
    def description_of(cls, name: str) -> str:
        found = (vars(base)["api_help"][name] for base in cls.__mro__ if name in vars(base).get("api_help", {}))
        return next(found, getattr(cls.base_filters.get(name), "api_help", ""))

    @property
    def strict_errors(self) -> dict[str, list[str]]:
        """The form's errors by field, and one for each empty value: a form that is sent has empty fields, but a
        program that sends an empty parameter has probably lost its value."""
        empty = {
            name: [EMPTY]
            for name, filter_ in self.filters.items()
            if name in self.data and not self.data[name].strip() and not isinstance(filter_, SearchFilter)
        }
        return {**{name: list(messages) for name, messages in self.errors.items()}, **empty}


class PeriodForm(forms.Form):
    """Filters with ``date`` and ``date_to``, the first and the last day, and with ``since_at`` and ``before_at``."""

    def clean(self) -> dict[str, Any]:
        since, until = self.cleaned_data.get("date"), self.cleaned_data.get("date_to")
        if since and until and until < since:
            self.add_error("date_to", gettext("This day is before the first day."))
        begin, end = self.cleaned_data.get("since_at"), self.cleaned_data.get("before_at")
        if begin and end and end <= begin:
            self.add_error("before_at", gettext("This time is not after “Since”."))
        return self.cleaned_data


# How JWTs begin: with {"alg", {"typ" or {"kid" in base64url.
_BEGINNING = r"(?:^|[^A-Za-z0-9_\-])eyJ(?:hbGci|0eXAi|raWQi)"
LOOKS_LIKE_TOKEN = re.compile(_BEGINNING)


class SearchedTextField(forms.CharField):
    """Refuses tokens: people paste a leaked token here, and it would be in the address, in the browser's history and in
    links. The browser refuses it before it is sent. Pages of lists leave it out (core/pages/views.py)."""

    default_error_messages: ClassVar = {
        "looks_like_token": gettext_lazy("This looks like a token. Look it up instead of searching for it."),
    }

    def to_python(self, value: Any) -> str:
        text = super().to_python(value) or ""
        if LOOKS_LIKE_TOKEN.search(text):
            raise ValidationError(self.error_messages["looks_like_token"], code="looks_like_token")
        return text

    def widget_attrs(self, widget: forms.Widget) -> dict[str, Any]:
        title = gettext_lazy("Not for tokens: look them up with “Found a leaked token?”")
        return {**super().widget_attrs(widget), "pattern": rf"(?!.*{_BEGINNING}).*", "title": title}


class TextFilter(django_filters.CharFilter):
    """A part of a text."""

    field_class = SearchedTextField

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"widget": search_input(), **kwargs})


class SearchFilter(TextFilter):
    """The search field of a list: at most 100 characters. Empty, it finds everything."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"max_length": 100, **kwargs})


class PersonFilter(TextFilter):
    """A part of an e-mail address. A complete address finds only its person, and nobody whose address ends with it."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"max_length": 254, **kwargs})

    def filter(self, qs: QuerySet[Any], value: str) -> QuerySet[Any]:
        if not value:
            return qs
        return qs.filter(**{f"{self.field_name}__{'iexact' if is_address(value) else 'icontains'}": value})


class ChoiceFilter(django_filters.ChoiceFilter):
    """One of fixed values, in a select that is rendered quickly."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"widget": QuickSelect, **kwargs})


def is_address(text: str) -> bool:
    """Whether this is a complete e-mail address."""
    try:
        validate_email(text)
    except ValidationError:
        return False
    return True


class DayFilter(django_filters.DateFilter):
    """A whole day: in the reader's time zone on a page, in UTC in the API.

    ``since`` finds rows from this day on, otherwise rows up to and including this day. ``of`` is the field with the
    row's time.
    """

    def __init__(self, *, since: bool, of: str = "at", **kwargs: Any) -> None:
        self.since = since
        self.of = of
        kwargs.setdefault("widget", forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"))
        kwargs.setdefault("input_formats", ["%Y-%m-%d"])
        super().__init__(**kwargs)

    def filter(self, qs: QuerySet[Any], value: date | None) -> QuerySet[Any]:
        if value is None:
            return qs
        if self.since:
            return qs.filter(**{f"{self.of}__gte": _start_of(value)})
        return qs.filter(**{f"{self.of}__lt": _start_of(value + timedelta(days=1))}) if value < date.max else qs


def _start_of(day: date) -> datetime:
    """In UTC, as all times are stored."""
    return _in_utc(datetime.combine(day, time()))


_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)?", re.ASCII)


class MomentField(forms.Field):
    """A date with a time (ISO 8601): with an offset, or in the reader's time zone on a page and in UTC in the API.

    A page shows it in the reader's time zone. An hour that occurs twice when the clocks change means the first one.
    """

    widget = forms.DateTimeInput(attrs={"type": "datetime-local", "step": "any"})
    default_error_messages: ClassVar = {
        "invalid": gettext_lazy("Enter a date and a time, such as 2026-05-03T14:05 or 2026-05-03T14:05Z."),
    }

    def to_python(self, value: Any) -> datetime | None:
        text = str(value or "").strip()
        return self._read(text) if text else None

    def _read(self, text: str) -> datetime:
        if not _MOMENT.fullmatch(text):
            raise ValidationError(self.error_messages["invalid"], code="invalid")
        try:
            return _in_utc(datetime.fromisoformat(text))
        except ValueError:
            raise ValidationError(self.error_messages["invalid"], code="invalid") from None

    def prepare_value(self, value: Any) -> Any:
        return self._shown(value, separator="T")

    def words(self, value: str) -> str:
        """The value as text of a page. As it is, if it is invalid."""
        return str(self._shown(value, separator=" "))

    def _shown(self, value: Any, *, separator: str) -> Any:
        try:
            moment = self.to_python(value)
        except ValidationError:
            return value
        return local(moment).replace(tzinfo=None).isoformat(separator).removesuffix(":00") if moment else value


def _in_utc(moment: datetime) -> datetime:
    """The first and the last day of the calendar have moments that UTC lacks."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=timezone.get_current_timezone())
    with suppress(OverflowError):
        return aware.astimezone(UTC)
    return moment.replace(tzinfo=UTC)


class MomentFilter(django_filters.Filter):
    field_class = MomentField


class IdField(SearchedTextField):
    """An id in the only form that the API accepts (core/ids.py)."""

    default_error_messages: ClassVar = {
        **SearchedTextField.default_error_messages,
        "invalid": forms.UUIDField.default_error_messages["invalid"],
    }

    def to_python(self, value: Any) -> UUID | None:  # type: ignore[override]
        text = super().to_python(value)
        if not text:
            return None
        try:
            return ids.read(text)
        except ValueError:
            raise ValidationError(self.error_messages["invalid"], code="invalid") from None


class IdFilter(django_filters.Filter):
    field_class = IdField


class IdOrWordField(IdField):
    """An id, or the one ``word`` that stands for rows without one."""

    def __init__(self, *, word: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.word = word

    def to_python(self, value: Any) -> Any:
        return value if value == self.word else super().to_python(value)


class IdOrWordFilter(django_filters.Filter):
    field_class = IdOrWordField


class RowField(ModelChoiceField):
    """Django would accept an id in any form that Python reads."""

    widget = QuickSelect

    def to_python(self, value: Any) -> Model | None:
        if value in self.empty_values:
            return None
        try:
            ids.read(str(value))
        except ValueError:
            raise ValidationError(
                self.error_messages["invalid_choice"], code="invalid_choice", params={"value": value}
            ) from None
        row: Model | None = super().to_python(value)
        return row


class RowSearchField(RowField):
    """A row with a ``name``: chosen from a select, or if there are too many for one, by typing its name.

    An address can contain the row's id in both cases. The error ``no_such_name`` of ``error_messages`` says that no row
    has the name. ``source``: the URL name of the view that suggests rows (core/pages/suggestions.py).
    """

    def __init__(self, *, queryset: QuerySet[Any], empty_label: Text, source: str, **kwargs: Any) -> None:
        rows = list(queryset.values_list("pk", "name")[: MOST_TO_READ + 1])
        self.is_typed = len(rows) > MOST_TO_READ
        if self.is_typed:
            kwargs["widget"] = PickerInput(source, attrs={"placeholder": empty_label})
        # The rows that were just read. Django would read them again.
        self.iterator = lambda field: [("", empty_label), *rows]
        super().__init__(queryset=queryset, empty_label=empty_label, **kwargs)

    def to_python(self, value: Any) -> Model | None:
        try:
            return super().to_python(value)
        except ValidationError:
            if not self.is_typed:
                raise
            return self._named(value)

    def _named(self, value: Any) -> Model:
        name = forms.CharField(max_length=100).clean(value)
        row: Model | None = self.queryset.filter(name__iexact=name).first()
        if row is None:
            raise ValidationError(self.error_messages["no_such_name"], code="invalid_choice")
        return row

    def prepare_value(self, value: Any) -> Any:
        """What the text field shows if the address contains an id."""
        if not self.is_typed:
            return super().prepare_value(value)
        try:
            row = super().to_python(value)
        except ValidationError:
            return value
        # Not None: Django compares this as text to find out whether the form has changed.
        return row.name if row else ""  # type: ignore[attr-defined]


class RowFilter(django_filters.ModelChoiceFilter):
    """One of the rows of ``queryset``, by its id."""

    field_class = RowField


class RowSearchFilter(RowFilter):
    """The same on a page, where people know the rows by their names."""

    field_class = RowSearchField


_ADDRESS = forms.GenericIPAddressField(required=False)


class AddressField(forms.CharField):
    """An IP address, or a network in CIDR notation: both as text."""

    default_error_messages: ClassVar = {
        "invalid": gettext_lazy("Enter an IPv4 or IPv6 address, or a network such as 192.0.2.0/24."),
    }

    def to_python(self, value: Any) -> str:
        text = super().to_python(value) or ""
        try:
            return str(ipaddress.ip_network(text, strict=False)) if "/" in text else _ADDRESS.clean(text)
        except (ValueError, ValidationError):
            raise ValidationError(self.error_messages["invalid"], code="invalid") from None


class AddressFilter(django_filters.Filter):
    """An address, or all addresses of a network."""

    field_class = AddressField

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"widget": search_input(), "max_length": 50, **kwargs})

    def filter(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        lookup = "in_network" if "/" in value else "exact"
        return queryset.filter(**{f"{self.field_name}__{lookup}": value}) if value else queryset


def search_input(**attrs: Any) -> forms.TextInput:
    return forms.TextInput(attrs={"type": "search", **attrs})
