import struct
import subprocess
import sys

import h5py
import numpy as np
import pytest

from sciml.data.sources import hdf5_guard, open_source
from sciml.data.sources.hdf5_guard import check_attributes
from tests.data.well_files import write_well

HEADER = 16


@pytest.fixture
def path(tmp_path):
    write_well(tmp_path / "a.h5")
    return tmp_path / "a.h5"


def overwrite(path, position, content):
    with path.open("r+b") as file:
        file.seek(position)
        file.write(content)


def heap_entry(path, number):
    """Position of an entry of the file's first heap."""
    content = path.read_bytes()
    position = content.index(b"GCOL") + HEADER
    for _ in range(number):
        (size,) = struct.unpack_from("<Q", content, position + 8)
        position += HEADER + -(-size // 8) * 8
    return position


def test_sound_files_pass(path):
    check_attributes(path)
    with h5py.File(path, "r+") as file:
        file.attrs["long"] = "text " * 3000  # a heap of its own size
        file.attrs["many"] = np.array(["a", "bc", ""] * 500, h5py.string_dtype())
        file.attrs["nothing"] = h5py.Empty("f4")
        file["name with GCOL inside"] = np.frombuffer(b"GCOL\1\0\0\0" * 99, "u1")
    check_attributes(path)
    with h5py.File(path.with_name("block.h5"), "w", userblock_size=1024) as file:
        file.attrs["text"] = "a"
        file.attrs["texts"] = ["a", "b"]
    check_attributes(path.with_name("block.h5"))
    with h5py.File(path.with_name("new.h5"), "w", libver="latest") as file:
        for number in range(40):  # in a heap of attributes
            file.attrs[f"text {number}"] = ["a" * number, "b"]
    check_attributes(path.with_name("new.h5"))


def test_heaps_that_hdf5_would_not_leave_are_refused(path):
    entries = {
        "no size": (0, struct.pack("<HH4xQ", 0, 0, 0)),
        "wraps around": (3, struct.pack("<HH4xQ", 5, 1, 2**64 - HEADER)),
        "too large": (1, struct.pack("<HH4xQ", 5, 1, 2**40)),
    }
    copies = []
    for name, (number, entry) in entries.items():
        copies.append(path.with_name(f"{name}.h5"))
        copies[-1].write_bytes(path.read_bytes())
        overwrite(copies[-1], heap_entry(path, number), entry)
    # in a process of its own, which a failing check would hang
    program = (
        "import sys; from sciml.data.sources.hdf5 import open_hdf5; from pathlib import Path\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n        open_hdf5(Path(name)).__enter__()\n"
        "    except ValueError as error:\n        print(error)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, *map(str, copies)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    for copy, line in zip(copies, run.stdout.splitlines(), strict=True):
        assert "expected a complete HDF5 file, got a truncated or damaged one" in line
        assert f"of {copy}: an entry of" in line


def test_short_addresses_pass(tmp_path):
    sizes = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    sizes.set_sizes(4, 4)
    path = tmp_path / "a.h5"
    with h5py.File(h5py.h5f.create(bytes(path), fcpl=sizes)) as file:
        file.attrs["texts"] = ["a", "b" * 100]
        file["x"] = np.arange(5.0)
    check_attributes(path)


def test_lists_of_numbers_are_refused_and_others_left_alone(path):
    with h5py.File(path, "r+") as file:
        letters = np.empty(1, h5py.vlen_dtype(np.dtype("S1")))
        letters[0] = np.array([b"u", b"x"], "S1")
        file["t0_fields"].attrs["MATLAB_fields"] = letters
        references = np.empty(1, h5py.vlen_dtype(h5py.ref_dtype))
        references[0] = np.array([file["dimensions"].ref], h5py.ref_dtype)
        file.attrs["DIMENSION_LIST"] = references
    check_attributes(path)
    with h5py.File(path, "r+") as file:
        lists = np.empty(1, h5py.vlen_dtype("i4"))
        lists[0] = np.arange(3, dtype="i4")
        file["dimensions/x"].attrs["sizes"] = lists
    with pytest.raises(ValueError, match=r"'sizes' of /dimensions/x in .*a\.h5, got 16 bytes"):
        check_attributes(path)


@pytest.mark.parametrize("version", ["earliest", "latest"])
@pytest.mark.parametrize("dense", [False, True])
def test_length_of_a_text_is_not_believed(tmp_path, version, dense):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver=version) as file:
        group = file.create_group("scalars")
        for number in range(30 if dense else 1):  # many attributes go to a heap
            group.attrs[f"filler{number}"] = number
        group.attrs["field_names"] = ["short", "of 13 letters"]
    check_attributes(path)
    content = path.read_bytes()
    position = content.index(b"field_names\0")
    overwrite(path, content.index(struct.pack("<I", 13), position), struct.pack("<I", 2**31))
    # newer versions of the format have checksums
    declared, checksum = f"b'field_names' of /scalars in .*got {2**31} bytes", "checksum"
    with pytest.raises(ValueError, match=declared if version == "earliest" else checksum):
        check_attributes(path)


def test_large_attributes_are_refused(path, monkeypatch):
    monkeypatch.setattr(hdf5_guard, "_MOST_BYTES", 1000)
    with h5py.File(path, "r+") as file:
        file["dimensions/x"].attrs["sizes"] = np.arange(200)
    with pytest.raises(ValueError, match=r"'sizes' of /dimensions/x in .*, got 1600 bytes"):
        check_attributes(path)


def test_damaged_objects_are_named(path):
    with h5py.File(path) as file:
        address = h5py.h5o.get_info(file["t0_fields/vorticity"].id).addr
    overwrite(path, address, b"\xff" * 16)
    with pytest.raises(ValueError, match=r"open_source: expected .*a\.h5"):
        open_source(path)


def test_a_file_is_looked_at_once(path, monkeypatch):
    looked = []
    original = hdf5_guard._check_object

    def count(item, file):
        looked.append(item.name)
        original(item, file)

    monkeypatch.setattr(hdf5_guard, "_check_object", count)
    check_attributes(path)
    first = len(looked)
    assert first == len(set(looked)) > 10
    check_attributes(path)
    assert len(looked) == first
    with h5py.File(path, "r+") as file:
        file.attrs["more"] = "text"
    check_attributes(path)
    assert len(looked) == 2 * first
