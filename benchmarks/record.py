"""Where benchmark numbers go, with the machine, commit and versions behind them."""

import json
from pathlib import Path
from typing import Any

from sciml.evaluation.report import environment, write_json


def report(result: dict[str, Any], output: Path | None) -> None:
    """Print a result as JSON, and write it to a file as a whole if one is given."""
    described = {"environment": environment()} | result
    print(json.dumps(described, indent=2))
    if output is not None:
        write_json(output, described)
