"""DICOM files made here, against what the standard says of their values."""

import io
import sys

import numpy as np
import pytest

from transfer.images.decoding import BadImage, Decoding, decode, decoded_size

pydicom = pytest.importorskip("pydicom", reason="DICOM needs the package pydicom")
RANDOM = np.random.default_rng(0)


def dicom(pixels, photometric="MONOCHROME2", bits=12, **elements):
    """An uncompressed file; `pixels` are `(frames, rows, columns)` or `(rows, columns[, 3])`."""
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    dataset = pydicom.Dataset()
    dataset.file_meta = meta
    colour = pixels.shape[-1] == 3 and photometric == "RGB"
    shape = pixels.shape[:-1] if colour else pixels.shape
    dataset.Rows, dataset.Columns = shape[-2:]
    if len(shape) == 3:
        dataset.NumberOfFrames = shape[0]
    dataset.SamplesPerPixel = 3 if colour else 1
    if colour:
        dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = photometric
    dataset.BitsAllocated = 8 * pixels.dtype.itemsize
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PixelRepresentation = int(np.issubdtype(pixels.dtype, np.signedinteger))
    dataset.PixelData = pixels.tobytes()
    for name, value in elements.items():
        setattr(dataset, name, value)
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


STORED = RANDOM.integers(0, 4096, (6, 8), dtype=np.uint16)


def grey(levels):
    return np.repeat(np.asarray(levels)[..., None], 3, -1)


def close(decoded, expected):
    """A window of whole numbers may round a half to either side."""
    np.testing.assert_allclose(decoded.astype(float), grey(expected), atol=0.51)


def test_without_a_window_of_its_own_all_bits_count():
    data = dicom(STORED)
    np.testing.assert_array_equal(decode(data, "x"), grey(np.rint(STORED / 4095 * 255)))
    assert decoded_size(data, "x") == (6, 8)


def test_white_at_the_lower_end_is_turned_around():
    decoded = decode(dicom(STORED, "MONOCHROME1"), "x")
    np.testing.assert_array_equal(decoded, grey(255 - np.rint(STORED / 4095 * 255)))


def test_its_own_window_counts_behind_slope_and_intercept():
    data = dicom(STORED, RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=40, WindowWidth=400)
    hounsfield = STORED * 2.0 - 1000
    # PS3.3 C.11.2.1.2.1
    expected = np.clip((hounsfield - (40 - 0.5)) / (400 - 1) + 0.5, 0, 1) * 255
    close(decode(data, "x"), expected)


def test_the_first_of_several_windows_counts():
    data = dicom(STORED, WindowCenter=[2000, 50], WindowWidth=[1000, 10])
    close(decode(data, "x"), np.clip((STORED - 1999.5) / 999 + 0.5, 0, 1) * 255)


def test_a_window_given_goes_before_its_own_and_counts_hounsfield():
    data = dicom(STORED, RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=40, WindowWidth=400)
    decoded = decode(data, "x", Decoding("-1000:7190"))
    np.testing.assert_array_equal(decoded, grey(np.rint(STORED / 4095 * 255)))
    spread = decode(data, "x", Decoding("minmax"))
    assert spread.min() == 0 and spread.max() == 255


def test_signed_values():
    stored = RANDOM.integers(-2048, 2048, (6, 8), dtype=np.int16)
    expected = np.rint((stored + 2048.0) / 4095 * 255)
    np.testing.assert_array_equal(decode(dicom(stored), "x"), grey(expected))


def test_a_window_table():
    item = pydicom.Dataset()
    item.LUTDescriptor = [4, 0, 16]
    item.LUTData = [0, 65535, 20000, 30000]
    item["LUTDescriptor"].VR = item["LUTData"].VR = "US"
    stored = np.array([[0, 1, 2, 3]], np.uint16)
    data = dicom(stored, VOILUTSequence=[item])
    # Black and white are where the table begins and ends; here it leaves them, and is cut.
    expected = np.clip(np.array([[0, 65535, 20000, 30000]]) / 30000, 0, 1) * 255
    close(decode(data, "x"), expected)


def test_colours():
    colours = RANDOM.integers(0, 256, (5, 4, 3), dtype=np.uint8)
    np.testing.assert_array_equal(decode(dicom(colours, "RGB", 8), "x"), colours)
    deep = RANDOM.integers(0, 65536, (5, 4, 3), dtype=np.uint16)
    np.testing.assert_array_equal(decode(dicom(deep, "RGB", 16), "x"), deep >> 8)


def test_palette():
    tables = RANDOM.integers(0, 65536, (3, 16), dtype=np.uint16)
    elements = {}
    for name, table in zip(("Red", "Green", "Blue"), tables, strict=True):
        elements[f"{name}PaletteColorLookupTableDescriptor"] = [16, 0, 16]
        elements[f"{name}PaletteColorLookupTableData"] = table.tobytes()
    stored = RANDOM.integers(0, 16, (5, 4), dtype=np.uint8)
    decoded = decode(dicom(stored, "PALETTE COLOR", 8, **elements), "x")
    np.testing.assert_array_equal(decoded, (tables >> 8).T[stored])


def test_frames():
    frames = RANDOM.integers(0, 4096, (3, 6, 8), dtype=np.uint16)
    data = dicom(frames)
    for page in (1, 3):
        expected = grey(np.rint(frames[page - 1] / 4095 * 255))
        np.testing.assert_array_equal(decode(data, "x", Decoding(page=page)), expected)
    with pytest.raises(BadImage, match="expected page 4, received a file of 3"):
        decode(data, "x", Decoding(page=4))


@pytest.mark.parametrize("length", [132, 200, 400, -3])
def test_truncated_files_are_bad_images(length):
    with pytest.raises(BadImage):
        decode(dicom(STORED)[:length], "x")


def test_without_the_package_the_reason_says_what_to_install(monkeypatch):
    data = dicom(STORED)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(BadImage, match="pip install pydicom"):
        decode(data, "x")
