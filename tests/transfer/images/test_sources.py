"""Where images come from: layouts of folders and archives, digests, names, errors."""

import gzip
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import textwrap
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.places import PROJECT, SHARED
from tests.transfer.images.test_archives import count_passes
from tests.transfer.images.test_cifar import cifar10_binary, cifar10_python
from transfer.errors import InputError
from transfer.images import digests
from transfer.images.decoding import BadImage
from transfer.images.digits import digits_file
from transfer.images.file_names import FORMATS, is_image
from transfer.images.sources import DataOptions, data_name, digest, load

TARS = {"tar": "w", "tar.gz": "w:gz", "tar.xz": "w:xz", "tar.bz2": "w:bz2"}
KINDS = ("folder", "zip", *TARS)


def picture(number):
    """A PNG file whose pixels are its number."""
    file = io.BytesIO()
    Image.new("RGB", (4, 3), (number % 256, number // 256, 7)).save(file, "PNG")
    return file.getvalue()


def number_in(image):
    return int(image[0, 0, 0]) + 256 * int(image[0, 0, 1])


def numbers_of(images):
    return [number_in(image) for _, image in images.stream()]


def check_rows_alone(images, rows):
    """Some rows of a set whose pictures are their row numbers are read alone, in every way."""
    some = images.subset(np.array(rows))
    assert numbers_of(some) == rows
    assert number_in(some.read(len(rows) - 1)) == rows[-1]
    (batch,) = some.batches(16, (3, 4))
    assert [number_in(image) for image in batch.images] == rows


def tree(*names, folders=()):
    """Files by name; each image holds its place in the list, other files hold text."""
    files = {name: picture(i) if is_image(name) else b"text" for i, name in enumerate(names)}
    return files | {f"{folder}/": None for folder in folders}


def write(path, kind, files):
    """Writes files, and folders where the content is None, to a folder or an archive."""
    path = path / f"my.photos.{kind}" if kind != "folder" else path / "my.photos"
    if kind == "folder":
        for name, data in files.items():
            file = path / name
            (file if data is None else file.parent).mkdir(parents=True, exist_ok=True)
            if data is not None:
                file.write_bytes(data)
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data or b"")
    else:
        with tarfile.open(path, TARS[kind]) as archive:
            for name, data in files.items():
                member = tarfile.TarInfo(name)
                member.type = tarfile.DIRTYPE if data is None else tarfile.REGTYPE
                member.size = len(data or b"")
                archive.addfile(member, io.BytesIO(data or b""))
    return DataOptions(data=str(path), val_fraction=0.0, test_fraction=0.0)


def refused(options):
    with pytest.raises(InputError) as caught:
        load(options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


PLAIN = tree(
    "dogs/b.JPG", "cats/2.png", "dogs/deep/er/a.webp", "cats/1.jpeg", "cats/notes.txt",
    "cats/.hidden.png", "__MACOSX/cats/._1.jpeg", ".thumbs/1.png", "birds/x.gif", "birds/y.BmP",
    "labels.csv",
)  # fmt: skip
SORTED = [
    ("birds/x.gif", 0, 8), ("birds/y.BmP", 0, 9), ("cats/1.jpeg", 1, 3), ("cats/2.png", 1, 1),
    ("dogs/b.JPG", 2, 0), ("dogs/deep/er/a.webp", 2, 2),
]  # fmt: skip
SPLIT = tree(
    "train/cats/1.png", "train/dogs/1.png", "Validation/cats/2.png", "TEST/dogs/3.png",
    "test.txt", "train/dogs/0.png",
)  # fmt: skip


@pytest.mark.parametrize("wrapped", ["", "data/", "a/b/"])
@pytest.mark.parametrize("kind", KINDS)
def test_class_folders(tmp_path, kind, wrapped):
    files = {wrapped + name: data for name, data in PLAIN.items()}
    images = load(write(tmp_path, kind, files))
    assert images.class_names == ("birds", "cats", "dogs")
    rows = [(images.ids[row], images.labels[row], number_in(images.read(row))) for row in range(6)]
    assert sorted(rows) == SORTED
    if kind in ("folder", "zip", "tar"):
        assert rows == SORTED
    else:  # only forward: in the order of the archive
        assert rows == sorted(SORTED, key=lambda row: row[2])
    streamed = [number_in(image) for _, image in images.stream()]
    assert streamed == [number for _, _, number in rows]
    (batch,) = images.batches(100, (3, 4))
    assert [number_in(image) for image in batch.images] == streamed
    assert batch.bad == ()


@pytest.mark.parametrize("kind", KINDS)
def test_split_folders(tmp_path, kind):
    images = load(replace(write(tmp_path, kind, SPLIT), val_fraction=0.3, test_fraction=0.3))
    found = sorted(zip(images.ids, images.split, strict=True))
    assert found == [
        ("TEST/dogs/3.png", "test"), ("Validation/cats/2.png", "val"),
        ("train/cats/1.png", "train"), ("train/dogs/0.png", "train"), ("train/dogs/1.png", "train"),
    ]  # fmt: skip
    assert images.class_names == ("cats", "dogs")


@pytest.mark.parametrize("name", ["train", "training"])
@pytest.mark.parametrize("held_out", ["test", "testing"])
def test_val_is_carved_where_only_test_is_given(tmp_path, name, held_out):
    numbers = range(60)
    files = tree(*(f"{split}/{animal}/{i:02}.png" for i in numbers for animal in ("cats", "dogs")
                   for split in (name, held_out)))  # fmt: skip
    images = load(replace(write(tmp_path, "folder", files), val_fraction=0.3, test_fraction=0.3))
    tested = np.array([id.startswith(held_out) for id in images.ids])
    np.testing.assert_array_equal(images.split == "test", tested)
    assert 10 < np.sum(images.split == "val") < 70


def test_val_folders_alone_leave_no_test_rows(tmp_path):
    files = tree("train/a/1.png", "train/b/1.png", "valid/a/2.png")
    images = load(replace(write(tmp_path, "folder", files), test_fraction=0.5))
    assert sorted(images.split) == ["train", "train", "val"]


def test_train_folder_alone_is_carved_into_three(tmp_path):
    files = tree(*(f"train/{animal}/{i}.png" for i in range(40) for animal in ("cats", "dogs")))
    images = load(replace(write(tmp_path, "folder", files), val_fraction=0.3, test_fraction=0.3))
    assert set(images.split) == {"train", "val", "test"}
    assert images.class_names == ("cats", "dogs")


def test_classes_may_be_named_like_splits(tmp_path):
    images = load(write(tmp_path, "folder", tree("train/1.png", "plane/1.png", "test/1.png")))
    assert images.class_names == ("plane", "test", "train")
    assert set(images.split) == {"train"}


@pytest.mark.parametrize("kind", ["folder", "tar.gz"])
def test_limit_takes_the_first_by_id_of_each_class_of_each_split(tmp_path, kind):
    names = [f"{split}/{animal}/{i}.png" for split in ("train", "test")
             for i in (5, 2, 9, 1) for animal in ("dogs", "cats")]  # fmt: skip
    options = replace(write(tmp_path, kind, tree(*names)), limit_per_class=2)
    images = load(options)
    expected = [f"{s}/{a}/{i}.png" for s in ("test", "train") for a in ("cats", "dogs")
                for i in (1, 2)]  # fmt: skip
    assert sorted(images.ids) == expected
    for row, image in images.stream():
        assert names[number_in(image)] == images.ids[row]
        assert names[number_in(images.read(row))] == images.ids[row]


def test_a_set_of_a_compressed_tar_reads_what_it_holds_once(tmp_path, monkeypatch):
    names = [f"{animal}/{i:03}.png" for i in range(50) for animal in ("cats", "dogs")]
    images = load(write(tmp_path, "tar.xz", tree(*names)))
    some = images.subset(np.arange(10, 100, 9))
    passes = count_passes(monkeypatch, some.source)
    for row in (7, 0, 3, 7):
        assert number_in(some.read(row)) == 10 + 9 * row
    assert passes == [10]


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "tar.gz"])
def test_files_that_are_no_images_are_rows_all_the_same(tmp_path, kind):
    files = tree("cats/1.png", "cats/2.png", "dogs/1.png") | {"cats/2.png": b"no image"}
    images = load(write(tmp_path, kind, files))
    assert sorted(images.ids) == sorted(files)
    bad = [(images.ids[row], image.reason) for row, image in images.stream()
           if isinstance(image, BadImage)]  # fmt: skip
    assert bad == [("cats/2.png", f"no {FORMATS} image")]


@given(
    st.dictionaries(
        st.tuples(
            st.sampled_from(["cats", "dogs", "Ünicode", "a b"]),
            st.text("xyz", min_size=1, max_size=4),
        ),
        st.booleans(),
        min_size=2,
        max_size=20,
    )
)
@settings(max_examples=25, deadline=None)
def test_any_folder_and_its_archives_agree(tmp_path_factory, names):
    files = tree(*(f"{animal}/{name}{'/in.png' if deep else '.png'}"
                   for (animal, name), deep in names.items()))  # fmt: skip
    classes = sorted({animal for animal, _ in names})
    # One folder that holds nothing but folders wraps the classes, as an archive's first one does.
    assume(len(classes) > 1 or not all(names.values()))
    path = tmp_path_factory.mktemp("any")
    for kind in ("folder", "zip", "tar.gz"):
        options = write(path, kind, files)
        if len(classes) < 2:
            assert "only one class" in refused(options)
            continue
        images = load(options)
        assert images.class_names == tuple(classes)
        assert {
            id: classes[label] for id, label in zip(images.ids, images.labels, strict=True)
        } == {name: name.split("/")[0] for name in files}


# --- errors ---


@pytest.mark.parametrize("kind", ["folder", "zip", "tar.xz"])
@pytest.mark.parametrize(
    ("files", "message"),
    [
        (tree("cats/1.png", "dogs/1.png", folders=["birds"]), "'birds' holds no images"),
        (tree("cats/1.png", "dogs/1.png", "birds/a.txt"), "'birds' holds no images"),
        (tree("cats/1.png", "dogs/1.png", "birds/.all/1.png"), "'birds' holds no images"),
        (tree("cats/1.png", "train/a/1.png", "\x1b/a.txt"), "with others ('\\x1b', 'cats')"),
        (tree("train/a/1.png", "train/b/1.png", folders=["val/b"]), "'val' holds no images"),
        (tree("train/a/1.png", "train/b/1.png", "val/a/1.png", folders=["val/b"]),
         "'val/b' holds no images"),
        (tree("cats/1.png", "cats/2.png"), "only one class ('cats')"),
        (tree("all/cats/1.png", "all/cats/2.png"), "only one class ('cats')"),
        (tree("cat.1.png", "dog.2.png"), "`transfer structure`"),
        (tree("cats/1.png", "dogs/1.png", "2.png"), "1 of 3 images lie in no class folder"),
        (tree("train/1.png", "test/2.png"), "`transfer structure`"),
        (tree("a.txt", "b/c.csv"), "holds no images"),
        (tree("train/cats/1.png", "test/cats/1.png", "extra/1.png"), "mixes split folders"),
        (tree("train/a/1.png", "train/b/1.png", "test/c/1.png"), "class 'c' of 'test' has no"),
        (tree("test/a/1.png", "test/b/1.png"), "class 'a' of 'test' has no training"),
    ],
)  # fmt: skip
def test_unusable_layouts_are_named(tmp_path, kind, files, message):
    assert message in refused(write(tmp_path, kind, files))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep file names in Unicode")
def test_a_name_that_is_not_utf8(tmp_path):
    options = write(tmp_path, "folder", tree("a/1.png", "b/1.png"))
    Path(os.fsdecode(os.fsencode(options.data) + b"/a/\xff.png")).write_bytes(picture(1))
    assert "not UTF-8" in refused(options)


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_hidden_files_and_others_are_left_out_and_counted(tmp_path, kind):
    images = tree("cats/1.tif", "dogs/2.AVIF", "dogs/3.jfif")
    hidden = tree("cats/._1.tif", ".ipynb_checkpoints/4.png", "dogs/@eaDir/5.jpg", "#recycle/6.jpg")
    others = tree("labels.csv", "cats/clip.mp4", "dogs/b.MP4", "dogs/Thumbs.db", ".DS_Store")
    found = load(write(tmp_path, kind, images | hidden | others))
    assert sorted(found.ids) == sorted(images)
    assert found.left_out == {"hidden files": 4, ".mp4": 2, ".csv": 1}


def test_a_digest_tells_what_is_left_out_of_a_folder(tmp_path):
    options = write(tmp_path, "folder", tree("cats/1.png", "dogs/2.png", "notes.txt", "a/.b.png"))
    heard = []
    assert digest(options, left_out=heard.append) == digest(options)
    assert heard == [{".txt": 1, "hidden files": 1}]


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_classes_are_one_however_their_letters_are_composed(tmp_path, kind):
    names = ["train/B\xe4r/1.png", "train/cat/2.png", "test/Ba\u0308r/3.png", "test/cat/4.png"]
    images = load(write(tmp_path, kind, tree(*names)))
    assert images.class_names == ("B\xe4r", "cat")
    assert sorted(images.ids) == sorted(names)  # as they are on disk
    assert [images.class_names[label] for label in images.labels] == [
        "B\xe4r" if "r/" in id[5:] else "cat" for id in images.ids
    ]


@pytest.mark.parametrize("name", ["digits", "cifar10", "cifar100"])
def test_a_folder_named_as_a_data_set_is_not_passed_over(tmp_path, monkeypatch, name):
    Path(write(tmp_path, "folder", tree("cats/1.png", "dogs/2.png")).data).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for ask in (load, digest):
        with pytest.raises(InputError, match=rf"give \./{name} for the folder; for the data set"):
            ask(DataOptions(data=name))
    assert len(load(DataOptions(f"./{name}", val_fraction=0.0, test_fraction=0.0))) == 2
    assert digest(DataOptions(data=f"./{name}")) == digest(DataOptions(data=str(tmp_path / name)))
    assert data_name(DataOptions(data=f"./{name}")) == name


@pytest.mark.parametrize("limit", [0, -1])
def test_limit_below_one(limit):
    assert "limit_per_class" in refused(DataOptions(data="digits", limit_per_class=limit))


def test_fractions_are_checked_before_anything_is_read():
    options = DataOptions(data="/nowhere", val_fraction=0.6, test_fraction=0.6)
    assert "together less than 1" in refused(options)


@pytest.mark.parametrize("call", [load, digest])
def test_missing_path_and_unknown_file(tmp_path, call):
    with pytest.raises(InputError, match="No such file"):
        call(DataOptions(data=str(tmp_path / "none")))
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(InputError, match="neither a folder nor"):
        call(DataOptions(data=str(tmp_path / "file")))


# --- digits, CIFAR by name ---


def test_digits_are_the_bundled_ones():
    images = load(DataOptions(data="digits"))
    with gzip.open(digits_file()) as file:
        table = np.loadtxt(file, delimiter=",")
    assert len(images) == 1797
    assert images.class_names == tuple("0123456789")
    assert (images.ids[0], images.ids[-1]) == ("digits/0000", "digits/1796")
    np.testing.assert_array_equal(images.labels, table[:, 64])
    pixels = np.stack([images.read(row) for row in range(1797)])
    assert pixels.shape == (1797, 8, 8, 3)
    for channel in range(3):
        levels = pixels[..., channel].reshape(-1, 64)
        assert np.abs(levels - table[:, :64] * 255 / 16).max() <= 0.5
    assert pixels.max() == 255
    shares = [np.mean(images.split == name) for name in ("train", "val", "test")]
    np.testing.assert_allclose(shares, [0.8, 0.1, 0.1], atol=0.04)


def test_cifar10_by_name_is_the_copy_that_keras_left(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    for name, data in cifar10_python().items():
        path = tmp_path / "datasets" / "cifar-10-batches-py-target" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    images = load(DataOptions())
    assert len(images) == 180
    folder = tmp_path / "datasets" / "cifar-10-batches-py-target" / "cifar-10-batches-py"
    assert digest(DataOptions()) == digest(DataOptions(data=str(folder)))


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_failed_download_names_the_three_ways_on(tmp_path, monkeypatch, name):
    import keras

    asked = {}

    def offline(fname, **arguments):
        asked.update(arguments, fname=fname)
        raise Exception("URL fetch failure on https://... : None -- [Errno -2]\nName unknown")

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(keras.utils, "get_file", offline)
    message = refused(DataOptions(data=name))
    assert all(way in message for way in ("python.tar.gz", "DATA=folder", "`make demo`"))
    assert (
        asked["fname"]
        == f"cifar-{name[5:]}-{'batches-py' if name == 'cifar10' else 'python'}-target"
    )


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_download_asks_for_what_keras_datasets_asks_for(tmp_path, monkeypatch, name):
    import importlib

    import keras

    module = importlib.import_module(f"keras.src.datasets.{name}")
    calls = []

    def record(*positional, **named):
        if positional:
            named["fname"] = positional[0]
        calls.append(named)
        raise OSError("stop here")

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(module, "get_file", record)
    monkeypatch.setattr(keras.utils, "get_file", record)
    with pytest.raises(OSError, match="stop here"):
        module.load_data()
    refused(DataOptions(data=name))
    assert calls[0] == calls[1]


# --- digests and names ---


def test_digest_of_an_archive_is_the_sha256_of_its_bytes(tmp_path):
    options = write(tmp_path, "zip", PLAIN)
    expected = hashlib.sha256(Path(options.data).read_bytes()).hexdigest()
    assert digest(options) == expected
    moved = Path(options.data).rename(tmp_path / "other")
    assert digest(DataOptions(data=str(moved), limit_per_class=1, val_fraction=0.3)) == expected


def test_digest_of_a_folder_follows_its_images_only(tmp_path):
    def digest_of(number, files):
        (tmp_path / str(number)).mkdir()
        return digest(write(tmp_path / str(number), "folder", files))

    first = digest_of(0, PLAIN)
    assert digest_of(1, dict(reversed(PLAIN.items()))) == first
    assert digest_of(2, {f"wrap/{name}": data for name, data in PLAIN.items()}) == first
    assert digest_of(3, PLAIN | {"cats/more.txt": b"x", ".x/1.png": b"x"}) == first
    others = [
        digest_of(4, PLAIN | {"cats/3.png": picture(0)}),
        digest_of(5, PLAIN | {"cats/2.png": picture(99)}),
        digest_of(6, {name.replace("cats/2", "cats/4"): data for name, data in PLAIN.items()}),
        digest_of(7, {name.replace("cats/2", "dogs/2"): data for name, data in PLAIN.items()}),
    ]
    assert len({first, *others}) == 5


def test_digest_of_a_folder_with_an_unreadable_image(tmp_path):
    options = write(tmp_path, "folder", PLAIN)
    whole = digest(options)
    image = Path(options.data, "cats/2.png")
    image.unlink()
    image.symlink_to("nowhere")
    assert digest(options) != whole


def test_digest_of_a_folder_is_that_of_what_sha256sum_prints(tmp_path):
    options = write(tmp_path, "folder", {f"wrap/{name}": data for name, data in PLAIN.items()})
    lines = [f"{hashlib.sha256(PLAIN[id]).hexdigest()}  {id}\n" for id, _, _ in SORTED]
    assert digest(options) == hashlib.sha256("".join(lines).encode()).hexdigest()
    Path(options.data, "wrap", SORTED[0][0]).unlink()
    Path(options.data, "wrap", SORTED[0][0]).symlink_to("nowhere")
    lines[0] = f"unreadable  {SORTED[0][0]}\n"
    assert digest(options) == hashlib.sha256("".join(lines).encode()).hexdigest()


def test_digest_of_an_archive_that_cannot_be_read(tmp_path, monkeypatch):
    options = write(tmp_path, "zip", PLAIN)

    def broken(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(digests, "file_digest", broken)
    with pytest.raises(InputError, match=r"my\.photos\.zip' cannot be read: Permission denied"):
        digest(options, lambda paths: ["unreadable"] * len(paths))


def test_a_tar_of_the_folder_itself(tmp_path):
    # tar -C photos . writes "./", which is no class folder.
    options = write(tmp_path, "folder", PLAIN)
    with tarfile.open(tmp_path / "dot.tar", "w") as archive:
        archive.add(options.data, arcname=".")
    images = load(DataOptions(str(tmp_path / "dot.tar"), val_fraction=0.0))
    assert sorted(images.ids) == [id for id, _, _ in SORTED]


def test_what_datasets_saved_to_disk_is_refused(tmp_path):
    options = write(tmp_path, "folder", {"train/data-00000-of-00001.arrow": b"", "state.json": b""})
    said = refused(options)
    assert "expects .parquet files, received .arrow files as save_to_disk makes them" in said


def test_digest_of_the_digits():
    import sklearn

    path = Path(sklearn.__file__).parent / "datasets" / "data" / "digits.csv.gz"
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest(DataOptions(data="digits", limit_per_class=5)) == expected


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("cifar10", "cifar10"), ("cifar100", "cifar100"), ("digits", "digits"),
        ("x/cats-and-dogs.tar.xz", "cats-and-dogs"), ("photos.TGZ", "photos"),
        ("my.photos.zip", "my.photos"), ("photos.v2", "photos.v2"), ("photos/", "photos"),
        ("cifar-10-python.tar.gz", "cifar-10-python"), ("./digits", "digits"),
        (".", Path.cwd().name), ("/", "data"),
    ],
)  # fmt: skip
def test_data_name(data, name):
    assert data_name(DataOptions(data=data)) == name


# --- what it costs ---


def test_nothing_slow_is_imported_for_local_data(tmp_path):
    plain = write(tmp_path, "tar.xz", PLAIN).data
    for name, data in cifar10_binary().items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    program = f"""
        import sys
        from transfer.images.sources import DataOptions, data_name, digest, load
        for path in ({plain!r}, {str(tmp_path / "cifar-10-batches-bin")!r}):
            options = DataOptions(data=path, val_fraction=0.0, test_fraction=0.0)
            digest(options)
            next(load(options).batches(8, (32, 32)))
        digest(DataOptions(data="digits"))
        slow = {{"keras", "tensorflow", "sklearn", "matplotlib", "h5py", "fsspec", "pyarrow"}}
        slow &= set(sys.modules)
        sys.exit(" ".join(slow) or 0)
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


# --- real photographs ---


def real(name):
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"needs {name} beside the project, in ../shared/data")
    return DataOptions(data=str(path))


def test_cats_and_dogs():
    options = real("cats-and-dogs.tar.xz")
    images = load(options)
    assert images.class_names == ("cats", "dogs")
    assert np.bincount(images.labels).tolist() == [150, 150]
    assert images.ids[0] == "cats/0001.jpg"
    sizes = set()
    for _, image in images.stream():
        assert isinstance(image, np.ndarray)
        sizes.add(image.shape[:2])
        assert 32 < max(image.shape) <= 256
        assert image.std() > 10
    assert len(sizes) > 20
    with tarfile.open(options.data) as archive:
        file = archive.extractfile("cats-and-dogs/dogs/0150.jpg")
        expected = np.asarray(Image.open(file).convert("RGB"))
    row = list(images.ids).index("dogs/0150.jpg")
    np.testing.assert_array_equal(images.subset(np.array([row])).read(0), expected)


def test_cifar10_as_jpeg():
    images = load(real("cifar10-jpeg.tar.xz"))
    assert len(images) == 60_000
    assert images.class_names[::9] == ("airplane", "truck")
    assert np.bincount(images.labels[images.split == "test"]).tolist() == [1000] * 10
    carved = images.split[images.split != "test"]
    assert abs(np.mean(carved == "val") - 0.1) < 0.01
    assert images.native_size == (32, 32)
    tail = images.subset(np.arange(59_000, 60_000))
    batches = list(tail.batches(300, (96, 96), np.arange(100, len(tail))))
    assert [len(batch.images) for batch in batches] == [300, 300, 300]
    assert all(batch.images.dtype == np.uint8 and not batch.bad for batch in batches)
