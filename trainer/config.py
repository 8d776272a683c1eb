"""The configuration of a training: typed, frozen, built in layers that later ones win.

Defaults of the task < a TOML file < `--set KEY=VALUE` and options. A TOML value must have the field's
type; a value from the command line is text and is read as whatever the field wants.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar, get_args, get_type_hints

import msgspec

from ckptop.store.errors import UsageError
from ckptop.trainer.unknown_key import unknown_key

Positive = Annotated[int, msgspec.Meta(ge=1)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Seed = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
Epochs = Annotated[int, msgspec.Meta(ge=1, le=10**9)]
"""Few enough that their steps are a number that status.json may hold."""
PositiveFloat = Annotated[float, msgspec.Meta(gt=0)]
Fraction = Annotated[float, msgspec.Meta(ge=0, lt=1)]


class TaskOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the `model` section: what only one task has. Each task derives its own."""


OptionsT = TypeVar("OptionsT", bound=TaskOptions)


class TrainConfig(msgspec.Struct, Generic[OptionsT], frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that decides what a training computes, and where its traces go."""

    epochs: Epochs = 20
    batch_size: Positive = 64
    """Samples of one micro-batch."""
    accumulate: Positive = 1
    """Micro-batches of one optimizer step; the last step of an epoch may have fewer."""
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    """sgd has Nesterov momentum 0.9."""
    lr: PositiveFloat = 1e-3
    """The highest learning rate, which the schedule scales."""
    weight_decay: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    scheduler: Literal["cosine", "step", "plateau", "constant"] = "cosine"
    warmup_steps: Count = 0
    """Optimizer steps of linear warm-up, under any schedule."""
    decay_every_epochs: Positive = 10
    """For the step schedule."""
    plateau_epochs: Positive = 5
    """For the plateau schedule: epochs without an improvement before the rate is lowered."""
    decay_factor: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.1
    """For the step and the plateau schedule."""
    clip_norm: PositiveFloat | None = None
    """Largest norm of the gradient; None does not clip."""
    metric_for_best: str | None = None
    """What best means, such as val/loss; None is the task's own metric."""
    patience_epochs: Positive | None = None
    """Epochs without an improvement of that metric before the training ends; None never ends it early."""
    min_delta: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """What an improvement must exceed to count for early stopping and the plateau schedule."""
    on_nan: Literal["stop", "rollback"] = "stop"
    """When a loss is no number: end the training, or go back to the newest checkpoint with a lower rate."""
    rollbacks: Positive = 3
    """How often one process may go back."""
    rollback_lr_factor: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.5
    """What the rate is multiplied by each time."""
    seed: Seed = 0
    device: str = "auto"
    """auto takes CUDA where there is one; else cpu, cuda, cuda:1."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    compile: bool = False
    """Run the model through torch.compile."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them, where the model offers it."""
    deterministic: bool = True
    """Refuse the fast kernels of CUDA whose result differs from run to run; the CPU has none."""
    accept_new_data: bool = False
    """Go on with data that changed since the checkpoint; holds for one attempt alone."""
    workers: Count = 0
    """Processes that load data; 0 loads in the trainer itself."""
    threads: Positive | None = None
    """Threads of CPU kernels; None is torch's choice, and on resume that of the checkpoint."""
    save_every_epochs: Positive = 1
    save_every_steps: Positive | None = None
    """Besides the epochs' ends."""
    async_save: bool = True
    """Write checkpoints beside the loop, which waits only while the state is copied in memory; the last of an attempt
    is waited for."""
    when_busy: Literal["wait", "skip"] = "wait"
    """What a checkpoint does that comes due while one is on its way: wait, or skip itself; the last of an attempt never
    skips."""
    keep_training: Positive = 3
    """Newest training checkpoints kept; the best is kept beside them, and what the next rules name."""
    keep_every_epochs: Positive | None = None
    """Those of every Kth epoch are kept too."""
    keep_every_steps: Positive | None = None
    """Those of every Kth step are kept too."""
    keep_spacing_minutes: PositiveFloat | None = None
    """One every so many minutes is kept too."""
    keep_best: Positive | None = None
    """The best N by the metric are kept too."""
    keep_milestones: Positive | None = 3
    """Best milestones kept; None keeps all."""
    trash_days: PositiveFloat | None = None
    """What was deleted longer ago is purged after a save; None keeps it until the disk is full."""
    full_disk_patience_seconds: Annotated[float, msgspec.Meta(ge=0)] = 600.0
    """How long the last save of a run waits for room on a full disk."""
    spill_dir: str | None = None
    """Where the last save goes when there is none; None is $CKPTOP_SPILL, if set."""
    log_every_steps: Annotated[int, msgspec.Meta(ge=1)] = 1
    """Steps to a line of the log; more of them for steps of a few ms. On a GPU, steps between are not waited for."""
    tensorboard: bool = True
    """Write event files too."""
    system_interval_seconds: Annotated[float, msgspec.Meta(ge=0)] = 5.0
    """Between samples of host and GPUs; 0 takes none."""
    model: OptionsT


def layered(config: TrainConfig[OptionsT], layer: Mapping[str, Any], *, lax: bool = False) -> TrainConfig[OptionsT]:
    """`config` with the values of `layer` on top.

    Args:
        config: What holds where `layer` is silent.
        layer: Nested like the configuration: `{"lr": 1e-4, "model": {"dropout": 0.1}}`. A key of the task's own may
            also stand without its section: `{"dropout": 0.1}`.
        lax: Values may be text, as a command line has them.

    Raises:
        UsageError: A key is unknown (the nearest is named) or a value wrong (what is wanted is said).
    """
    merged = _merge(config, _in_sections(config, layer), ())
    # msgspec knows generic structs, and a type checker cannot follow a subscript made at run time.
    kind: Any = TrainConfig[type(config.model)]  # type: ignore[misc]
    try:
        built: TrainConfig[OptionsT] = msgspec.convert(merged, kind, strict=not lax)
    except msgspec.ValidationError as error:
        raise UsageError(_explain(error, config, merged)) from None
    for key, value in _flatten(as_dict(built)):
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"{key}: expected a finite number, got {value}")
    return built


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a configuration file.

    Raises:
        UsageError: It is not there or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"{path} cannot be read: {reason}") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML: {error}") from None


def assignments(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Dotted keys and text values as a layer; of a repeated key the last value holds."""
    layer: dict[str, Any] = {}
    for key, text in pairs:
        *sections, name = key.split(".")
        target = layer
        for section in sections:
            target = target.setdefault(section, {})
            if not isinstance(target, dict):
                raise UsageError(f"{key}: {section} is a value, not a section")
        target[name] = _parse(text)
    return layer


def split_assignment(text: str) -> tuple[str, str]:
    """`lr=1e-4` as a pair.

    Raises:
        UsageError: There is no `=`, or nothing before it.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"{text!r} is not KEY=VALUE; for example lr=1e-4 or model.dropout=0.1")
    return key.strip(), value.strip()


def as_dict(config: TrainConfig[Any]) -> dict[str, Any]:
    """The configuration as JSON can hold it."""
    built: dict[str, Any] = msgspec.to_builtins(config)
    return built


def changes(before: TrainConfig[Any], after: TrainConfig[Any]) -> dict[str, tuple[Any, Any]]:
    """Dotted keys whose values differ, with both values."""
    old, new = dict(_flatten(as_dict(before))), dict(_flatten(as_dict(after)))
    return {key: (old.get(key), new.get(key)) for key in new if old.get(key) != new[key]}


def dotted(config: TrainConfig[Any]) -> dict[str, Any]:
    """The configuration with one level of keys: `model.hidden`."""
    return dict(_flatten(as_dict(config)))


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _parse(text: str) -> Any:
    """Lists and nothing are read here; the field's type decides about the rest."""
    if text.lower() in {"none", "null"}:
        return None
    if text.startswith("["):
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError:
            return text
    return text


def _in_sections(config: TrainConfig[Any], layer: Mapping[str, Any]) -> dict[str, Any]:
    """`layer` with the task's own keys in their section, where no key of the trainer has that name."""
    own = set(config.model.__struct_fields__) - set(config.__struct_fields__)
    placed: dict[str, Any] = {}
    for key, value in layer.items():
        section = placed if key not in own else placed.setdefault("model", {})
        if key == "model" and isinstance(value, Mapping):
            placed["model"] = {**placed.get("model", {}), **value}
        elif isinstance(section, dict):
            section[key] = value
        else:
            raise UsageError(f"model is a section; set one of its values, such as model.{key}")
    return placed


def _merge(config: msgspec.Struct, layer: Mapping[str, Any], path: Sequence[str]) -> dict[str, Any]:
    merged: dict[str, Any] = msgspec.to_builtins(config)
    for key, value in layer.items():
        if key not in merged:
            raise UsageError(unknown_key(".".join((*path, key)), _known_keys(config, path)))
        section = getattr(config, key)
        if isinstance(section, msgspec.Struct):
            if not isinstance(value, Mapping):
                raise UsageError(f"{key} is a section; set one of its values, such as {key}.{_first(section)}")
            merged[key] = _merge(section, value, (*path, key))
        else:
            merged[key] = value
    return merged


def _first(section: msgspec.Struct) -> str:
    return next(iter(section.__struct_fields__), "…")


def _known_keys(section: msgspec.Struct, path: Sequence[str]) -> list[str]:
    known = [".".join((*path, name)) for name in section.__struct_fields__]
    if not path and isinstance(section, TrainConfig):
        known += [f"model.{name}" for name in section.model.__struct_fields__]
    return known


def _explain(error: msgspec.ValidationError, config: TrainConfig[Any], merged: Mapping[str, Any]) -> str:
    """The sentence of msgspec as `lr: expected float > 0.0, got -1`."""
    what, _, where = str(error).partition(" - at `$.")
    key = where.rstrip("`")
    value: Any = merged
    section: Any = config
    for name in key.split("."):
        owner, name = section, name.partition("[")[0]
        value = value[name] if isinstance(value, Mapping) else value
        section = getattr(section, name, None)
    if what.startswith("Invalid enum value"):
        choices = get_args(get_type_hints(type(owner)).get(key.rpartition(".")[2]))
        what = f"expected one of {', '.join(map(str, choices))}"
    else:
        what = what.replace("`", "").split(", got ")[0]
        what = what[:1].lower() + what[1:]
    return f"{key}: {what}, got {value!r}"
