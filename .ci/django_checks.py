"""Runs the checks that need Django in one process, so that Django starts only once.

They use the settings of deploy/portal.env.example, because `check --deploy` checks these.
"""

import atexit
import contextlib
import gc
import io
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COLLECTION = ROOT / "docs/postman/opsera-portal.postman_collection.json"


def main() -> int:
    # As in manage.py.
    gc.set_threshold(50_000, 10, 10)
    atexit.register(gc.freeze)
    sys.path.insert(0, str(ROOT))
    os.chdir(ROOT)
    os.environ.update(environment(ROOT / "deploy/portal.env.example"))
    os.environ.update(
        DJANGO_SETTINGS_MODULE="opsera_portal.settings",
        # These checks need no data.
        PORTAL_DATA_DIR=os.environ.get("CHECKS_DATA_DIR", str(ROOT / ".venv/checks")),
        SECRET_KEY="checks-only-" * 6,
    )
    import django

    django.setup()
    passed = [
        check("Migrations", "makemigrations", check=True, dry_run=True, verbosity=0),
        check("Deployment", "check", deploy=True, fail_level="WARNING"),
        check("Table of roles", "permission_tables", "docs/roles-and-rules.md", check=True),
        check("Table of settings", "settings_table", "docs/settings.md", check=True),
        check("Table of commands", "commands_table", "docs/commands.md", check=True),
        check("API schema", "spectacular", fail_on_warn=True, file=os.devnull),
        check("Postman collection", "postman_collection", is_good=is_the_collection),
    ]
    return 0 if all(passed) else 1


def environment(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def check(title: str, command: str, *arguments: str, is_good=lambda said: True, **options) -> bool:
    """Prints the output of the command only if it finds a problem."""
    from django.core.management import CommandError, call_command

    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            call_command(command, *arguments, **options)
    except (CommandError, SystemExit) as error:
        if not isinstance(error, SystemExit) or error.code:
            print(f"== {title}: failed\n{said.getvalue()}{error}")
            return False
    if not is_good(said.getvalue()):
        print(f"== {title}: failed")
        return False
    print(f"== {title}")
    return True


def is_the_collection(said: str) -> bool:
    if said == COLLECTION.read_text():
        return True
    print("The Postman collection differs from the schema: run make postman")
    return False


if __name__ == "__main__":
    sys.exit(main())
