"""The command line in an empty folder, for the tests that call it."""

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from sciml import cli


@pytest.fixture
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run in an empty folder; Hydra's loggers and global state are put back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCIML_DATA", raising=False)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers, root.level = handlers, level
    GlobalHydra.instance().clear()


@pytest.fixture
def run_cli(isolated: None, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """The console script with its arguments."""

    def run(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
        cli.main()

    return run
