"""Looks up the pinned versions of requirements files in databases of known vulnerabilities.

Usage: audit.py PIP_AUDIT REQUIREMENTS...

Exit status: 0 if every package was looked up and none has a known vulnerability, 1 if at least one has, 2 if a package
could not be looked up in any database. An audit that checked nothing must not look as if it had passed.
"""

import json
import subprocess
import sys
from collections.abc import Iterable

# The services that pip-audit supports. The second one is used only if the first one does not answer.
SERVICES = ("osv", "pypi")


def main(pip_audit: str, *files: str) -> int:
    return max([audit(pip_audit, file) for file in files], default=2)


def audit(pip_audit: str, file: str) -> int:
    """Prints the known vulnerabilities of the versions in ``file``, and returns the exit status."""
    for service in SERVICES:
        packages = look_up(pip_audit, file, service)
        found = [line for package in packages for line in vulnerabilities_of(package)]
        unknown = [package["name"] for package in packages if "skip_reason" in package]
        if found:
            say(f"{file}: known vulnerabilities", found)
            return 1
        if packages and not unknown:
            say(f"{file}: {len(packages)} packages, no known vulnerabilities ({service})")
            return 0
        if len(unknown) == len(packages):
            say(f"{file}: {service} cannot be reached")
        else:
            say(f"{file}: {service} does not know", unknown)
    say(f"{file}: NOT CHECKED. No database of known vulnerabilities has all of these packages.")
    return 2


def look_up(pip_audit: str, file: str, service: str) -> list[dict]:
    """Returns one object for each package, with ``vulns``, or with ``skip_reason`` if the package is not known.

    Returns an empty list if the service does not answer.
    """
    done = subprocess.run(
        [
            pip_audit,
            "--requirement",
            file,
            "--require-hashes",
            "--disable-pip",
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


def vulnerabilities_of(package: dict) -> Iterable[str]:
    for vulnerability in package.get("vulns", ()):
        fixed_in = ", ".join(vulnerability["fix_versions"]) or "no version yet"
        yield f"{package['name']} {package['version']}: {vulnerability['id']}, fixed in {fixed_in}"


def say(headline: str, lines: Iterable[str] = ()) -> None:
    print(headline, *lines, sep="\n  ")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
