"""Documents, docstrings, comments and template comments name only things that exist.

The tests read files as text and neither import nor parse code. So all of them take half a second.
"""

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import get_commands

ROOT = Path(settings.BASE_DIR)
APPS = "accounts|auditlog|benchmarks|core|opsera_portal|pipelines|tokens"
FOLDERS = f"{APPS}|deploy|docs|static|templates"
NOT_OURS = re.compile(r"(^|/)(migrations|data)/|package-lock\.json$|^requirements")
COMMENTS = {
    ".py": re.compile(r'"""(?:.*?)"""|#[^\n]*', re.DOTALL),
    ".html": re.compile(r"{% comment %}.*?{% endcomment %}|{#[^\n]*?#}", re.DOTALL),
    ".txt": re.compile(r"{% comment %}.*?{% endcomment %}|{#[^\n]*?#}", re.DOTALL),
}

FILE = re.compile(
    rf"(?<![\w./:@<-])((?:{FOLDERS})/[\w./-]*?\.(?:py|md|html|txt|css|js|conf|toml|sh)|\w+\.py)\b(?!\.\w|/)"
)
FOLDER = re.compile(rf"`((?:{FOLDERS})/[\w/-]*)`")
MODULE = re.compile(rf"(?<![\w./:@\"'-])((?:{APPS})(?:\.\w+)+)(?![\w(/@-])")
NAME = re.compile(r"`([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)(?:\(\))?`")
MAKE = re.compile(r"(?:`|\$ )make ([a-z][a-z-]*)")
TEST = re.compile(r"::(test_\w+)")
COMMAND = re.compile(r"manage\.py ([a-z_]+)")
WORD = re.compile(r"[A-Za-z_]\w*")

# Names of other software, and examples.
ELSEWHERE = {
    "ATOMIC_REQUESTS",
    "default_pool_size",
    "noun.past_verb",
    "pg_locks",
    "test_expired_token_is_refused",
    "start_portal",
    "stop_portal",
    "_and_more",
    "_at",
    "_auto_",
    "CI_DEBUG_TRACE",
    "pull_request_target",
    "GITHUB_TOKEN",
    "OVERLAP_HOURS",
    "SECRETS_TOKEN",
}
EXAMPLES_OF_FILES = {"accounts/new.py", "accounts/tests/test_new.py", "benchmarks/new.py", "platform.py"}

pytestmark = pytest.mark.once


@cache
def files():
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True)
    names = listed.stdout.decode().splitlines()
    return [name for name in names if (ROOT / name).is_file()]


@cache
def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8", errors="replace")


@cache
def prose():
    """The text that people read, by file: whole documents, and the comments of everything else."""
    found = {}
    for name in files():
        suffix = Path(name).suffix
        if NOT_OURS.search(name) or name == Path(__file__).relative_to(ROOT).as_posix():
            continue
        if suffix == ".md":
            found[name] = text_of(name)
        elif suffix in COMMENTS:
            found[name] = "\n".join(COMMENTS[suffix].findall(text_of(name)))
    return found


@cache
def words_of_code():
    """Every name in the code, in templates and in other files, without their comments."""
    words = set()
    for name in files():
        path = Path(name)
        words.add(path.stem)
        if path.suffix not in {".md", ".json", ".png", ".webp", ".gz"} and not NOT_OURS.search(name):
            code = COMMENTS[path.suffix].sub("", text_of(name)) if path.suffix in COMMENTS else text_of(name)
            words.update(WORD.findall(code))
    return words


def cited(pattern):
    """(file, name) of each citation."""
    return {(name, match[1]) for name, text in prose().items() for match in pattern.finditer(text)}


def missing(pattern, exists, *, at_least):
    found = cited(pattern)
    assert len(found) > at_least
    return sorted(f"{name}: {what}" for name, what in found if not exists(what))


def is_file(path):
    return path in files() or path in EXAMPLES_OF_FILES or any(name.endswith(f"/{path}") for name in files())


def is_in_a_module(dotted):
    """`core.badges.Badge`: the module exists, and the rest are words of its file."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        path = "/".join(parts[:length])
        module = next((m for m in (f"{path}.py", f"{path}/__init__.py") if (ROOT / m).is_file()), None)
        if module:
            return set(parts[length:]) <= set(WORD.findall(text_of(module)))
    return False


def is_in_the_code(name):
    """Checks only names with an underscore or a dot. Other names are often ordinary words."""
    if name in ELSEWHERE or ("_" not in name and "." not in name):
        return True
    return all(word in words_of_code() for word in name.removesuffix(".md").split("."))


def test_cited_files_exist():
    assert missing(FILE, is_file, at_least=200) == []


def test_cited_folders_exist():
    assert missing(FOLDER, lambda path: (ROOT / path).exists(), at_least=20) == []


def test_cited_modules_have_the_cited_names():
    assert missing(MODULE, lambda name: name.endswith(".md") or is_in_a_module(name), at_least=40) == []


def test_names_in_backticks_appear_in_the_code():
    assert missing(NAME, is_in_the_code, at_least=500) == []


def test_cited_tests_exist():
    assert missing(TEST, lambda name: name in words_of_code(), at_least=200) == []


def test_cited_make_targets_exist():
    targets = set(re.findall(r"^([a-z][\w-]*):", text_of("Makefile"), re.MULTILINE))

    assert missing(MAKE, targets.__contains__, at_least=20) == []


def test_cited_management_commands_exist():
    commands = {*get_commands(), "help"}

    assert missing(COMMAND, commands.__contains__, at_least=20) == []
