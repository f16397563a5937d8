"""The control groups by which Linux limits a process: those of containers, SLURM and systemd.

Groups nest, and the least limit of all levels counts. How they are laid out:
https://man7.org/linux/man-pages/man7/cgroups.7.html
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

PROC = Path("/proc/self")
"""Where Linux says which groups a process is in, and where their files are mounted."""


def groups_of(controller: str) -> list[Path]:
    """Folders of the groups that limit this process, each with those above it, of version 1 and 2.

    Whether a limit is set, and whether the folder can be seen at all, is to be found out there.

    Args:
        controller: `"memory"` or `"cpu"`.

    Returns:
        From the process's own group up to the uppermost; empty where there is no Linux.
    """
    try:
        memberships = _lines("cgroup")
        mounts = list(_mounts(controller))
    except OSError:
        return []
    folders = []
    for line in memberships:
        _, controllers, group = line.split(":", 2)
        version = 1 if controllers else 2
        if version == 2 or controller in controllers.split(","):
            for root, folder in (mount for number, *mount in mounts if number == version):
                folders += _levels(PurePosixPath(group), PurePosixPath(root), Path(folder))
    return folders


def _mounts(controller: str) -> Iterator[tuple[int, str, str]]:
    """Version, uppermost group and folder of each place where the controller's files are seen."""
    for line in _lines("mountinfo"):
        place, _, kind = line.partition(" - ")
        root, folder = map(_unescaped, place.split()[3:5])
        system, _, options = kind.split()[:3]
        if system == "cgroup2":
            yield 2, root, folder
        elif system == "cgroup" and controller in options.split(","):
            yield 1, root, folder


def _levels(group: PurePosixPath, root: PurePosixPath, folder: Path) -> list[Path]:
    inside = group.is_relative_to(root) and ".." not in group.parts
    if not inside:  # a container that sees the host's name of its group, and its own files alone
        return [folder]
    below = group.relative_to(root)
    return [folder / level for level in (below, *below.parents)]


def _lines(name: str) -> list[str]:
    return (PROC / name).read_text(encoding="utf-8", errors="surrogateescape").splitlines()


def _unescaped(text: str) -> str:
    return re.sub(r"\\(\d{3})", lambda digits: chr(int(digits[1], 8)), text)
