"""Looks up the pinned versions of a requirements file in databases of known security holes.

Usage: audit.py PIP_AUDIT REQUIREMENTS...

Exit status: 0 when every package was looked up and none has a known hole, 1 when at least one has, 2 when a package
could not be looked up in any database. An audit that checked nothing must not look like one that passed.
"""

import json
import subprocess
import sys
from collections.abc import Iterable

# The services that pip-audit knows. The second is asked only where the first does not answer.
SERVICES = ("osv", "pypi")


def main(pip_audit: str, *files: str) -> int:
    return max([audit(pip_audit, file) for file in files], default=2)


def audit(pip_audit: str, file: str) -> int:
    """Prints what is known of the versions in ``file`` and returns the exit status."""
    for service in SERVICES:
        packages = look_up(pip_audit, file, service)
        holes = [line for package in packages for line in holes_of(package)]
        unknown = [package["name"] for package in packages if "skip_reason" in package]
        if holes:
            say(f"{file}: known holes", holes)
            return 1
        if packages and not unknown:
            say(f"{file}: {len(packages)} packages, no known holes ({service})")
            return 0
        if len(unknown) == len(packages):
            say(f"{file}: {service} cannot be reached")
        else:
            say(f"{file}: {service} does not know", unknown)
    say(f"{file}: NOT CHECKED. No database of known holes knows all these packages.")
    return 2


def look_up(pip_audit: str, file: str, service: str) -> list[dict]:
    """One object a package, with ``vulns`` or, where nothing is known, ``skip_reason``; empty without an answer."""
    command = [
        pip_audit,
        "--requirement",
        file,
        "--require-hashes",
        "--disable-pip",
        "--vulnerability-service",
        service,
    ]
    done = subprocess.run(
        [
            *command,
            "--vulnerability-service",
            service,
            "--format",
            "json",
            "--progress-spinner",
            "off",
            "--timeout",
            "10",
        ],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    try:
        return json.loads(done.stdout)["dependencies"]
    except (json.JSONDecodeError, KeyError):
        return []


def holes_of(package: dict) -> Iterable[str]:
    for hole in package.get("vulns", ()):
        fixed_in = ", ".join(hole["fix_versions"]) or "no version yet"
        yield f"{package['name']} {package['version']}: {hole['id']}, fixed in {fixed_in}"


def say(headline: str, lines: Iterable[str] = ()) -> None:
    print(headline, *lines, sep="\n  ")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
