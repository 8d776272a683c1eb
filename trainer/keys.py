"""Every configuration key of a task as people set it: type, default of that task, and its one-line help.

The help is the string under the field in the source, which Python does not keep: it is read from the source again.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
import types
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from ckptop.trainer.config import TrainConfig

GROUPS = {
    "Length and batches": ("epochs", "batch_size", "accumulate"),
    "Optimizer and learning rate": (
        "optimizer", "lr", "weight_decay", "scheduler", "warmup_steps", "decay_every_epochs", "plateau_epochs",
        "decay_factor", "clip_norm",
    ),
    "What best means, and when to end early": ("metric_for_best", "patience_epochs", "min_delta"),
    "When a loss is no number": ("on_nan", "rollbacks", "rollback_lr_factor"),
    "Randomness and data": ("seed", "deterministic", "accept_new_data"),
    "Machine": ("device", "precision", "compile", "gradient_checkpointing", "workers", "threads"),
    "Checkpoints": (
        "save_every_epochs", "save_every_steps", "async_save", "when_busy", "keep_training", "keep_every_epochs",
        "keep_every_steps", "keep_spacing_minutes", "keep_best", "keep_milestones", "trash_days",
        "full_disk_patience_seconds", "spill_dir",
    ),
    "Logs": ("log_every_steps", "tensorboard", "system_interval_seconds"),
}  # fmt: skip
"""Headings, and the keys under each."""
MODEL_GROUP, OTHER_GROUP = "The task's own", "Others"

_SIGNS = (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="))


@dataclass(frozen=True, slots=True)
class Key:
    """One configuration key."""

    name: str
    """Dotted: `lr`, `model.hidden`."""
    kind: str
    """What values it takes: `int >= 1`, `cosine|step`, `float > 0 or none`."""
    default: str
    """As `--set` would take it."""
    help: str
    """One paragraph; empty where the field has none."""


def grouped_keys(config: TrainConfig[Any]) -> Iterator[tuple[str, list[Key]]]:
    """Headings and their keys, those of the task's options last.

    Args:
        config: The task's defaults.
    """
    keys = {key.name: key for key in _keys(config, "")}
    for heading, names in GROUPS.items():
        yield heading, [keys.pop(name) for name in names if name in keys]
    del keys["model"]
    if keys:
        yield OTHER_GROUP, list(keys.values())
    if own := _keys(config.model, "model."):
        yield MODEL_GROUP, own


def _keys(section: msgspec.Struct, prefix: str) -> list[Key]:
    hints = get_type_hints(type(section), include_extras=True)
    helps = _field_docstrings(type(section))
    values = msgspec.to_builtins(section)
    return [
        Key(prefix + name, _kind(hints[name]), _text(values[name]), helps.get(name, ""))
        for name in section.__struct_fields__
    ]


def _field_docstrings(kind: type) -> dict[str, str]:
    """The string under each field of a class and its bases, on one line."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        try:
            body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        except (OSError, TypeError, SyntaxError):  # no source: built in, or typed at a prompt
            continue
        fields = body.body if isinstance(body, ast.ClassDef) else []
        for field, below in pairwise(fields):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                text = _string(below)
                found |= {field.target.id: " ".join(text.split())} if text else {}
    return found


def _string(statement: ast.stmt) -> str:
    value = statement.value if isinstance(statement, ast.Expr) else None
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""


def _kind(hint: Any) -> str:
    """A type as a person would say it."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return " ".join([_kind(arguments[0]), *_bounds(arguments[1:])])
    if origin is Literal:
        return "|".join(map(str, arguments))
    if origin in (Union, types.UnionType):
        wanted = [_kind(one) for one in arguments if one is not types.NoneType]
        return " or ".join([*wanted, *["none"] * (types.NoneType in arguments)])
    if origin in (tuple, list):
        return f"[{_kind(arguments[0])}, …]" if arguments else "[…]"
    return {bool: "true|false", str: "text"}.get(hint, getattr(hint, "__name__", str(hint)))


def _bounds(metadata: tuple[Any, ...]) -> list[str]:
    meta = [one for one in metadata if isinstance(one, msgspec.Meta)]
    limits = [(sign, getattr(one, name)) for one in meta for name, sign in _SIGNS]
    return [", ".join(f"{sign} {limit}" for sign, limit in limits if limit is not None)] if limits else []


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
