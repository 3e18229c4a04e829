"""Apps import only from lower floors (docs/architecture.md#floors)."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from django.conf import settings

from core.api.scopes import BY_ID
from opsera_portal.tests.files import python_files_below

ROOT = Path(settings.BASE_DIR)

# Apps on the same floor do not import each other.
FLOORS = {"core": 0, "auditlog": 1, "accounts": 2, "pipelines": 3, "tokens": 3, "gateway": 3, "opsera_portal": 4}

APPS = "|".join(FLOORS)
# The URL name of a page or an API route, or of a page of Django admin.
URL_NAME = re.compile(rf"""["'](({APPS}):[a-z_]+|admin:({APPS})_[a-z_]+)""")


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(source, package):
    """Every imported module, also if it is only for annotations, with the importing functions."""
    found = {}
    waiting = [(ast.parse(source), "")]
    while waiting:
        node, function = waiting.pop()
        inside = getattr(node, "name", "") if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else function
        waiting += [(child, inside) for child in ast.iter_child_nodes(node)]
        for name in imported_names(node, package):
            found.setdefault(name, set()).add(function)
    return found


def imported_names(node, package):
    if isinstance(node, ast.Import):
        return {name.name for name in node.names}
    if isinstance(node, ast.ImportFrom):
        above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
        base = ".".join([*above, *filter(None, [node.module])])
        return {f"{base}.{name.name}" for name in node.names}
    return set()


def python_files():
    return [
        path
        for path in python_files_below(*(ROOT / app for app in FLOORS))
        if not {"tests", "migrations"} & set(path.relative_to(ROOT).parts)
    ]


def app_of(module):
    app = module.split(".")[0]
    return app if app in FLOORS else None


def is_downwards(importer, imported):
    return importer == imported or FLOORS[imported] < FLOORS[importer]


@cache
def imports_of_file(path):
    module = module_of(path)
    return imports_of(path.read_text(), module if path.name == "__init__.py" else module.rpartition(".")[0])


def url_names(source):
    """Every URL name of the source, each with its app. The id of a scope can look like one."""
    return [(name, app or admin_app) for name, app, admin_app in URL_NAME.findall(source) if name not in BY_ID]


def test_every_app_has_a_floor():
    assert {path.parent.name for path in ROOT.glob("*/apps.py")} == set(FLOORS)
    assert {app_of(module_of(path)) for path in python_files()} == set(FLOORS)


def test_imports_run_downwards_only():
    upwards = [
        f"{module_of(path)} imports {imported}"
        for path in python_files()
        for imported in imports_of_file(path)
        if app_of(imported) and not is_downwards(app_of(module_of(path)), app_of(imported))
    ]

    assert upwards == []


def test_no_function_contains_an_import():
    inside = [
        f"{module_of(path)}.{function} imports {imported}"
        for path in python_files()
        for imported, functions in imports_of_file(path).items()
        for function in functions
        if function
    ]

    assert inside == []


def test_no_code_looks_up_models_by_name():
    assert [module_of(path) for path in python_files() if "get_model(" in path.read_text()] == []


def test_no_app_names_a_page_of_a_higher_floor():
    named = [
        f"{module_of(path)} names {name}"
        for path in python_files()
        for name, app in url_names(path.read_text())
        if not is_downwards(app_of(module_of(path)), app)
    ]

    assert named == []


@pytest.mark.parametrize(
    ("importer", "imported", "is_allowed"),
    [
        ("tokens", "accounts", True),
        ("tokens", "tokens", True),
        ("tokens", "pipelines", False),
        ("pipelines", "tokens", False),
        ("accounts", "auditlog", True),
        ("auditlog", "accounts", False),
        ("auditlog", "core", True),
        ("core", "auditlog", False),
        ("core", "opsera_portal", False),
        ("opsera_portal", "tokens", True),
    ],
)
def test_floors_are_those_of_the_design(importer, imported, is_allowed):
    assert is_downwards(importer, imported) is is_allowed


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import tokens.models", {"tokens.models": {""}}),
        ("from tokens import models", {"tokens.models": {""}}),
        ("from tokens.models import Token as T", {"tokens.models.Token": {""}}),
        ("from . import jwt", {"accounts.api.jwt": {""}}),
        ("from ..models import User", {"accounts.models.User": {""}}),
        ("def f():\n    import tokens", {"tokens": {"f"}}),
        ("class C:\n    def f(self):\n        import tokens", {"tokens": {"f"}}),
        ("if TYPE_CHECKING:\n    import tokens\nelse:\n    import pipelines", {"tokens": {""}, "pipelines": {""}}),
        ("try:\n    import tokens\nexcept ImportError:\n    pass", {"tokens": {""}}),
    ],
)
def test_imports_of_every_form_are_found(source, found):
    assert imports_of(source, "accounts.api") == found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('reverse("tokens:token_list")', [("tokens:token_list", "tokens")]),
        ("reverse('admin:tokens_token_change', args=[1])", [("admin:tokens_token_change", "tokens")]),
        ('{"overview", "pipelines:http_steps"}', [("pipelines:http_steps", "pipelines")]),
        ('reverse("account_login") + reverse("admin:index")', []),
        ('"tokens_ended"', []),
    ],
)
def test_url_names_are_found(source, found):
    assert url_names(source) == found
