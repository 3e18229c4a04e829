"""Pictures of the six pages that tell the portal's story, and how they are compared with the accepted ones.

Pictures from two machines are never the same. So that they are alike:

- an organization of its own, whose data don't depend on the day, the hour or on other tests;
- fonts from this repository, drawn without hints, whose widths are the same everywhere;
- fixed text instead of moments, ids, addresses and tokens;
- a comparison of what is left at an eighth of the size, where a letter that is drawn differently changes nothing, but a
  missing button, another color or a moved column does.
"""

import base64
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils import timezone

from accounts.models import Organization, User
from accounts.roles import SiteRole
from auditlog import counting
from auditlog.models import TokenUse
from auditlog.tests.entries import use
from opsera_portal.tests.browser import Chromium
from opsera_portal.tests.portal import PASSWORD, Portal
from pipelines.models import Pipeline, Step
from pipelines.services import start_run
from tokens.models import Token
from tokens.names import name_key

ACCEPTED = Path(__file__).parent / "data" / "pictures"
PERSON = "pia@pictures.example"
WIDTH, HEIGHT = 1280, 800
# Further down, a long table looks the same.
MOST_PIXELS_HIGH = 1200
CELL = 8
# A cell is the average of 8 × 8 pixels. It differs if a color channel differs by more than this, of 255, wherever the
# cell may have drifted: a control that is a pixel higher moves everything below it.
LARGEST_DIFFERENCE = 16
DRIFTS = sorted(
    ((right, down) for right in (-2, 0, 2) for down in range(-3, 4)), key=lambda drift: abs(drift[0]) + abs(drift[1])
)
# The share of cells that may differ.
TOLERANCE = 0.002


# Data


@dataclass(frozen=True)
class PictureToken:
    """Days from the beginning of this day; ``uses``: a number for each of the last days, repeated."""

    name: str
    scope: str
    created: int
    expires: float
    uses: tuple[int, ...] = ()
    revoked: int | None = None


TOKENS = (
    PictureToken("Release", "pipeline", 40, 50.5, (12, 9, 14, 3, 0, 7, 18)),
    PictureToken("Report", "api-readonly", 25, 3.5, (4, 4, 2, 0, 1)),
    PictureToken("Old laptop", "api", 50, -5.2, (2,)),
    PictureToken("Lost phone", "pipeline-readonly", 20, 40.5, (), revoked=8),
)


def create() -> None:
    """Creates the organization with its data. Runs in the environment of the portal."""
    today = timezone.now().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    organization = Organization.objects.create(name="Picture Organization", slug="pictures")
    person = User.objects.create_user(
        PERSON, PASSWORD, name="Pia Ekholm", site_role=SiteRole.USER, organization=organization
    )
    tokens = [token_of(described, person, today, number) for number, described in enumerate(TOKENS, start=1)]
    Token.objects.bulk_create(tokens)
    uses = [one for token, described in zip(tokens, TOKENS, strict=True) for one in uses_of(token, described, today)]
    TokenUse.objects.bulk_create(sorted(uses, key=lambda one: one.at))
    pipeline = Pipeline.objects.create(
        organization=organization, owner=person, name="Release", description="Waits for an approval.", tags=["release"]
    )
    approval = {"kind": Step.Kind.APPROVAL, "instructions": "Look at the build, then decide."}
    for position, name in enumerate(("Release manager says go", "Support team is ready"), start=1):
        Step.objects.create(pipeline=pipeline, position=position, name=name, **approval)
    start_run(actor=person, pipeline=pipeline)
    wait_until_counted(TokenUse.objects.latest("pk").pk)


def wait_until_counted(last_id: int) -> None:
    """Counts the uses, together with the worker. A chart finds those that wait by their times, and doesn't expect that
    entries of earlier days have just been added (`auditlog/usage.py`).
    """
    deadline = time.monotonic() + 60
    while counting.counted_until() < last_id:
        assert time.monotonic() < deadline, "The uses were not counted."
        for _ in counting.count_due():
            pass
        time.sleep(0.05)


def token_of(described: PictureToken, person: User, today: datetime, number: int) -> Token:
    has_ended = described.revoked is not None or described.expires < 0
    created_at = today - timedelta(days=described.created)
    last = next((day for day in range(1, 30) if described.uses and number_of_uses(described, day)), None)
    return Token(
        id=uuid.UUID(int=number, version=4),
        owner=person,
        organization=person.organization,
        name=described.name,
        live_name_key=None if has_ended else name_key(described.name),
        scope=described.scope,
        created_at=created_at,
        expires_at=today + timedelta(days=described.expires),
        revealed_at=created_at + timedelta(seconds=3),
        revoked_at=None if described.revoked is None else today - timedelta(days=described.revoked),
        revoked_by=None if described.revoked is None else person,
        revoke_reason="" if described.revoked is None else "Left it on the train",
        last_used_at=None if last is None else noon(today, last),
        last_used_ip=None if last is None else "198.51.100.4",
    )


def uses_of(token: Token, described: PictureToken, today: datetime) -> list[TokenUse]:
    """One day has refused uses. Today has none, because they would depend on the hour."""
    found = []
    for day in range(1, 30):
        for number in range(number_of_uses(described, day)):
            at = noon(today, day) - timedelta(minutes=number)
            answer: dict[str, Any] = {}
            if day == 6:
                answer = {"status": 403, "outcome": "refused", "reason": "insufficient_scope"}
            if at >= token.expires_at:
                answer = {"status": 401, "outcome": "refused", "reason": "expired"}
            found.append(
                use(
                    token.organization,
                    at=at,
                    token_id=token.pk,
                    token_name=token.name,
                    scope=token.scope,
                    owner_id=token.owner_id,
                    owner_email=PERSON,
                    target="/api/v1/pipelines",
                    ip="198.51.100.4",
                    **answer,
                )
            )
    return found


def number_of_uses(described: PictureToken, day: int) -> int:
    return described.uses[day % len(described.uses)] if described.uses else 0


def noon(today: datetime, days_ago: int) -> datetime:
    return today - timedelta(days=days_ago) + timedelta(hours=12)


def create_in(portal: Portal) -> None:
    subprocess.run(
        [sys.executable, "manage.py", "shell", "--no-imports", "-c", f"from {__name__} import create; create()"],
        cwd=settings.BASE_DIR,
        env=portal.environment,
        check=True,
    )


# Pages


def open_overview(page: Any) -> None:
    page.goto("/")


def open_tokens(page: Any) -> None:
    page.goto("/profile/tokens/")


def open_token(page: Any) -> None:
    open_tokens(page)
    page.get_by_role("link", name="Release", exact=True).click()
    page.wait_for_load_state()


def open_log(page: Any) -> None:
    page.goto("/profile/authentication-log/")


def open_run(page: Any) -> None:
    page.goto("/pipelines/")
    page.locator("#pipelines tbody a").first.click()
    page.locator("#runs tbody a").first.click()
    page.locator("#approve-gate").wait_for()


def open_reveal(page: Any) -> None:
    """Last, because it creates a token."""
    open_tokens(page)
    page.locator("#id_name").fill("nightly build")
    page.locator("input[name=scopes][value=pipeline]").check()
    page.locator("#create-token").click()
    page.wait_for_url("**/reveal/")


STORY: dict[str, Callable[[Any], None]] = {
    "overview": open_overview,
    "tokens": open_tokens,
    "token": open_token,
    "log": open_log,
    "run": open_run,
    "reveal": open_reveal,
}

STYLE = """
@font-face { font-family: "Picture Sans"; src: url("data:font/woff2;base64,%s"); font-weight: 1 1000; }
@font-face { font-family: "Picture Mono"; src: url("data:font/woff2;base64,%s"); font-weight: 1 1000; }
:root { --sans: "Picture Sans"; --mono: "Picture Mono"; }
* { text-rendering: geometricPrecision !important; font-synthesis: none !important; caret-color: transparent !important;
  animation: none !important; transition: none !important; }
input[type="checkbox"], input[type="radio"] { appearance: none !important; border: 2px solid gray !important;
  width: 13px !important; height: 13px !important; }
"""

# Each replacement has the same length on every day.
FREEZE = r"""
() => {
  const replaced = [
    [/eyJ[\w-]+\.[\w-]+\.[\w-]+/g, "eyJ" + ".".repeat(600)],
    [/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, "00000000-0000-4000-8000-000000000000"],
    [/(localhost|127\.0\.0\.1):\d+/g, "localhost:8000"],
    [/\b\d{1,2} (January|February|March|April|May|June|July|August|September|October|November|December)( \d{4})?/g,
      "1 May 2026"],
    [/\b\d{1,2} (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\b/g, "1 May"],
    [/\b\d{4}-\d\d-\d\d\b/g, "2026-05-01"],
    [/\b\d\d:\d\d(:\d\d)?\b/g, "00:00"],
    [/\b\d+ (minute|hour|day|week|month)s? ago\b/g, "some time ago"],
    [/\bin \d+ (hour|day)s?\b/g, "in 3 days"],
  ];
  for (const time of document.querySelectorAll("time")) time.textContent = "some time ago";
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode;
    for (const [pattern, instead] of replaced) text.data = text.data.replace(pattern, instead);
  }
  document.activeElement?.blur();
  return document.fonts.ready.then(() => true);
}
"""


def style() -> str:
    fonts = [base64.b64encode((ACCEPTED / f"DejaVuSans{kind}.woff2").read_bytes()).decode() for kind in ("", "Mono")]
    return STYLE % tuple(fonts)


@contextmanager
def open_page(chromium: Chromium, portal: Portal) -> Iterator[Any]:
    """A page in which the person of the pictures is signed in, and that looks the same on every machine."""
    look = {
        "viewport": {"width": WIDTH, "height": HEIGHT},
        "device_scale_factor": 1,
        "color_scheme": "light",
        "locale": "en-US",
        "timezone_id": "UTC",
        # For the fonts and the style above.
        "bypass_csp": True,
    }
    with chromium.signed_in(portal, PERSON, **look) as context:
        page = context.new_page()
        page.set_default_timeout(15_000)
        # On the first page, a script sends the time zone.
        page.goto("/profile/")
        yield page


def take(chromium: Chromium, portal: Portal, names: Iterable[str] = ()) -> dict[str, bytes]:
    """A PNG picture of each of these pages, or of all, from the top."""
    taken = {}
    with open_page(chromium, portal) as page:
        for name in names or STORY:
            open_frozen(page, name)
            taken[name] = picture_of(page)
    return taken


def open_frozen(page: Any, name: str) -> None:
    STORY[name](page)
    page.add_style_tag(content=style())
    page.evaluate(FREEZE)


def picture_of(page: Any) -> bytes:
    height = min(page.evaluate("document.documentElement.scrollHeight"), MOST_PIXELS_HIGH)
    # Whole cells, so that halving does not stretch the picture.
    clip = {"x": 0, "y": 0, "width": WIDTH, "height": height - height % CELL}
    return bytes(page.screenshot(full_page=True, clip=clip, caret="hide", animations="disabled"))


# Comparison, in the browser, so that no library for pictures is necessary

SCALING = """
  const load = (type, data) => new Promise((done, failed) => {
    const image = new Image();
    image.onload = () => done(image);
    image.onerror = failed;
    image.src = `data:image/${type};base64,${data}`;
  });
  const scaled = (image, width, height) => {
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.imageSmoothingQuality = "high";
    context.drawImage(image, 0, 0, width, height);
    return canvas;
  };
  const halved = (image, times) => {
    for (let time = 0; time < times; time += 1) {
      image = scaled(image, Math.round(image.width / 2), Math.max(1, Math.round(image.height / 2)));
    }
    return image;
  };
"""

SMALL = """
async ([data]) => {
  %s
  const small = halved(await load("png", data), 1);
  const blob = await small.convertToBlob({ type: "image/webp", quality: 0.8 });
  const bytes = new Uint8Array(await blob.arrayBuffer());
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}
"""

COMPARE = """
async ([accepted, taken, largest, drifts]) => {
  %s
  const first = halved(await load("webp", accepted), 2), picture = await load("png", taken);
  const moved = (right, down) => {
    const canvas = new OffscreenCanvas(picture.width, picture.height);
    canvas.getContext("2d").drawImage(picture, right, down);
    return halved(canvas, 3);
  };
  const same = halved(picture, 3);
  const height = Math.min(first.height, same.height), { width } = same;
  // A page that is a pixel higher can have one more row of cells.
  const missing = Math.max(0, Math.abs(first.height - same.height) - 1) * width;
  const cells = (image) => image.getContext("2d").getImageData(0, 0, width, height).data;
  const before = cells(first), differences = new Uint8Array(width * height).fill(255);
  for (const [right, down] of drifts) {
    // Further drifts can't add a difference.
    if (differences.every((by) => by <= largest)) break;
    const after = cells(moved(right, down));
    for (let cell = 0; cell < differences.length; cell += 1) {
      let by = 0;
      for (let at = cell * 4; at < cell * 4 + 4; at += 1) by = Math.max(by, Math.abs(before[at] - after[at]));
      differences[cell] = Math.min(differences[cell], by);
    }
  }
  return (differences.filter((by) => by > largest).length + missing) / (differences.length + missing);
}
"""


def encoded(picture: bytes) -> str:
    return base64.b64encode(picture).decode()


def small(page: Any, taken: bytes) -> bytes:
    """The picture at half the size, as WebP."""
    return base64.b64decode(page.evaluate(SMALL % SCALING, [encoded(taken)]))


def difference(page: Any, accepted: bytes, taken: bytes) -> float:
    """The share of cells that differ. Rows that only one of the pictures has count as different."""
    return float(page.evaluate(COMPARE % SCALING, [encoded(accepted), encoded(taken), LARGEST_DIFFERENCE, DRIFTS]))


def accepted_path(name: str) -> Path:
    return ACCEPTED / f"{name}.webp"
