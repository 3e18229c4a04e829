"""No text of the repository uses the words that our style avoids (CONTRIBUTING.md, "Plain English")."""

import re
import subprocess
from pathlib import Path

from django.conf import settings

ROOT = Path(settings.BASE_DIR)
SUFFIXES = {".py", ".md", ".html", ".txt", ".js", ".css", ".toml", ".sh", ".service", ".conf", ".example"}
NOT_OURS = re.compile(r"(^|/)(migrations|node_modules|data)/|requirements.*\.txt$|test_plain_english\.py$")

# Each avoided pattern with the words to use instead.
AVOIDED = {
    r"whoever|whomever|of whom": "people who, everyone who",
    r"doors?": "page, route, way",
    r"asked for": "requested, queued, required",
    r"anew": "again",
    r"tak(e|es|en|ing) (it |them )?(away|out)": "remove",
    r"what is beyond|what stands|stands (in|on|at|here|there)": "is, appears",
    r"tells of": "describes, reports",
    r"holds for": "applies to",
    r"is left to you": "you can still",
    r"mend(s|ed|ing)?": "fix",
    r"goes? on before|nobody goes on": "waits until",
    r"but for|made from": "except, generated from",
}
PATTERN = re.compile(rf"\b({'|'.join(AVOIDED)})\b", re.IGNORECASE)


def texts():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.suffix in SUFFIXES and path.is_file() and not NOT_OURS.search(name):
            yield name, path.read_text(encoding="utf-8", errors="replace").replace("_", " ")


def test_texts_avoid_the_words_of_the_style():
    found = [
        f"{name}:{number}: {match[0]}"
        for name, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if (match := PATTERN.search(line))
    ]

    assert found == []
