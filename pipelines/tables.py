from datetime import timedelta
from typing import Any, ClassVar

from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, gettext_lazy, pgettext, pgettext_lazy
from django_tables2 import Column

from core.pages.addresses import address_of
from core.pages.line_breaks import breakable
from core.pages.tables import BadgeColumn, BreakableColumn, MomentColumn, PersonColumn, PortalTable
from core.pages.templatetags.portal import took
from core.text import Text
from pipelines.models import Pipeline, Run
from pipelines.run_states import LOCKED, PIPELINE_BADGES, badge_of_run, pipeline_state

NUMERIC = {"td": {"class": "numeric"}, "th": {"class": "numeric"}}


class PipelineTable(PortalTable):
    only_wide = ("tags", "run_count")
    first_line = ("state",)
    second_line: ClassVar[dict[str, Text]] = {"last_run": gettext_lazy("Last run"), "last_run_at": ""}

    name = Column(verbose_name=gettext_lazy("Name"))
    tags = Column(verbose_name=gettext_lazy("Tags"), orderable=False, default="–")
    owner = PersonColumn("owner", verbose_name=gettext_lazy("Owner"))
    # Not through the row itself, which would cost a query.
    state = BadgeColumn(accessor="pk", verbose_name=gettext_lazy("State"), orderable=False)
    run_count = Column(verbose_name=gettext_lazy("Runs"), attrs=NUMERIC)
    last_run = BadgeColumn(empty_values=(), orderable=False, verbose_name=gettext_lazy("Last run"))
    last_run_at = MomentColumn(verbose_name=pgettext_lazy("time", "Requested"), default=pgettext_lazy("run", "Never"))

    class Meta:
        attrs = {"id": "pipelines", "aria-label": gettext_lazy("Pipelines")}
        order_by = ("name",)
        empty_text = gettext_lazy("No pipelines found.")

    def __init__(self, *args: Any, knows_people: bool, **kwargs: Any) -> None:
        """``knows_people``: whether the reader can see the organization's people, and so their names."""
        self.knows_people = knows_people
        super().__init__(*args, **kwargs)

    def row_attributes(self, record: Pipeline) -> dict[str, Any]:
        return {"data-pipeline": record.pk}

    def render_owner(self, value: Any, column: PersonColumn) -> SafeString:
        return column.render(value) if self.knows_people else breakable(value.email)

    def render_name(self, record: Pipeline) -> SafeString:
        url = address_of("pipelines:pipeline_detail", record.pk)
        return format_html('<a href="{}">{}</a>', url, record.name)

    def render_tags(self, value: list[str]) -> str:
        return ", ".join(value) or "–"

    def render_state(self, record: Any, column: BadgeColumn) -> SafeString:
        state = pipeline_state({record.state_of_current_run} - {None})
        looks = [PIPELINE_BADGES[state], *([LOCKED] if record.is_locked else [])]
        return format_html_join(" ", "{}", ((column.render(look),) for look in looks))

    def render_last_run(self, record: Any, column: BadgeColumn) -> Any:
        if record.last_run_state is None:
            return "–"
        return column.render(badge_of_run(record.last_run_state, record.last_run_outcome))


class AllRunsTable(PortalTable):
    """Runs of several pipelines. The page of a run needs its pipeline, so runs of deleted ones have no link."""

    first_line = ("number", "badge")
    second_line: ClassVar[dict[str, Text]] = {"started_by_email": "", "requested_at": ""}

    pipeline_name = Column(verbose_name=gettext_lazy("Pipeline"))
    number = Column(verbose_name=pgettext_lazy("noun", "Run"), attrs=NUMERIC)
    badge = BadgeColumn(verbose_name=gettext_lazy("State"))
    started_by_email = BreakableColumn(verbose_name=gettext_lazy("Requested by"))
    requested_at = MomentColumn(verbose_name=pgettext_lazy("time", "Requested"))
    duration = Column(verbose_name=pgettext_lazy("duration", "Took"), attrs=NUMERIC, default="–")

    class Meta:
        attrs = {"id": "all-runs", "aria-label": gettext_lazy("Runs")}
        orderable = False
        empty_text = gettext_lazy("No run matches. Remove a filter to see more runs.")

    def row_attributes(self, record: Run) -> dict[str, Any]:
        return {"data-run": record.number, "data-pipeline": record.pipeline_public_id}

    def render_pipeline_name(self, record: Run) -> SafeString:
        if record.pipeline_id is None:
            deleted = pgettext("pipeline", "(deleted)")
            return format_html('{} <span class="hint">{}</span>', record.pipeline_name, deleted)
        url = address_of("pipelines:pipeline_detail", record.pipeline_id)
        return format_html('<a href="{}">{}</a>', url, record.current_pipeline_name)

    def render_number(self, record: Run) -> SafeString | str:
        return _run_link(record) if record.pipeline_id else _run_words(record)

    def render_duration(self, value: timedelta) -> str:
        return took(value)


class RunTable(PortalTable):
    only_wide = ("token_name",)
    first_line = ("badge",)
    second_line: ClassVar[dict[str, Text]] = {"started_by_email": "", "requested_at": ""}

    number = Column(verbose_name=pgettext_lazy("noun", "Run"), attrs=NUMERIC)
    badge = BadgeColumn(verbose_name=gettext_lazy("State"), orderable=False)
    started_by_email = BreakableColumn(verbose_name=gettext_lazy("Requested by"), orderable=False)
    token_name = Column(verbose_name=gettext_lazy("With token"), default="–", orderable=False)
    requested_at = MomentColumn(verbose_name=pgettext_lazy("time", "Requested"), orderable=False)
    finished_at = MomentColumn(verbose_name=pgettext_lazy("time", "Finished"), orderable=False)

    class Meta:
        attrs = {"id": "runs", "aria-label": gettext_lazy("Runs")}
        orderable = False
        empty_text = gettext_lazy("Not run yet.")

    def row_attributes(self, record: Run) -> dict[str, Any]:
        return {"data-run": record.number}

    def render_number(self, record: Run) -> SafeString:
        return _run_link(record)


def _run_link(run: Run) -> SafeString:
    url = reverse("pipelines:run_detail", args=[run.pipeline_id, run.number])
    return format_html('<a href="{}">{}</a>', url, _run_words(run))


def _run_words(run: Run) -> str:
    return gettext("Run %(number)s") % {"number": run.number}
