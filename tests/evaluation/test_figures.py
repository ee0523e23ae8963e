import sys

import pytest
from matplotlib.figure import Figure

from sciml.evaluation.compare import Contestant, compare
from sciml.evaluation.figures import draw_figures, save_figure
from tests.evaluation.stand_ins import Decay, Halving, make_spec

PNG = b"\x89PNG\r\n\x1a\n"


def test_every_figure_is_written(comparison, tmp_path):
    history = tmp_path / "metrics.csv"
    history.write_text("step,train/loss\n1,0.5\n2,0.25\n")
    paths = draw_figures(comparison, tmp_path / "figures", history)
    assert set(paths) == {"rollout", "error", "spectrum", "loss"}
    for path in paths.values():
        assert path.read_bytes().startswith(PNG)
        assert path.stat().st_size > 10_000
    assert {p.name for p in (tmp_path / "figures").iterdir()} == {f"{n}.png" for n in paths}
    assert (
        "matplotlib.pyplot" not in sys.modules
        or not sys.modules["matplotlib.pyplot"].get_fignums()
    )


def test_without_history_there_is_no_loss_figure(comparison, tmp_path):
    assert "loss" not in draw_figures(comparison, tmp_path, tmp_path / "missing.csv")
    empty = tmp_path / "metrics.csv"
    empty.write_text("step,valid/relative_l2\n1,0.5\n")
    assert "loss" not in draw_figures(comparison, tmp_path, empty)


def test_data_without_time_have_no_error_curve(tmp_path):
    spec = make_spec(steady=True)
    result = compare([Contestant("map", Halving(0.1))], Decay(spec, num_frames=1))
    assert set(draw_figures(result, tmp_path)) == {"rollout", "spectrum"}


def test_a_file_where_the_folder_should_be_is_named(tmp_path):
    (tmp_path / "figures").write_text("")
    with pytest.raises(OSError, match=r"figures.rollout\.png"):
        save_figure(Figure(), tmp_path / "figures" / "rollout.png")
