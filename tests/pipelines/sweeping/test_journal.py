"""The journal: what is written is read, whole or not at all."""

import errno
import json
import math
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cache.errors import CacheError
from pipelines.sweeping.journal import Entry, Journal

KEY = "0123456789abcdef"
NAMES = st.from_regex(
    r"(weights|slots|moving|best \d{1,3})\.\d{1,2}|places|seconds", fullmatch=True
)
ARRAYS = arrays.arrays(
    st.sampled_from([np.float32, np.float64, np.int64]), arrays.array_shapes(min_dims=0, min_side=0)
)
STATES = st.lists(st.dictionaries(NAMES, ARRAYS, max_size=5), min_size=1, max_size=3)
SCORES = st.lists(st.floats(allow_nan=False), max_size=5)  # a loss that diverged is infinite


def same(entry, other):
    """Whether two entries are alike, to the order of names, which `HeadBank.restore` relies on."""
    return (
        entry.notes == other.notes
        and [list(state) for state in entry.states] == [list(state) for state in other.states]
        and all(
            one[name].dtype == two[name].dtype
            and one[name].shape == two[name].shape
            and one[name].tobytes() == two[name].tobytes()
            for one, two in zip(entry.states, other.states, strict=True)
            for name in one
        )
    )


def entry_of(number, folds=2):
    """An entry in which all numbers are one."""
    state = {"weights.0": np.full((3, 4, 5), number, np.float32), "epochs_done": np.array(number)}
    return Entry({"folds": folds, "number": number}, [state] * folds)


@given(states=STATES, scores=SCORES, text=st.text())
@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_what_is_written_is_read(states, scores, text, tmp_path):
    notes = {"folds": len(states), "histories": [{"val_loss": scores}], "text": text}
    written = Entry(notes, states)
    journal = Journal(tmp_path / "deep" / "sweep")
    journal.write(KEY, written)
    assert same(Journal(tmp_path / "deep" / "sweep").read(KEY), written)
    assert [path.name for path in (tmp_path / "deep" / "sweep").iterdir()] == [f"{KEY}.npz"]


def test_nothing_is_known_at_first(tmp_path, capsys):
    assert Journal(tmp_path / "nowhere").read(KEY) is None
    assert not (tmp_path / "nowhere").exists()
    assert capsys.readouterr().out == ""


def test_a_group_is_known_by_its_own_key(tmp_path):
    journal = Journal(tmp_path)
    journal.write(KEY, entry_of(1))
    journal.write("f" * 16, entry_of(2))
    assert same(journal.read(KEY), entry_of(1))
    assert same(journal.read("f" * 16), entry_of(2))
    assert journal.read("a" * 16) is None


def test_a_truncated_file_is_said_and_forgotten(tmp_path, capsys):
    journal = Journal(tmp_path)
    journal.write(KEY, entry_of(1))
    path = tmp_path / f"{KEY}.npz"
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:length])
        assert journal.read(KEY) is None
        (line,) = capsys.readouterr().out.splitlines()
        assert str(path) in line and "train again" in line
    journal.write(KEY, entry_of(2))
    assert same(journal.read(KEY), entry_of(2))


def test_flipped_bits_are_found_or_harmless(tmp_path, capsys):
    journal, rng = Journal(tmp_path), np.random.default_rng(0)
    written = Entry(
        {"folds": 1, "histories": [[math.inf, 0.25]]}, [{"weights.0": rng.normal(size=30)}]
    )
    journal.write(KEY, written)
    path = tmp_path / f"{KEY}.npz"
    whole = np.fromfile(path, np.uint8)
    found = 0
    for bit in rng.choice(8 * len(whole), 800, replace=False):
        flipped = whole.copy()
        flipped[bit // 8] ^= 1 << (bit % 8)
        flipped.tofile(path)
        entry = journal.read(KEY)
        assert entry is None or same(entry, written), f"bit {bit}"
        found += entry is None
    assert found > 500  # the rest are fields of the zip that nothing depends on
    assert len(capsys.readouterr().out.splitlines()) == found


def test_files_that_are_no_journal(tmp_path):
    journal, path = Journal(tmp_path), tmp_path / f"{KEY}.npz"
    path.write_bytes(b"no zip")
    assert journal.read(KEY) is None
    np.savez(path, other=np.zeros(3))
    assert journal.read(KEY) is None
    np.savez(path, notes=np.array([{"folds": 1}], dtype=object))  # pickled: never loaded
    assert journal.read(KEY) is None
    notes = np.frombuffer(json.dumps({"folds": 1}).encode(), np.uint8)
    np.savez(path, notes=notes, **{"1/weights.0": np.zeros(2)})
    assert journal.read(KEY) is None


def test_a_half_written_file_is_never_taken(tmp_path, monkeypatch):
    journal = Journal(tmp_path)
    journal.write(KEY, entry_of(1))
    save = np.savez

    def torn(file, *args, **kwargs):
        save(file, *args, **kwargs)
        file.truncate(file.tell() // 2)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(np, "savez", torn)
        with pytest.raises(KeyboardInterrupt):
            journal.write(KEY, entry_of(2))
        with pytest.raises(KeyboardInterrupt):
            journal.write("f" * 16, entry_of(2))
    assert same(journal.read(KEY), entry_of(1))
    assert journal.read("f" * 16) is None
    # What a kill would leave is of another name.
    (tmp_path / f".{KEY}.npz.host.1.2.tmp").write_bytes(b"half")
    assert same(journal.read(KEY), entry_of(1))


def test_a_full_disk_leaves_what_was_known(tmp_path, monkeypatch):
    journal = Journal(tmp_path)
    journal.write(KEY, entry_of(1))

    def full(file, *args, **kwargs):
        file.write(b"some")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(CacheError, match=f"no room to write .*{KEY}.npz"):
        journal.write(KEY, entry_of(2))
    assert same(journal.read(KEY), entry_of(1))
    assert len(list(tmp_path.iterdir())) == 1


def test_a_reader_sees_one_entry_or_the_next(tmp_path):
    journal, seen, done = Journal(tmp_path), [], threading.Event()
    journal.write(KEY, entry_of(0))

    def read():
        while not done.is_set():
            seen.append(journal.read(KEY))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(1, 60):
        journal.write(KEY, entry_of(number))
    done.set()
    reader.join()
    numbers = [entry.notes["number"] for entry in seen]
    assert numbers == sorted(numbers) and len(set(numbers)) > 1
    assert all(same(entry, entry_of(entry.notes["number"])) for entry in seen)


# ---- searches


def test_files_of_other_searches_are_those_that_the_last_did_not_name(tmp_path):
    journal = Journal(tmp_path / "sweep")
    assert journal.files() == journal.files_of_others() == []
    for number, key in enumerate("abc"):
        journal.write(key, entry_of(number))
    assert [path.stem for path in journal.files()] == ["a", "b", "c"]
    assert journal.files_of_others() == []  # nothing says which search was the last
    journal.begin(["b", "not yet there"])
    assert [path.stem for path in journal.files_of_others()] == ["a", "c"]
    journal.begin([])
    assert journal.files_of_others() == journal.files()
    assert same(journal.read("b"), entry_of(1))


@pytest.mark.parametrize("text", ["", "[", "\x00"])
def test_where_the_last_search_cannot_be_read_no_file_is_anothers(text, tmp_path):
    journal = Journal(tmp_path)
    journal.write(KEY, entry_of(1))
    journal.begin([])
    (tmp_path / "search.json").write_text(text)
    assert journal.files_of_others() == []
