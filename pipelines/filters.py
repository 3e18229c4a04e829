import django_filters
from django import forms
from django.db.models import Q, QuerySet

from pipelines.models import Pipeline


class PipelineFilter(django_filters.FilterSet):
    q = django_filters.CharFilter(
        label="Search", method="filter_text", max_length=100, widget=forms.TextInput(attrs={"type": "search"})
    )

    def filter_text(self, queryset: QuerySet[Pipeline], name: str, value: str) -> QuerySet[Pipeline]:
        return queryset.filter(Q(name__icontains=value) | Q(description__icontains=value))
