"""Writer, parts and reader: what goes in comes out, and nothing half-written is trusted."""

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cache import CacheError, FeatureFile, FeatureWriter, entry_path
from cache.parts import rows_per_part
from tests.test_spec import SPEC

SHAPES = {"z_first": (3,), "a_second": (4,)}


def features_of(rows: slice, shapes=SHAPES):
    """Features that say which row, cut and column they are."""
    numbers = np.arange(rows.start, rows.stop, dtype=np.float32)
    return {
        name: (numbers[:, None] * 100 + number * 10 + np.arange(np.prod(shape)))
        .reshape(-1, *shape)
        .astype(np.float32)
        for number, (name, shape) in enumerate(shapes.items())
    }


def make(root, num_rows=150, batch=32, shapes=SHAPES, bad=()):
    writer = FeatureWriter(root, SPEC, num_rows, shapes)
    for missing in writer.missing():
        for start in range(missing.start, missing.stop, batch):
            rows = slice(start, min(start + batch, missing.stop))
            broken = {row: "no image" for row in bad if rows.start <= row < rows.stop}
            writer.write(rows, features_of(rows, shapes), broken)
    return seal(writer, num_rows)


def seal(writer, num_rows):
    split = ["train", "val", "test"]
    return writer.seal(
        ids=[f"train/ünïcode {row:05d}" for row in range(num_rows)],
        labels=np.arange(num_rows) % 2,
        split=[split[row % 3] for row in range(num_rows)],
        class_names=["cat", "dog"],
        notes={"engine": "none"},
    )


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr("cache.writer.rows_per_part", lambda row_bytes: 64)


def test_what_is_written_is_read(tmp_path):
    path = make(tmp_path)
    assert path == entry_path(tmp_path, SPEC.key)
    assert not (path.parent / "parts").exists()
    with FeatureFile(path, SPEC.key) as file:
        assert len(file) == 150
        assert file.spec == SPEC
        assert file.cuts == ("z_first", "a_second")  # order of layers, not of the alphabet
        assert file.class_names == ("cat", "dog")
        assert file.ids[149] == "train/ünïcode 00149"
        np.testing.assert_array_equal(file.labels, np.arange(150) % 2)
        np.testing.assert_array_equal(file.rows("val"), np.arange(1, 150, 3))
        everything = features_of(slice(0, 150))
        joined = np.concatenate([everything["z_first"], everything["a_second"]], 1)
        np.testing.assert_array_equal(file.read(np.arange(150)), joined)
        rows = np.array([0, 63, 64, 149])
        np.testing.assert_array_equal(file.read(rows, ["a_second"]), everything["a_second"][rows])


def test_a_person_can_open_it(tmp_path):
    with h5py.File(make(tmp_path)) as file:
        assert file["features/z_first"].shape == (150, 3)
        assert file["ids"].asstr()[0] == "train/ünïcode 00000"
        assert file["split"].asstr()[1] == "val"


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(num_rows=st.integers(1, 300), batch=st.integers(1, 130), width=st.integers(1, 5))
def test_batches_do_not_matter(tmp_path_factory, num_rows, batch, width):
    shapes = {"cut": (width,)}
    path = make(tmp_path_factory.mktemp("store"), num_rows, batch, shapes)
    with FeatureFile(path) as file:
        expected = features_of(slice(0, num_rows), shapes)["cut"]
        np.testing.assert_array_equal(file.read(np.arange(num_rows)), expected)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=st.sets(st.integers(0, 149)), block=st.integers(1, 4000))
def test_any_rows_are_read_in_order(tmp_path_factory, rows, block):
    rows = np.array(sorted(rows), dtype=np.int64)
    path = make(tmp_path_factory.mktemp("store"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cache.reader.BLOCK_BYTES", block)
        with FeatureFile(path) as file:
            everything = features_of(slice(0, 150))
            np.testing.assert_array_equal(file.read(rows, ["z_first"]), everything["z_first"][rows])


def test_spatial_features_keep_their_shape(tmp_path):
    shapes = {"map": (2, 3, 4)}
    with FeatureFile(make(tmp_path, shapes=shapes)) as file:
        assert file.read(np.arange(10)).shape == (10, 2, 3, 4)
        np.testing.assert_array_equal(
            file.read(np.arange(150)), features_of(slice(0, 150), shapes)["map"]
        )


def test_spatial_cuts_are_not_joined(tmp_path):
    with FeatureFile(make(tmp_path, shapes={"map": (2, 3, 4), "top": (3,)})) as file:
        with pytest.raises(CacheError, match="use-cuts"):
            file.read(np.arange(3))
        assert file.read(np.arange(3), ["top"]).shape == (3, 3)
        with pytest.raises(CacheError, match="nope"):
            file.read(np.arange(3), ["nope"])


def test_bad_rows_are_left_out_and_listed(tmp_path):
    with FeatureFile(make(tmp_path, bad=(0, 70, 149))) as file:
        kept = np.setdiff1d(np.arange(150), [0, 70, 149])
        assert len(file) == 147
        assert file.skipped == [(f"train/ünïcode {row:05d}", "no image") for row in (0, 70, 149)]
        np.testing.assert_array_equal(
            file.read(np.arange(147), ["z_first"]), features_of(slice(0, 150))["z_first"][kept]
        )
        assert file.ids[0] == "train/ünïcode 00001"
        np.testing.assert_array_equal(file.labels, kept % 2)


def test_an_interrupted_run_goes_on(tmp_path):
    writer = FeatureWriter(tmp_path, SPEC, 150, SHAPES)
    writer.write(slice(0, 100), features_of(slice(0, 100)))
    assert FeatureWriter(tmp_path, SPEC, 150, SHAPES).missing() == [slice(64, 150)]
    with pytest.raises(CacheError, match="not written"):
        seal(FeatureWriter(tmp_path, SPEC, 150, SHAPES), 150)
    resumed = make(tmp_path)
    whole = make(tmp_path / "other")
    with FeatureFile(resumed) as one, FeatureFile(whole) as two:
        np.testing.assert_array_equal(one.read(np.arange(150)), two.read(np.arange(150)))


def test_a_damaged_part_is_written_again_or_refused(tmp_path):
    writer = FeatureWriter(tmp_path, SPEC, 150, SHAPES)
    writer.write(slice(0, 150), features_of(slice(0, 150)))
    first, second, third = writer.parts
    first.path.write_bytes(first.path.read_bytes()[:500])
    with h5py.File(third.path, "r+") as file:
        file["z_first"][0, 0] += 1
    assert writer.missing() == [slice(0, 64)]
    writer.write(slice(0, 64), features_of(slice(0, 64)))
    with pytest.raises(CacheError, match="damaged"):
        seal(writer, 150)
    assert not writer.path.exists()
    assert second.is_complete(SPEC.key)


def test_values_that_are_not_finite_are_refused(tmp_path):
    writer = FeatureWriter(tmp_path, SPEC, 150, SHAPES)
    features = features_of(slice(0, 10))
    features["a_second"][7, 2] = np.inf
    with pytest.raises(CacheError, match="row 7"):
        writer.write(slice(0, 10), features)


def test_wrong_shapes_and_gaps_are_refused(tmp_path):
    writer = FeatureWriter(tmp_path, SPEC, 150, SHAPES)
    with pytest.raises(ValueError, match=r"expected \(10, 3\), received \(9, 3\)"):
        writer.write(slice(0, 10), features_of(slice(0, 9)))
    writer.write(slice(0, 10), features_of(slice(0, 10)))
    with pytest.raises(ValueError, match="expected row 10"):
        writer.write(slice(12, 20), features_of(slice(12, 20)))


def test_foreign_and_missing_files_are_refused(tmp_path):
    with pytest.raises(CacheError, match="transfer features"):
        FeatureFile(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(CacheError, match="no readable HDF5"):
        FeatureFile(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(CacheError, match="not a sealed feature file"):
        FeatureFile(tmp_path / "other.h5")
    with pytest.raises(CacheError, match="expected key ffff"):
        FeatureFile(make(tmp_path), "ffff")


def test_a_flipped_byte_of_the_features_is_noticed(tmp_path):
    path = make(tmp_path)
    with h5py.File(path) as file:
        offset = file["features/z_first"].id.get_chunk_info(0).byte_offset
    data = bytearray(path.read_bytes())
    data[offset + 8] ^= 1
    path.write_bytes(data)
    with FeatureFile(path) as file, pytest.raises(CacheError, match="damaged"):
        file.read(np.arange(150), ["z_first"])


def test_killed_while_writing_leaves_nothing_half(tmp_path):
    program = textwrap.dedent(
        """
        import os, signal, sys
        import cache.durable
        from tests.test_cache import *
        writer = FeatureWriter(sys.argv[1], SPEC, 150, SHAPES)
        writer.rows_per_part = 64
        writer.write(slice(0, 64), features_of(slice(0, 64)))
        cache.durable._sync = lambda path: os.kill(os.getpid(), signal.SIGKILL)
        writer.write(slice(64, 128), features_of(slice(64, 128)))
        """
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=Path.cwd())
    assert done.returncode == -signal.SIGKILL
    assert FeatureWriter(tmp_path, SPEC, 150, SHAPES).missing() == [slice(64, 150)]
    with FeatureFile(make(tmp_path)) as file:
        assert len(file) == 150


def test_rows_per_part_keeps_parts_near_32_mib():
    assert rows_per_part(1280 * 4) == 4096
    assert rows_per_part(7104 * 4) == 1024
    assert rows_per_part(7 * 7 * 768 * 4) == 128
    assert rows_per_part(2**30) == 64
