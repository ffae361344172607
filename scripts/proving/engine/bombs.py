"""Small bodies that become large ones."""

from __future__ import annotations

import struct
import zlib

BLOCK_BYTES = 1 << 24


def gzip_bomb(size: int) -> bytes:
    """A sound gzip file of zeros that unpacks to so many bytes, a multiple of 16 MiB: one stream of the same block over
    and over."""
    zeros = bytes(BLOCK_BYTES)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    # A block after a full flush refers to nothing before it.
    block = deflate.compress(zeros) + deflate.flush(zlib.Z_FULL_FLUSH)
    last, crc = deflate.flush(), 0
    for _ in range(size // BLOCK_BYTES):
        crc = zlib.crc32(zeros, crc)
    head = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"
    return head + block * (size // BLOCK_BYTES) + last + struct.pack("<II", crc, size & 0xFFFFFFFF)


class _Bits:
    def __init__(self) -> None:
        self.value, self.length = 0, 0

    def put(self, value: int, length: int) -> None:
        self.value |= value << self.length
        self.length += length

    def align(self) -> None:
        self.length = (self.length + 7) // 8 * 8

    def bytes(self) -> bytes:
        self.align()
        return self.value.to_bytes(self.length // 8, "little")


def brotli_bomb(size: int) -> bytes:
    """The same as brotli (RFC 7932), written by hand: of each 16 MiB one byte is told, and that it is to be repeated."""
    bits = _Bits()
    # Window of 2^22 - 16 bytes.
    bits.put(0b1011, 4)
    for _ in range(size // BLOCK_BYTES):
        bits.put(0, 1)
        # MLEN - 1 in six nibbles; compressed.
        bits.put(2, 2)
        bits.put(BLOCK_BYTES - 1, 24)
        bits.put(0, 1)
        # One block type each of literals, commands and distances; no postfix, no direct distances, mode LSB6, one tree
        # each of literals and distances.
        bits.put(0, 3 + 6 + 2 + 2)
        # Prefix codes of one symbol: literal 0; command 455, insert code 1 (one literal) and copy code 23 (2,118 and 24
        # bits); distance 16, which is 1 and a bit.
        for symbol, width in ((0, 8), (COMMAND, 10), (16, 6)):
            bits.put(1, 2)
            bits.put(0, 2)
            bits.put(symbol, width)
        bits.put(BLOCK_BYTES - 1 - 2_118, 24)
        bits.put(0, 1)
    # The last, empty.
    bits.put(0b11, 2)
    return bits.bytes()


# Cell of insert codes 0 to 7 and copy codes 16 to 23 (RFC 7932, section 5), then three bits each.
COMMAND = 384 + (1 << 3) + 7
