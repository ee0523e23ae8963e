import time
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest

from tests.data.sources.pdebench_files import (
    noise,
    open_files,
    read_all,
    replace_array,
    write_groups,
)
from tests.golden import golden_path


def test_diffusion_sorption(tmp_path):
    values = write_groups(tmp_path / "1D_diff-sorp_NA_NA.h5", "diff-sorp", compression="lzf")
    source = open_files(tmp_path / "1D_diff-sorp_NA_NA.h5")
    spec = source.spec
    assert (spec.name, spec.resolution, spec.dt) == ("diffusion_sorption", (6,), 0.25)
    assert [f.name for f in spec.in_fields] == ["u"]
    assert spec.constants == {}
    assert spec.params == ()
    np.testing.assert_array_equal(source.boundary(1), [[0, 0]])
    np.testing.assert_array_equal(read_all(source), values)


def test_diffusion_reaction_has_y_before_x_on_disk(tmp_path):
    values = write_groups(tmp_path / "a.h5", "diff-react", resolution=(6, 4))
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["0002/data"].shape == (5, 4, 6, 2)
    source = open_files(tmp_path / "a.h5")
    spec = source.spec
    assert spec.name == "diffusion_reaction"
    assert (spec.domain.axes, spec.resolution) == (("x", "y"), (6, 4))
    assert [f.name for f in spec.in_fields] == ["activator", "inhibitor"]
    assert spec.constants == {"Du": 0.001, "Dv": 0.005, "k": 0.005}
    np.testing.assert_array_equal(source.boundary(0), np.zeros((2, 2)))
    np.testing.assert_array_equal(read_all(source), values)
    out = np.empty((2, 2, 6, 4), "f4")
    source.read(2, 1, 5, 2, out)
    np.testing.assert_array_equal(out, values[2, 1:5:2])


def test_shallow_water_has_a_parameter_of_each_sample(tmp_path):
    values = write_groups(tmp_path / "2D_rdb_NA_NA.h5", "rdb")  # without the seed 23
    source = open_files(tmp_path / "2D_rdb_NA_NA.h5")
    spec = source.spec
    assert (spec.name, spec.resolution) == ("shallow_water", (6, 4))
    assert (spec.domain.low, spec.domain.high) == ((-2.5, -2.5), (2.5, 2.5))
    assert [f.name for f in spec.in_fields] == ["depth"]
    assert spec.params == ("dam_radius",)
    assert spec.constants == {"gravity": 1.0}
    radii = [float(source.params(i)[0]) for i in range(3)]
    assert radii == [float(f"{0.3 + 0.01 * seed}") for seed in (0, 2, 7)]
    assert source.split_preset == "pdebench_mult"
    assert source.memory_mapped
    np.testing.assert_array_equal(source.boundary(0), np.ones((2, 2)))
    np.testing.assert_array_equal(read_all(source), values)
    assert source.locate(2).endswith("2D_rdb_NA_NA.h5, group 0007")


@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("diff-sorp", "diffusion_sorption"),
        ("diff-react", "diffusion_reaction"),
        ("rdb", "shallow_water"),
    ],
)
def test_families_without_configuration(tmp_path, family, name):
    values = write_groups(tmp_path / "a.h5", family, config=False)
    source = open_files(tmp_path / "a.h5")
    assert (source.spec.name, source.spec.constants) == (name, {})
    np.testing.assert_array_equal(read_all(source), values)


def test_keys_are_sorted_as_the_reference_does(tmp_path):
    values = write_groups(tmp_path / "a.h5", "rdb", seeds=(9999, 10000, 23))
    source = open_files(tmp_path / "a.h5")
    assert [source.locate(i)[-5:].strip() for i in range(3)] == ["0023", "10000", "9999"]
    np.testing.assert_array_equal(read_all(source), values[[2, 1, 0]])


@pytest.mark.parametrize(
    "text",
    [
        "sim: {dam_radius: 0.25, gravity: 9.81}",  # flow style
        "sim:\n  dam_radius: 2.5e-01\n  gravity: 9.81\n",
        "# comment\nsim:\n    gravity: 9.81 # of the earth\n    dam_radius: 0.25\n",
    ],
)
def test_any_yaml_style_of_parameters(tmp_path, text):
    write_groups(tmp_path / "a.h5", "rdb")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        for number, key in enumerate(file):
            file[key].attrs["config"] = text.replace("5", str(5 + number))
    source = open_files(tmp_path / "a.h5")
    assert source.spec.params == ("dam_radius",)
    assert source.spec.constants == {"gravity": 9.81}
    expected = [float(text.split("dam_radius: ")[1].split("\n")[0].split(",")[0])]
    np.testing.assert_allclose(source.params(0), expected)
    np.testing.assert_allclose(source.params(1), 0.26)


@pytest.mark.parametrize("options", [{}, {"compression": "lzf"}, {"chunks": (2, 3, 4, 1)}])
@pytest.mark.parametrize("back_end", ["auto", "h5py"])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_strides_of_frames(tmp_path, options, back_end, stride):
    values = write_groups(tmp_path / "a.h5", "rdb", num_steps=8, **options)
    source = open_files(tmp_path / "a.h5", back_end=back_end)
    expected = values[1, 1:8:stride]
    out = np.empty_like(expected)
    source.read(1, 1, 8, stride, out)
    np.testing.assert_array_equal(out, expected)


def test_user_block(tmp_path):
    values = write_groups(tmp_path / "plain.h5", "rdb")
    with (
        h5py.File(tmp_path / "plain.h5") as plain,
        h5py.File(tmp_path / "block.h5", "w", userblock_size=1024) as block,
    ):
        for key in plain:
            plain.copy(key, block)
    source = open_files(tmp_path / "block.h5")
    assert "data of each group: mmap" in source.describe()
    np.testing.assert_array_equal(read_all(source), values)


def test_a_group_stored_otherwise_is_read_by_the_library(tmp_path):
    values = write_groups(tmp_path / "a.h5", "rdb")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        data = file["0002/data"][()]
        del file["0002/data"]
        file["0002"].create_dataset("data", data=data, compression="gzip")
    source = open_files(tmp_path / "a.h5")
    assert "in 1 groups h5py" in source.describe()
    assert not source.memory_mapped
    np.testing.assert_array_equal(read_all(source), values)


def replace_config(text):
    def change(file):
        file["0002"].attrs["config"] = text

    return change


DAMAGE = {
    "no data": (lambda f: f["0002"].__delitem__("data"), r"0002/data .*got none"),
    "shape": (replace_array("0002/data", np.zeros((5, 6, 3, 1), "f4")), r"got \(5, 6, 3, 1\)"),
    "dtype": (replace_array("0002/data", np.zeros((5, 6, 4, 1))), r"of float64"),
    "no grid": (lambda f: f["0000"].__delitem__("grid"), r"'grid/x'"),
    "x of y": (replace_array("0000/grid/x", np.arange(4.0)), r"6 increasing values"),
    "channels": (
        replace_array("0000/data", np.zeros((5, 6, 4, 3), "f4")),
        r"one or two channels",
    ),
    "no radius": (replace_config("sim:\n  gravity: 1.0\n"), r"'dam_radius'.*group 0002"),
    "no yaml": (lambda f: f["0000"].attrs.__setitem__("config", "a: [1"), r"expected YAML"),
    "list": (lambda f: f["0000"].attrs.__setitem__("config", "[1, 2]"), r"mapping.*got list"),
    "number": (lambda f: f["0000"].attrs.__setitem__("config", 3.0), r"YAML text.*float64"),
    "deep": (lambda f: f["0000"].attrs.__setitem__("config", "[" * 2500), r"expected YAML"),
    "object": (
        lambda f: f["0000"].attrs.__setitem__("config", "!!python/object/apply:os.getpid []"),
        r"expected YAML",
    ),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE.keys())
def test_damaged_groups(tmp_path, damage, message):
    write_groups(tmp_path / "a.h5", "rdb")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        damage(file)
    with pytest.raises(ValueError, match=rf"(?s)^open_source: .*{message}") as error:
        open_files(tmp_path / "a.h5")
    assert "a.h5" in str(error.value)


def test_data_in_another_file_are_refused(tmp_path):
    write_groups(tmp_path / "a.h5", "rdb")
    write_groups(tmp_path / "b.h5", "rdb")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["0002"]
        file["0002"] = h5py.ExternalLink("b.h5", "0000")
    with pytest.raises(ValueError, match=r"in 0002/data of .*a\.h5"):
        open_files(tmp_path / "a.h5")


@pytest.mark.parametrize("options", [{}, {"compression": "lzf"}], ids=["mapped", "chunked"])
def test_raw_data_outside_the_folder_are_refused(tmp_path, options):
    (tmp_path / "set").mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(480 * 4))
    write_groups(tmp_path / "set" / "a.h5", "rdb", **options)
    with h5py.File(tmp_path / "set" / "a.h5", "r+") as file:
        del file["0007/data"]
        place = [(str(tmp_path / "secret.bin"), 0, 480 * 4)]
        file["0007"].create_dataset("data", (5, 6, 4, 1), "f4", external=place)
    with pytest.raises(ValueError, match=r"expected data inside .*/0007/data.*secret\.bin"):
        open_files(tmp_path / "set" / "a.h5")


def test_several_threads_read_the_same(tmp_path):
    mapped = write_groups(tmp_path / "a.h5", "rdb", seeds=range(8))
    filtered = write_groups(tmp_path / "b.h5", "rdb", seeds=range(8), compression="lzf")
    sources = [open_files(tmp_path / "a.h5"), open_files(tmp_path / "b.h5")]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(read_all, sources * 8))
    for number, result in enumerate(results):
        np.testing.assert_array_equal(result, filtered if number % 2 else mapped)


def test_many_groups_open_in_time(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for seed in range(2000):
            file[f"{seed:04d}/data"] = noise(2, 4, 1)
        file["0000/grid/x"], file["0000/grid/t"] = np.arange(4.0), np.arange(2.0)
    start = time.perf_counter()
    source = open_files(tmp_path / "a.h5")
    # 0.5 s on a slow core; a linear search in each group would take minutes
    assert time.perf_counter() - start < 20
    assert source.num_trajectories == 2000


def test_golden_diffusion_reaction():
    source = open_files(golden_path("pdebench_diff_react_2d.hdf5"))
    spec = source.spec
    assert (spec.name, spec.resolution, spec.dt) == ("diffusion_reaction", (32, 32), 0.25)
    assert (spec.domain.low, spec.domain.high) == ((-1.0, -1.0), (1.0, 1.0))
    assert spec.constants == {"Du": 0.001, "Dv": 0.005, "k": 0.005}
    frames = read_all(source)
    # the initial state is white noise from the seed: all of the activator first
    for seed in range(4):
        generator = np.random.default_rng(seed)
        for channel in range(2):
            white = generator.standard_normal((32, 32)).astype("f4")
            np.testing.assert_allclose(frames[seed, 0, channel], white.T, rtol=1e-6)
    # the mean of the inhibitor follows d<v>/dt = <u> - <v>, as no-flux walls keep its integral
    mean = frames.astype("f8").mean(axis=(3, 4))
    change = (mean[:, 2:, 1] - mean[:, :-2, 1]) / (2 * spec.dt)
    np.testing.assert_allclose(change, (mean[:, :, 0] - mean[:, :, 1])[:, 1:-1], atol=2e-3)
