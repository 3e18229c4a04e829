"""`make audit` prints what it found, and never accepts versions that it could not look up."""

import json
import subprocess
import sys

import pytest
from django.conf import settings

pytestmark = pytest.mark.once

KNOWN = {"name": "one", "version": "1.0", "vulns": []}
UNKNOWN = {"name": "two", "skip_reason": "Dependency not found on PyPI and could not be audited: two (2.0)"}
VULNERABILITY = {"id": "PYSEC-2026-1", "fix_versions": ["1.1"], "description": "", "aliases": []}
UNREACHABLE = None


@pytest.fixture
def audit(tmp_path):
    """Runs the audit with a fake pip-audit that returns the given answer for each service."""

    def run(**answers):
        program = tmp_path / "pip-audit"
        program.write_text(
            f"#!{sys.executable}\nimport sys\n"
            f"answer = {answers!r}[sys.argv[sys.argv.index('--vulnerability-service') + 1]]\n"
            "sys.exit('ConnectionError') if answer is None else print(answer)\n"
        )
        program.chmod(0o755)
        command = [sys.executable, settings.BASE_DIR / ".ci" / "audit.py", program, "requirements.txt"]
        return subprocess.run(command, capture_output=True, text=True, timeout=30)

    return run


def report(*packages):
    return json.dumps({"dependencies": packages, "fixes": []})


def test_versions_without_known_vulnerabilities_pass(audit):
    done = audit(osv=report(KNOWN))

    assert done.returncode == 0
    assert "1 packages, no known vulnerabilities (osv)" in done.stdout


def test_known_vulnerability_fails_with_the_version_that_fixes_it(audit):
    done = audit(osv=report(KNOWN | {"vulns": [VULNERABILITY]}))

    assert done.returncode == 1
    assert "one 1.0: PYSEC-2026-1, fixed in 1.1" in done.stdout


def test_vulnerability_is_reported_even_if_another_package_is_unknown(audit):
    assert audit(osv=report(KNOWN | {"vulns": [VULNERABILITY]}, UNKNOWN)).returncode == 1


def test_second_database_is_used_if_the_first_does_not_answer(audit):
    done = audit(osv=UNREACHABLE, pypi=report(KNOWN))

    assert done.returncode == 0
    assert "no known vulnerabilities (pypi)" in done.stdout


@pytest.mark.parametrize("pypi", [UNREACHABLE, report(UNKNOWN), report(KNOWN, UNKNOWN), "<html>"])
def test_audit_without_a_database_says_that_nothing_was_checked(audit, pypi):
    done = audit(osv=UNREACHABLE, pypi=pypi)

    assert done.returncode == 2
    assert "NOT CHECKED" in done.stdout
