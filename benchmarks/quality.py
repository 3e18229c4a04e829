"""Measures how people meet the portal, and writes the figures into docs/quality.md.

    python -m benchmarks.quality [PART ...]

Run it with `make quality`. It starts a portal with the demo, with production settings, and measures:

- ``pages``: every page in each of its states (opsera_portal/tests/page_states.py): what axe finds in both themes at
  four widths, bytes and requests on the wire without and with a cache, and layout shift;
- ``lighthouse``: the scores of five pages;
- ``many``: the same as ``pages``, for pages with many rows and with names that are hard to show (`demo --many`);
- ``languages``: the share of texts that are translated.

Ends with an error if a goal is missed. With the names of parts, it measures only these and leaves the document alone.
Only Lighthouse's performance depends on the speed of the machine: a page counts with the best of several measurements.
"""

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polib

from benchmarks import document, report

if TYPE_CHECKING:
    from opsera_portal.tests.browser import Chromium
    from opsera_portal.tests.page_states import Links, State
    from opsera_portal.tests.portal import Portal

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "quality.md"
LIGHTHOUSE = ROOT / "benchmarks" / "lighthouse" / "node_modules" / ".bin" / "lighthouse"

WIDTHS = (360, 768, 1280, 1920)
PHONE, DESKTOP = 360, 1280
HEIGHT = 800
# Conformance with WCAG 2.2 level AA, and what axe calls good practice. `runOnly` also switches on rules that axe leaves
# out by default, such as the size of targets.
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# `preload` would download the style sheets again, for rules that are not among these.
ALL_RULES = {"runOnly": {"type": "tag", "values": TAGS}, "resultTypes": ["violations"], "preload": False}
# The dark theme changes only colors.
COLOR_RULES = ALL_RULES | {"runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}}
THEMES = {"light": ALL_RULES, "dark": COLOR_RULES}
# Rows of a table are alike, and axe needs several milliseconds for each. But where lines break, and so which targets
# are close together, depends on the texts of a row.
FURTHER_ROWS = "tbody tr:nth-child(n+7)"
FIRST_ROWS = {"exclude": [[FURTHER_ROWS]]}
SIZE_OF_TARGETS = ALL_RULES | {"runOnly": {"type": "rule", "values": ["target-size"]}}

# The shift is what Web Vitals call good (https://web.dev/articles/cls).
MOST_KIB, MOST_REQUESTS, MOST_SHIFT = 60.0, 8, 0.1
LEAST_PERFORMANCE = 100
LIGHTHOUSE_CATEGORIES = ("performance", "accessibility", "best-practices")
LIGHTHOUSE_RUNS = 3

# Adds up all shifts that are not the answer to a click or a key, from the first paint on.
COUNT_SHIFTS = """
  window.layoutShift = 0;
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.layoutShift += entry.value;
  }).observe({ type: "layout-shift", buffered: true });
"""
# Two frames after the scripts, everything has been laid out.
SETTLED = """() => document.fonts.ready.then(() => new Promise(
  (done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 50)))))"""


@dataclass(frozen=True)
class Goal:
    label: str
    goal: str
    measured: str
    is_reached: bool

    def row(self) -> list[str]:
        return [self.label, self.goal, self.measured, "yes" if self.is_reached else report.MISSED]


@dataclass
class Result:
    """``tables``: a title and rows, header first."""

    goals: list[Goal] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)
    tables: list[tuple[str, list[list[str]]]] = field(default_factory=list)

    def print(self) -> None:
        report.print_list(self.facts, markdown=True)
        for title, rows in self.tables:
            report.print_table(title, rows, markdown=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="quality", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all, if none is named")
    chosen = parser.parse_args().parts
    if unknown := set(chosen) - PARTS.keys():
        parser.error(f"There is no such part: {', '.join(sorted(unknown))}")
    set_up()
    began = time.monotonic()
    with running_portal() as (portal, chromium):
        results = {part: measure(portal, chromium) for part, measure in PARTS.items() if not chosen or part in chosen}
    goals = Result(
        facts=[f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, measured in {(time.monotonic() - began) / 60:.0f} minutes"],
        tables=[("Goals", [["number", "goal", "measured", "reached"]])],
    )
    goals.tables[0][1].extend(goal.row() for result in results.values() for goal in result.goals)
    texts = {name: printed(result) for name, result in {**results, "goals": goals}.items()}
    print("\n".join(texts.values()))
    if not chosen:
        write(texts)
    if missed := [goal.label for result in results.values() for goal in result.goals if not goal.is_reached]:
        sys.exit(f"Missed: {'; '.join(missed)}")


def printed(result: Result) -> str:
    with redirect_stdout(io.StringIO()) as output:
        result.print()
    return output.getvalue()


def write(texts: dict[str, str]) -> None:
    text = DOCUMENT.read_text()
    for part, block in texts.items():
        text = document.with_block(text, part, block)
    DOCUMENT.write_text(text)


def set_up() -> None:
    """The settings of the tests are for this process. The portal itself is started with the ones for production."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "opsera_portal.settings_test"
    import django

    django.setup()


@contextmanager
def running_portal() -> Iterator[tuple["Portal", "Chromium"]]:
    from accounts.tests.openid import running_provider
    from opsera_portal.tests import portal as started
    from opsera_portal.tests.browser import Chromium

    chromium = Chromium()
    with running_provider() as provider, tempfile.TemporaryDirectory(prefix="opsera-portal-quality-") as directory:
        portal = started.start(Path(directory), **provider.variables)
        try:
            yield portal, chromium
        finally:
            chromium.stop()
            portal.stop()


# Pages


@dataclass(frozen=True)
class Wire:
    requests: int
    size: int

    @property
    def kib(self) -> float:
        return self.size / 1024


class Recorder:
    """Counts what a page gets over the network since its last navigation. Files from the cache are free."""

    def __init__(self, page: Any) -> None:
        self._devtools = page.context.new_cdp_session(page)
        self._sizes: dict[str, float] = {}
        self._cached: set[str] = set()
        for event, heard in (
            ("requestWillBeSent", self._begin),
            ("requestServedFromCache", self._from_cache),
            ("responseReceived", self._answer),
            ("loadingFinished", self._end),
        ):
            self._devtools.on(f"Network.{event}", heard)
        self._devtools.send("Network.enable")

    def use_cache(self, used: bool) -> None:
        self._devtools.send("Network.setCacheDisabled", {"cacheDisabled": not used})

    def wire(self) -> Wire:
        over_network = [size for name, size in self._sizes.items() if name not in self._cached]
        return Wire(len(over_network), int(sum(over_network)))

    def _begin(self, event: Any) -> None:
        name, url = event["requestId"], event["request"]["url"]
        if event.get("type") == "Document" and not event.get("redirectResponse"):
            self._sizes.clear()
            self._cached.clear()
        if before := event.get("redirectResponse"):
            # The redirect and its target have the same id.
            self._sizes[f"{name} {len(self._sizes)}"] = before["encodedDataLength"]
        if not url.startswith(("data:", "blob:")):
            self._sizes[name] = 0

    def _from_cache(self, event: Any) -> None:
        self._cached.add(event["requestId"])

    def _answer(self, event: Any) -> None:
        if event["response"].get("fromDiskCache"):
            self._cached.add(event["requestId"])

    def _end(self, event: Any) -> None:
        if event["requestId"] in self._sizes:
            self._sizes[event["requestId"]] = event["encodedDataLength"]


@dataclass(frozen=True)
class Page:
    label: str
    violations: tuple[str, ...]
    first: Wire
    again: Wire
    shift_on_desktop: float
    shift_on_phone: float

    @property
    def shift(self) -> float:
        return max(self.shift_on_desktop, self.shift_on_phone)

    def row(self) -> list[str]:
        return [
            self.label,
            str(len(self.violations)),
            f"{self.first.kib:.0f}",
            str(self.first.requests),
            f"{self.again.kib:.0f}",
            str(self.again.requests),
            f"{self.shift_on_desktop:.3f}",
            f"{self.shift_on_phone:.3f}",
        ]


def measure_pages(portal: "Portal", chromium: "Chromium") -> Result:
    from opsera_portal.tests import page_states

    links = page_states.prepare(chromium, portal)
    return result_of_pages(list(all_measured(page_states.STATES, portal, chromium, links)))


def measure_many(portal: "Portal", chromium: "Chromium") -> Result:
    """After all others, because it adds rows to the demo."""
    from opsera_portal.tests import page_states

    portal.add_many_rows()
    return result_of_pages(list(all_measured(page_states.CROWDED_STATES, portal, chromium, {})), kind=" with many rows")


def all_measured(states: "Sequence[State]", portal: "Portal", chromium: "Chromium", links: "Links") -> Iterator["Page"]:
    for state in states:
        page = measured(state, portal, chromium, links)
        print(f"{page.label}: {len(page.violations)} violations", file=sys.stderr)
        yield page


def measured(state: "State", portal: "Portal", chromium: "Chromium", links: "Links") -> Page:
    from opsera_portal.tests.page_states import address_of

    options = {"viewport": {"width": DESKTOP, "height": HEIGHT}, "base_url": portal.url}
    login = state.people[0]
    context = chromium.signed_in(portal, address_of(login), **without_url(options)) if login else None
    with context or chromium.new_context(**options) as context:
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.add_init_script(COUNT_SHIFTS)
        recorder = Recorder(page)
        recorder.use_cache(False)
        state.open(page, links)
        page.evaluate(SETTLED)
        first, shift_on_desktop = recorder.wire(), page.evaluate("layoutShift")
        violations = tuple(found_by_axe(page))
        page.set_viewport_size({"width": PHONE, "height": HEIGHT})
        recorder.use_cache(True)
        state.open(page, links)
        page.evaluate(SETTLED)
        return Page(state.label, violations, first, recorder.wire(), shift_on_desktop, page.evaluate("layoutShift"))


def without_url(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name != "base_url"}


def found_by_axe(page: Any) -> Iterator[str]:
    """Where and which, for each violation in each theme at each width."""
    from axe_playwright_python.sync_playwright import Axe

    page.evaluate(Axe().axe_script)
    for theme, rules in THEMES.items():
        page.emulate_media(color_scheme=theme)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": HEIGHT})
            page.evaluate("document.getAnimations().forEach((animation) => animation.finish())")
            yield from (f"{problem}, {theme}, {width} pixels" for problem in run_axe(page, rules, FIRST_ROWS))
            if theme == "light" and page.locator(FURTHER_ROWS).count():
                further = run_axe(page, SIZE_OF_TARGETS, {"include": [[FURTHER_ROWS]]})
                yield from (f"{problem}, {theme}, {width} pixels" for problem in further)
    page.emulate_media(color_scheme="light")


def run_axe(page: Any, rules: Any, parts: Any) -> Iterator[str]:
    found = page.evaluate("([parts, rules]) => axe.run(parts, rules)", [parts, rules])
    for violation in found["violations"]:
        for node in violation["nodes"]:
            yield f"{violation['id']} at {' '.join(map(str, node['target']))}"


def result_of_pages(pages: Sequence[Page], kind: str = "") -> Result:
    """``kind``: what the goals say about these pages, for example " with many rows"."""
    views = len(pages) * len(THEMES) * len(WIDTHS)
    found = [f"{page.label}: {violation}" for page in pages for violation in page.violations]
    # Django's own pages load Django's own files, and a dialog is a second page in the first one.
    ours = [
        page for page in pages if not page.label.startswith("Django admin: ") and not page.label.endswith(" dialog")
    ]
    heaviest = max(ours, key=lambda page: page.first.size)
    most_requests = max(ours, key=lambda page: page.first.requests)
    most_shift = max(pages, key=lambda page: page.shift)
    sizes = sorted(page.first.kib for page in pages)
    again = sorted(page.again.kib for page in pages)
    head = ["page", "violations", "KiB", "requests", "KiB again", "requests again", "shift 1280", "shift 360"]
    result = Result(
        goals=[
            Goal(f"violations that axe finds in {views:,} page views{kind}", "0", str(len(found)), not found),
            Goal(
                f"KiB of the heaviest page{kind} on a first visit",
                f"at most {MOST_KIB:.0f}",
                f"{heaviest.first.kib:.1f} ({heaviest.label})",
                heaviest.first.kib <= MOST_KIB,
            ),
            Goal(
                f"requests of a page{kind} on a first visit",
                f"at most {MOST_REQUESTS}",
                f"{most_requests.first.requests} ({most_requests.label})",
                most_requests.first.requests <= MOST_REQUESTS,
            ),
            Goal(
                f"layout shift of a page{kind}",
                f"at most {MOST_SHIFT}",
                f"{most_shift.shift:.3f} ({most_shift.label})",
                most_shift.shift <= MOST_SHIFT,
            ),
        ],
        facts=[
            f"{len(pages)} pages and states, {len(THEMES)} themes, {len(WIDTHS)} widths: {views:,} page views",
            f"Median: {sizes[len(sizes) // 2]:.0f} KiB on a first visit, {again[len(again) // 2]:.0f} KiB afterwards",
        ],
        tables=[("Every page", [head, *(page.row() for page in pages)])],
    )
    if found:
        print("\n".join(found), file=sys.stderr)
        by_rule = Counter(rule_of(violation) for page in pages for violation in page.violations)
        examples = {rule_of(violation): f"{page.label}: {violation}" for page in pages for violation in page.violations}
        rows = [[rule, str(number), examples[rule]] for rule, number in by_rule.most_common()]
        result.tables.insert(0, ("Violations", [["rule", "number", "example"], *rows]))
    return result


def rule_of(violation: str) -> str:
    return violation.partition(" at ")[0]


# Lighthouse


def measure_lighthouse(portal: "Portal", chromium: "Chromium") -> Result:
    """Each page as a phone with a slow connection, which Lighthouse computes from a fast visit, and as a desktop."""
    from opsera_portal.tests.page_states import address_of, go, linked

    if not LIGHTHOUSE.exists():
        return Result(facts=["Lighthouse was not measured: node is not installed."])
    with chromium.signed_in(portal, address_of("user")) as context:
        page = context.new_page()
        go(page, "/")
        token = linked(page, "/profile/tokens/", "Status dashboard")
        cookies = "; ".join(f"{cookie['name']}={cookie['value']}" for cookie in context.cookies())
    pages = {
        "Sign in": "/login/",
        "Overview": "/",
        "Access tokens": "/profile/tokens/",
        "Token": token,
        "Authentication log": "/profile/authentication-log/",
    }
    rows = [["page", "device", "performance", "accessibility", "best practices"]]
    scores: dict[str, list[int]] = {category: [] for category in LIGHTHOUSE_CATEGORIES}
    for name, path in pages.items():
        for device in ("mobile", "desktop"):
            reached = lighthouse(portal.url + path, device, "" if path == "/login/" else cookies)
            rows.append([name, device, *(str(reached[category]) for category in LIGHTHOUSE_CATEGORIES)])
            for category in LIGHTHOUSE_CATEGORIES:
                scores[category].append(reached[category])
            print(f"Lighthouse: {rows[-1]}", file=sys.stderr)
    least = {category: min(found) for category, found in scores.items()}
    return Result(
        goals=[
            Goal(
                "Lighthouse: performance, lowest of all pages",
                str(LEAST_PERFORMANCE),
                str(least["performance"]),
                least["performance"] >= LEAST_PERFORMANCE,
            ),
            *(
                Goal(f"Lighthouse: {name}, lowest of all pages", "100", str(least[category]), least[category] == 100)
                for name, category in (("accessibility", "accessibility"), ("best practices", "best-practices"))
            ),
        ],
        tables=[("Scores", rows)],
    )


def lighthouse(url: str, device: str, cookies: str) -> dict[str, int]:
    """The scores, from 0 to 100: the best of several runs, because other work on the machine only slows a page down."""
    best = dict.fromkeys(LIGHTHOUSE_CATEGORIES, 0)
    for _ in range(LIGHTHOUSE_RUNS):
        found = lighthouse_once(url, device, cookies)
        best = {category: max(best[category], found[category]) for category in LIGHTHOUSE_CATEGORIES}
        if best["performance"] >= LEAST_PERFORMANCE:
            break
    return best


def lighthouse_once(url: str, device: str, cookies: str) -> dict[str, int]:
    from opsera_portal.tests.browser import PROGRAMS

    with tempfile.TemporaryDirectory() as directory:
        # A file, because everybody on the machine can read command lines.
        headers = Path(directory) / "headers.json"
        headers.touch(mode=0o600)
        headers.write_text(json.dumps({"Cookie": cookies} if cookies else {}))
        done = subprocess.run(
            [
                *(str(LIGHTHOUSE), url, "--quiet", "--output=json", f"--extra-headers={headers}"),
                *("--no-enable-error-reporting", "--chrome-flags=--headless --no-sandbox"),
                f"--only-categories={','.join(LIGHTHOUSE_CATEGORIES)}",
                *(["--preset=desktop"] if device == "desktop" else []),
            ],
            env=os.environ | {"CHROME_PATH": str(next(filter(None, map(shutil.which, PROGRAMS))))},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    told = json.loads(done.stdout)
    if told.get("runtimeError") or told["finalDisplayedUrl"] != url:
        raise AssertionError(f"Lighthouse did not reach {url}: {told.get('runtimeError') or told['finalDisplayedUrl']}")
    for audit in told["audits"].values():
        if audit["score"] == 0 and audit["id"] in seen_by_people(told):
            print(f"Lighthouse: {url}, {device}: {audit['title']}", file=sys.stderr)
    return {category: round(told["categories"][category]["score"] * 100) for category in LIGHTHOUSE_CATEGORIES}


def seen_by_people(told: Any) -> set[str]:
    """The audits whose failure costs points in a category that does not depend on the machine."""
    categories = [told["categories"][name] for name in ("accessibility", "best-practices")]
    return {audit["id"] for category in categories for audit in category["auditRefs"] if audit["weight"]}


# Languages


def measure_languages(portal: "Portal", chromium: "Chromium") -> Result:
    return result_of_languages(sorted((ROOT / "locale").glob("*/LC_MESSAGES/django.po")))


def result_of_languages(paths: Sequence[Path]) -> Result:
    if not paths:
        return Result(facts=["There are no translations yet: the portal is in English."])
    rows, result = [["language", "texts", "translated", "share"]], Result()
    for path in paths:
        entries = [entry for entry in polib.pofile(str(path)) if not entry.obsolete]
        translated = sum(entry.translated() for entry in entries)
        share = translated / len(entries) if entries else 1
        language = path.parent.parent.name
        # Rounded down, so that 100 % means all.
        shown = f"{int(share * 1000) / 10:g} %"
        rows.append([language, f"{len(entries):,}", f"{translated:,}", shown])
        result.goals.append(Goal(f"texts translated: {language}", "100 %", shown, translated == len(entries)))
    result.tables.append(("Translated texts", rows))
    return result


PARTS: dict[str, Callable[["Portal", "Chromium"], Result]] = {
    "pages": measure_pages,
    "lighthouse": measure_lighthouse,
    "languages": measure_languages,
    "many": measure_many,
}


if __name__ == "__main__":
    main()
