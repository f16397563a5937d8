"""Names of a zip's members as people meant them, whatever wrote the zip."""

import struct
import zlib
from collections.abc import Iterator, Sequence
from zipfile import ZipInfo

_IS_UTF_8 = 0x800  # bit 11 of the flags
_UNICODE_PATH = 0x7075
_UNIX = 3


def names_of(members: Sequence[ZipInfo]) -> list[str]:
    """The path of each member, folders parted and ended by `/`.

    A name is, of these, the first that there is: that of Info-ZIP's extra field; UTF-8, where the
    member says so or all bytes are (macOS does not say so); code page 437, as DOS and Windows
    write. A backslash parts folders where DOS or Windows wrote the member, or no member has a
    slash.

    Source: APPNOTE.TXT 6.3.10, 4.4.2, 4.4.4, 4.4.17, appendix D, and 4.6.9 for the extra field.
    """
    names = [_decoded(member) for member in members]
    has_slashes = any("/" in name for name in names)
    return [
        name if has_slashes and member.create_system == _UNIX else name.replace("\\", "/")
        for name, member in zip(names, members, strict=True)
    ]


def _decoded(member: ZipInfo) -> str:
    name = member.orig_filename.partition("\0")[0]
    if name.isascii() and not member.extra:
        return name
    is_utf_8 = member.flag_bits & _IS_UTF_8
    raw = name.encode("utf-8" if is_utf_8 else "cp437")
    if extra := _unicode_path(member, raw):
        return extra
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return name


def _unicode_path(member: ZipInfo, raw: bytes) -> str | None:
    """The extra field's name, where it was written for the very name that the member has."""
    for kind, field in _extra_fields(member.extra):
        if kind == _UNICODE_PATH and field[:5] == struct.pack("<BL", 1, zlib.crc32(raw)):
            try:
                return field[5:].decode()
            except UnicodeDecodeError:
                return None
    return None


def _extra_fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<HH", extra, at)
        yield kind, extra[at + 4 : at + 4 + size]
        at += 4 + size
