import logging
import os
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

from sciml.data.generate import dataset_folder, generate, generate_splits, recipe_spec

RECIPE = "fno_navier_stokes"
SEED = 3316624791
TINY = {"resolution": 8, "num_frames": 3}
SPLITS = {"train": 5, "valid": 2, "test": 3}


def make(root, *, shard_size=2, splits=SPLITS, progress=False, **parameters):
    return generate_splits(
        RECIPE,
        root,
        name="flow",
        splits=splits,
        shard_size=shard_size,
        seed=SEED,
        progress=progress,
        **(TINY | parameters),
    )


def contents(folder):
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def test_layout_and_numbering(tmp_path):
    folder = make(tmp_path)
    assert folder.parent == tmp_path / "flow"
    assert folder.name == (
        "fno_navier_stokes-viscosity0.001-resolution8-num_frames3-variantlegacy-"
        f"solver_resolution8-forcing_amplitude0.1-train5-valid2-test3-seed{SEED}"
    )
    assert sorted(contents(folder)) == [
        "data/test/fno_navier_stokes-0000007-0000008.hdf5",
        "data/test/fno_navier_stokes-0000009-0000009.hdf5",
        "data/train/fno_navier_stokes-0000000-0000001.hdf5",
        "data/train/fno_navier_stokes-0000002-0000003.hdf5",
        "data/train/fno_navier_stokes-0000004-0000004.hdf5",
        "data/valid/fno_navier_stokes-0000005-0000006.hdf5",
    ]


def test_folder_is_known_before_and_tells_parameters_apart(tmp_path):
    arguments = {"name": "flow", "recipe": RECIPE, "splits": SPLITS, "seed": SEED}
    folder = dataset_folder(tmp_path, **arguments, **TINY)
    assert not folder.exists()
    assert folder == make(tmp_path)
    others = [
        dataset_folder(tmp_path, **arguments, **TINY, viscosity=1e-4),
        dataset_folder(tmp_path, **(arguments | {"seed": 1}), **TINY),
        dataset_folder(tmp_path, **(arguments | {"splits": {"train": 6}}), **TINY),
    ]
    assert len({folder, *others}) == 4
    assert not any(set("= ") & set(other.name) for other in others)


def test_second_run_makes_nothing_and_missing_shards_come_back_the_same(tmp_path):
    folder = make(tmp_path)
    before = contents(folder)
    times = {file: file.stat().st_mtime_ns for file in folder.rglob("*.hdf5")}
    (lost,) = folder.glob("data/valid/*.hdf5")
    lost.unlink()
    make(tmp_path)
    assert contents(folder) == before
    assert all(file.stat().st_mtime_ns == t for file, t in times.items() if file != lost)


def test_one_shard_equals_that_of_the_data_set_but_for_its_name(tmp_path):
    whole = make(tmp_path)
    file = generate(
        RECIPE, tmp_path / "one.hdf5", num_samples=2, first_sample=2, seed=SEED, **TINY
    )
    shard = next(whole.glob("data/train/*0000002*"))
    with h5py.File(file) as one, h5py.File(shard) as other:
        stored = [f["t0_fields/vorticity"][()] for f in (one, other)]
        np.testing.assert_array_equal(*stored)
        different = {k for k, v in one.attrs.items() if np.any(v != other.attrs[k])}
        assert one.attrs["dataset_name"] == RECIPE
    assert different == {"dataset_name"}


def test_path_is_a_file_or_a_folder(tmp_path):
    options = {"num_samples": 1, "seed": SEED, **TINY}
    assert generate(RECIPE, tmp_path / "a.h5", **options) == tmp_path / "a.h5"
    inside = generate(RECIPE, tmp_path / "b", first_sample=3, **options)
    assert inside == tmp_path / "b" / "fno_navier_stokes-0000003-0000003.hdf5"
    assert inside.exists()


def test_another_shard_size_is_refused_in_the_same_folder(tmp_path):
    make(tmp_path)
    with pytest.raises(
        ValueError, match=r"only the planned shards .*use the shard_size of the"
    ):
        make(tmp_path, shard_size=3)


START = """
from sciml.data.generate import generate_splits
generate_splits(
    "fno_navier_stokes", {root!r}, name="flow", splits={{"train": {count}}}, shard_size=1,
    seed={seed}, progress=False, resolution=8, num_frames=3,
)
"""


def start(root, count):
    script = START.format(root=str(root), count=count, seed=SEED)
    return subprocess.Popen(
        [sys.executable, "-c", script], env=os.environ | {"OMP_NUM_THREADS": "1"}
    )


def test_killed_and_restarted_ends_with_the_same_bytes(tmp_path):
    count = 120
    process = start(tmp_path / "killed", count)
    shards = []
    deadline = time.monotonic() + 60
    while len(shards) < 3 and time.monotonic() < deadline:
        shards = list((tmp_path / "killed").rglob("*.hdf5"))
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    (folder,) = (tmp_path / "killed" / "flow").iterdir()
    assert 3 <= len(list(folder.rglob("*.hdf5"))) < count
    # What the kill can leave at worst: half a shard under a temporary name.
    (folder / "data" / "train" / ".half.hdf5.00.part").write_bytes(b"half")
    assert make(tmp_path / "killed", splits={"train": count}, shard_size=1) == folder
    whole = make(tmp_path / "whole", splits={"train": count}, shard_size=1)
    assert contents(folder) == contents(whole)


def test_two_processes_in_one_folder_do_not_disturb_each_other(tmp_path):
    count = 40
    processes = [start(tmp_path / "shared", count) for _ in range(2)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    (folder,) = (tmp_path / "shared" / "flow").iterdir()
    alone = make(tmp_path / "alone", splits={"train": count}, shard_size=1)
    assert contents(folder) == contents(alone)


def test_log_lines_without_a_terminal_and_quiet_when_asked(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="sciml")
    make(tmp_path)
    assert caplog.messages == []
    make(tmp_path / "loud", progress=True)
    first, last = caplog.messages
    assert first.startswith("generating 10 samples of flow (fno_navier_stokes) in ")
    assert last.startswith("generated 10 samples in ")
    make(tmp_path / "loud", progress=True)
    assert len(caplog.messages) == 2  # nothing to do, nothing to say


def test_spec_needs_no_simulation():
    spec = recipe_spec(RECIPE, "flow", viscosity=1e-4, **TINY)
    assert (spec.name, spec.resolution) == ("flow", (8, 8))
    assert spec.constants == {"viscosity": 1e-4}


def test_spec_equals_the_one_read_from_the_files(tmp_path):
    from sciml.data.sources import open_source

    folder = make(tmp_path, viscosity=3e-4)
    assert open_source(folder).spec == recipe_spec(RECIPE, "flow", viscosity=3e-4, **TINY)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"splits": {"training": 3}}, r"splits among .*'train', 'valid', 'test'.*'training'"),
        ({"splits": {"train": 0}}, "expected train >= 1, got 0"),
        ({"shard_size": 0}, "expected shard_size >= 1, got 0"),
        ({"viscosty": 1.0}, "did you mean 'viscosity'"),
    ],
)
def test_bad_arguments_are_named_before_anything_is_made(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        make(tmp_path, **changes)
    assert list(tmp_path.iterdir()) == []


def test_a_name_is_not_a_path(tmp_path):
    with pytest.raises(ValueError, match=r"a plain name .*'../flow'"):
        dataset_folder(tmp_path, name="../flow", recipe=RECIPE, splits=SPLITS, seed=SEED)
    with pytest.raises(ValueError, match="expected first_sample >= 0, got -1"):
        generate(RECIPE, tmp_path, num_samples=1, first_sample=-1, seed=SEED)
