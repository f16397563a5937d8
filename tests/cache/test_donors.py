"""What other entries have is not computed again: images, cuts, and rows that survived damage."""

import dataclasses
from contextlib import ExitStack

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cache import DAMAGED, CacheError, FeatureFile, FeatureWriter, find_donation
from tests.cache.test_cache import SHAPES, digests_of, features_of, seal, write_all
from tests.cache.test_spec import SPEC
from tests.cache.test_verify import chunk_offset


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr("cache.writer.rows_per_part", lambda row_bytes: 64)
    monkeypatch.setattr("cache.writer.CHUNK_BYTES", 512)


def make_from(root, data, contents, cuts=("z_first", "a_second"), **changes):
    """Makes an entry of images with these contents; returns its path and what had to be run."""
    spec = dataclasses.replace(SPEC, data=data, cuts=cuts, **changes)
    shapes = {cut: SHAPES[cut] for cut in SHAPES if cut in cuts}
    ids = [f"{data}/{row}" for row in range(len(contents))]
    with ExitStack() as opened:
        donation = find_donation(root, spec, digests_of(contents), tuple(shapes), opened)
        writer = FeatureWriter(root, spec, ids, shapes, donation)
        write_all(writer, contents=contents)
        return seal(writer, contents), writer.rows_to_run.tolist(), donation.cuts_to_run


def check(path, contents):
    with FeatureFile(path) as file:
        for cut in file.cuts:
            expected = features_of(contents, SHAPES)[cut]
            np.testing.assert_array_equal(file.read(np.arange(len(contents)), [cut]), expected)


def test_only_new_images_are_run(tmp_path):
    make_from(tmp_path, "old", range(100))
    contents = [*range(50, 100), 200, 201, *range(10)]  # some removed, some added, other order
    path, rows, cuts = make_from(tmp_path, "new", contents)
    assert rows == [50, 51]
    assert cuts == ("z_first", "a_second")
    check(path, contents)


def test_relabelled_images_are_not_run_at_all(tmp_path):
    make_from(tmp_path, "old", range(100))
    path, rows, cuts = make_from(tmp_path, "relabelled", range(100))
    assert (rows, cuts) == ([], ())
    check(path, range(100))


def test_an_added_cut_is_the_only_one_run(tmp_path):
    make_from(tmp_path, "data", range(100), ("a_second",))
    path, rows, cuts = make_from(tmp_path, "data", range(100))
    assert (rows, cuts) == (list(range(100)), ("z_first",))
    check(path, range(100))


def test_other_specs_give_nothing(tmp_path):
    make_from(tmp_path, "data", range(100))
    for field, value in {"weights": "4" * 64, "image_size": (64, 64), "dtype": "float16"}.items():
        _, rows, _ = make_from(tmp_path, "data", range(100), **{field: value})
        assert len(rows) == 100, field


def test_sound_rows_of_a_damaged_file_are_kept(tmp_path):
    path, *_ = make_from(tmp_path, "data", range(100))
    original = path.read_bytes()
    data = bytearray(original)
    for cut, row in (("z_first", 3), ("a_second", 77)):
        data[chunk_offset(path, cut, row)] ^= 1
    path.with_name(DAMAGED).write_bytes(data)
    path.unlink()
    mended, rows, cuts = make_from(tmp_path, "data", range(100))
    assert (rows, cuts) == ([3, 77], ("z_first", "a_second"))
    assert mended.read_bytes() == original


def test_a_donor_that_is_damaged_while_it_is_read_is_refused(tmp_path):
    path, *_ = make_from(tmp_path, "old", range(100))
    spec = dataclasses.replace(SPEC, data="new")
    with ExitStack() as opened:
        donation = find_donation(tmp_path, spec, digests_of(range(100)), ("z_first",), opened)
        buffer = {"z_first": np.zeros((100, 3), np.float32)}
        donation.fill(0, buffer)
        np.testing.assert_array_equal(buffer["z_first"], features_of(range(100))["z_first"])
        with path.open("r+b") as file:
            file.seek(chunk_offset(path, "z_first", 77))
            file.write(b"\xff")
        with pytest.raises(CacheError, match=r"damaged while .* run the same command again"):
            donation.fill(0, buffer)


def test_images_without_a_digest_match_nothing(tmp_path):
    spec = dataclasses.replace(SPEC, data="data")
    writer = FeatureWriter(tmp_path, spec, ["a", "b"], SHAPES)
    write_all(writer)
    nothing = np.zeros((2, 32), np.uint8)
    writer.seal(
        labels=np.zeros(2), given_split=["train"] * 2, class_names=["x"], image_digests=nothing
    )
    with ExitStack() as opened:
        other = dataclasses.replace(SPEC, data="other")
        donation = find_donation(tmp_path, other, nothing, tuple(SHAPES), opened)
    assert donation.must_run.tolist() == [True, True]


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    first=st.lists(st.integers(0, 150), min_size=1, max_size=150),
    second=st.lists(st.integers(0, 150), min_size=1, max_size=150),
    third=st.lists(st.integers(0, 150), min_size=1, max_size=150),
    cuts=st.lists(
        st.sampled_from([("z_first",), ("a_second",), ("z_first", "a_second")]),
        min_size=3,
        max_size=3,
    ),
)
def test_whatever_is_donated_values_are_right(tmp_path_factory, first, second, third, cuts):
    root = tmp_path_factory.mktemp("store")
    for name, contents, wanted in zip("abc", (first, second, third), cuts, strict=True):
        path, rows, _ = make_from(root, name, contents, wanted)
        check(path, contents)
    known = {
        cut: {
            one
            for contents, had in zip((first, second), cuts, strict=False)
            if cut in had
            for one in contents
        }
        for cut in cuts[2]
    }
    lacking = [row for row, one in enumerate(third) if any(one not in known[c] for c in cuts[2])]
    assert rows == lacking


def test_a_donor_whose_index_is_damaged_gives_nothing_and_stops_nothing(tmp_path):
    path, *_ = make_from(tmp_path, "old", range(100))
    data = path.read_bytes()
    place = data.index(b"FADB")  # the data block of HDF5's index of chunks
    path.write_bytes(data[: place + 12] + bytes([data[place + 12] ^ 1]) + data[place + 13 :])
    mended, rows, _ = make_from(tmp_path, "new", range(100))
    assert len(rows) == 100
    check(mended, range(100))
