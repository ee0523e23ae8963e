"""Damaged files of every format: they are read as what they say, or refused by name.

A process of its own works through a batch, see `tests.data.fuzzing`, so that a crash of the
interpreter, a hang or a flood of memory is a finding and not the end of the tests.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from sciml.data.sources.joined import JoinedSource
from sciml.data.writers.well import write_well_from
from tests.data import fuzzing
from tests.data.array_files import CONTAINERS
from tests.data.frames import Frames
from tests.data.sources.pdebench_files import (
    write_flow,
    write_groups,
    write_incompressible,
    write_scalar,
)
from tests.data.well_files import Field, Scalar, write_well
from tests.golden import golden_path

SEED = 982_451_653
FEW, MANY = 150, 4000  # cases for each kind: in every run, and in the slow test


def make_well(folder):
    fields = [Field("a"), Field("v", 1), Field("t", 2), Field("m", time_varying=False)]
    scalars = [Scalar("nu", [1.0, 2.0, 3.0], sample_varying=True), Scalar("c", 2.0)]
    write_well(folder / "all.h5", fields=fields, scalars=scalars)
    chunked = [
        Field("a", options={"chunks": (1, 2, 3, 2)}),
        Field("v", 1, options={"chunks": (1, 1, 6, 4, 2), "compression": "gzip"}),
    ]
    write_well(folder / "chunked.h5", fields=chunked)
    write_well_from(folder / "ours.hdf5", JoinedSource({"": [Frames()]}))


def make_pdebench(folder):
    write_scalar(folder / "1D_Burgers_Sols_Nu0.01.hdf5", {"Nu": 0.01})
    write_flow(folder / "2D_CFD_Rand_M0.1_Eta0.01_Zeta0.01_periodic.hdf5", (6, 5))
    write_groups(folder / "2D_rdb_NA_NA.h5", "rdb")
    write_incompressible(folder / "ns_incom_inhom_2d_32-0.h5")


def make_arrays(names):
    def make(folder):
        generator = np.random.default_rng(SEED)
        rollout = {
            "a": generator.standard_normal((4, 8, 8)).astype("f4"),
            "u": generator.standard_normal((4, 8, 8, 20)).astype("f4"),
            "t": np.arange(1.0, 21.0)[None],
        }
        pairs = {name: generator.standard_normal((6, 9, 9)).astype("f4") for name in "xy"}
        for name in names:
            _, suffix, write = CONTAINERS[name]
            write(folder / f"{name}{suffix}", pairs if suffix in (".pt", ".npz") else rollout)
        if "npz" in names:
            rollouts = generator.standard_normal((3, 5, 8, 8)).astype("f4")
            np.save(folder / "NS_fine_Re500.npy", rollouts)

    return make


KINDS = {
    "well": make_well,
    "pdebench": make_pdebench,
    "matlab": make_arrays(["v5", "v5 compressed", "v7.3", "v7.3 gzip"]),
    "torch": make_arrays(["torch", "torch strided"]),
    "numpy": make_arrays(["npz", "npz compressed"]),
}
GENUINE = [
    "pdebench_1d_cfd_Rand_Eta0.01_Zeta0.01_periodic.hdf5",
    "pdebench_advection_beta1.0.hdf5",
    "pdebench_darcy_beta1.0.hdf5",
    "pdebench_diff_react_2d.hdf5",
    "pdebench_ns_incomp.hdf5",
    "data/neuralop_darcy_test_16.pt",
    "data/neuralop_mini_car.pt",
    "data/mat_v5_pyamg_airfoil.mat",
    "data/mat_v73_scipy_testhdf5.mat",
]


def findings(paths, folder, count):
    """What went wrong in so many cases, each with its number; begins anew behind a crash."""
    folder.mkdir()
    found, first = [], 0
    while first < count:
        files = [str(path) for path in sorted(paths)]
        command = [sys.executable, "-m", "tests.data.fuzzing", str(folder), str(SEED)]
        run = subprocess.run(
            [*command, str(first), str(count), *files],
            capture_output=True,
            text=True,
            timeout=120 + 2 * count,
            check=False,
            cwd=Path(__file__).parents[2],
        )
        lines = [json.loads(line) for line in run.stdout.splitlines()]
        assert lines, run.stderr
        found += [str(line) for line in lines if "finding" in line]
        first = lines[-1]["case"] + 1
        if run.returncode:
            found.append(f"{lines[-1]}: exit {run.returncode}\n{run.stderr[:1500]}")
    assert first == count
    return found


def make_files(folder, kinds=KINDS):
    """Sound files of the kinds, which open without a finding."""
    folder.mkdir()
    for kind in kinds:
        KINDS[kind](folder)
    paths = sorted(folder.iterdir())
    assert [fuzzing.check(path) for path in paths] == [""] * len(paths)
    return paths


def test_damaged_files_are_read_or_refused(tmp_path):
    paths = make_files(tmp_path / "files")
    assert findings(paths, tmp_path / "cases", FEW * len(KINDS)) == []


def test_damaged_genuine_files_are_read_or_refused(tmp_path):
    paths = [golden_path(name) for name in GENUINE]
    assert findings(paths, tmp_path / "cases", FEW) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*KINDS, "genuine"])
def test_thousands_of_damaged_files(tmp_path, kind):
    genuine = kind == "genuine"
    paths = [golden_path(name) for name in GENUINE] if genuine else []
    paths = paths or make_files(tmp_path / "files", [kind])
    assert findings(paths, tmp_path / "cases", MANY) == []


def test_damage_is_the_same_every_time(tmp_path):
    paths = make_files(tmp_path / "files", ["well"])
    first = [content for _, _, content in fuzzing.cases(paths, SEED, range(40))]
    again = [content for _, _, content in fuzzing.cases(paths, SEED, range(20, 40))]
    assert first[20:] == again
    sound = [path.read_bytes() for path in paths]
    assert sum(content not in sound for content in first) > 30


def fail(kind, text=""):
    def reader(path):
        raise kind(text)

    return reader


@pytest.mark.parametrize(
    ("reader", "finding"),
    [
        (fail(RuntimeError, "deep down"), "RuntimeError: deep down"),
        (fail(ValueError, "no"), "ValueError without the file: no"),
        (fail(MemoryError), "MemoryError: "),
        (lambda path: time.sleep(0.3), "0.3 s"),
        (fail(ValueError, "damage in a.h5"), ""),
        (lambda path: None, ""),
    ],
    ids=["error", "unnamed", "memory", "slow", "refused", "read"],
)
def test_faults_of_an_opener_are_found(monkeypatch, reader, finding):
    monkeypatch.setattr(fuzzing, "MOST_SECONDS", 0.2)
    monkeypatch.setattr(fuzzing, "_read", reader)
    assert fuzzing.check(Path("a.h5")) == finding


FAULTS = {
    "crash": ("import ctypes; ctypes.string_at(0)", "exit -11"),
    "hang": ("time.sleep(9)", "Timeout"),
    "flood": ("bytearray(2**33)", "MemoryError"),
}


@pytest.mark.parametrize(("fault", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_what_takes_the_process_along_is_found(tmp_path, fault, message):
    (tmp_path / "a.h5").write_bytes(b"sound")
    program = tmp_path / "harmful.py"
    program.write_text(
        "import sys, time, types\n"
        f"def harmful(path):\n    {fault}\n"
        "opener = types.SimpleNamespace(open_source=harmful)\n"
        "sys.modules['sciml.data.sources'] = opener\n"
        "from tests.data import fuzzing\n"
        "fuzzing.MOST_SECONDS = 0.2\n"
        "fuzzing.main(sys.argv[1:])\n"
    )
    arguments = [str(tmp_path), str(SEED), "0", "1", str(tmp_path / "a.h5")]
    run = subprocess.run(
        [sys.executable, str(program), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert message in f"{run.stdout}{run.stderr} exit {run.returncode}"
