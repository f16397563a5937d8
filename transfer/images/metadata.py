"""PNG and JPEG files without their metadata: texts, profiles and the like are nothing to us."""

import zlib

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_START_OF_SCAN = 0xDA
_EXIF, _ADOBE = 0xE1, 0xEE
_ADOBE_LENGTH = 14  # bytes with the length itself; decoders need all of them


def without_metadata(data: bytes) -> bytes:
    """Returns what a decoder needs of a file, and its EXIF block, which says which side is up.

    For files that Pillow gives up because of what it reads beside the pixels: a text longer than
    it allows, a profile cut short. Of an animated PNG the first frame is left.

    Args:
        data: An encoded image. One that is neither PNG nor JPEG is returned as it is, as is the
            rest of one from where it is damaged.
    """
    if data.startswith(_PNG):
        return _png_without_metadata(data)
    if data.startswith(_JPEG):
        return _jpeg_without_metadata(data)
    return data


def _png_without_metadata(data: bytes) -> bytes:
    """Source: PNG Specification, Third Edition, 5.3 (chunk layout) and 5.4 (chunk naming)."""
    kept, at = [_PNG], len(_PNG)
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4])
        name, checked, checksum = data[at + 4 : at + 8], data[at + 4 : end - 4], data[end - 4 : end]
        is_critical = name[:1].isupper()
        is_sound = zlib.crc32(checked) == int.from_bytes(checksum)
        if is_critical or name == b"tRNS" or (name == b"eXIf" and is_sound):
            kept.append(data[at:end])
        at = end
    return b"".join(kept)


def _jpeg_without_metadata(data: bytes) -> bytes:
    """Source: ITU-T T.81, annex B.1.1; APP1 holds EXIF, and APP14 says how colours are coded."""
    kept, at = [_JPEG], len(_JPEG)
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != _START_OF_SCAN:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        if marker == 0xFF:  # a byte of padding
            at += 1
            continue
        end = at + 2 + length
        is_exif = marker == _EXIF and data.startswith(b"Exif\0", at + 4)
        is_adobe = marker == _ADOBE and length >= _ADOBE_LENGTH
        is_metadata = 0xE0 <= marker <= 0xEF or marker == 0xFE
        if not is_metadata or is_exif or is_adobe:
            kept.append(data[at:end])
        at = end
    return b"".join([*kept, data[at:]])
