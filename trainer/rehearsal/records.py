"""What passes between a rehearsal and the trainers it starts: orders one way, measurements the other. No torch."""

from __future__ import annotations

from ckptop.store.records import Record

REHEARSAL_VARIABLE = "CKPTOP_REHEARSAL"
"""Holds `Orders` as JSON."""
MEASURED = "rehearsal.json"
"""In the run's directory: `Measured`."""


class Orders(Record, frozen=True, kw_only=True):
    """After which step a trainer shall end, and how."""

    stop_at_step: int | None = None
    """Stop as on request: finish the step, save, exit with 3."""
    kill_at_step: int | None = None
    """Die by SIGKILL once this step is done and before the next begins."""


class Evaluated(Record, frozen=True, kw_only=True):
    """How long evaluating took, over as many batches as there was time for."""

    seconds: float
    batches: int
    batch_count: int

    @property
    def total_seconds(self) -> float:
        """Over all batches, scaled where not all were evaluated."""
        return self.seconds * self.batch_count / max(1, self.batches)


class GpuMemory(Record, frozen=True, kw_only=True):
    """Memory of the GPU that was trained on."""

    name: str
    peak_bytes: int
    """The most torch had allocated at once."""
    available_bytes: int
    """What torch could get: all that nobody else holds."""
    total_bytes: int


class Measured(Record, frozen=True, kw_only=True):
    """What only the trainer itself can measure."""

    validation: Evaluated
    test: Evaluated
    peak_memory_bytes: int | None
    """The most its process had resident at once; None where the kernel does not tell."""
    worker_count: int
    """Processes it has started, the data workers among them."""
    worker_memory_bytes: int | None
    """What they hold at the end, shared pages divided among them; None where it cannot be read."""
    gpu: GpuMemory | None
