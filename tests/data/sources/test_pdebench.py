import multiprocessing
import pickle

import h5py
import numpy as np
import pytest

from sciml.data.sources.pdebench import is_pdebench
from tests.data.sources.pdebench_files import (
    centres,
    open_files,
    read_all,
    replace_array,
    set_attribute,
    write_darcy,
    write_flow,
    write_groups,
    write_incompressible,
    write_scalar,
)
from tests.golden import golden_path

FAMILIES = {
    "1D_Advection_Sols_beta0.4.hdf5": ({"beta": 0.4}, "advection"),
    "1D_Burgers_Sols_Nu0.001.hdf5": ({"Nu": 0.001}, "burgers"),
    "ReacDiff_Nu0.5_Rho10.0.hdf5": ({"Nu": 0.5, "rho": 10.0}, "reaction_diffusion"),
}


@pytest.mark.parametrize("attributes", [True, False], ids=["attributes", "file name"])
@pytest.mark.parametrize("name", FAMILIES)
def test_scalar_families(tmp_path, name, attributes):
    expected, family = FAMILIES[name]
    values = write_scalar(tmp_path / name, expected if attributes else {})
    source = open_files(tmp_path / name)
    spec = source.spec
    assert spec.name == family
    assert spec.constants == expected
    assert spec.params == ()
    assert (spec.domain.axes, spec.domain.low, spec.domain.high) == (("x",), (0.0,), (1.0,))
    assert spec.periodic == (True,)
    assert spec.grid == ("cell",)
    assert spec.dt == 0.05
    assert [field.name for field in spec.in_fields] == ["u"]
    assert source.split_preset == "pdebench_single"
    np.testing.assert_array_equal(source.boundary(0), [[2, 2]])
    # one time more is stored than there are frames
    np.testing.assert_allclose(source.times(3), 0.05 * np.arange(5), rtol=1e-6)
    np.testing.assert_array_equal(read_all(source), values)


@pytest.mark.parametrize("name", ["data.h5", "1D_Burgers_Sols_Nu0.1.hdf5"])
def test_attributes_count_more_than_the_name(tmp_path, name):
    write_scalar(tmp_path / name, {"beta": 2.0})
    spec = open_files(tmp_path / name).spec
    assert (spec.name, spec.constants) == ("advection", {"beta": 2.0})


@pytest.mark.parametrize(("low", "old"), [(0.0, False), (-1.0, True)])
def test_burgers_from_before_the_revision(tmp_path, low, old):
    write_scalar(tmp_path / "a.h5", {"Nu": 0.01})
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["x-coordinate"][()] = centres(low, 1.0, 16)
    source = open_files(tmp_path / "a.h5")
    assert source.spec.domain.low == (low,)
    assert ("before November 2023" in source.describe()) == old


def test_one_attribute_from_the_name(tmp_path):
    path = tmp_path / "ReacDiff_Nu0.5_Rho2.0.hdf5"
    write_scalar(path, {"Nu": 0.5})
    spec = open_files(path).spec
    assert (spec.name, spec.constants) == ("reaction_diffusion", {"Nu": 0.5, "rho": 2.0})


def test_several_parameter_values_are_one_data_set(tmp_path):
    values = []
    for beta, count in ((0.1, 4), (1.0, 2), (4.0, 3)):  # different numbers of trajectories
        path = tmp_path / f"1D_Advection_Sols_beta{beta}.hdf5"
        values.append(write_scalar(path, {"beta": beta}, count=count, seed=count + 99991))
    source = open_files(*sorted(tmp_path.iterdir()))
    assert source.spec.params == ("beta",)
    assert [float(source.params(i)[0]) for i in range(9)] == [0.1] * 4 + [1.0] * 2 + [4.0] * 3
    np.testing.assert_array_equal(read_all(source), np.concatenate(values))


def test_another_grid_is_refused(tmp_path):
    write_scalar(tmp_path / "beta0.1.h5", {"beta": 0.1})
    write_scalar(tmp_path / "beta0.2.h5", {"beta": 0.2}, num_points=8)
    with pytest.raises(ValueError, match=r"expected resolution \(16,\).*got \(8,\).*beta0.2"):
        open_files(tmp_path / "beta0.1.h5", tmp_path / "beta0.2.h5")


@pytest.mark.parametrize("devices", [1, 2])
def test_axis_of_devices(tmp_path, devices):
    values = write_scalar(tmp_path / "a.h5", {"beta": 1.0}, count=4)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["tensor"]
        file["tensor"] = values[:, :, 0].reshape(devices, 4 // devices, 5, 16)
    source = open_files(tmp_path / "a.h5")
    assert source.num_trajectories == 4
    assert source.spec.resolution == (16,)
    np.testing.assert_array_equal(read_all(source), values)


@pytest.mark.parametrize("resolution", [(7,), (5, 6), (3, 4, 5)], ids=["1-D", "2-D", "3-D"])
def test_compressible_flow(tmp_path, resolution):
    path = tmp_path / f"{len(resolution)}D_CFD_Rand_M0.1_Eta1e-08_Zeta0.01_periodic_Train.hdf5"
    values = write_flow(path, resolution, devices=len(resolution) == 1)
    source = open_files(path)
    spec = source.spec
    assert spec.name == "compressible_navier_stokes"
    assert [(f.name, f.rank, f.components) for f in spec.in_fields] == [
        ("density", 0, 1),
        ("pressure", 0, 1),
        ("velocity", 1, len(resolution)),
    ]
    assert list(spec.constants.items()) == [("M", 0.1), ("eta", 1e-8), ("zeta", 0.01)]
    assert spec.domain.axes == ("x", "y", "z")[: len(resolution)]
    assert all(spec.periodic)
    assert source.splits == {}  # "Train" in the name sets no test data apart
    np.testing.assert_array_equal(read_all(source), values)


@pytest.mark.parametrize(
    ("name", "code", "numbers"),
    [
        ("1D_CFD_Shock_Eta1.e-8_Zeta1.e-8_trans_Train.hdf5", 1, {"eta": 1e-8, "zeta": 1e-8}),
        ("2D_rand_Eta0.01_Zeta0.1_M1.0_periodic_Train.hdf5", 2, {"M": 1.0, "eta": 0.01}),
        ("flow.h5", 1, {}),
    ],
)
def test_what_only_the_name_of_a_flow_says(tmp_path, name, code, numbers):
    write_flow(tmp_path / name, (7,))
    with h5py.File(tmp_path / name, "r+") as file:
        for key in list(file.attrs):
            del file.attrs[key]
    source = open_files(tmp_path / name)
    assert source.spec.constants.items() >= numbers.items()
    np.testing.assert_array_equal(source.boundary(0), [[code, code]])
    assert source.spec.periodic == (code == 2,)


def test_darcy_is_a_pair(tmp_path):
    coefficient, solution = write_darcy(tmp_path / "2D_DarcyFlow_beta0.1_Train.hdf5")
    source = open_files(tmp_path / "2D_DarcyFlow_beta0.1_Train.hdf5")
    spec = source.spec
    assert spec.paired
    assert spec.name == "darcy"
    assert [f.name for f in spec.in_fields + spec.out_fields] == ["nu", "u"]
    assert spec.dt is None
    assert spec.constants == {"beta": 0.1}
    assert source.lengths.tolist() == [1, 1, 1]
    np.testing.assert_array_equal(source.boundary(0), np.zeros((2, 2)))
    np.testing.assert_array_equal(read_all(source)[:, 0], coefficient)
    out = np.empty((1, 6, 5), "f4")
    for i in range(3):
        source.read_targets(i, out)
        np.testing.assert_array_equal(out, solution[i])


def test_reaction_diffusion_test_files_make_the_test_split(tmp_path):
    train = tmp_path / "ReacDiff_Nu0.5_Rho1.0.hdf5"
    test = tmp_path / "ReacDiff_react_Nu10.0_Rho1.0.hdf5"
    write_scalar(train, {"Nu": 0.5, "rho": 1.0}, count=3)
    write_scalar(test, {"Nu": 10.0, "rho": 1.0}, count=2)
    source = open_files(train, test)
    assert source.splits == {"train": range(3), "test": range(3, 5)}
    assert open_files(train).splits == {}


@pytest.mark.parametrize("back_end", ["auto", "h5py"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(
    "options",
    [{}, {"chunks": (2, 2, 8)}, {"chunks": True, "compression": "gzip"}],
    ids=["contiguous", "chunked", "gzip"],
)
def test_strides_of_frames(tmp_path, options, stride, back_end):
    values = write_scalar(tmp_path / "a.h5", {"beta": 1.0}, num_steps=9, **options)
    source = open_files(tmp_path / "a.h5", back_end=back_end)
    expected = values[2, 1:9:stride]
    out = np.empty_like(expected)
    source.read(2, 1, 9, stride, out)
    np.testing.assert_array_equal(out, expected)


def test_float64_and_integers_become_single_precision(tmp_path):
    values = write_scalar(tmp_path / "a.h5", {"beta": 1.0})
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["tensor"]
        file["tensor"] = values[:, :, 0].astype(">f8")
    np.testing.assert_array_equal(read_all(open_files(tmp_path / "a.h5")), values)


def test_layout_is_told_by_keys(tmp_path):
    write_scalar(tmp_path / "a.h5", {"beta": 1.0})
    write_flow(tmp_path / "b.h5", (5, 6))
    write_groups(tmp_path / "c.hdf5", "rdb")
    write_incompressible(tmp_path / "d.hdf5")
    for path in sorted(tmp_path.iterdir()):
        with h5py.File(path) as file:
            assert is_pdebench(file)
    names = [open_files(path).spec.name for path in sorted(tmp_path.iterdir())]
    assert names == [
        "advection",
        "compressible_navier_stokes",
        "shallow_water",
        "incompressible_navier_stokes",
    ]


@pytest.mark.parametrize("keys", [["field"], ["012"], ["0000", "notes"], ["velocity"], []])
def test_other_files_are_not_taken(tmp_path, keys):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for key in keys:
            file[key] = np.zeros(3)
        assert not is_pdebench(file)
    with pytest.raises(ValueError, match=r"expected one of PDEBench's layouts.*with keys"):
        open_files(tmp_path / "a.h5")


def test_matlab_files_are_not_taken(tmp_path):
    write_scalar(tmp_path / "a.h5", {"beta": 1.0})
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["tensor"].attrs["MATLAB_class"] = np.bytes_("double")
        assert not is_pdebench(file)


DAMAGE = {
    "no x": (lambda f: f.__delitem__("x-coordinate"), r"'x-coordinate'.*got \["),
    "no t": (lambda f: f.__delitem__("t-coordinate"), r"'t-coordinate'.*got \["),
    "short t": (replace_array("t-coordinate", np.arange(4.0)), r"5 or 6 increasing"),
    "long x": (replace_array("x-coordinate", np.arange(17.0)), r"16 increasing"),
    "falling t": (replace_array("t-coordinate", -np.arange(5.0)), r"do not increase"),
    "nan": (replace_array("x-coordinate", np.full(16, np.nan)), r"do not increase"),
    "uneven x": (replace_array("x-coordinate", np.arange(16.0) ** 2), r"equidistant"),
    "text": (replace_array("tensor", np.full((4, 5, 16), b"a")), r"real numbers in /tensor"),
    "axes": (replace_array("tensor", np.zeros((4, 5))), r"shape \(any, any, any\)"),
    "empty": (
        replace_array("tensor", np.zeros((0, 5, 16))),
        r"shape \(any, any, any\)",
    ),
    "group": (lambda f: (f.__delitem__("tensor"), f.create_group("tensor")), r"got a group"),
    "plane": (
        lambda f: (
            replace_array("tensor", np.zeros((4, 5, 16, 3)))(f),
            f.__setitem__("y-coordinate", np.arange(3.0)),
        ),
        r"with 2 spatial axes",
    ),
    "family": (lambda f: f.attrs.__delitem__("beta"), r"root attribute beta, Nu or rho"),
    "vector": (set_attribute("beta", [1.0, 2.0]), r"one number in the attribute 'beta'"),
    "word": (set_attribute("beta", "fast"), r"one number in the attribute 'beta'"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE.keys())
def test_damaged_flat_files(tmp_path, damage, message):
    write_scalar(tmp_path / "a.h5", {"beta": 1.0})
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        damage(file)
    with pytest.raises(ValueError, match=rf"(?s)^open_source: expected .*{message}") as error:
        open_files(tmp_path / "a.h5")
    assert "a.h5" in str(error.value)


def test_test_case_of_unknown_layout_lists_its_keys(tmp_path):
    with h5py.File(tmp_path / "Sod1.hdf5", "w") as file:
        file["density"] = np.zeros((3, 8))
        file["Vx"] = np.zeros((3, 8))
    with pytest.raises(ValueError, match=r"'pressure'|expected shape"):
        open_files(tmp_path / "Sod1.hdf5")
    with h5py.File(tmp_path / "Sod2.hdf5", "w") as file:
        file["Vx"] = np.zeros((3, 8))
    with pytest.raises(ValueError, match=r"'density'.*got \['Vx'\].*test cases such as Sod"):
        open_files(tmp_path / "Sod2.hdf5")


def test_absurd_sizes_are_refused_before_they_are_allocated(tmp_path):
    write_scalar(tmp_path / "a.h5", {"beta": 1.0})
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["tensor"]
        file.create_dataset("tensor", (2**40, 5, 16), "f4", chunks=(1, 5, 16))
    with pytest.raises(ValueError, match=r"bytes of file can hold|one byte for each"):
        open_files(tmp_path / "a.h5")


def first_values(sources, queue):
    for source in sources:
        out = np.empty((1, source.spec.frame_channels, *source.spec.resolution), "f4")
        source.read(1, 2, 3, 1, out)
        queue.put(out)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_read_the_same(tmp_path, method):
    values = [
        write_scalar(tmp_path / "a.h5", {"beta": 1.0}),
        write_groups(tmp_path / "b.h5", "rdb"),
        write_groups(tmp_path / "c.h5", "diff-react", compression="lzf"),
        write_incompressible(tmp_path / "d.h5")[0],
    ]
    sources = [open_files(path) for path in sorted(tmp_path.iterdir())]
    for source, expected in zip(sources, values, strict=True):
        # handles are open before the other process starts, and are left behind
        np.testing.assert_array_equal(read_all(source), expected)
        clone = pickle.loads(pickle.dumps(source))
        np.testing.assert_array_equal(read_all(clone), expected)
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=first_values, args=(sources, queue))
    process.start()
    for expected in values:
        np.testing.assert_array_equal(queue.get(timeout=60), expected[1, 2:3])
    process.join()


def test_golden_advection_is_a_shift():
    source = open_files(golden_path("pdebench_advection_beta1.0.hdf5"))
    spec = source.spec
    assert (spec.name, spec.resolution, spec.constants) == ("advection", (128,), {"beta": 1.0})
    frames = read_all(source)[:, :, 0].astype("f8")
    mean = frames.mean(axis=-1)
    np.testing.assert_allclose(mean, mean[:, :1].repeat(41, 1), atol=1e-6)
    # after half a period the profile stands half a box further, up to the scheme's diffusion
    half = round(0.5 * spec.domain.extent[0] / spec.constants["beta"] / spec.dt)
    shifted = np.roll(frames[:, 0], 64, axis=-1)
    error = np.linalg.norm(frames[:, half] - shifted) / np.linalg.norm(shifted)
    assert error < 0.1


def test_golden_compressible_flow_conserves():
    source = open_files(golden_path("pdebench_1d_cfd_Rand_Eta0.01_Zeta0.01_periodic.hdf5"))
    assert source.spec.constants == {"eta": 0.01, "zeta": 0.01}
    assert source.spec.periodic == (True,)
    density, pressure, velocity = np.moveaxis(read_all(source).astype("f8"), 2, 0)
    energy = pressure / (5 / 3 - 1) + density * velocity**2 / 2
    for conserved in (density, density * velocity, energy):
        total = conserved.mean(axis=-1)
        scale = np.abs(conserved).mean()
        np.testing.assert_allclose(total - total[:, :1], 0.0, atol=1e-6 * scale)


def test_golden_darcy_solves_its_equation():
    source = open_files(golden_path("pdebench_darcy_beta1.0.hdf5"))
    spec = source.spec
    spacing = spec.domain.spacing(spec.resolution, spec.grid)[0]
    out = np.empty((1, 32, 32), "f4")
    for i in range(0, source.num_trajectories, 5):
        coefficient = np.empty((1, 1, 32, 32), "f4")
        source.read(i, 0, 1, 1, coefficient)
        source.read_targets(i, out)
        # ghost cells: zero solution, mirrored coefficient
        a = np.pad(coefficient[0, 0].astype("f8"), 1, mode="edge")
        u = np.pad(out[0].astype("f8"), 1)
        divergence = sum(
            (np.roll(a, s, ax) + a) / 2 * (np.roll(u, s, ax) - u)
            for ax in (0, 1)
            for s in (1, -1)
        )[1:-1, 1:-1]
        residual = divergence / spacing**2 + spec.constants["beta"]
        assert np.abs(residual).max() < 2e-2 * spec.constants["beta"]
