"""The YAML configuration that PDEBench's generators leave in the attribute ``config``."""

import re
from collections.abc import Mapping
from typing import Any

import yaml

_MOST_CHARACTERS = 2**16
_NUMBER_LINE = re.compile(r"^[ ]+'?(\w+)'?:[ ]+([-+]?[\d.]+(?:e[-+]?\d+)?)[ ]*$", re.MULTILINE)


def config_text(owner: Any) -> str:
    """The attribute as text, empty without it.

    Raises:
        ValueError: If it is no text, or far longer than any configuration.
    """
    value = owner.attrs.get("config", "")
    text = value.decode(errors="replace") if isinstance(value, bytes) else value
    if not isinstance(text, str) or len(text) > _MOST_CHARACTERS:
        raise ValueError(
            f"open_source: expected YAML text of at most {_MOST_CHARACTERS} characters in the "
            f"attribute config of {owner.name} in {owner.file.filename}, got "
            f"{type(value).__name__}; download or generate the file again"
        )
    return text


def parse_config(text: str, owner: Any) -> Mapping[str, Any]:
    """The configuration as nested mappings; only plain YAML types are ever built.

    Raises:
        ValueError: If the text is no YAML mapping.
    """
    try:
        config = yaml.safe_load(text) or {}
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ValueError(
            f"open_source: expected YAML in the attribute config of {owner.name} in "
            f"{owner.file.filename}, got text that is none ({type(error).__name__}); download "
            "or generate the file again"
        ) from error
    if not isinstance(config, dict):
        raise ValueError(
            f"open_source: expected a YAML mapping in the attribute config of {owner.name} in "
            f"{owner.file.filename}, got {type(config).__name__}; download or generate "
            "the file again"
        )
    return config


def numbers_of(section: object, names: tuple[str, ...]) -> dict[str, float]:
    """The named numbers of one section of a configuration, as far as it has them."""
    entries = section if isinstance(section, Mapping) else {}
    found = {}
    for name in names:
        value = entries.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            found[name] = float(value)
    return found


def scan_numbers(text: str, names: tuple[str, ...]) -> dict[str, float]:
    """The named numbers of a configuration in block style, a hundred times faster than YAML.

    The benchmark has ten thousand configurations in a file that differ in a number or two.
    """
    lines = dict(_NUMBER_LINE.findall(text))
    return {name: float(lines[name]) for name in names if name in lines}
