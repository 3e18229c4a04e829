"""The files of the repository, for tests that search them."""

import os
from functools import cache
from pathlib import Path

# Tools write or install these: thousands of files.
LEFT_OUT = {"node_modules", "__pycache__"}


@cache
def files_below(folder: Path) -> list[Path]:
    """All files below a folder, in the order of their paths, without those of tools. Each folder is read only once."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in LEFT_OUT]
        found += [Path(place, name) for name in names]
    return sorted(found)


def python_files_below(*folders: Path) -> list[Path]:
    return [path for folder in folders for path in files_below(folder) if path.suffix == ".py"]
