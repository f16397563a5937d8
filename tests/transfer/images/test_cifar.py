"""CIFAR in the published layouts, written here byte by byte as Python 2 wrote them."""

import io
import os
import pickle
import struct
import tarfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transfer.errors import InputError
from transfer.images.sources import DataOptions, digest, load

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR100 = tuple(f"fine_{i:02}" for i in range(100))
SUPERCLASSES = tuple(f"coarse_{i:02}" for i in range(20))


# --- Python 2's pickles, protocol 2 ---


def text(value):
    data = value.encode() if isinstance(value, str) else value
    if len(data) < 256:
        return b"U" + bytes([len(data)]) + data
    return b"T" + struct.pack("<i", len(data)) + data


def integer(value):
    return b"J" + struct.pack("<i", value)


def array(values, code="u1", fortran=False):
    raw = values.tobytes("F" if fortran else "C")
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n" + integer(0) + b"\x85"
        + text("b") + b"tR("
        + integer(1)
        + b"(" + b"".join(integer(size) for size in values.shape) + b"t"
        + b"cnumpy\ndtype\n(" + text(code) + integer(0) + integer(1) + b"tR"
        + b"(" + integer(3) + text("|") + b"NNN" + integer(-1) + integer(-1) + integer(0) + b"tb"
        + (b"\x88" if fortran else b"\x89")
        + text(raw) + b"tb"
    )  # fmt: skip


def listed(items):
    return b"](" + b"".join(items) + b"e"


def python2_pickle(**entries):
    body = b"".join(text(key) + value for key, value in entries.items())
    return b"\x80\x02}(" + body + b"u."


def batch(pixels, labels, coarse=None, fortran=False):
    entries = {"batch_label": text("training batch 1 of 5")}
    if coarse is None:
        entries["labels"] = listed(map(integer, labels))
    else:
        entries["fine_labels"] = listed(map(integer, labels))
        entries["coarse_labels"] = listed(map(integer, coarse))
    entries["data"] = array(pixels, fortran=fortran)
    entries["filenames"] = listed(text(f"img_{i}.png") for i in range(len(labels)))
    return python2_pickle(**entries)


# --- releases ---


def contents(classes, per_file, files=6):
    """Pixels `(rows, 3072)` and labels of each file; every class is in the first file."""
    random = np.random.default_rng(classes)
    return [
        (
            random.integers(0, 256, (per_file, 3072), dtype=np.uint8),
            np.roll(np.arange(per_file) % classes, number),
        )
        for number in range(files)
    ]


PARTS10 = contents(10, 30)
PARTS100 = contents(100, 400, files=2)


def cifar10_python():
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    files = {n: batch(*part) for n, part in zip(names, PARTS10, strict=True)}
    files["batches.meta"] = python2_pickle(
        num_cases_per_batch=integer(30),
        label_names=listed(map(text, CIFAR10)),
        num_vis=integer(3072),
    )
    files["readme.html"] = b"<html>"
    return {f"cifar-10-batches-py/{name}": data for name, data in files.items()}


def cifar10_binary():
    names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    files = {
        name: b"".join(bytes([y]) + x.tobytes() for x, y in zip(*part, strict=True))
        for name, part in zip(names, PARTS10, strict=True)
    }
    files["batches.meta.txt"] = "\n".join(CIFAR10).encode() + b"\n\n"
    return {f"cifar-10-batches-bin/{name}": data for name, data in files.items()}


def cifar100_python():
    files = {
        name: batch(pixels, labels, coarse=labels // 5)
        for name, (pixels, labels) in zip(("train", "test"), PARTS100, strict=True)
    }
    files["meta"] = python2_pickle(
        fine_label_names=listed(map(text, CIFAR100)),
        coarse_label_names=listed(map(text, SUPERCLASSES)),
    )
    return {f"cifar-100-python/{name}": data for name, data in files.items()}


def cifar100_binary():
    files = {
        name: b"".join(bytes([y // 5, y]) + x.tobytes() for x, y in zip(*part, strict=True))
        for name, part in zip(("train.bin", "test.bin"), PARTS100, strict=True)
    }
    files["fine_label_names.txt"] = "\n".join(CIFAR100).encode() + b"\n"
    files["coarse_label_names.txt"] = "\n".join(SUPERCLASSES).encode() + b"\n"
    return {f"cifar-100-binary/{name}": data for name, data in files.items()}


RELEASES = {
    "cifar-10-python": (cifar10_python, PARTS10, CIFAR10),
    "cifar-10-binary": (cifar10_binary, PARTS10, CIFAR10),
    "cifar-100-python": (cifar100_python, PARTS100, CIFAR100),
    "cifar-100-binary": (cifar100_binary, PARTS100, CIFAR100),
}


def packed(folder, files, form):
    path = folder / f"data.{form}"
    if form == "folder":
        for name, data in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
    else:
        with tarfile.open(path, "w:gz" if form == "tar.gz" else "w") as archive:
            for name, data in reversed(files.items()):  # the order in an archive does not matter
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return DataOptions(data=str(path))


def test_the_pickles_here_are_what_numpy_reads():
    loaded = pickle.loads(batch(*PARTS10[0]), encoding="bytes")
    np.testing.assert_array_equal(loaded[b"data"], PARTS10[0][0])
    assert loaded[b"labels"] == list(PARTS10[0][1])


@pytest.mark.parametrize("form", ["tar.gz", "tar", "folder"])
@pytest.mark.parametrize("release", RELEASES)
def test_every_release_in_every_form(tmp_path, release, form):
    files, parts, names = RELEASES[release]
    images = load(packed(tmp_path, files(), form))
    train = sum(len(labels) for _, labels in parts[:-1])
    test = len(parts[-1][1])
    assert images.class_names == names
    assert len(images) == train + test
    assert images.ids[0] == "train/00000"
    assert images.ids[train - 1] == f"train/{train - 1:05}"
    assert images.ids[-1] == f"test/{test - 1:05}"
    np.testing.assert_array_equal(images.split == "test", np.arange(len(images)) >= train)
    assert set(images.split[:train]) == {"train", "val"}
    np.testing.assert_array_equal(images.labels, np.concatenate([labels for _, labels in parts]))
    flat = np.concatenate([pixels for pixels, _ in parts])
    (all_rows,) = images.batches(len(images), (96, 96))
    assert all_rows.images.shape == (len(images), 32, 32, 3)
    assert all_rows.images.dtype == np.uint8
    for row in (0, 45, len(images) - 1):
        red, green, blue = flat[row].reshape(3, 32, 32)  # row-major planes, as published
        expected = np.stack([red, green, blue], axis=-1)
        np.testing.assert_array_equal(images.read(row), expected)
        np.testing.assert_array_equal(all_rows.images[row], expected)


def test_limit_takes_the_first_of_each_class_of_train_and_test(tmp_path):
    options = replace(packed(tmp_path, cifar10_binary(), "folder"), limit_per_class=2)
    images = load(replace(options, val_fraction=0.0))
    for split, parts in (("train", PARTS10[:-1]), ("test", PARTS10[-1:])):
        labels = np.concatenate([labels for _, labels in parts])
        first = np.sort(np.concatenate([np.flatnonzero(labels == c)[:2] for c in range(10)]))
        assert list(images.ids[images.split == split]) == [f"{split}/{i:05}" for i in first]


def test_batches_that_python_3_pickled_again(tmp_path):
    files = cifar10_python()
    for protocol in (2, 3, 4):
        pixels, labels = PARTS10[0]
        again = {b"data": pixels, b"labels": [int(label) for label in labels]}
        files["cifar-10-batches-py/data_batch_1"] = pickle.dumps(again, protocol)
        files["cifar-10-batches-py/data_batch_2"] = pickle.dumps(
            {"data": np.asfortranarray(PARTS10[1][0]), "labels": labels.tolist()}, protocol
        )
        images = load(packed(tmp_path, files, "tar"))
        expected = np.concatenate([pixels for pixels, _ in PARTS10]).reshape(-1, 3, 32, 32)
        got = np.stack([images.read(row) for row in range(60)])
        np.testing.assert_array_equal(got, expected[:60].transpose(0, 2, 3, 1))


def test_column_major_batch(tmp_path):
    files = cifar10_python()
    files["cifar-10-batches-py/data_batch_1"] = batch(*PARTS10[0], fortran=True)
    images = load(packed(tmp_path, files, "tar"))
    expected = PARTS10[0][0].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal([images.read(row) for row in range(30)], expected)


def test_digest_is_of_the_content_wherever_it_lies(tmp_path):
    files = cifar10_python()
    one = digest(packed(tmp_path, files, "folder"))
    moved = {name.replace("cifar-10-batches-py/", ""): data for name, data in files.items()}
    moved["another readme"] = b"x"
    (tmp_path / "b").mkdir()
    assert digest(packed(tmp_path / "b", moved, "folder")) == one
    moved["data_batch_3"] = batch(PARTS10[3][0], PARTS10[2][1])
    (tmp_path / "c").mkdir()
    assert digest(packed(tmp_path / "c", moved, "folder")) != one


# --- refusals ---


class Malice:
    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.mark.parametrize("place", ["data_batch_1", "batches.meta"])
@pytest.mark.parametrize("protocol", range(6))
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path, place, protocol):
    victim = tmp_path / "victim"
    evil = {b"data": Malice(os.mkdir, str(victim)), b"label_names": Malice(eval, "1/0")}
    files = cifar10_python() | {f"cifar-10-batches-py/{place}": pickle.dumps(evil, protocol)}
    with pytest.raises(InputError, match="was not run") as caught:
        load(packed(tmp_path, files, "tar.gz"))
    assert not victim.exists()
    assert place in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("numpy", "load"), ("numpy", "dtype.newbyteorder"), ("builtins", "getattr"),
        ("_codecs", "decode"), ("numpy.core.multiarray", "fromstring"), ("os", "system"),
    ],
)  # fmt: skip
def test_only_the_admitted_names_are_found(tmp_path, module, name):
    asks = b"\x80\x04\x8c" + bytes([len(module)]) + module.encode()
    asks += b"\x8c" + bytes([len(name)]) + name.encode() + b"\x93."
    files = cifar10_python() | {"cifar-10-batches-py/test_batch": asks}
    with pytest.raises(InputError, match="was not run"):
        load(packed(tmp_path, files, "tar"))


def python_batch(**changes):
    pixels, labels = PARTS10[0]
    entries = {"labels": listed(map(integer, labels)), "data": array(pixels)} | changes
    return python2_pickle(**{key: value for key, value in entries.items() if value})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x02}",
        b"<html>",
        b"\x80\x02].",
        python_batch(data=None),
        python_batch(labels=None),
        python_batch(labels=listed([integer(1)])),
        python_batch(labels=text("cats")),
        python_batch(labels=listed([integer(-1)] * 30)),
        python_batch(labels=listed([integer(10)] * 30)),
        python_batch(data=array(PARTS10[0][0][:, :3000])),
        python_batch(data=array(PARTS10[0][0], code="O8")),
        python_batch(data=array(PARTS10[0][0].view("<f4"), code="f4")),
    ],
)
def test_files_of_another_layout_are_refused_in_one_line(tmp_path, data):
    files = cifar10_python() | {"cifar-10-batches-py/data_batch_1": data}
    with pytest.raises(InputError, match="fetch it again") as caught:
        load(packed(tmp_path, files, "tar"))
    assert "\n" not in str(caught.value)


@given(st.integers(0, 400), st.binary(min_size=1, max_size=8))
@settings(max_examples=150, deadline=None)
def test_damaged_pickles_load_or_are_refused(place, junk):
    from transfer.images.cifar import RELEASES as LAYOUTS
    from transfer.images.cifar import _images

    pixels, labels = PARTS10[0]
    data = bytearray(batch(pixels[:2], labels[:2]))
    data[place : place + len(junk)] = junk
    try:
        found, found_labels = _images(LAYOUTS[0], bytes(data), "somewhere")
    except InputError:
        return
    assert found.shape == (len(found_labels), 3072)


def test_binary_of_a_broken_length(tmp_path):
    files = cifar10_binary()
    files["cifar-10-batches-bin/test_batch.bin"] += b"\0"
    with pytest.raises(InputError, match="no whole number of 3073"):
        load(packed(tmp_path, files, "tar"))


@pytest.mark.parametrize("missing", ["data_batch_4", "batches.meta"])
def test_incomplete_release(tmp_path, missing):
    files = cifar10_python()
    del files[f"cifar-10-batches-py/{missing}"]
    with pytest.raises(InputError, match=f"incomplete CIFAR-10: {missing}"):
        load(packed(tmp_path, files, "folder"))
