"""The checksums of a zip that `torch.save` streams, filled in by us.

torch computes the CRC-32 of each record on its own, at a fifth of the speed that is possible, and can be told not to;
then it writes wrong ones, at which every other zip tool stops. So its pieces are looked at as they pass: a record is a
header, a name, an extra field, the bytes, and a descriptor with their CRC, each a piece of its own; the directory at
the end names them all again. Layout: PKWARE's APPNOTE 6.3.10, sections 4.3.7, 4.3.9 and 4.3.12.
"""

from __future__ import annotations

import struct
from enum import Enum, auto

try:
    from isal.isal_zlib import crc32
except ImportError:  # a platform without its wheel; slower, not different
    from zlib import crc32

_HEADER = struct.Struct("<4s2xH18xHH")
"""Of a local header: signature, flags, lengths of the name and the extra field."""
_HAS_DESCRIPTOR = 8
_ENTRY = struct.Struct("<4s24xHHH12x")
"""Of an entry of the directory: signature, lengths of the name, the extra field and the comment."""
_ENTRY_CRC = 16
_DESCRIPTOR_BYTES = (16, 24)
"""With sizes of 32 bits or 64."""


class UnknownStream(Exception):
    """The pieces are not what is known of torch; what was written so far has wrong checksums."""


class _Next(Enum):
    HEADER = auto()
    NAME = auto()
    EXTRA = auto()
    DATA = auto()
    DESCRIPTOR = auto()
    END = auto()


class ZipChecksums:
    """Looks at each piece before it is written: `corrected`, then `update` with what of it is hashed."""

    def __init__(self) -> None:
        self._next = _Next.HEADER
        self._crc = self._size_bytes = 0
        self._crcs: list[int] = []
        self._name_bytes = self._extra_bytes = 0
        self._has_data = self._is_in_data = False

    def corrected(self, piece: memoryview) -> bytes | memoryview:
        """What to write in place of `piece`.

        Raises:
            UnknownStream: It is none of the pieces that may come now.
        """
        self._is_in_data = False
        match self._next:
            case _Next.HEADER:
                return self._header(piece)
            case _Next.NAME:
                self._expect(piece, self._name_bytes, _Next.EXTRA if self._extra_bytes else self._after_names())
            case _Next.EXTRA:
                self._expect(piece, self._extra_bytes, self._after_names())
            case _Next.DATA:
                self._is_in_data, self._crc, self._size_bytes = True, 0, piece.nbytes
                self._next = _Next.DESCRIPTOR
            case _Next.DESCRIPTOR:
                return self._descriptor(piece)
            case _Next.END:
                pass  # the end records hold no checksums
        return piece

    def update(self, chunk: memoryview) -> None:
        """Take in the next part of the piece that `corrected` has just seen."""
        if self._is_in_data:
            self._crc = crc32(chunk, self._crc)

    def finish(self) -> None:
        """To be called at the end.

        Raises:
            UnknownStream: The directory has not come.
        """
        if self._next is not _Next.END:
            raise UnknownStream(f"the stream ended before its {self._next.name.lower()}")

    def _header(self, piece: memoryview) -> bytes | memoryview:
        if bytes(piece[:4]) == b"PK\x01\x02":
            self._next = _Next.END
            return self._directory(piece)
        if piece.nbytes != _HEADER.size:
            raise UnknownStream(f"a header of {piece.nbytes} bytes")
        signature, flags, self._name_bytes, self._extra_bytes = _HEADER.unpack(piece)
        if signature != b"PK\x03\x04" or not self._name_bytes:
            raise UnknownStream(f"a header that begins with {signature!r}")
        self._has_data = bool(flags & _HAS_DESCRIPTOR)
        self._next = _Next.NAME
        return piece

    def _after_names(self) -> _Next:
        if self._has_data:
            return _Next.DATA
        self._crcs.append(0)  # of no bytes
        return _Next.HEADER

    def _expect(self, piece: memoryview, size_bytes: int, then: _Next) -> None:
        if piece.nbytes != size_bytes:
            raise UnknownStream(f"{piece.nbytes} bytes where {size_bytes} were announced")
        self._next = then

    def _descriptor(self, piece: memoryview) -> bytes:
        sizes = struct.Struct("<2Q" if piece.nbytes == max(_DESCRIPTOR_BYTES) else "<2I")
        if piece.nbytes not in _DESCRIPTOR_BYTES or bytes(piece[:4]) != b"PK\x07\x08":
            raise UnknownStream(f"{piece.nbytes} bytes in place of a descriptor")
        if sizes.unpack(piece[8:]) != (self._size_bytes, self._size_bytes):
            raise UnknownStream(f"a descriptor of other sizes than {self._size_bytes}")
        self._crcs.append(self._crc)
        self._next = _Next.HEADER
        return b"PK\x07\x08" + struct.pack("<I", self._crc) + bytes(piece[8:])

    def _directory(self, piece: memoryview) -> bytes:
        """All entries, in the order of the records."""
        entries, place = bytearray(piece), 0
        for crc in self._crcs:
            if len(entries) - place < _ENTRY.size:
                raise UnknownStream("fewer entries than records")
            signature, name, extra, comment = _ENTRY.unpack_from(entries, place)
            if signature != b"PK\x01\x02":
                raise UnknownStream(f"an entry that begins with {signature!r}")
            struct.pack_into("<I", entries, place + _ENTRY_CRC, crc)
            place += _ENTRY.size + name + extra + comment
        if place != len(entries):
            raise UnknownStream("more entries than records")
        return bytes(entries)
