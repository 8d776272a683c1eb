"""Names of runs, checkpoint files and releases: one place that writes and parses each."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from ckptop.store.errors import UsageError

RESERVED_RUN_NAMES = frozenset({"production", "metadata", "sweeps"})
"""Directories of the store itself."""

_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_TRAINING = re.compile(r"checkpoint_epoch_(\d{4,})_step_(\d{8,})(?:_(\d+))?\.pt", re.ASCII)
_MILESTONE = re.compile(
    r"best_([A-Za-z0-9._-]+?)_(-?(?:\d+\.\d{4}(?:e\+\d+)?|inf)|nan)_epoch_(\d{4,})(?:_(\d+))?\.pt", re.ASCII
)
_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)", re.ASCII)
_NOT_IN_FILE_NAMES = re.compile(r"[^A-Za-z0-9.-]+")

_LONGEST_METRIC = 80
_LONGEST_PLAIN_VALUE = 1e15
"""A file name holds 255 bytes, and the staged one says whose it is as well."""


def check_run_name(name: str) -> str:
    """Return `name` if it can name a run.

    Raises:
        UsageError: It is reserved, or is not letters, digits, dots, dashes and underscores, at most 100,
            beginning with a letter or digit.
    """
    if name in RESERVED_RUN_NAMES:
        raise UsageError(f"{name!r} is reserved by the store; choose another run name")
    if not _RUN.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot name a run: use letters, digits, '.', '_' and '-', at most 100, "
            "beginning with a letter or digit"
        )
    return name


def is_run_name(name: str) -> bool:
    """Whether `name` can name a run."""
    return name not in RESERVED_RUN_NAMES and _RUN.fullmatch(name) is not None


def training_name(epoch: int, step: int, copy: int = 1) -> str:
    """File name of a training checkpoint; `copy` > 1 tells apart saves of one (epoch, step)."""
    return f"checkpoint_epoch_{epoch:04d}_step_{step:08d}{_suffix(copy)}.pt"


def milestone_name(metric: str, value: float, epoch: int, copy: int = 1) -> str:
    """File name of a milestone: `best_accuracy_0.8500_epoch_0007.pt`."""
    number = f"{value:.4e}" if _LONGEST_PLAIN_VALUE <= abs(value) < math.inf else f"{value:.4f}"
    return f"best_{file_safe_metric(metric)}_{number}_epoch_{epoch:04d}{_suffix(copy)}.pt"


def production_name(model: str, version: Version) -> str:
    """File name of a release: `<model>_v1.0.0.pt`."""
    return f"{model}_v{version}.pt"


def file_safe_metric(metric: str) -> str:
    """`val/accuracy` becomes `accuracy`; other characters become `_`, and what is very long is cut."""
    safe = _NOT_IN_FILE_NAMES.sub("_", metric.removeprefix("val/")).strip("_.")
    return safe[:_LONGEST_METRIC].rstrip("_.") or "metric"


def is_link_name(name: str) -> bool:
    """Whether a link of ours has this name: `latest.pt`, `best_accuracy.pt`; any other is a person's."""
    return name == "latest.pt" or (name.startswith("best_") and parse_checkpoint_name(name) is None)


def _suffix(copy: int) -> str:
    return "" if copy == 1 else f"_{copy}"


@dataclass(frozen=True, slots=True)
class ParsedName:
    """What a checkpoint's file name says; the manifest is the truth, this is for files without one."""

    tier: str
    epoch: int
    step: int | None
    metric: str | None
    value: float | None


def parse_checkpoint_name(name: str) -> ParsedName | None:
    """Read a training or milestone file name back; None for any other name."""
    if match := _TRAINING.fullmatch(name):
        return ParsedName("training", int(match[1]), int(match[2]), None, None)
    if match := _MILESTONE.fullmatch(name):
        return ParsedName("milestone", int(match[3]), None, match[1], float(match[2]))
    return None


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """A semantic version, ordered as numbers."""

    major: int
    minor: int
    patch: int

    @classmethod
    def parse(cls, text: str) -> Version:
        """Read `1.2.3`.

        Raises:
            UsageError: It is not three whole numbers.
        """
        match = _VERSION.fullmatch(text.removeprefix("v"))
        if match is None:
            raise UsageError(f"{text!r} is not a version; use MAJOR.MINOR.PATCH, such as 1.2.0")
        return cls(int(match[1]), int(match[2]), int(match[3]))

    def bump(self, part: str) -> Version:
        """The next version: `part` is major, minor or patch."""
        if part == "major":
            return Version(self.major + 1, 0, 0)
        if part == "minor":
            return Version(self.major, self.minor + 1, 0)
        if part == "patch":
            return Version(self.major, self.minor, self.patch + 1)
        raise UsageError(f"cannot bump {part!r}; use major, minor or patch")

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"
