"""Whole files of classifiers and trainings, also on disks that cannot be asked to write at once."""

import errno
import os

import pytest

from transfer.machine.whole_files import whole_file, whole_files


def refuse_sync(monkeypatch, number):
    def refusing(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refusing)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_a_disk_that_cannot_sync(number, tmp_path, monkeypatch):
    refuse_sync(monkeypatch, number)
    with whole_file(tmp_path / "new" / "a.npz") as temporary:
        assert temporary.suffix == ".npz"
        temporary.write_text("whole")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.npz"]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_an_error_is_none_that_can_be_ignored(number, tmp_path, monkeypatch):
    (tmp_path / "a").write_text("old")
    refuse_sync(monkeypatch, number)
    with pytest.raises(OSError, match=os.strerror(number)), whole_file(tmp_path / "a") as temporary:
        temporary.write_text("new")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_only_leftovers_of_yesterday_are_removed(tmp_path):
    for name, mtime in ((".writing-1-a", 0), (".writing-2-a", None), (".writing-3-b", 0)):
        (tmp_path / name).touch()
        if mtime is not None:
            os.utime(tmp_path / name, (mtime, mtime))
    with whole_file(tmp_path / "a") as temporary:
        temporary.touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".writing-2-a", ".writing-3-b", "a"]


def test_files_and_folders_come_together_and_replace_others(tmp_path):
    for text in ("old", "new"):
        with whole_files(tmp_path / "out") as temporary:
            (temporary / "a").write_text(text)
            (temporary / "folder").mkdir()
            (temporary / "folder" / text).touch()
            assert text == "old" or (tmp_path / "out" / "a").read_text() == "old"
    found = {path.relative_to(tmp_path / "out").as_posix() for path in tmp_path.rglob("out/**/*")}
    assert found == {"a", "folder", "folder/new"}
    assert (tmp_path / "out" / "a").read_text() == "new"


def test_files_that_were_refused_leave_nothing(tmp_path):
    (tmp_path / "a").write_text("old")
    with pytest.raises(KeyError), whole_files(tmp_path) as temporary:
        (temporary / "a").write_text("new")
        raise KeyError
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]
