"""Type aliases shared by every layer."""

import os
from collections.abc import Mapping
from typing import TypeAlias

StrPath: TypeAlias = str | os.PathLike[str]
"""Anything that names a file or folder."""

Metrics: TypeAlias = Mapping[str, float]
"""Flat metric names (``test/relative_l2``) with their values."""
