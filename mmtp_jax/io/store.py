"""The one form of our ``.npz`` files: named arrays without pickle, and a JSON header.

The header says name, type and shape of every array, and holds a hash of all. A file is compared
with it, and with its own size, before any array is unpacked: arrays are stored as they are, so that
reading takes no more memory than the file has bytes, and some twenty times those of the header and
of the archive's directory.
Files of older versions have no such table; they are checked for all but what it would say.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import zipfile
from collections.abc import Container, Mapping
from typing import Any

import numpy as np

from mmtp_jax.io.atomic import atomic_write
from mmtp_jax.io.documents import parse_json

HEADER = "header"
"""Name of the header among the arrays."""
_TABLE, _HASH = "arrays", "sha256"
"""Keys of the header that are the store's own."""


def write_store(
    path: str | os.PathLike, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> None:
    """Write header and arrays, replacing an older file at once.

    Args:
        path: the file.
        header: what JSON can hold.
        arrays: of booleans and real numbers.
    """
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    header = {**header, _TABLE: {name: _described(array) for name, array in arrays.items()}}
    header[_HASH] = _hash(json.loads(json.dumps(header)), arrays)
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **{HEADER: text}, **arrays)


def read_store(
    path: str | os.PathLike,
    what: str,
    advice: str,
    infinite: Container[str] = (),
    needs_header: bool = True,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays of a file, checked.

    Args:
        path: the file.
        what: what a message calls a file that is refused, e.g. "not a readable active set".
        advice: what to do then.
        infinite: names of the arrays that may hold infinity; NaN is in none.
        needs_header: whether older versions wrote one.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no such file, damaged, or larger than it says; it is named.
    """
    # Before it is opened: that would wait for the other end of a pipe.
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError(f"{path} is {what} (it is no regular file); {advice}")
    with open(path, "rb") as file:
        try:
            return _read(file, infinite, needs_header)
        # The readers of archives and arrays raise a dozen kinds of errors for damaged files.
        except Exception as error:
            raise ValueError(f"{path} is {what} ({_reason(error)}); {advice}") from error


def _read(
    file: Any, infinite: Container[str], needs_header: bool
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    size = os.fstat(file.fileno()).st_size
    if not size:
        raise ValueError("it is empty")
    if file.read(2) != b"PK":
        raise ValueError("it is no .npz file")
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        names = [member.filename.removesuffix(".npy") for member in members]
        if len(set(names)) < len(names) or not all(m.filename.endswith(".npy") for m in members):
            raise ValueError("it holds something twice, or what is no array")
        for member in members:
            if member.compress_type != zipfile.ZIP_STORED:
                raise ValueError("it is compressed, as no program of this package writes it")
        if sum(max(m.file_size, m.compress_size) for m in members) > size:
            raise ValueError(f"its arrays claim more than the {size} bytes that it has")
        places = dict(zip(names, members, strict=True))
        types = {name: _array_type(archive, member) for name, member in places.items()}
        header: dict[str, Any] = {}
        if HEADER in places:
            del types[HEADER]
            header = _parsed(_array(archive, places.pop(HEADER)))
        elif needs_header:
            raise ValueError("it has no header")
        for name, (kind, _) in types.items():
            if np.dtype(kind).kind not in "biuf":
                raise ValueError(f"its array {name} is of the type {kind}, not of numbers")
        _compare(header.get(_TABLE), types)
        arrays = {name: _array(archive, member) for name, member in places.items()}
    claimed = header.pop(_HASH, None)
    if _TABLE in header and claimed != _hash(header, arrays):
        raise ValueError("its contents do not fit its hash: it was changed after it was written")
    header.pop(_TABLE, None)
    for name, array in arrays.items():
        if array.dtype.kind == "f":
            if np.isnan(array).any():
                raise ValueError(f"its array {name} holds NaN")
            if name not in infinite and np.isinf(array).any():
                raise ValueError(f"its array {name} holds infinity")
    return header, arrays


def _array_type(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> tuple[str, list[int]]:
    """Type and shape that an array claims, if it has the size for them."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        if version not in read:
            raise ValueError(f"{member.filename} is of the unknown version {version}")
        shape, _, dtype = read[version](file)
        n_bytes = member.file_size - file.tell()
    wanted = dtype.itemsize
    for length in shape:
        if length < 0:
            raise ValueError(f"{member.filename} claims the shape {shape}")
        wanted *= length
    if dtype.hasobject or wanted != n_bytes:
        raise ValueError(
            f"{member.filename} claims {dtype} of the shape {shape}, and has {n_bytes} bytes"
        )
    return dtype.str, list(shape)


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    # The end is read too: there the archive's own check sum is compared.
    with archive.open(member) as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
        if file.read(1):
            raise ValueError(f"{member.filename} has something after its array")
        return array


def _parsed(text: np.ndarray) -> dict[str, Any]:
    # Exported potentials of older versions have a text there.
    return parse_json(str(text) if text.dtype.kind == "U" else text.tobytes())


def _compare(table: Any, types: Mapping[str, tuple[str, list[int]]]) -> None:
    if table is None:
        return
    if not isinstance(table, dict) or table.keys() != types.keys():
        known = sorted(table) if isinstance(table, dict) else table
        raise ValueError(f"its header speaks of the arrays {known}, and it has {sorted(types)}")
    for name, found in types.items():
        if table[name] != list(found):
            raise ValueError(
                f"its header gives {table[name]} as type and shape of the array {name}, which has "
                f"{list(found)}"
            )


def _described(array: np.ndarray) -> list[Any]:
    if array.dtype.kind not in "biuf":
        raise ValueError(f"an array of the type {array.dtype} cannot be stored")
    return [array.dtype.str, list(array.shape)]


def _hash(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()


def _reason(error: Exception) -> str:
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= 300 else f"{words[:300]}..."
