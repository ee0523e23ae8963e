"""Convert a data set of any known format to The Well's layout, PDEBench's, MATLAB v5 or torch.

A conversion that was interrupted goes on where it stopped when it is started again.

Examples:
    python scripts/convert_data.py NavierStokes_V1e-5_N1200_T20.mat data/navier_stokes
    python scripts/convert_data.py data/navier_stokes exported --format matlab
"""

import argparse
import sys

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from sciml.data.convert import FORMATS, convert
from sciml.data.sources import open_source


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit status is 1 after an error, which is one line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="file or folder of the data set")
    parser.add_argument("target", help="folder of the result")
    parser.add_argument(
        "--format", choices=FORMATS, default="well", help="format to write (default: well)"
    )
    parser.add_argument("--source-format", help="format of the source (default: by content)")
    parser.add_argument(
        "--shard-mb", type=int, help="largest size of the fields in a file (default: 2147 MB)"
    )
    options = parser.parse_args(arguments)
    sizes = {} if options.shard_mb is None else {"shard_bytes": options.shard_mb * 10**6}
    columns = (
        TextColumn("converting {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    try:
        total = open_source(options.source, format=options.source_format).num_trajectories
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(options.source, total=total)
            files = convert(
                options.source,
                options.target,
                format=options.format,
                source_format=options.source_format,
                progress=lambda finished: bar.advance(task, finished),
                **sizes,
            )
    except (ValueError, OSError) as error:
        print(f"convert_data.py: {error}", file=sys.stderr)
        return 1
    for file in files:
        print(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
