"""One look for all figures: colours, markers, fonts, and how a field is called."""

from typing import Any

from sciml.spec import DatasetSpec

# Okabe and Ito's palette, which stays distinct under every common colour blindness.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
STYLE: Any = {
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "grid.color": "0.9",
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "figure.facecolor": "white",
}
"""Matplotlib settings for the context that a figure is made in."""


def field_label(spec: DatasetSpec, channel: int) -> str:
    """Name of a channel: its field, the component of a vector or tensor, the unit."""
    for field in spec.out_fields:
        if channel < field.components:
            component = f" {channel + 1}" if field.components > 1 else ""
            unit = f" ({field.units})" if field.units else ""
            return f"{field.name}{component}{unit}"
        channel -= field.components
    raise ValueError(
        f"field_label: expected a channel below {spec.out_channels}, got one beyond; "
        "choose another"
    )
