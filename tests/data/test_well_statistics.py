import math

import pytest
import torch
import yaml

from sciml.data.dataset import open_dataset
from sciml.data.module import DataModule
from sciml.data.normalizer import Normalizer
from sciml.data.statistics import source_statistics
from sciml.data.well_statistics import read_well_statistics
from sciml.domain import Box
from sciml.spec import DatasetSpec, FieldSpec
from tests.data.well_files import Field, write_well
from tests.golden import golden_path

NAMES = (
    "MHD_256",
    "MHD_64",
    "acoustic_scattering_maze",
    "active_matter",
    "helmholtz_staircase",
    "planetswe",
    "turbulent_radiative_layer_2D",
    "viscoelastic_instability",
)


def published(name):
    """The statistics file of a published data set, and its number of steps and axes."""
    stats, meta = (golden_path(f"data/well_{name}_{kind}.yaml") for kind in ("stats", "meta"))
    facts = yaml.safe_load(meta.read_text())
    return stats, facts["n_spatial_dims"], min(facts["n_steps_per_trajectory"])


def spec_of(fields, ndim=2):
    box = Box(("x", "y", "z")[:ndim], (0.0,) * ndim, (1.0,) * ndim)
    return DatasetSpec("toy", box, (8,) * ndim, fields, fields, dt=1.0)


def fields_of(stats, ndim):
    """Fields that have increments, with the rank of their entries."""
    table = yaml.safe_load(stats.read_text())
    fields = []
    for name, value in table["mean"].items():
        rank = {1: 0, ndim: 1, ndim**2: 2}[len(flat(value))]
        if name in table["mean_delta"]:
            fields.append(FieldSpec(name, rank, ndim**rank))
    return tuple(fields), table


def flat(value):
    return [x for v in value for x in flat(v)] if isinstance(value, list) else [float(value)]


@pytest.mark.parametrize("name", NAMES)
def test_published_files(name, caplog):
    """All eight are read, and the two whose differences alternate are warned of."""
    stats, ndim, steps = published(name)
    fields, table = fields_of(stats, ndim)
    found = read_well_statistics(stats, spec_of(fields, ndim), num_frames=50, num_steps=steps)
    for part, suffix in ((found.field, ""), (found.increment, "_delta")):
        assert part.count == 50 * 8**ndim
        for key in ("mean", "std", "rms"):
            expected = [x for f in fields for x in flat(table[f"{key}{suffix}"][f.name])]
            # the root mean square is made of mean and deviation, rounded to four digits each
            tolerance = 2e-3 if key == "rms" else 1e-12
            torch.testing.assert_close(
                getattr(part, key),
                torch.tensor(expected, dtype=torch.float64),
                rtol=tolerance,
                atol=1e-6 if key == "rms" else 0,
            )
    warned = {record.args[1] for record in caplog.records}
    expected_warnings = {
        "MHD_256": {"density"},
        "viscoelastic_instability": {"velocity[1]", "C[1]", "C[2]"},
    }
    assert warned == expected_warnings.get(name, set())


def test_constant_field_has_no_increments():
    stats, ndim, steps = published("helmholtz_staircase")
    fields = (FieldSpec("mask"), FieldSpec("pressure_re"))
    found = read_well_statistics(stats, spec_of(fields, ndim), num_frames=50, num_steps=steps)
    assert found.field is not None
    assert found.increment is None


def write_stats(path, **entries):
    path.write_text(yaml.safe_dump(entries))
    return path


GOOD = {
    "mean": {"a": 1.0},
    "std": {"a": 2.0},
    "rms": {"a": math.sqrt(5)},
    "mean_delta": {"a": 0.0},
    "std_delta": {"a": 1.0},
    "rms_delta": {"a": 1.0},
}


def test_missing_keys_survive(tmp_path):
    path = tmp_path / "stats.yaml"
    spec = spec_of((FieldSpec("a"),))
    without_std = {k: v for k, v in GOOD.items() if k != "std"}
    found = read_well_statistics(
        write_stats(path, **without_std), spec, num_frames=3, num_steps=3
    )
    torch.testing.assert_close(found.field.std, torch.tensor([2.0], dtype=torch.float64))
    for key, part in (("mean", "field"), ("mean_delta", "increment")):
        table = {k: v for k, v in GOOD.items() if k != key}
        found = read_well_statistics(
            write_stats(path, **table), spec, num_frames=3, num_steps=3
        )
        assert getattr(found, part) is None
        other = {"field": "increment", "increment": "field"}[part]
        assert getattr(found, other) is not None


def test_impossible_increments_are_rejected(tmp_path, caplog):
    """rms_delta of two frames that alternate between -s and s is 2 s, not more."""
    spec, path = spec_of((FieldSpec("a"),)), tmp_path / "stats.yaml"
    limit = 4 * math.sqrt(10 / 9)
    for rms, fits in ((limit * 0.9999, True), (limit * 1.01, False)):
        write_stats(path, **(GOOD | {"rms_delta": {"a": rms}}))
        if fits:
            read_well_statistics(path, spec, num_frames=10, num_steps=10)
        else:
            with pytest.raises(ValueError, match=r"rms_delta of a of at most 4.216 .* got 4.2"):
                read_well_statistics(path, spec, num_frames=10, num_steps=10)
    assert not caplog.records
    # a series that alternates reaches the bound: T = 2 frames -1, 1
    series = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    assert (series[1] - series[0]) <= 2 * series.std(correction=0) * math.sqrt(2)
    write_stats(path, **(GOOD | {"std_delta": {"a": 2.9}}))
    read_well_statistics(path, spec, num_frames=10, num_steps=10)
    assert "vary more than independent frames would" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mean: [1, 2]", "expected a mapping of mean, std, rms"),
        ("just words", "expected a mapping"),
        ("mean: {a: [1.0]}", "expected 1 finite numbers for mean of 'a' of rank 0"),
        ("mean: {a: .nan}", "finite numbers"),
        ("mean: {a: many}", "finite numbers"),
        ("mean: {v: 1.0, a: 1.0}", "expected 2 finite numbers for mean of 'v' of rank 1"),
        ("mean: {v: [1.0, 2.0, 3.0], a: 1.0}", "expected 2 finite"),
        ("mean: {a: !!python/object:os.system {}}", "expected YAML, got"),
        ("mean: {a: [", "expected YAML, got"),
    ],
)
def test_other_files(tmp_path, text, message):
    path = tmp_path / "stats.yaml"
    path.write_text(text)
    spec = spec_of((FieldSpec("v", 1, 2), FieldSpec("a")))
    with pytest.raises(ValueError, match=message):
        read_well_statistics(path, spec, num_frames=3, num_steps=3)


def exact_table(source):
    """What The Well would publish for a source of a scalar and a vector."""
    found = source_statistics(source, range(8))
    table = {}
    for part, suffix in ((found.field, ""), (found.increment, "_delta")):
        for key in ("mean", "std", "rms"):
            a, *v = getattr(part, key).tolist()
            table[f"{key}{suffix}"] = {"a": a, "v": v}
    return found, table


def test_module_uses_them_where_they_apply(tmp_path, caplog):
    write_well(tmp_path / "x.h5", num_trajectories=10, fields=[Field("a"), Field("v", 1)])
    dataset = open_dataset(tmp_path / "x.h5")
    computed, table = exact_table(dataset.source)
    table["mean"]["a"] += 7.0  # to tell them apart
    path = write_stats(tmp_path / "stats.yaml", **table)
    used = DataModule(dataset, statistics_file=path).statistics()
    assert used.field is used.output
    assert used.field.count == computed.field.count
    torch.testing.assert_close(used.field.mean[0], computed.field.mean[0] + 7)
    torch.testing.assert_close(used.increment.std, computed.increment.std)
    normalizer = Normalizer.from_statistics(used.field)
    torch.testing.assert_close(normalizer.scale, computed.field.std)
    with pytest.raises(ValueError, match="minimum and maximum for minmax, got published"):
        Normalizer.from_statistics(used.field, "minmax")
    with caplog.at_level("INFO", logger="sciml"):
        for other, options in (
            (dataset.windowed(stride=2), {}),
            (dataset, {"per_point": True}),
        ):
            found = DataModule(other, statistics_file=path).statistics(**options)
            assert found.field.minimum is not None
    assert caplog.text.count("does not cover what is asked for") == 2
