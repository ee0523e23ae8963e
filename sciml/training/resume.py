"""Resuming: what a training state belongs to, and finding the state of a run."""

import functools
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from sciml.training.checkpoint import check_state, nearest_path

STATE = Path("checkpoints") / "last.ckpt"


def describe(subject: object, arguments: dict[str, Any] | None = None) -> str:
    """Name and plain arguments of a class, function, partial or dataclass, as text."""
    if isinstance(subject, functools.partial):
        return describe(subject.func, {**subject.keywords, "": subject.args})
    if is_dataclass(subject) and not isinstance(subject, type):
        values = {item.name: getattr(subject, item.name) for item in fields(subject)}
        return describe(type(subject), values)
    name = (
        subject
        if isinstance(subject, str)
        else getattr(subject, "__qualname__", type(subject).__qualname__)
    )
    plain = {
        key: describe(value) if callable(value) else value
        for key, value in (arguments or {}).items()
        if value != ()
    }
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in plain.items())})"


def find_state(run: Path, identity: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Path:
    """The training state of a run, after comparing it with what is to be trained.

    Raises:
        FileNotFoundError: If there is no such run or it holds no state.
        ValueError: If the state was cut, is not one of ours, or belongs to another training.
    """
    path = run if run.suffix == ".ckpt" else run / STATE
    if not run.exists():
        raise FileNotFoundError(f"fit: there is no run {run} to resume; {nearest_path(run)}")
    if not path.is_file():
        raise FileNotFoundError(
            f"fit: expected a training state {path}, found none; the run ended before its "
            "first one (checkpoint_every_seconds): start it anew without resume"
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, UnpicklingError, EOFError, OSError, ValueError, KeyError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(
            f"fit: {path} is not a readable training state ({reason}); it was cut or written "
            "by something else: delete it and start the run anew"
        ) from None
    if not isinstance(state, dict) or "sciml" not in state:
        raise ValueError(
            f"fit: {path} is a checkpoint of something else; resume a run folder that fit wrote"
        )
    found = state["sciml"]["identity"]
    different = [key for key, value in identity.items() if found.get(key) != value]
    if different:
        key = different[0]
        raise ValueError(
            f"fit: {path} was trained with {key} {found.get(key)}, not {identity[key]}"
            f"{f' (and other {different[1:]})' if different[1:] else ''}; resume with what it "
            "was trained with, or start a new run"
        )
    check_state(tensors, state["state_dict"], f"fit: {path}")
    return path
