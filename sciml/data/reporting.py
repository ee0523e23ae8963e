"""Progress of a long generation, for people and for log files."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text
from typing_extensions import override

_LOG = logging.getLogger(__name__)


@final
class RateColumn(ProgressColumn):
    """Samples per second."""

    @override
    def render(self, task: Task) -> Text:
        rate = task.finished_speed or task.speed
        return Text("" if rate is None else f"{rate:.2g} per s")


@contextmanager
def reporting(
    title: str, num_samples: int, folder: Path, wanted: bool
) -> Iterator[Callable[[int], None] | None]:
    """Report a generation as a progress bar, or as two lines of the log.

    Args:
        title: What is generated.
        num_samples: How many samples; nothing is said when there are none.
        folder: Where to.
        wanted: False is quiet.

    Yields:
        What to call with the number of samples finished since the last call, or None.
    """
    console = Console(stderr=True)
    if not wanted or not num_samples:
        yield None
        return
    if not console.is_terminal:
        start = time.perf_counter()
        _LOG.info("generating %d samples of %s in %s", num_samples, title, folder)
        yield None
        seconds = time.perf_counter() - start
        rate = num_samples / seconds
        _LOG.info("generated %d samples in %.1f s (%.1f per s)", num_samples, seconds, rate)
        return
    columns = (
        TextColumn("generating {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=num_samples)
        yield lambda finished: bar.advance(task, finished)
