"""Codes of the exchange's list that the simulator serves, read from the `.xls` itself.

A reader of just so much of the container ([MS-CFB]) and of the workbook ([MS-XLS], BIFF8) as that file needs.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Iterator

CODE_COLUMN = 1
SECTOR_END = 0xFFFFFFFE
SST, CONTINUE, LABELSST, NUMBER, RK = 0x00FC, 0x003C, 0x00FD, 0x0203, 0x027E


def codes(path: Path) -> list[str]:
    """All codes, in the order of the list."""
    strings: list[str] = []
    found: dict[int, str] = {}
    for kind, parts in _records(_workbook(path.read_bytes())):
        body = parts[0]
        if kind == SST:
            strings = list(_strings(parts))
        elif kind in (LABELSST, NUMBER, RK):
            row, column = struct.unpack_from("<HH", body)
            # The first row has the headings.
            if column == CODE_COLUMN and row > 0:
                found[row] = _cell(kind, body, strings)
    return [found[row] for row in sorted(found)]


def _cell(kind: int, body: bytes, strings: list[str]) -> str:
    if kind == LABELSST:
        number: int = struct.unpack_from("<I", body, 6)[0]
        return strings[number].strip()
    if kind == NUMBER:
        return str(int(struct.unpack_from("<d", body, 6)[0]))
    packed = struct.unpack_from("<I", body, 6)[0]
    if packed & 2:
        value = float(packed >> 2)
    else:
        value = float(struct.unpack("<d", struct.pack("<Q", (packed & ~3) << 32))[0])
    return str(int(value / 100 if packed & 1 else value))


def _workbook(file: bytes) -> bytes:
    """The stream named Workbook."""
    size = 1 << struct.unpack_from("<H", file, 30)[0]

    def sector(number: int) -> bytes:
        return file[(number + 1) * size : (number + 2) * size]

    fat_sectors = [number for number in struct.unpack_from("<109I", file, 76) if number < SECTOR_END]
    fat = [entry for number in fat_sectors for entry in struct.unpack(f"<{size // 4}I", sector(number))]

    def chain(number: int) -> bytes:
        parts = []
        while number < SECTOR_END:
            parts.append(sector(number))
            number = fat[number]
        return b"".join(parts)

    directory = chain(struct.unpack_from("<I", file, 48)[0])
    for at in range(0, len(directory), 128):
        name_bytes = struct.unpack_from("<H", directory, at + 64)[0]
        name = directory[at : at + max(name_bytes - 2, 0)].decode("utf-16-le")
        if name == "Workbook":
            start, length = struct.unpack_from("<II", directory, at + 116)
            return chain(start)[:length]
    raise ValueError("no stream named Workbook")


def _records(stream: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """Records with their continuations."""
    at = 0
    pending: tuple[int, list[bytes]] | None = None
    while at + 4 <= len(stream):
        kind, length = struct.unpack_from("<HH", stream, at)
        body = stream[at + 4 : at + 4 + length]
        at += 4 + length
        if kind == CONTINUE and pending is not None:
            pending[1].append(body)
            continue
        if pending is not None:
            yield pending
        pending = (kind, [body])
    if pending is not None:
        yield pending


def _strings(parts: list[bytes]) -> Iterator[str]:
    """The table of strings. One may go on in the next record, which then begins with a byte on its width."""
    count = struct.unpack_from("<I", parts[0], 4)[0]
    part, at = 0, 8
    for _ in range(count):
        if at >= len(parts[part]):
            part, at = part + 1, 0
        left, flags = struct.unpack_from("<HB", parts[part], at)
        if flags & 0x0C:
            raise ValueError("strings with formats are not read here")
        at += 3
        text = ""
        while True:
            width = 2 if flags & 1 else 1
            here = min(left, (len(parts[part]) - at) // width)
            raw = parts[part][at : at + here * width]
            text += raw.decode("utf-16-le" if width == 2 else "latin-1")
            at, left = at + here * width, left - here
            if left == 0:
                break
            part, at = part + 1, 1
            flags = parts[part][0]
        yield text
