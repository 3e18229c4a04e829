"""Imports run downwards only, from floor to floor (ARCHITECTURE.md, "Floors")."""

import ast
from pathlib import Path

import pytest
from django.conf import settings

ROOT = Path(settings.BASE_DIR)

# The longest name that fits decides. What stands in `opsera_portal` and not here is the top floor.
FLOORS = {
    "opsera_portal.api": 0,
    "opsera_portal.pages": 0,
    "opsera_portal.admin_site": 0,
    "opsera_portal.encryption": 0,
    "opsera_portal.environment": 0,
    "opsera_portal.expressions": 0,
    "opsera_portal.ids": 0,
    "opsera_portal.json_cache": 0,
    "opsera_portal.keyset": 0,
    "opsera_portal.limits": 0,
    "opsera_portal.mail": 0,
    "opsera_portal.models": 0,
    "opsera_portal.names": 0,
    "opsera_portal.postgresql": 0,
    "opsera_portal.prepared": 0,
    "opsera_portal.public_address": 0,
    "opsera_portal.redis_cache": 0,
    "opsera_portal.redis_queue": 0,
    "opsera_portal.request_bodies": 0,
    "opsera_portal.request_context": 0,
    "opsera_portal.server_log": 0,
    "opsera_portal.task_queue": 0,
    "opsera_portal.tls": 0,
    "opsera_portal.uuid7": 0,
    "auditlog": 1,
    "accounts": 2,
    "pipelines": 3,
    "tokens": 3,
    "opsera_portal": 4,
}


def place_of(module):
    """The entry of ``FLOORS`` for a module; ``None`` for what is not ours."""
    parts = module.split(".")
    return next((name for n in range(len(parts), 0, -1) if (name := ".".join(parts[:n])) in FLOORS), None)


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_for_types_only(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def imports_of(source, package):
    """Every module that the source imports when it runs, also inside of functions."""
    found = set()
    waiting = [ast.parse(source)]
    while waiting:
        node = waiting.pop()
        if is_for_types_only(node):
            waiting += node.orelse
            continue
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            # `from opsera_portal import keyset` imports a module, `from accounts.models import User` does not.
            found |= {f"{base}.{name.name}" for name in node.names}
    return found


def python_files():
    folders = {name.split(".")[0] for name in FLOORS}
    return [
        path
        for folder in sorted(folders)
        for path in sorted((ROOT / folder).rglob("*.py"))
        if not {"tests", "migrations"} & set(path.relative_to(ROOT).parts)
    ]


def is_downwards(importer, imported):
    if importer == imported:
        return True
    return FLOORS[imported] < FLOORS[importer] or FLOORS[imported] == FLOORS[importer] == 0


def wrong_imports(path):
    module = module_of(path)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for imported in sorted(imports_of(path.read_text(), package)):
        place = place_of(imported)
        if place is not None and not is_downwards(place_of(module), place):
            yield f"{module} (floor {FLOORS[place_of(module)]}) imports {imported} (floor {FLOORS[place]})"


def test_the_files_of_every_place_are_found():
    assert {place_of(module_of(path)) for path in python_files()} == set(FLOORS)


def test_every_app_of_ours_has_its_floor():
    apps = {path.parent.name for path in ROOT.glob("*/apps.py")}

    assert apps == {name.split(".")[0] for name in FLOORS}


@pytest.mark.parametrize("path", python_files(), ids=module_of)
def test_imports_run_downwards_only(path):
    assert list(wrong_imports(path)) == []


@pytest.mark.parametrize(
    ("importer", "imported", "is_allowed"),
    [
        ("tokens", "accounts", True),
        ("tokens", "tokens", True),
        ("tokens", "pipelines", False),
        ("pipelines", "tokens", False),
        ("accounts", "auditlog", True),
        ("auditlog", "accounts", False),
        ("auditlog", "opsera_portal.api", True),
        ("opsera_portal.api", "auditlog", False),
        ("opsera_portal.pages", "opsera_portal.api", True),
        ("opsera_portal.keyset", "opsera_portal", False),
        ("opsera_portal", "tokens", True),
    ],
)
def test_the_floors_are_those_of_the_design(importer, imported, is_allowed):
    assert is_downwards(importer, imported) is is_allowed


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import tokens.models", {"tokens.models"}),
        ("from tokens import models", {"tokens.models"}),
        ("from tokens.models import Token as T", {"tokens.models.Token"}),
        ("from . import jwt", {"accounts.api.jwt"}),
        ("from ..models import User", {"accounts.models.User"}),
        ("def f():\n    import tokens", {"tokens"}),
        ("if TYPE_CHECKING:\n    import tokens\nelse:\n    import pipelines", {"pipelines"}),
        ("try:\n    import tokens\nexcept ImportError:\n    pass", {"tokens"}),
    ],
)
def test_imports_are_found_however_they_are_written(source, found):
    assert imports_of(source, "accounts.api") == found
