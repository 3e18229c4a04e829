"""Draws bar charts as SVG. Their colors follow the light or dark theme of the reader."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, LABELS, VALUES = 760, 270, 70
BAR, GAP, HEADING = 18, 8, 30
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .title { font-weight: 600 }
  .ours { fill: #2f6fdd }
  .other { fill: #9aa4b2 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .ours { fill: #6aa5ff }
    .other { fill: #5d6673 }
  }
"""


@dataclass(frozen=True)
class Bar:
    label: str
    value: float
    is_ours: bool


def horizontal_bars(title: str, groups: Mapping[str, Sequence[Bar]]) -> str:
    """One bar below the other, with a heading for each group. All groups have the same scale."""
    most = max(bar.value for bars in groups.values() for bar in bars)
    parts, y = [], 0
    for name, bars in groups.items():
        parts.append(_text(f"{title}, {name}", x=0, y=y + HEADING - 10, kind="title"))
        y += HEADING
        for bar in bars:
            parts += _bar(bar, y, most)
            y += BAR + GAP
    content = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" role="img" aria-label="{escape(title)}">\n'
        f"<style>{STYLE}</style>\n{content}\n</svg>\n"
    )


def _bar(bar: Bar, y: int, most: float) -> list[str]:
    width = round((WIDTH - LABELS - VALUES) * bar.value / most, 1)
    kind = "ours" if bar.is_ours else "other"
    return [
        _text(bar.label, x=0, y=y + BAR - 5),
        f'<rect class="{kind}" x="{LABELS}" y="{y}" width="{width}" height="{BAR}" rx="3"/>',
        _text(f"{bar.value:,.0f}" if bar.value >= 100 else f"{bar.value:.1f}", x=LABELS + width + 6, y=y + BAR - 5),
    ]


def _text(text: str, *, x: float, y: float, kind: str = "") -> str:
    of_kind = f' class="{kind}"' if kind else ""
    return f'<text{of_kind} x="{x}" y="{y}">{escape(text)}</text>'
