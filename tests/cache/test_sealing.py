"""Files that refer to their parts: the same rows as a copy, and nothing that is lost in silence."""

import shutil

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cache import CacheError, FeatureFile, FeatureWriter, finish_sealing, unseal, verify
from cache.parts import Part
from cache.reader import SEALED
from cache.sealing import REFERRED
from cache.verify import sound_rows
from tests.cache.test_cache import SHAPES, features_of, ids_of, seal, write_all
from tests.cache.test_spec import SPEC

BAD = (3, 64, 65, 149)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr("cache.parts.PART_BYTES", 64 * 28)
    monkeypatch.setattr("cache.parts.CHUNK_BYTES", 128)


def made(root, num_rows=150, bad=BAD, by_reference=True):
    writer = FeatureWriter(root, SPEC, ids_of(num_rows), SHAPES, by_reference=by_reference)
    with writer:
        write_all(writer, bad=bad)
        return seal(writer)


def flip(path, value):
    """Flips a bit of the first place that holds a number."""
    content = bytearray(path.read_bytes())
    place = content.index(np.float32(value).tobytes())
    content[place] ^= 1
    path.write_bytes(content)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(num_rows=st.integers(1, 200), data=st.data())
def test_rows_are_those_of_a_copy(tmp_path_factory, num_rows, data):
    bad = data.draw(st.sets(st.integers(0, num_rows - 1), max_size=5))
    root = tmp_path_factory.mktemp("store")
    with (
        FeatureFile(made(root / "copy", num_rows, bad, by_reference=False)) as copy,
        FeatureFile(made(root / "reference", num_rows, bad)) as reference,
    ):
        assert reference.by_reference
        assert not copy.by_reference
        for name in ("labels", "ids", "given_split", "image_digests"):
            np.testing.assert_array_equal(getattr(reference, name), getattr(copy, name))
        assert reference.skipped == copy.skipped
        rows = np.flatnonzero(data.draw(st.lists(st.booleans(), min_size=len(copy))))
        rows = rows[rows < len(copy)]
        np.testing.assert_array_equal(reference.read(rows), copy.read(rows))
        for cut in SHAPES:
            np.testing.assert_array_equal(
                reference.read_sound_rows(cut, rows), copy.read_sound_rows(cut, rows)
            )
            assert sound_rows(reference, cut).tolist() == [True] * len(copy)
        assert verify(reference).is_sound


def test_other_programs_see_the_rows(tmp_path):
    path = made(tmp_path)
    good = np.setdiff1d(np.arange(150), BAD)
    with h5py.File(path) as file:
        for cut, values in features_of(good).items():
            np.testing.assert_array_equal(file["features"][cut][...], values)


def test_two_runs_seal_the_same_bytes(tmp_path):
    one, other = made(tmp_path / "one"), made(tmp_path / "other")
    assert one.read_bytes() == other.read_bytes()


def test_sealing_reads_no_features(tmp_path, monkeypatch):
    writer = FeatureWriter(tmp_path, SPEC, ids_of(150), SHAPES, by_reference=True)
    with writer:
        write_all(writer, bad=BAD)
        writer.wait()
        monkeypatch.setattr(Part, "read", None)
        seal(writer)


def test_damage_in_a_part_is_found_and_mended_alone(tmp_path):
    path = made(tmp_path)
    part = path.parent / REFERRED / "0000000064.h5"
    flip(part, 70 * 100 + 2)
    row = 70 - 3  # of those that were kept
    with FeatureFile(path) as features:
        others = np.setdiff1d(np.arange(len(features)), np.arange(row - 16, row + 16))
        features.read(others)
        with pytest.raises(CacheError, match="damaged"):
            features.read(np.array([row]))
        found = verify(features)
        assert {cut: rows.tolist() for cut, rows in found.damaged.items()} == {"z_first": [row]}
        assert np.flatnonzero(~sound_rows(features, "z_first")).tolist() == [row]
    unseal(path)
    writer = FeatureWriter(tmp_path, SPEC, ids_of(150), SHAPES, by_reference=True)
    with writer:
        assert [missing.start for missing in writer.missing] == [64]
        write_all(writer, bad=BAD)
        seal(writer)
    with FeatureFile(path) as features:
        assert verify(features).is_sound


def test_a_part_that_is_gone_is_no_zeros(tmp_path):
    path = made(tmp_path)
    (path.parent / REFERRED / "0000000064.h5").unlink()
    with FeatureFile(path) as features:
        features.read(np.arange(40))
        with pytest.raises(CacheError, match="damaged"):
            features.read(np.arange(80))
        assert len(verify(features).rows) == 62


def test_a_run_that_was_killed_before_its_parts_moved_is_finished(tmp_path):
    path = made(tmp_path)
    (path.parent / REFERRED).rename(path.parent / "parts")
    finish_sealing(path)
    finish_sealing(path)
    with FeatureFile(path) as features:
        assert verify(features).is_sound
    copied = made(tmp_path / "copied", by_reference=False)
    shutil.copytree(path.parent / REFERRED, copied.parent / "parts")
    finish_sealing(copied)  # which are merely left over
    assert not (copied.parent / REFERRED).exists()


def test_parts_without_the_file_that_refers_to_them_are_used(tmp_path):
    path = made(tmp_path)
    before = path.read_bytes()
    path.unlink()
    with FeatureWriter(tmp_path, SPEC, ids_of(150), SHAPES, by_reference=True) as writer:
        assert not writer.missing
        seal(writer)
    assert path.read_bytes() == before
    assert {each.name for each in path.parent.iterdir()} == {SEALED, REFERRED}


def test_many_parts_are_read_with_few_open_files(tmp_path, monkeypatch):
    monkeypatch.setattr("cache.part_files.MOST_OPEN", 2)
    path = made(tmp_path, num_rows=1000, bad=())
    with FeatureFile(path) as features:
        rows = np.arange(1000)
        expected = np.concatenate([*features_of(rows).values()], axis=1)
        np.testing.assert_array_equal(features.read(rows), expected)
        np.testing.assert_array_equal(features.read(rows), expected)
