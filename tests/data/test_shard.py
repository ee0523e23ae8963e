import json

import h5py
import numpy as np
import pytest
import torch

from sciml.data.shard import write_shard
from sciml.simulate.navier_stokes import BlowUpError
from sciml.simulate.recipe import make_recipe

SEED = 2645751311
TINY = {"resolution": 8, "num_frames": 3}


def write(file, *, samples=range(4, 7), seed=SEED, progress=None, **parameters):
    recipe = make_recipe("fno_navier_stokes", **(TINY | parameters))
    write_shard(recipe, file, name="flow", samples=samples, seed=seed, progress=progress)
    return recipe


def test_holds_the_recipe_s_samples_and_says_so(tmp_path):
    recipe = write(tmp_path / "a.hdf5")
    expected = recipe.simulate(range(4, 7), SEED)
    with h5py.File(tmp_path / "a.hdf5", "r") as file:
        stored = file["t0_fields/vorticity"][()]
        np.testing.assert_array_equal(stored, expected.fields[:, :, 0].float().numpy())
        np.testing.assert_array_equal(file["dimensions/time"], [0, 1, 2])
        attributes = dict(file.attrs)
    assert attributes["dataset_name"] == "flow"
    assert attributes["recipe"] == "fno_navier_stokes"
    assert attributes["variant"] == "legacy"
    assert (attributes["seed"], attributes["first_sample"]) == (SEED, 4)
    assert attributes["n_trajectories"] == 3
    assert json.loads(attributes["parameters"]) == recipe.parameters
    assert attributes["format_version"] == 1
    assert "ETDRK4" in attributes["solver"]
    assert attributes["solver_smallest_step"] == expected.smallest_step
    assert attributes["solver_largest_step"] == expected.largest_step


def test_bytes_do_not_depend_on_threads_and_the_number_of_threads_is_put_back(tmp_path):
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            write(tmp_path / f"{threads}.hdf5", samples=range(20), resolution=64)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert (tmp_path / "1.hdf5").read_bytes() == (tmp_path / "3.hdf5").read_bytes()


def test_progress_counts_samples(tmp_path):
    finished = []
    write(tmp_path / "a.hdf5", samples=range(9), resolution=64, progress=finished.append)
    assert sum(finished) == 9
    assert len(finished) > 1


def test_an_existing_shard_is_kept(tmp_path):
    write(tmp_path / "a.hdf5")
    before = (tmp_path / "a.hdf5").stat()
    finished = []
    write(tmp_path / "a.hdf5", progress=finished.append)
    assert (tmp_path / "a.hdf5").stat() == before
    assert finished == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"viscosity": 2e-3}, r"a.hdf5 to hold viscosity=0.002, got 0.001; delete it"),
        ({"num_frames": 4}, "to hold num_frames=4, got 3"),
        ({"variant": "unit"}, "to hold variant='unit', got 'legacy'"),
        ({"seed": 5}, f"to hold seed=5, got {SEED}"),
        ({"samples": range(5, 8)}, "to hold first_sample=5, got 4"),
        ({"samples": range(4, 6)}, "to hold n_trajectories=2, got 3"),
    ],
)
def test_a_shard_of_something_else_never_passes(tmp_path, changes, message):
    write(tmp_path / "a.hdf5")
    with pytest.raises(ValueError, match=message):
        write(tmp_path / "a.hdf5", **changes)


def test_foreign_and_damaged_files_never_pass(tmp_path):
    with h5py.File(tmp_path / "foreign.hdf5", "w"):
        pass
    with pytest.raises(ValueError, match="to hold dataset_name='flow', got None"):
        write(tmp_path / "foreign.hdf5")
    write(tmp_path / "a.hdf5")
    image = (tmp_path / "a.hdf5").read_bytes()
    (tmp_path / "a.hdf5").write_bytes(image[: len(image) // 2])
    with pytest.raises(
        ValueError, match=r"a whole HDF5 file at .*a.hdf5, got an unreadable one"
    ):
        write(tmp_path / "a.hdf5")


def test_blow_up_writes_nothing(tmp_path):
    before = torch.get_num_threads()
    with pytest.raises(BlowUpError, match=r"sample 4 blew up after time 0.*raise viscosity"):
        write(tmp_path / "a.hdf5", forcing_amplitude=1e30)
    assert list(tmp_path.iterdir()) == []
    assert torch.get_num_threads() == before
