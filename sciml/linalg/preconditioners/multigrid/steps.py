"""A cycle as a list of steps on fixed buffers, worked out once and run many times.

On the coarse levels a call of NumPy costs more than its arithmetic, and slicing, bookkeeping
and recursion in Python cost as much again. With buffers that stay where they are, all of that
is done ahead: what is left is a loop over functions and their arguments.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

Step: TypeAlias = tuple[Callable[..., Any], tuple[Any, ...]]
Steps: TypeAlias = list[Step]


def run_steps(steps: Steps) -> None:
    """Call the functions in turn."""
    for function, operands in steps:
        function(*operands)
