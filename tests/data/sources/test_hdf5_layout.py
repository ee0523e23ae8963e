import re

import h5py
import numpy as np
import pytest

from sciml.data.sources import hdf5_layout
from sciml.data.sources.hdf5 import ArrayReader, inspect_array, open_hdf5, require


def write(path, **arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values
    return path


def virtual(path, sources, shape=(2, 5)):
    """A file whose array ``u`` stacks the rows of other files."""
    layout = h5py.VirtualLayout(shape, "f4")
    for row, (source, key) in enumerate(sources):
        layout[row] = h5py.VirtualSource(source, key, shape[1:])
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("u", layout, fillvalue=0)
    return path


def read(path, key="u"):
    with open_hdf5(path) as file:
        layout = inspect_array(file[key])
    return layout, ArrayReader(path, {"u": layout})["u"][...]


ROW = np.arange(5, dtype="f4")


def test_virtual_data_inside_the_folder_are_read_by_h5py(tmp_path):
    write(tmp_path / "set" / "parts" / "a.h5", x=ROW)
    write(tmp_path / "set" / "b.h5", x=ROW + 7)
    path = virtual(tmp_path / "set" / "all.h5", [("parts/a.h5", "x"), ("b.h5", "x")])
    layout, values = read(path)
    assert (layout.back_end, layout.reason) == ("h5py", "virtual")
    np.testing.assert_array_equal(values, [ROW, ROW + 7])


@pytest.mark.parametrize("name", ["../secret.h5", "/absolute", "missing.h5", "link.h5"])
def test_virtual_data_outside_the_folder_are_refused(tmp_path, name):
    secret = write(tmp_path / "secret.h5", x=ROW)
    write(tmp_path / "set" / "a.h5", x=ROW)
    (tmp_path / "set" / "link.h5").symlink_to(secret)
    name = str(secret) if name == "/absolute" else name
    path = virtual(tmp_path / "set" / "all.h5", [("a.h5", "x"), (name, "x")])
    message = rf"expected data inside .*set, got /u in .*all\.h5, whose values lie in .*{name}"
    with pytest.raises(ValueError, match=message):
        read(path)
    with open_hdf5(path) as file, pytest.raises(ValueError, match=message):
        require(file, "u", "dataset")


def test_virtual_data_of_virtual_data_are_followed(tmp_path):
    write(tmp_path / "secret.h5", x=ROW)
    virtual(tmp_path / "set" / "b.h5", [("../secret.h5", "x")] * 2)
    path = virtual(tmp_path / "set" / "a.h5", [("b.h5", "u")], shape=(1, 2, 5))
    with pytest.raises(ValueError, match=r"got /u in .*b\.h5, whose values lie in .*secret"):
        read(path)
    # a ring ends
    virtual(tmp_path / "set" / "c.h5", [("d.h5", "u")] * 2)
    virtual(tmp_path / "set" / "d.h5", [("c.h5", "u")] * 2)
    with open_hdf5(tmp_path / "set" / "c.h5") as file:
        assert inspect_array(file["u"]).back_end == "h5py"


def test_virtual_data_of_a_pattern_are_refused(tmp_path):
    unlimited = h5py.h5s.UNLIMITED
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    rows, row = (h5py.h5s.create_simple((1, 5), (n, 5)) for n in (unlimited, 1))
    rows.select_hyperslab((0, 0), (unlimited, 1), block=(1, 5))
    plist.set_virtual(rows, b"part%b.h5", b"x", row)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        space = h5py.h5s.create_simple((1, 5), (unlimited, 5))
        h5py.h5d.create(file.id, b"u", h5py.h5t.IEEE_F32LE, space, plist)
    with pytest.raises(ValueError, match=r"named files, got the pattern 'part%b.h5' of /u"):
        read(tmp_path / "a.h5")


def test_external_data(tmp_path, monkeypatch):
    (tmp_path / "set").mkdir()
    monkeypatch.chdir(tmp_path / "set")
    for name in ("inside.bin", "../outside.bin"):
        (tmp_path / "set" / name).write_bytes(ROW.tobytes())
        with h5py.File("a.h5", "w") as file:
            file.create_dataset("u", (5,), "f4", external=[(name, 0, 20)])
        if name == "inside.bin":
            layout, values = read(tmp_path / "set" / "a.h5")
            assert (layout.back_end, layout.reason) == ("h5py", "data in external files")
            np.testing.assert_array_equal(values, ROW)
        else:
            with pytest.raises(ValueError, match=r"expected data inside .*outside\.bin"):
                read(tmp_path / "set" / "a.h5")


def linked(path, target):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["group/u"] = h5py.ExternalLink(target, "/x")
        file["here"] = h5py.SoftLink("/group")
    return path


def test_external_links_inside_the_folder_are_followed(tmp_path):
    write(tmp_path / "set" / "parts" / "a.h5", x=ROW)
    path = linked(tmp_path / "set" / "all.h5", "parts/a.h5")
    layout, values = read(path, "group/u")
    assert layout.path == tmp_path / "set" / "parts" / "a.h5"
    assert layout.back_end == "mmap"
    np.testing.assert_array_equal(values, ROW)


@pytest.mark.parametrize("target", ["../secret.h5", "/absolute", "missing.h5"])
def test_external_links_out_of_the_folder_are_refused(tmp_path, target):
    secret = write(tmp_path / "secret.h5", x=ROW)
    target = str(secret) if target == "/absolute" else target
    path = linked(tmp_path / "set" / "a.h5", target)
    message = rf"got the external link group/u of .*a\.h5, whose values lie in .*{target}"
    with pytest.raises(ValueError, match=message), open_hdf5(path):
        pass
    # nor through a second file
    linked(tmp_path / "set" / "b.h5", "a.h5")
    with pytest.raises(ValueError, match=message), open_hdf5(tmp_path / "set" / "b.h5"):
        pass


def test_links_in_a_ring_end(tmp_path):
    linked(tmp_path / "a.h5", "b.h5")
    linked(tmp_path / "b.h5", "a.h5")
    with open_hdf5(tmp_path / "a.h5") as file:
        assert list(file["here"]) == ["u"]


@pytest.mark.parametrize(
    "options",
    [
        {"chunks": (1, 1024, 1024)},
        {"chunks": (1, 1024, 1024), "compression": "gzip"},
        {},
    ],
    ids=["chunks", "gzip", "contiguous"],
)
def test_absurd_sizes_are_refused(tmp_path, options):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("u", (10**6, 1024, 1024), "f8", **options)
    with (
        open_hdf5(tmp_path / "a.h5") as file,
        pytest.raises(
            ValueError, match=r"expected an array that \d+ bytes of file can hold, go"
        ),
    ):
        inspect_array(file["u"])


def test_an_absurd_chunk_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        wide = {"chunks": (30_000, 30_000), "maxshape": (None, None)}
        file.create_dataset("u", (5, 5), "f4", **wide)
    with (
        open_hdf5(tmp_path / "a.h5") as file,
        pytest.raises(ValueError, match="3600000000 byte"),
    ):
        inspect_array(file["u"])


def test_very_compressible_data_are_no_absurdity(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset(
            "u", (30, 1000, 1000), "f4", chunks=(1, 1000, 1000), compression="gzip"
        )
        file["u"][...] = 0.0
    layout, _ = read(tmp_path / "a.h5")
    assert layout.back_end == "direct_chunk"


def test_too_many_chunks_are_left_to_h5py(tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5_layout, "MAX_CHUNKS", 5)
    for count, back_end in ((5, "chunk_table"), (6, "h5py")):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file.create_dataset("u", data=np.arange(float(count)), chunks=(1,))
        layout, values = read(tmp_path / "a.h5")
        assert layout.back_end == back_end
        np.testing.assert_array_equal(values, np.arange(count))


def test_messages_tell_what_to_do(tmp_path):
    path = linked(tmp_path / "a" / "x.h5", "../y.h5")
    with pytest.raises(ValueError) as caught, open_hdf5(path):  # noqa: PT011  read below
        pass
    assert re.fullmatch(r"open_source: expected .+, got .+; .+", str(caught.value))
