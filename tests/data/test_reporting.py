from pathlib import Path

from rich.console import Console

from sciml.data import reporting as module
from sciml.data.reporting import reporting


def test_bar_on_a_terminal_shows_count_rate_and_remaining_time(monkeypatch, tmp_path):
    with (tmp_path / "screen").open("w+") as screen:
        console = Console(file=screen, force_terminal=True, width=100)
        monkeypatch.setattr(module, "Console", lambda **_: console)
        with reporting("flow (recipe)", 8, Path("folder"), True) as report:
            for _ in range(4):
                report(2)
        screen.seek(0)
        text = screen.read()
    assert "generating flow (recipe)" in text
    assert "8/8" in text
    assert "per s" in text
    assert "0:00:00" in text
