"""Recipes on varying geometries: groups of files, point clouds, curvilinear grids."""

import pickle

import numpy as np
import pytest
import torch

from tests.data.array_files import (
    CONTAINERS,
    open_files,
    read_coords,
    read_frames,
    read_targets,
    write_and_open,
)

RNG = np.random.default_rng(1125899906842597)


def draw(*shape, dtype="f4"):
    return RNG.standard_normal(shape).astype(dtype)


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SCIML_CACHE", str(tmp_path / "cache"))


def save(folder, **arrays):
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values)
    return sorted(folder.glob("*.npy"))


def test_elasticity_points(tmp_path):
    coords, stress, radii = draw(13, 2, 5, dtype="f8"), draw(13, 5, dtype="f8"), draw(4, 5)
    source = open_files(
        "npy",
        save(
            tmp_path,
            Random_UnitCell_XY_10=coords,
            Random_UnitCell_sigma_10=stress,
            Random_UnitCell_rr_10=radii,
            Random_UnitCell_theta_10=draw(5, 10),
        ),
    )
    spec = source.spec
    assert (spec.name, spec.resolution, spec.unstructured) == ("elasticity", (13,), True)
    assert (spec.in_fields, [f.name for f in spec.out_fields]) == ((), ["stress"])
    assert source.split_preset == "lsm_elasticity"
    assert spec.params == tuple(f"void_radius_{angle}" for angle in range(4))
    assert source.num_trajectories == 5
    assert [path.name for path in source._sources[0].paths] == [
        f"Random_UnitCell_{name}_10.npy" for name in ("XY", "rr", "sigma", "theta")
    ]
    for i in range(5):
        np.testing.assert_array_equal(read_coords(source, i), coords[..., i].astype("f4"))
        np.testing.assert_array_equal(read_targets(source, i)[0], stress[:, i].astype("f4"))
        np.testing.assert_allclose(source.params(i), radii[:, i])
    assert read_frames(source).shape == (1, 0, 13)


@pytest.mark.parametrize("names", [("mask",), ("X", "Y")])
def test_elasticity_grids(tmp_path, names):
    fields = {name: draw(7, 5, 4) for name in names}
    stress = draw(7, 5, 4)
    files = {f"Random_UnitCell_{name}_10_interp": v for name, v in fields.items()}
    source = open_files("npy", save(tmp_path, **files, Random_UnitCell_sigma_10_interp=stress))
    assert source.spec.resolution == (7, 5)
    assert [f.name for f in source.spec.in_fields] == [name.lower() for name in names]
    for channel, values in enumerate(fields.values()):
        np.testing.assert_array_equal(read_frames(source, 3)[0, channel], values[..., 3])
    np.testing.assert_array_equal(read_targets(source, 3)[0], stress[..., 3])


@pytest.mark.parametrize("container", CONTAINERS)
def test_plasticity(tmp_path, container):
    die, output = draw(3, 7, dtype="f8"), draw(3, 7, 5, 4, 4, dtype="f8")
    source = write_and_open(tmp_path, container, {"input": die, "output": output})
    spec = source.spec
    assert (spec.name, spec.axes, spec.resolution) == ("plasticity", ("x", "y", "t"), (7, 5, 4))
    assert spec.paired
    assert spec.dt is None
    assert [f.name for f in spec.out_fields] == ["x", "y", "displacement_x", "displacement_y"]
    assert source.split_preset == "lsm_plasticity"
    for i in range(3):
        expected = np.broadcast_to(die[i, :, None, None], (7, 5, 4)).astype("f4")
        np.testing.assert_array_equal(read_frames(source, i)[0, 0], expected)
        np.testing.assert_array_equal(
            read_targets(source, i), np.moveaxis(output[i], -1, 0).astype("f4")
        )


@pytest.mark.parametrize(
    ("name", "prefix", "channels", "target", "field"),
    [
        ("airfoil", "NACA_Cylinder", 5, 4, "mach_number"),
        ("pipe", "Pipe", 3, 0, "velocity_x"),
    ],
)
def test_curvilinear_flow(tmp_path, name, prefix, channels, target, field):
    x, y, q = draw(4, 7, 5), draw(4, 7, 5), draw(4, channels, 7, 5)
    paths = save(
        tmp_path, **{f"{prefix}_{key}": v for key, v in zip("XYQ", (x, y, q), strict=True)}
    )
    source = open_files("npy", paths)
    assert (source.spec.name, source.spec.resolution) == (name, (7, 5))
    assert source.split_preset == f"lsm_{name}"
    assert [f.name for f in source.spec.out_fields] == [field]
    for i in range(4):
        np.testing.assert_array_equal(read_frames(source, i)[0], np.stack([x[i], y[i]]))
        np.testing.assert_array_equal(read_targets(source, i)[0], q[i, target])
    assert source.memory_mapped
    assert "memory map of float32" in source.describe()


def test_files_that_belong_to_nothing_are_left_out_in_words(tmp_path):
    arrays = {"NACA_Cylinder_X": draw(4, 7, 5), "NACA_Cylinder_Y": draw(4, 7, 5)}
    arrays |= {"NACA_Cylinder_Q": draw(4, 5, 7, 5), "NACA_theta": draw(4, 8)}
    source = open_files("npy", save(tmp_path, **arrays))
    assert "left out: NACA_theta.npy (no part of the set)" in source.describe()


def test_a_group_without_its_partner_is_refused(tmp_path):
    paths = save(tmp_path, Pipe_X=draw(4, 7, 5), Pipe_Y=draw(4, 7, 5))
    with pytest.raises(ValueError, match=r"Pipe_X\.npy.* with X \(4, 7, 5\) float32, Y "):
        open_files("npy", paths)


def test_holed_poisson(tmp_path):
    x, y, u, mu = draw(9, 4), draw(9, 4), draw(9, 4), draw(4, 2)
    arrays = {"x": x, "y": y, "u": u, "mu": mu, "triang": np.zeros((5, 3), "i8")}
    source = write_and_open(tmp_path, "torch strided", arrays)
    spec = source.spec
    assert (spec.name, spec.unstructured, spec.params) == ("poisson", True, ("mu_0", "mu_1"))
    assert spec.domain.low == (x.min(), y.min())
    for i in range(4):
        np.testing.assert_array_equal(read_coords(source, i), np.stack([x[:, i], y[:, i]], 1))
        np.testing.assert_array_equal(read_targets(source, i)[0], u[:, i])
        np.testing.assert_array_equal(source.params(i), mu[i])


@pytest.mark.parametrize("place", ["vertices", "centroids"])
def test_cars_have_points_of_their_own(tmp_path, place):
    cars = []
    for n in (6, 9):
        count = {"vertices": n, "centroids": 2 * n}
        car = {name: torch.from_numpy(draw(k, 3)) for name, k in count.items()}
        cars.append({**car, "press": torch.from_numpy(draw(1, count[place])), "note": "a car"})
    torch.save(cars, tmp_path / "cars.pt")
    source = pickle.loads(pickle.dumps(open_files("torch", [tmp_path / "cars.pt"])))
    largest = 9 if place == "vertices" else 18
    assert source.spec.resolution == (largest,)
    assert [source.num_points(i) for i in range(2)] == [2 * largest // 3, largest]
    for i, car in enumerate(cars):
        np.testing.assert_array_equal(read_coords(source, i), car[place].numpy())
        np.testing.assert_array_equal(read_targets(source, i), car["press"].numpy())
    assert source.locate(1).endswith("cars.pt, entry 1, trajectory 0")
    assert place in source.describe()


def test_cars_with_another_number_of_pressures_are_refused(tmp_path):
    car = {"vertices": torch.zeros(6, 3), "press": torch.zeros(1, 7)}
    torch.save([car], tmp_path / "cars.pt")
    with pytest.raises(ValueError, match=r"as many pressures as vertices.* entry 0, got 7"):
        open_files("torch", [tmp_path / "cars.pt"])


def test_input_and_output_files_belong_together(tmp_path):
    tensors = {}
    for role in ("training", "testing"):
        for name in ("input", "output"):
            tensor = torch.from_numpy(draw(3, 11, 1))
            tensors[name, role] = tensor.numpy()
            torch.save(tensor, tmp_path / f"data_{name}_{role}.pt")
    source = open_files("torch", sorted(tmp_path.glob("*.pt")))
    assert source.splits == {"train": range(3), "test": range(3, 6)}
    assert (source.spec.name, source.spec.resolution) == ("advection", (11,))
    np.testing.assert_array_equal(
        read_frames(source, 4)[0, 0], tensors["input", "testing"][1, :, 0]
    )
    np.testing.assert_array_equal(
        read_targets(source, 1)[0], tensors["output", "training"][1, :, 0]
    )
