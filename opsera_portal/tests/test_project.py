"""pyproject.toml declares the project and repeats nothing from other files."""

import re
import tomllib

import pytest
from django.conf import settings
from packaging.requirements import Requirement

pytestmark = pytest.mark.once


def project_file():
    return tomllib.loads((settings.BASE_DIR / "pyproject.toml").read_text())


def direct_requirements():
    lines = (settings.BASE_DIR / "requirements.in").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_version_and_dependencies_come_from_other_files():
    file = project_file()

    assert set(file["project"]["dynamic"]) == {"version", "dependencies"}
    assert file["tool"]["setuptools"]["dynamic"] == {
        "version": {"attr": "opsera_portal.__version__"},
        "dependencies": {"file": ["requirements.in"]},
    }


def test_direct_requirements_are_names_and_versions_that_packaging_tools_read():
    # No `-r`, `-c` or URLs: setuptools cannot read them from a file.
    assert [str(Requirement(line).name) for line in direct_requirements()]


def test_each_direct_requirement_is_pinned():
    pinned = set(re.findall(r"^([a-z0-9.-]+)(?:\[|==)", (settings.BASE_DIR / "requirements.txt").read_text(), re.M))

    wanted = {re.sub(r"[-_.]+", "-", Requirement(line).name).lower() for line in direct_requirements()}

    assert wanted - pinned == set()


def test_every_app_is_a_package_of_the_project():
    included = project_file()["tool"]["setuptools"]["packages"]["find"]["include"]
    packages = {path.parent.name for path in settings.BASE_DIR.glob("*/apps.py")}

    assert {f"{name}*" for name in packages} == set(included)
