"""The checked store: what it wrote comes back, and all else is refused before it is unpacked."""

from __future__ import annotations

import io
import json
import os
import resource
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mmtp_jax.io.documents import read_json, read_toml
from mmtp_jax.io.store import read_store, write_store

HEADER = {"format": "test 1", "numbers": [1.5, 2], "files": {"a": 3}}
ARRAYS = {
    "energies": np.array([[-1.25, 1e300], [0.0, 5e-324]]),
    "types": np.arange(3, dtype=np.int32),
    "mask": np.array([True, False]),
    "step": np.asarray(7),
    "none": np.zeros((0, 3)),
}


def read(path: Path, **options):
    return read_store(path, "no test file", "make it again", **options)


@pytest.fixture
def file(tmp_path) -> Path:
    write_store(tmp_path / "a.npz", HEADER, ARRAYS)
    return tmp_path / "a.npz"


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(path: Path, content: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def text(content: object) -> bytes:
    return npy(np.frombuffer(json.dumps(content).encode(), np.uint8))


def test_what_is_written_is_read(file) -> None:
    header, arrays = read(file)
    assert header == HEADER
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)


def test_files_of_older_versions_are_read_and_checked(tmp_path) -> None:
    path = tmp_path / "old.npz"
    np.savez(path, header=np.frombuffer(json.dumps(HEADER).encode(), np.uint8), **ARRAYS)
    assert read(path)[0] == HEADER
    np.savez(path, header=np.array(json.dumps(HEADER)), a=np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match=r"old\.npz is no test file \(its array a holds NaN\)"):
        read(path)
    np.savez(path, a=np.array([np.inf]))
    with pytest.raises(ValueError, match="it has no header"):
        read(path)
    with pytest.raises(ValueError, match="array a holds infinity"):
        read(path, needs_header=False)
    assert read(path, needs_header=False, infinite=("a",))[0] == {}


@pytest.mark.parametrize("content", [[], 5, None, "text", {"format": float("nan")}])
def test_headers_that_are_no_headers(file, content) -> None:
    pack(file, members(file) | {"header.npy": text(content)})
    with pytest.raises(ValueError, match=r"a\.npz is no test file"):
        read(file)


def claims(shape: str, descr: str = "'<f8'") -> bytes:
    """The head of an array of numbers that are not there."""
    head = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode()


DAMAGES = {
    "missing": lambda m: {k: v for k, v in m.items() if k != "types.npy"},
    "more": lambda m: m | {"other.npy": npy(np.zeros(2))},
    "no array": lambda m: m | {"notes.txt": b"hello"},
    "another shape": lambda m: m | {"types.npy": npy(np.arange(4, dtype=np.int32))},
    "another type": lambda m: m | {"types.npy": npy(np.arange(3.0))},
    "another number": lambda m: m | {"types.npy": npy(np.array([0, 1, 3], np.int32))},
    "objects": lambda m: m | {"types.npy": claims("(1,)", "'|O'") + b"cos\nsystem\n."},
    "texts": lambda m: m | {"types.npy": npy(np.array(["a"]))},
    "1e12 numbers": lambda m: m | {"types.npy": claims("(1000000000000,)")},
    "a negative shape": lambda m: m | {"types.npy": claims("(-1, -3)") + bytes(24)},
    "a huge shape": lambda m: m | {"types.npy": claims(f"({2**62}, {2**62})")},
    "numbers without size": lambda m: m | {"types.npy": claims("(1000000000000,)", "'|V0'")},
    "a deep head": lambda m: m | {"types.npy": claims("(" * 5000)},
    "bytes at the end": lambda m: m | {"types.npy": m["types.npy"] + b"more"},
    "an edited header": lambda m: m | {"header.npy": m["header.npy"].replace(b"1.5", b"2.5")},
    "a deep header": lambda m: m | {"header.npy": npy(np.frombuffer(b"[" * 10**5, np.uint8))},
    "a long number": lambda m: m | {"header.npy": npy(np.frombuffer(b"1" * 5000, np.uint8))},
    "no header": lambda m: {k: v for k, v in m.items() if k != "header.npy"},
    "nothing": lambda _: {},
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damages_are_refused(file, name) -> None:
    pack(file, DAMAGES[name](members(file)))
    with pytest.raises(ValueError, match=r"a\.npz is no test file \(.+\); make it again") as error:
        read(file)
    assert len(str(error.value)) < 600


def test_other_files_are_refused(file) -> None:
    content = file.read_bytes()
    np.save(file.with_suffix(".npy"), np.zeros(3))
    for data in (b"", b"text", b"PK", content[:-7], content[50:], content[:200] + content[300:],
                 file.with_suffix(".npy").read_bytes()):  # fmt: skip
        file.write_bytes(data)
        with pytest.raises(ValueError, match=r"a\.npz is no test file"):
            read(file)
    with pytest.raises(FileNotFoundError):
        read(file.with_name("absent.npz"))
    os.mkfifo(file.with_name("pipe.npz"))
    for name in (file.parent, file.with_name("pipe.npz")):
        with pytest.raises(ValueError, match="it is no regular file"):
            read(name)


def test_bombs_are_refused_without_their_memory(file) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.npy", text({}))
        with archive.open("a.npy", "w") as member:
            member.write(claims("(25000000,)"))
            for _ in range(200):
                member.write(bytes(10**6))
    with pytest.raises(ValueError, match="it is compressed"):
        read(file)
    # Many entries of one member: none is larger than the file, and together they are.
    pack(file, {"header.npy": text({}), "000.npy": npy(np.zeros(1000))})
    data = file.read_bytes()
    start, n = data.index(b"PK\x01\x02"), 500
    entry, end = data.rindex(b"PK\x01\x02"), data.rindex(b"PK\x05\x06")
    more = b"".join(data[entry:end].replace(b"000", b"%03d" % k) for k in range(1, n))
    tail = bytearray(data[end:])
    tail[8:12] = (n + 1).to_bytes(2, "little") * 2
    tail[12:16] = (end - start + len(more)).to_bytes(4, "little")
    file.write_bytes(data[:end] + more + tail)
    with pytest.raises(ValueError, match="its arrays claim more than the"):
        read(file)
    # In kilobytes; the bomb has 200 MB.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_a_store_holds_numbers_only(tmp_path) -> None:
    with pytest.raises(ValueError, match="cannot be stored"):
        write_store(tmp_path / "a.npz", {}, {"a": np.array([None])})
    assert not list(tmp_path.iterdir())


# --- documents ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"5", b"null", b'{"a": NaN}', b"[" * 10**5, b'{"a":' * 10**5, b"\xff\xfe",
     b'{"a": %s}' % (b"1" * 5000)],
)  # fmt: skip
def test_json_that_is_no_object_is_refused(tmp_path, content) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError):  # noqa: PT011  (the file is named by who reads it)
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize(
    "content",
    [b"a = ", b"a = %s" % (b"[" * 10**5), b"a" + b".a" * 10**5 + b" = 1", b"\xff",
     b"a = %s" % (b"1" * 5000), b"#" * (2**20 + 1), b"a" * 10**6],
)  # fmt: skip
def test_toml_that_is_none_is_refused_quickly(tmp_path, content) -> None:
    (tmp_path / "a.toml").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.toml: not a "):
        read_toml(tmp_path / "a.toml")
