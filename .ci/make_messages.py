"""Brings the translations up to date with the texts in code and templates. Run it with `make messages`.

Adds new texts to each `django.po`, removes those that are no longer used, and compiles the files. Django's own
`makemessages` does the first part, and needs GNU gettext.
"""

import os
import sys
from pathlib import Path
from typing import ClassVar

import django
import polib
from django.conf import settings
from django.core.management import call_command
from django.core.management.commands import makemessages

ROOT = Path(__file__).resolve().parent.parent
DIRECTORY = ROOT / "locale"
# The texts are in the apps and in the templates.
NOT_SEARCHED = (
    ".*",
    "locale",
    "benchmarks",
    "docs",
    "staticfiles",
    "static",
    "node_modules",
    "*/tests/*",
    "*/migrations/*",
)


class MakeMessages(makemessages.Command):
    """Also finds the texts in calls of `core.text.counted`."""

    xgettext_options: ClassVar[list[str]] = [*makemessages.Command.xgettext_options, "--keyword=counted:2,3"]
    msgmerge_options: ClassVar[list[str]] = [*makemessages.Command.msgmerge_options, "--no-fuzzy-matching"]

    def find_files(self, root: str) -> list[makemessages.TranslatableFile]:
        found: list[makemessages.TranslatableFile] = super().find_files(root)
        for file in found:
            file.locale_dir = str(DIRECTORY)
        return found


def files() -> list[Path]:
    return sorted(DIRECTORY.glob("*/LC_MESSAGES/django.po"))


def update() -> None:
    languages = [code for code, _name in settings.LANGUAGES if code != settings.LANGUAGE_CODE]
    call_command(
        MakeMessages(),
        locale=languages,
        ignore_patterns=[*NOT_SEARCHED],
        no_obsolete=True,
        no_wrap=True,
        add_location="file",
        verbosity=0,
    )
    for path in files():
        translations = polib.pofile(str(path), wrapwidth=0)
        kept = {
            name: translations.metadata[name] for name in ("Content-Type", "Content-Transfer-Encoding", "Plural-Forms")
        }
        # Without dates: they would change with every run, and only be in the way of merges.
        translations.metadata = {"Project-Id-Version": "Opsera Portal", "Language": path.parts[-3], **kept}
        translations.metadata_is_fuzzy = False
        translations.header = "Made by `make messages`. Translate the texts that are empty."
        translations.save()
        print(f"{path.relative_to(DIRECTORY)}: {translations.percent_translated()} % translated")


def compile_all() -> None:
    for path in files():
        polib.pofile(str(path)).save_as_mofile(str(path.with_suffix(".mo")))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    os.chdir(ROOT)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "opsera_portal.settings")
    django.setup()
    update()
    compile_all()
