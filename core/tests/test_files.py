"""Files that only the portal's own user can read, written completely or not at all."""

import os
import stat

import pytest

from core import files

pytestmark = pytest.mark.once


@pytest.fixture(autouse=True)
def open_umask():
    """Without a umask, files get exactly the mode that the code asks for."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


def names_in(directory):
    return [path.name for path in directory.iterdir()]


@pytest.mark.parametrize("write", [files.replace_private, files.create_private])
def test_written_file_is_private_and_leaves_no_draft(tmp_path, write):
    write(tmp_path / "key", b"content")

    assert (tmp_path / "key").read_bytes() == b"content"
    assert mode_of(tmp_path / "key") == 0o600
    assert names_in(tmp_path) == ["key"]


def test_replaced_file_has_the_new_content_and_is_private(tmp_path):
    (tmp_path / "key").write_bytes(b"a longer content")
    (tmp_path / "key").chmod(0o644)

    files.replace_private(tmp_path / "key", b"new")

    assert (tmp_path / "key").read_bytes() == b"new"
    assert mode_of(tmp_path / "key") == 0o600


def test_existing_file_is_not_created_again(tmp_path):
    (tmp_path / "key").write_bytes(b"old")

    with pytest.raises(FileExistsError):
        files.create_private(tmp_path / "key", b"new")

    assert (tmp_path / "key").read_bytes() == b"old"
    assert names_in(tmp_path) == ["key"]


def test_failed_write_keeps_the_old_content_and_leaves_no_draft(tmp_path):
    (tmp_path / "key").write_bytes(b"old")

    with pytest.raises(TypeError):
        files.replace_private(tmp_path / "key", "no bytes")

    assert (tmp_path / "key").read_bytes() == b"old"
    assert names_in(tmp_path) == ["key"]


def test_draft_does_not_match_the_pattern_of_its_file(tmp_path):
    with files.private_draft(tmp_path / "a.pem") as draft:
        assert mode_of(draft) == 0o600
        assert list(tmp_path.glob("*.pem")) == []


def test_default_is_written_once(tmp_path):
    assert files.read_or_create_private(tmp_path / "key", default="first") == "first"
    assert files.read_or_create_private(tmp_path / "key", default="second") == "first"
    assert mode_of(tmp_path / "key") == 0o600


def test_opener_creates_a_private_file(tmp_path):
    with open(tmp_path / "log", "a", opener=files.private_opener) as file:
        file.write("line")

    assert mode_of(tmp_path / "log") == 0o600
