"""What holds for every format: the table, folders, hostile links, files that change."""

import os
import pickle

import h5py
import numpy as np
import pytest

from sciml.data.sources import open_source
from tests.data.array_files import CONTAINERS
from tests.data.sources.pdebench_files import write_groups, write_incompressible, write_scalar
from tests.data.well_files import Field, write_well

GENERATOR = np.random.default_rng(32416190071)
PAIRS = {name: GENERATOR.standard_normal((6, 9, 9)).astype("f4") for name in "xy"}
ROLLOUT = {"u": GENERATOR.standard_normal((4, 8, 8, 20)).astype("f4")}


def write_npy(path):
    np.save(path, GENERATOR.standard_normal((3, 5, 8, 8)).astype("f4"))


WRITERS = {
    "well": write_well,
    "pdebench": lambda path: write_scalar(path, {"Nu": 0.01}),
    "matlab5": lambda path: CONTAINERS["v5"][2](path, ROLLOUT),
    "matlab73": lambda path: CONTAINERS["v7.3"][2](path, ROLLOUT),
    "torch": lambda path: CONTAINERS["torch"][2](path, PAIRS),
    "npy": write_npy,
    "npz": lambda path: CONTAINERS["npz"][2](path, PAIRS),
}
PLACES = {"npy": "NS_fine_Re500_T128_part0.npy", "npz": "pairs.npz"}


def first_frame(source):
    spec = source.spec
    out = np.full((1, spec.frame_channels, *spec.resolution), np.nan, "f4")
    source.read(0, 0, 1, 1, out)
    return out


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_is_recognised_and_may_be_named(tmp_path, name):
    path = tmp_path / PLACES.get(name, f"{name}.data")
    WRITERS[name](path)
    source = open_source(path)
    assert np.isfinite(first_frame(source)).all()
    named = open_source(path, format=name)
    assert named.spec == source.spec
    np.testing.assert_array_equal(first_frame(named), first_frame(source))


@pytest.mark.parametrize(
    "other", [name for name in WRITERS if name not in ("well", "pdebench")]
)
def test_a_folder_of_several_kinds_is_refused(tmp_path, other):
    write_well(tmp_path / "a.h5")
    odd = tmp_path / f"b_{PLACES.get(other, 'odd.mat')}"
    WRITERS[other](odd)
    with pytest.raises(ValueError, match=r"^open_source: expected .*b_") as caught:
        open_source(tmp_path)
    assert str(odd) in str(caught.value)


def test_kind_of_the_odd_file_is_named(tmp_path):
    write_well(tmp_path / "a.h5")
    write_npy(tmp_path / "b.npy")
    with pytest.raises(
        ValueError, match=r"hdf5 files of the well format, got a npy file, .*b\.npy"
    ):
        open_source(tmp_path)
    (tmp_path / "b.npy").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"got a file of unknown kind, .*b\.npy of 7 bytes"):
        open_source(tmp_path)


def test_unknown_content_lists_keys_and_formats(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["vibration"] = [1.0]
    tried = "well, pdebench, matlab5, matlab73, torch, npy, npz"
    with pytest.raises(ValueError, match=rf"formats {tried}, got .*keys \['vibration'\]"):
        open_source(tmp_path)


OUTSIDE = {
    "well": (write_well, "t0_fields/vorticity"),
    "groups": (lambda path: write_groups(path, "rdb"), "0000/data"),
    "incompressible": (write_incompressible, "velocity"),
}


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("kind", ["external link", "virtual", "external data"])
def test_data_outside_of_the_folder_are_refused(tmp_path, name, kind):
    write, key = OUTSIDE[name]
    secret, path = tmp_path / "secret.h5", tmp_path / "set" / "a.h5"
    path.parent.mkdir()
    write(path)
    with h5py.File(path, "r+") as file, h5py.File(secret, "w") as other:
        values = file[key][()]
        attributes = dict(file[key].attrs)
        other["data"] = values
        del file[key]
        if kind == "external link":
            file[key] = h5py.ExternalLink("../secret.h5", "/data")
        elif kind == "virtual":
            layout = h5py.VirtualLayout(values.shape, values.dtype)
            layout[...] = h5py.VirtualSource("../secret.h5", "data", values.shape)
            file.create_virtual_dataset(key, layout)
            file[key].attrs.update(attributes)
        else:
            raw = tmp_path / "secret.bin"
            raw.write_bytes(values.tobytes())
            store = [(str(raw), 0, values.nbytes)]
            file.create_dataset(key, values.shape, values.dtype, external=store)
            file[key].attrs.update(attributes)
    with pytest.raises(ValueError, match=r"open_source: expected data inside .*set.*secret"):
        open_source(path)


def test_declared_sizes_are_not_believed(tmp_path):
    write_well(tmp_path / "a.h5", num_trajectories=1)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        for name, size in (("time", 2**40), ("x", 2**40)):
            attributes = dict(file["dimensions"][name].attrs)
            del file["dimensions"][name]
            file["dimensions"].create_dataset(name, (size,), "f4", chunks=(2**20,))
            file["dimensions"][name].attrs.update(attributes)
    with pytest.raises(ValueError, match=r"dimensions/\w+ in .*a\.h5 of \d+ bytes; the file"):
        open_source(tmp_path)


def test_file_without_permission(tmp_path, monkeypatch):
    write_well(tmp_path / "a.h5")

    def refuse(self, *arguments, **keywords):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(PermissionError, match=r"may be read, got .*a\.h5 without permission"):
        open_source(tmp_path / "a.h5")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_file_without_permission_on_disk(tmp_path):
    write_well(tmp_path / "a.h5")
    (tmp_path / "a.h5").chmod(0)
    with pytest.raises(PermissionError, match=r"may be read, got .*a\.h5 without permission"):
        open_source(tmp_path)


@pytest.mark.parametrize("options", [{}, {"chunks": (1, 1, 6, 4), "compression": "gzip"}])
def test_file_that_goes_or_changes_before_a_worker_opens_it(tmp_path, options):
    write_well(tmp_path / "a.h5", fields=[Field("a", options=options)])
    kept = pickle.dumps(open_source(tmp_path))
    before = pickle.loads(kept).fingerprint
    write_well(tmp_path / "a.h5", fields=[Field("a", options=options)], seed=15485863)
    with pytest.raises(ValueError, match=r"a\.h5 as it was when the data set was opened"):
        first_frame(pickle.loads(kept))
    assert pickle.loads(kept).fingerprint != before
    (tmp_path / "a.h5").unlink()
    with pytest.raises(FileNotFoundError, match=r"the file .*a\.h5, which was there"):
        first_frame(pickle.loads(kept))


def test_file_replaced_while_it_is_read_leaves_the_reader_with_the_old_one(tmp_path):
    write_well(tmp_path / "a.h5")
    source = open_source(tmp_path)
    before = first_frame(source)
    write_well(tmp_path / "new.part", seed=15485863)
    (tmp_path / "new.part").replace(tmp_path / "a.h5")
    np.testing.assert_array_equal(first_frame(source), before)
