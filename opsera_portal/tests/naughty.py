"""The Big List of Naughty Strings: what breaks programs, as people type it."""

import json
from pathlib import Path

_LIST = Path(__file__).parent / "data" / "blns.json"

NAUGHTY_STRINGS: list[str] = sorted(set(json.loads(_LIST.read_text())))
