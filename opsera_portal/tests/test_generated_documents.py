"""Parts of documents that are generated from the code, such as the help of commands."""

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from opsera_portal import commands_reference
from opsera_portal.management.commands.commands_table import Command
from opsera_portal.management.generated import with_parts

pytestmark = pytest.mark.once

DOCUMENT = "Before.\n<!-- one -->\n<!-- end -->\n<!-- two -->\nold\n<!-- end -->\nAfter.\n"


def test_parts_are_written_between_their_marks():
    text = with_parts(DOCUMENT, {"one": lambda: "1", "two": lambda: "2"})

    assert text == "Before.\n<!-- one -->\n\n1\n\n<!-- end -->\n<!-- two -->\n\n2\n\n<!-- end -->\nAfter.\n"
    assert with_parts(text, {"one": lambda: "1", "two": lambda: "2"}) == text


def test_document_without_a_mark_is_refused():
    with pytest.raises(CommandError, match="no mark for the part “three”"):
        with_parts(DOCUMENT, {"three": lambda: "3"})


def test_check_changes_nothing_and_fails_for_an_old_document(tmp_path):
    document = tmp_path / "settings.md"
    document.write_text("<!-- settings -->\nold\n<!-- end -->\n")

    with pytest.raises(CommandError, match=r"run manage\.py settings_table"):
        call_command("settings_table", str(document), "--check")

    assert "old" in document.read_text()
    call_command("settings_table", str(document))
    assert "`PORTAL_URL`" in document.read_text()
    call_command("settings_table", str(document), "--check")


def test_commands_of_libraries_are_left_out():
    names = commands_reference.our_commands()

    assert {"serve", "worker", "signing_keys", "create_organization", "verify_logs"} <= set(names)
    assert not {"migrate", "createsuperuser", "db_worker", "spectacular"} & set(names)
    assert set(Command().parts()) == {f"command {name}" for name in names}


def test_help_of_a_command_becomes_a_table_of_its_options():
    text = commands_reference.as_markdown("expire_tokens")

    assert "$ manage.py expire_tokens [--owner EMAIL]" in text
    assert "| `--execute`, `--yes` | " in text
    assert "--pythonpath" not in text
