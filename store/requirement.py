"""What a checkpoint must reach to be promoted: `val/accuracy>=0.9`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

from ckptop.store.checkpoint_info import CheckpointInfo
from ckptop.store.errors import NotFound, StoreError, UsageError

_REQUIREMENT = re.compile(r"\s*(?P<metric>[^<>=!\s]+)\s*(?P<sign>>=|<=|==|>|<)\s*(?P<value>[-+.\deE]+)\s*")
_SIGNS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge, "<=": operator.le, "==": operator.eq, ">": operator.gt, "<": operator.lt,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Requirement:
    """`val/accuracy>=0.9`: what a checkpoint must reach to be promoted."""

    metric: str
    sign: str
    value: float

    @classmethod
    def parse(cls, text: str) -> Requirement:
        """Read a requirement.

        Raises:
            UsageError: It is not METRIC, one of >= <= == > <, and a number.
        """
        match = _REQUIREMENT.fullmatch(text)
        try:
            return cls(match["metric"], match["sign"], float(match["value"])) if match else _refuse(text)
        except ValueError:
            return _refuse(text)

    def check(self, info: CheckpointInfo) -> None:
        """Raise StoreError, with the value there is, unless the checkpoint reaches it."""
        value = info.metric(self.metric)
        if value is None:
            recorded = ", ".join([*info.manifest.metrics, *info.manifest.evaluated]) if info.manifest else "nothing"
            raise NotFound(f"{info.key} recorded no {self.metric}; it recorded {recorded}")
        if not _SIGNS[self.sign](value, self.value):
            raise RequirementNotMet(
                f"{info.key} has {self.metric} {value:.6g}, not {self.sign} {self.value:g}; nothing was promoted"
            )


class RequirementNotMet(StoreError):
    """The answer is no: the checkpoint does not reach what was required; nothing was changed."""

    exit_code = 1


def _refuse(text: str) -> Requirement:
    raise UsageError(f"{text!r} is no requirement; write it like val/accuracy>=0.9")
