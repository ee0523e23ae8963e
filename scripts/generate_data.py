"""Generate a data set, or one shard of it, from a recipe.

Examples:
    python scripts/generate_data.py fno_navier_stokes --train 1000 --set viscosity=1e-4
    python scripts/generate_data.py fno_navier_stokes --samples 60:120 --output shard.hdf5
"""

import argparse
import logging
import sys
from typing import Any

from sciml.data.generate import generate, generate_splits
from sciml.simulate.recipe import make_recipe, recipe_names


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit status is 1 after an error, which is one line."""
    parser = _parser()
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parameters = dict(options.set)
    try:
        if options.samples is None:
            written = generate_splits(
                options.recipe,
                options.root,
                name=options.name or options.recipe,
                splits={k: n for k in ("train", "valid", "test") if (n := getattr(options, k))},
                shard_size=options.shard_size,
                seed=options.seed,
                **parameters,
            )
        else:
            first, end = options.samples
            written = generate(
                options.recipe,
                options.output or options.root,
                num_samples=end - first,
                first_sample=first,
                seed=options.seed,
                **parameters,
            )
    except (ValueError, TypeError, OSError, ArithmeticError) as error:
        print(f"generate_data.py: {error}", file=sys.stderr)
        return 1
    print(written)
    return 0


def _parser() -> argparse.ArgumentParser:
    """Options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = "\n".join(f"  {name}: {make_recipe(name).parameters}" for name in recipe_names())
    parser.epilog = f"recipes and their parameters:\n{known}"
    parser.add_argument("recipe", help="name of the recipe")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PARAMETER=VALUE",
        type=_assignment,
        help="a parameter of the recipe, as often as needed; the others keep their defaults",
    )
    parser.add_argument(
        "--root", default="data", help="folder of all data sets (default: data)"
    )
    parser.add_argument("--name", help="name of the data set (default: the recipe's)")
    for split, size in {"train": 180, "valid": 20, "test": 40}.items():
        parser.add_argument(
            f"--{split}", type=int, default=size, help=f"{split} trajectories (default: {size})"
        )
    parser.add_argument(
        "--shard-size", type=int, default=60, help="trajectories per file (default: 60)"
    )
    parser.add_argument(
        "--seed", type=int, default=20240229, help="seed of the data set (default: 20240229)"
    )
    parser.add_argument(
        "--samples",
        type=_sample_range,
        metavar="FIRST:END",
        help="write one shard with these samples instead of a data set with splits",
    )
    parser.add_argument("--output", help="with --samples: the .hdf5 file, or a folder for it")
    return parser


def _assignment(text: str) -> tuple[str, Any]:
    """Parse PARAMETER=VALUE; values are numbers or words."""
    key, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"expected PARAMETER=VALUE, got {text!r}")
    try:
        return key, int(value)
    except ValueError:
        pass
    try:
        return key, float(value)
    except ValueError:
        return key, value


def _sample_range(text: str) -> tuple[int, int]:
    """Parse FIRST:END."""
    first, colon, end = text.partition(":")
    if not colon or not (first + end).isdigit() or int(end or 0) <= int(first or 0):
        raise argparse.ArgumentTypeError(f"expected FIRST:END with FIRST < END, got {text!r}")
    return int(first or 0), int(end)


if __name__ == "__main__":
    sys.exit(main())
