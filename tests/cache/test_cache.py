"""Writer, parts and reader: what goes in comes out, and nothing half-written is trusted."""

import dataclasses
import hashlib
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cache import CacheError, FeatureFile, FeatureWriter, entry_path, verify
from cache.durable import whole_file
from cache.parts import rows_per_part
from tests.cache.test_spec import SPEC

SHAPES = {"z_first": (3,), "a_second": (4,)}


def features_of(rows, shapes=SHAPES):
    """Features that say which row, cut and column they are."""
    numbers = np.asarray(rows, dtype=np.float32)
    return {
        name: (numbers[:, None] * 100 + number * 10 + np.arange(np.prod(shape)))
        .reshape(-1, *shape)
        .astype(np.float32)
        for number, (name, shape) in enumerate(shapes.items())
    }


def ids_of(num_rows):
    return [f"train/ünïcode {row:05d}" for row in range(num_rows)]


def digests_of(rows):
    """Distinct digests of images; the content of image `row` is its number."""
    digests = [hashlib.sha256(str(row).encode()).digest() for row in rows]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)


def write_all(writer, shapes=SHAPES, batch=32, bad=(), contents=None):
    """Runs what a writer wants; image `row` has the features of `contents[row]`."""
    rows = writer.rows_to_run
    edges = np.flatnonzero(np.diff(rows // writer.rows_per_part)) + 1
    for run in np.split(rows, edges):
        for start in range(0, len(run), batch):
            some = run[start : start + batch]
            broken = {row: "no image" for row in bad if row in some}
            shown = some if contents is None else np.asarray(contents)[some]
            writer.write(some, features_of(shown, shapes), broken)


def make(root, num_rows=150, batch=32, shapes=SHAPES, bad=(), spec=SPEC):
    writer = FeatureWriter(root, spec, ids_of(num_rows), shapes)
    write_all(writer, shapes, batch, bad)
    return seal(writer)


def seal(writer, contents=None):
    rows = range(len(writer.ids))
    return writer.seal(
        labels=np.arange(len(rows)) % 2,
        given_split=[["train", "val", "test"][row % 3] for row in rows],
        class_names=["cat", "dog"],
        image_digests=digests_of(rows if contents is None else contents),
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
        assert file.given_split[:4].tolist() == ["train", "val", "test", "train"]
        np.testing.assert_array_equal(file.image_digests, digests_of(range(150)))
        everything = features_of(range(150))
        joined = np.concatenate([everything["z_first"], everything["a_second"]], 1)
        np.testing.assert_array_equal(file.read(np.arange(150)), joined)
        rows = np.array([0, 63, 64, 149])
        np.testing.assert_array_equal(file.read(rows, ["a_second"]), everything["a_second"][rows])


def test_a_person_can_open_it(tmp_path):
    with h5py.File(make(tmp_path)) as file:
        assert file["features/z_first"].shape == (150, 3)
        assert file["ids"].asstr()[0] == "train/ünïcode 00000"
        assert file["given_split"].asstr()[1] == "val"


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(num_rows=st.integers(1, 300), batch=st.integers(1, 130), width=st.integers(1, 5))
def test_batches_do_not_matter(tmp_path_factory, num_rows, batch, width):
    shapes = {"cut": (width,)}
    path = make(tmp_path_factory.mktemp("store"), num_rows, batch, shapes)
    with FeatureFile(path) as file:
        expected = features_of(range(num_rows), shapes)["cut"]
        np.testing.assert_array_equal(file.read(np.arange(num_rows)), expected)


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rows=st.sets(st.integers(0, 149)),
    chunk=st.integers(1, 4000),
    widths=st.lists(st.sampled_from([1, 3, 10, 40]), min_size=1, max_size=4),
)
def test_any_rows_are_read_in_order(tmp_path_factory, rows, chunk, widths):
    rows = np.array(sorted(rows), dtype=np.int64)
    shapes = {f"cut{number}": (width,) for number, width in enumerate(widths)}
    everything = features_of(range(150), shapes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cache.parts.CHUNK_BYTES", chunk)  # of other rows for other widths
        path = make(tmp_path_factory.mktemp("store"), shapes=shapes, bad=(3,))
    kept = np.setdiff1d(np.arange(150), [3])
    rows = rows[rows < len(kept)]
    with FeatureFile(path) as file:
        joined = np.concatenate([everything[cut] for cut in shapes], 1)
        np.testing.assert_array_equal(file.read(rows), joined[kept[rows]])
        np.testing.assert_array_equal(file.read(rows, threads=1), joined[kept[rows]])
        np.testing.assert_array_equal(file.read(rows, ["cut0"]), everything["cut0"][kept[rows]])


def test_spatial_features_keep_their_shape(tmp_path):
    shapes = {"map": (2, 3, 4)}
    with FeatureFile(make(tmp_path, shapes=shapes)) as file:
        assert file.read(np.arange(10)).shape == (10, 2, 3, 4)
        np.testing.assert_array_equal(
            file.read(np.arange(150)), features_of(range(150), shapes)["map"]
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
            file.read(np.arange(147), ["z_first"]), features_of(range(150))["z_first"][kept]
        )
        assert file.ids[0] == "train/ünïcode 00001"
        np.testing.assert_array_equal(file.labels, kept % 2)


def writer_of(root, num_rows=150):
    return FeatureWriter(root, SPEC, ids_of(num_rows), SHAPES)


def starts(writer):
    return [part.start for part in writer.missing]


def test_an_interrupted_run_goes_on_and_ends_with_the_same_bytes(tmp_path):
    writer = writer_of(tmp_path)
    for rows in (np.arange(0, 50), np.arange(50, 100)):
        writer.write(rows, features_of(rows))
    writer.wait()
    assert starts(writer_of(tmp_path)) == [64, 128]
    np.testing.assert_array_equal(writer_of(tmp_path).rows_to_run, np.arange(64, 150))
    with pytest.raises(CacheError, match="86 rows are not written yet"):
        seal(writer_of(tmp_path))
    assert make(tmp_path).read_bytes() == make(tmp_path / "other").read_bytes()


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    stops=st.lists(st.integers(0, 300), max_size=4),
    batches=st.lists(st.integers(1, 90), min_size=5, max_size=5),
    bad=st.sets(st.integers(0, 299), max_size=5),
)
def test_any_order_of_interruptions_ends_with_the_same_bytes(tmp_path_factory, stops, batches, bad):
    root = tmp_path_factory.mktemp("store")
    whole = make(root / "whole", 300, bad=bad)
    for stop, batch in zip(stops, batches, strict=False):
        writer = writer_of(root / "stopped", 300)
        rows = writer.rows_to_run[:stop]
        for start in range(0, len(rows), batch):
            some = rows[start : start + batch]
            writer.write(some, features_of(some), {row: "no image" for row in bad if row in some})
        writer.wait()
    stopped = make(root / "stopped", 300, batches[-1], bad=bad)
    assert stopped.read_bytes() == whole.read_bytes()


def test_the_bytes_do_not_depend_on_the_time(tmp_path):
    first = make(tmp_path / "first").read_bytes()
    time.sleep(1.1)  # HDF5 would note times in seconds
    assert make(tmp_path / "second").read_bytes() == first


def test_a_damaged_part_is_written_again(tmp_path):
    writer = writer_of(tmp_path)
    write_all(writer)
    writer.wait()
    first, second, third = writer.parts
    first.path.write_bytes(first.path.read_bytes()[:500])
    with h5py.File(third.path, "r+") as file:
        file["z_first"][0, 0] += 1
    with pytest.raises(CacheError, match=r"damaged|parts"):
        seal(writer)
    assert not writer.path.exists()
    assert second.is_sound(SPEC.key, SHAPES)
    assert starts(writer_of(tmp_path)) == [0, 128]
    assert make(tmp_path).read_bytes() == make(tmp_path / "other").read_bytes()


def test_values_that_cannot_be_stored_name_the_image(tmp_path):
    features = features_of(range(10))
    features["a_second"][7, 2] = np.inf
    with pytest.raises(CacheError, match="'train/ünïcode 00007' are not finite"):
        writer_of(tmp_path).write(np.arange(10), features)
    half = dataclasses.replace(SPEC, dtype="float16")
    features["a_second"][7, 2] = 70000.0
    with pytest.raises(CacheError, match="00007' reach 70000, float16 holds at most 65504"):
        FeatureWriter(tmp_path, half, ids_of(10), SHAPES).write(np.arange(10), features)


def test_float16_is_stored_and_read(tmp_path):
    path = make(tmp_path, 15, spec=dataclasses.replace(SPEC, dtype="float16"))
    with FeatureFile(path) as file:
        values = file.read(np.arange(15), ["z_first"])
        assert values.dtype == np.float16
        expected = features_of(range(15))["z_first"].astype(np.float16)
        np.testing.assert_array_equal(values, expected)


def test_compressed_features_are_the_same_and_smaller(tmp_path):
    shapes = {"cut": (256,)}

    def sealed(root, compression):
        writer = FeatureWriter(root, SPEC, ids_of(150), shapes, compression=compression)
        write_all(writer, shapes)
        return seal(writer)

    plain, packed = sealed(tmp_path / "plain", "none"), sealed(tmp_path / "packed", "zstd")
    assert packed.stat().st_size < plain.stat().st_size / 2
    assert packed.read_bytes() == sealed(tmp_path / "again", "zstd").read_bytes()
    rows = np.arange(1, 150, 3)
    with FeatureFile(plain) as one, FeatureFile(packed) as other:
        np.testing.assert_array_equal(one.read(rows), other.read(rows))
        assert verify(other).is_sound
        offset = other._file["features/cut"].id.get_chunk_info(0).byte_offset
    data = bytearray(packed.read_bytes())
    data[offset + 40] ^= 1
    packed.write_bytes(data)
    with FeatureFile(packed) as file:
        assert file.shape("cut") == (256,)
        assert 0 in verify(file).damaged["cut"]
        with pytest.raises(CacheError, match="damaged"):
            file.read(rows)


def test_compressed_features_without_the_plug_in_say_what_is_missing(tmp_path, monkeypatch):
    path = FeatureWriter(tmp_path, SPEC, ids_of(150), SHAPES, compression="zstd")
    write_all(path)
    sealed = seal(path)
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    with FeatureFile(sealed) as file, pytest.raises(CacheError, match="pip install hdf5plugin"):
        file.read(np.arange(3))
    with pytest.raises(CacheError, match="pip install hdf5plugin"):
        FeatureWriter(tmp_path, SPEC, ids_of(150), SHAPES, compression="zstd")


def test_views_are_an_axis_and_cuts_are_joined_behind_it(tmp_path):
    shapes = {"one": (2, 3), "two": (2, 4)}
    spec = dataclasses.replace(SPEC, views=("identity", "flip"))
    with FeatureFile(make(tmp_path, shapes=shapes, spec=spec)) as file:
        both = features_of(range(150), shapes)
        assert file.joined_shape() == (2, 7)
        np.testing.assert_array_equal(
            file.read(np.arange(150)), np.concatenate([both["one"], both["two"]], -1)
        )


def test_wrong_shapes_and_gaps_are_refused(tmp_path):
    writer = writer_of(tmp_path)
    with pytest.raises(ValueError, match=r"expected \(10, 3\), received \(9, 3\)"):
        writer.write(np.arange(10), features_of(range(9)))
    writer.write(np.arange(10), features_of(range(10)))
    with pytest.raises(ValueError, match="received rows"):
        writer.write(np.arange(12, 20), features_of(range(12, 20)))


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
        from tests.cache.test_cache import *
        writer = writer_of(sys.argv[1])
        writer.rows_per_part = 64
        writer.write(np.arange(64), features_of(range(64)))
        writer.wait()
        cache.durable._sync = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        writer.write(np.arange(64, 128), features_of(range(64, 128)))
        writer.wait()
        """
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=Path.cwd())
    assert done.returncode == -signal.SIGKILL
    assert starts(writer_of(tmp_path)) == [64, 128]
    with FeatureFile(make(tmp_path)) as file:
        assert len(file) == 150


def test_a_file_of_another_format_says_so(tmp_path):
    spec = dataclasses.replace(SPEC, format_version=1)
    with pytest.raises(CacheError, match="of format 1, this version reads 4"):
        FeatureFile(make(tmp_path, spec=spec))


def test_rows_per_part_keeps_parts_near_32_mib():
    assert rows_per_part(1280 * 4) == 4096
    assert rows_per_part(7104 * 4) == 1024
    assert rows_per_part(7 * 7 * 768 * 4) == 128
    assert rows_per_part(2**30) == 64


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127, "日" * 85])
def test_a_file_is_written_whole_under_the_longest_of_names(name, tmp_path):
    with whole_file(tmp_path / name) as temporary:
        temporary.write_bytes(b"whole")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(name, b"whole")]
