"""Whole files also on disks that cannot be asked to write at once, and no error is overlooked."""

import errno
import os
import stat
from pathlib import Path

import pytest

from cache import CacheError
from cache.durable import whole_file


def refuse_sync(monkeypatch, number, of):
    """Has `os.fsync` fail by an error number, of files or of folders."""
    fsync = os.fsync

    def refusing(descriptor):
        if of(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refusing)


def write(path, text):
    with whole_file(path) as temporary:
        temporary.write_text(text)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF])
def test_folders_that_cannot_be_synced(number, tmp_path, monkeypatch):
    refuse_sync(monkeypatch, number, stat.S_ISDIR)
    write(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "new"


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_files_that_cannot_be_synced(number, tmp_path, monkeypatch):
    refuse_sync(monkeypatch, number, stat.S_ISREG)
    write(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "new"


@pytest.mark.parametrize("number", [errno.EACCES, errno.EISDIR])
def test_folders_that_cannot_be_opened(number, tmp_path, monkeypatch):
    opened = os.open

    def refusing(path, *flags, **more):
        if Path(path).is_dir():
            raise OSError(number, os.strerror(number), str(path))
        return opened(path, *flags, **more)

    monkeypatch.setattr(os, "open", refusing)
    write(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "new"


@pytest.mark.parametrize("of", [stat.S_ISDIR, stat.S_ISREG], ids=["folder", "file"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_what_is_lost_is_said(number, of, tmp_path, monkeypatch):
    refuse_sync(monkeypatch, number, of)
    with pytest.raises(OSError if number == errno.EIO else CacheError):
        write(tmp_path / "a", "new")
    assert not list(tmp_path.glob(".*"))


def test_a_file_that_could_not_be_synced_does_not_replace_the_old_one(tmp_path, monkeypatch):
    write(tmp_path / "a", "old")
    refuse_sync(monkeypatch, errno.EIO, stat.S_ISREG)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        write(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "old"
