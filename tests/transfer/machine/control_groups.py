"""Made-up trees of /proc and /sys, as kernels lay them out."""

from transfer.machine import control_groups


def groups_are(monkeypatch, folder, memberships, mounts):
    """Has this process be in some control groups.

    Args:
        monkeypatch: The test's.
        folder: Where the tree is to lie.
        memberships: Lines of /proc/self/cgroup.
        mounts: Per mount its uppermost group, its folder below `folder`, and what is mounted.
    """
    lines = [
        f"{30 + number} 23 0:{number} {root} {folder / place} rw,relatime shared:9 - {kind}"
        for number, (root, place, kind) in enumerate(mounts)
    ]
    (folder / "proc").mkdir()
    (folder / "proc" / "cgroup").write_text("".join(f"{line}\n" for line in memberships))
    (folder / "proc" / "mountinfo").write_text("".join(f"{line}\n" for line in lines))
    monkeypatch.setattr(control_groups, "PROC", folder / "proc")


def group(folder, **files):
    """Makes a group; the first underscore of a file's name stands for the dot."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("_", ".", 1)).write_text(f"{content}\n")
    return folder
