"""Where a resumed run starts, and how a viewer tells a trainer it starts to resume.

`ckptop resume` starts the recorded command unchanged, with `CKPTOP_RESUME` set; `Run.create` reads it.
So any script that uses `Run.create` can be resumed by a viewer that knows nothing of it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from ckptop.store.checkpoint_info import CheckpointInfo
from ckptop.store.errors import Damaged, UsageError
from ckptop.store.find import select
from ckptop.store.manifest import Manifest
from ckptop.store.records import Record
from ckptop.store.verified_once import verify_to_read
from ckptop.store.verify import Progress
from ckptop.store.views import RunView

RESUME_VARIABLE = "CKPTOP_RESUME"


class ResumeRequest(Record, frozen=True, kw_only=True):
    """The value of `CKPTOP_RESUME`, as JSON."""

    store: str
    run: str
    checkpoint: str = "latest"
    """latest, best, epoch=N, step=N or a file name."""
    fork_of: str | None = None
    """`RUN:CHECKPOINT` that `run`, which is new, begins from; `checkpoint` is then `auto`."""
    overrides: dict[str, str] = {}
    """Configuration keys to change: `{"epochs": "30", "lr": "1e-4"}`."""


def resume_request(environ: Mapping[str, str] = os.environ) -> ResumeRequest | None:
    """The request this process was started with, None without one.

    Raises:
        UsageError: The variable does not hold a request.
    """
    text = environ.get(RESUME_VARIABLE)
    if not text:
        return None
    try:
        return msgspec.json.decode(text, type=ResumeRequest)
    except msgspec.DecodeError as error:
        raise UsageError(f"{RESUME_VARIABLE} does not hold a resume request: {error}; unset it") from None


def encode_request(request: ResumeRequest) -> str:
    """The text to put into `CKPTOP_RESUME`."""
    return msgspec.json.encode(request).decode()


@dataclass(frozen=True, slots=True)
class Start:
    """Where an attempt begins."""

    from_step: int = 0
    """Optimizer steps already done."""
    from_checkpoint: Path | None = None
    """What to load; None for a fresh start."""
    manifest: Manifest | None = None
    notes: tuple[str, ...] = ()
    """What a person should know: checkpoints that were skipped, and why."""
    damaged: tuple[CheckpointInfo, ...] = ()
    """Those skipped whose bytes differ from their manifests."""

    @property
    def key(self) -> str | None:
        """`training/<name>`, as run.json records it."""
        path = self.from_checkpoint
        return f"{path.parent.name}/{path.name}" if path is not None else None


def choose_start(view: RunView, selector: str, progress: Progress | None = None) -> Start:
    """Where to go on from; every byte of the checkpoint is verified against its manifest.

    With `latest` a damaged checkpoint is passed over for the next older one that verifies, and said so; one
    that was asked for by name is refused. `auto` is `latest`, or a fresh start where nothing was saved.
    `progress` is called with the bytes verified.

    Raises:
        NotFound: There is no such checkpoint.
        Damaged: The one asked for, or every one there is, does not verify.
    """
    if selector == "auto" and not view.checkpoints:
        return Start()
    if selector not in ("auto", "latest"):
        info = select(view, selector)
        if (finding := verify_to_read(info, progress)) is not None:
            raise Damaged(f"{finding.message}; it was not resumed. `ckptop ls {view.name}` lists the others")
        return _start(info, ())
    notes: list[str] = []
    damaged: list[CheckpointInfo] = []
    for info in sorted(view.checkpoints, key=_newest_training_first):
        finding = verify_to_read(info, progress)
        if finding is None:
            return replace(_start(info, tuple(notes)), damaged=tuple(damaged))
        notes.append(f"{finding.message}; skipped")
        if finding.bytes_differ:
            damaged.append(info)
    if not notes:
        select(view, "latest")  # says that there is none
    raise Damaged(f"no checkpoint of {view.name} verifies: {'; '.join(notes)}")


def _newest_training_first(info: CheckpointInfo) -> tuple[bool, int, int, bool, float]:
    """By step; of one step the training checkpoint, which is the one a policy looks after.

    Last of all a milestone whose step was never said: going on from step 0 would abandon the whole run.
    """
    is_step_unknown = info.tier == "milestone" and info.step == 0
    return (is_step_unknown, -info.epoch, -info.step, info.tier != "training", -info.time)


def _start(info: CheckpointInfo, notes: tuple[str, ...]) -> Start:
    return Start(info.step, info.path, info.manifest, notes)
