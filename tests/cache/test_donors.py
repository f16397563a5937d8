"""What other entries have is not computed again: images, cuts, and rows that survived damage."""

import dataclasses
from contextlib import ExitStack

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cache import DAMAGED, CacheError, FeatureFile, FeatureWriter, are_stored, find_donation
from tests.cache.test_cache import SHAPES, digests_of, features_of, seal, write_all
from tests.cache.test_spec import SPEC
from tests.cache.test_verify import chunk_offset


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr("cache.writer.rows_per_part", lambda row_bytes: 64)
    monkeypatch.setattr("cache.parts.CHUNK_BYTES", 512)


def names(count):
    return [f"data/{row}" for row in range(count)]


def make_from(root, data, contents, cuts=("z_first", "a_second"), bad=(), **changes):
    """Makes an entry of images with these contents; returns its path and what had to be run."""
    spec = dataclasses.replace(SPEC, data=data, cuts=cuts, **changes)
    shapes = {cut: SHAPES[cut] for cut in SHAPES if cut in cuts}
    ids = [f"{data}/{row}" for row in range(len(contents))]
    with ExitStack() as opened:
        donation = find_donation(root, spec, ids, digests_of(contents), tuple(shapes), opened)
        writer = FeatureWriter(root, spec, ids, shapes, donation)
        write_all(writer, bad=bad, contents=contents)
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
    for field, value in {"weights": "4" * 64, "image_size": (64, 64), "pooling": "max"}.items():
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
        donation = find_donation(
            tmp_path, spec, names(100), digests_of(range(100)), ("z_first",), opened
        )
        buffer = {"z_first": np.zeros((100, 3), np.float32)}
        donation.fill(0, buffer)
        np.testing.assert_array_equal(buffer["z_first"], features_of(range(100))["z_first"])
        with path.open("r+b") as file:
            file.seek(chunk_offset(path, "z_first", 77))
            file.write(b"\xff")
        with pytest.raises(CacheError, match=r"damaged while .* run the same command again"):
            donation.fill(0, buffer)


def test_images_of_sealed_entries_are_known(tmp_path):
    assert are_stored(tmp_path, digests_of(range(3))).tolist() == [False] * 3
    for name, contents in (("one", range(3, 6)), ("two", range(5, 9))):
        make_from(tmp_path, name, contents)
    stored = are_stored(tmp_path, digests_of(range(10)))
    assert stored.tolist() == [False] * 3 + [True] * 6 + [False]


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
        donation = find_donation(tmp_path, other, names(2), nothing, tuple(SHAPES), opened)
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


def begin(root, data, contents, parts, cuts=("z_first", "a_second")):
    """Writes an entry's first parts, as a run that is killed then leaves them; returns it."""
    spec = dataclasses.replace(SPEC, data=data, cuts=cuts)
    shapes = {cut: SHAPES[cut] for cut in SHAPES if cut in cuts}
    ids = [f"{data}/{row}" for row in range(len(contents))]
    digests = digests_of(contents)
    with FeatureWriter(root, spec, ids, shapes, image_digests=digests) as writer:
        rows = np.arange(min(64 * parts, len(contents)))
        for some in np.split(rows, range(64, len(rows), 64)):
            writer.write(some, features_of(np.asarray(contents)[some], shapes))
        writer.wait()
    return writer


def test_parts_of_an_unfinished_entry_serve_others(tmp_path):
    begin(tmp_path, "old", range(200), parts=2)
    contents = [*range(3, 200), 300]  # three images removed, one added
    path, rows, _ = make_from(tmp_path, "new", contents)
    assert rows == [*range(125, 198)]
    check(path, contents)


def test_a_damaged_part_gives_nothing_and_others_do(tmp_path):
    writer = begin(tmp_path, "old", range(200), parts=3)
    damaged = writer.parts[1].path
    content = bytearray(damaged.read_bytes())
    place = content.index(features_of(range(64, 128))["z_first"].tobytes()[:24])
    content[place] ^= 1
    damaged.write_bytes(content)
    path, rows, _ = make_from(tmp_path, "new", range(192), ("z_first",))
    assert rows == [*range(64, 128)]
    check(path, range(192))


def test_parts_that_another_run_seals_meanwhile_give_the_same(tmp_path):
    writer = begin(tmp_path, "old", range(100), parts=2)
    spec = dataclasses.replace(SPEC, data="new")
    with ExitStack() as opened:
        cuts = tuple(SHAPES)
        order = [*range(99, 0, -1)]
        donation = find_donation(tmp_path, spec, names(99), digests_of(order), cuts, opened)
        assert not donation.must_run.any()
        seal(writer)
        assert not writer.parts[0].path.exists()
        buffer = {cut: np.zeros((99, *SHAPES[cut]), np.float32) for cut in cuts}
        donation.fill(0, buffer)
    for cut in cuts:
        np.testing.assert_array_equal(buffer[cut], features_of(order)[cut])


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    old=st.lists(st.integers(0, 150), min_size=1, max_size=200),
    new=st.lists(st.integers(0, 150), min_size=1, max_size=150),
    parts=st.integers(1, 4),
)
def test_whatever_an_unfinished_entry_gives_values_are_right(tmp_path_factory, old, new, parts):
    root = tmp_path_factory.mktemp("store")
    begin(root, "old", old, parts)
    path, rows, _ = make_from(root, "new", new)
    check(path, new)
    known = set(old[: 64 * parts])
    assert rows == [row for row, one in enumerate(new) if one not in known]


def test_float16_is_rounded_from_float32_without_a_run(tmp_path):
    make_from(tmp_path, "data", range(100))
    path, rows, _ = make_from(tmp_path, "data", range(100), dtype="float16")
    assert rows == []
    with FeatureFile(path) as file:
        for cut in file.cuts:
            expected = features_of(range(100))[cut].astype(np.float16)
            np.testing.assert_array_equal(file.read(np.arange(100), [cut]), expected)
    other = tmp_path / "other"
    direct, rows, _ = make_from(other, "data", range(100), dtype="float16")
    assert len(rows) == 100
    assert direct.read_bytes() == path.read_bytes()


def test_float32_is_not_made_from_float16(tmp_path):
    make_from(tmp_path, "data", range(100), dtype="float16")
    _, rows, _ = make_from(tmp_path, "data", range(100))
    assert len(rows) == 100


def test_what_float16_cannot_hold_is_refused_also_from_the_store(tmp_path, monkeypatch):
    from tests.cache import test_cache, test_donors

    def large(rows, shapes=SHAPES):
        return {cut: 70_000 + values for cut, values in features_of(rows, shapes).items()}

    monkeypatch.setattr(test_cache, "features_of", large)
    make_from(tmp_path, "data", range(100))
    monkeypatch.setattr(test_cache, "features_of", test_donors.features_of)
    with pytest.raises(CacheError, match=r"holds at most 65504; store them with --storage float32"):
        make_from(tmp_path, "data", range(100), dtype="float16")


def test_an_image_that_was_set_aside_does_not_make_all_cuts_run(tmp_path):
    bad = [5, 70]
    make_from(tmp_path, "data", range(100), ("a_second",), bad, bad_images="skip")
    path, rows, cuts = make_from(tmp_path, "data", range(100), bad_images="skip")
    good = [row for row in range(100) if row not in bad]
    assert (rows, cuts) == (good, ("z_first",))
    with FeatureFile(path) as file:
        assert file.skipped == [(f"data/{row}", "no image") for row in bad]
        for cut in file.cuts:
            expected = features_of(good)[cut]
            np.testing.assert_array_equal(file.read(np.arange(98), [cut]), expected)


@pytest.mark.parametrize("other", [{"bad_images": "stop"}, {"data": "other"}])
def test_an_image_that_was_set_aside_is_looked_at_where_it_may_be_another(tmp_path, other):
    make_from(tmp_path, "data", range(100), bad=[5], bad_images="skip")
    _, rows, _ = make_from(
        tmp_path, **({"data": "data", "bad_images": "skip"} | other), contents=[*range(100)]
    )
    assert rows == [5]


def test_a_damaged_list_of_images_set_aside_keeps_no_sound_row_back(tmp_path):
    path, *_ = make_from(tmp_path, "data", range(100), bad=[5], bad_images="skip")
    data = bytearray(path.read_bytes())
    data[data.index(b"no image")] ^= 1
    path.write_bytes(data)
    path.replace(path.with_name(DAMAGED))
    mended, rows, _ = make_from(tmp_path, "data", range(100), bad=[5], bad_images="skip")
    assert rows == [5]
    with FeatureFile(mended) as file:
        assert file.skipped == [("data/5", "no image")]


def test_a_part_whose_spec_was_damaged_gives_nothing(tmp_path):
    writer = begin(tmp_path, "old", range(64), parts=1)
    (part,) = writer.parts
    content = part.path.read_bytes()
    spec = writer.spec.to_json().encode()
    changed = spec.replace(b'"pooling":"avg"', b'"pooling":"max"')
    assert content.count(spec) == 1 and changed != spec
    part.path.write_bytes(content.replace(spec, changed))
    _, rows, _ = make_from(tmp_path, "new", range(64), pooling="max")
    assert len(rows) == 64
