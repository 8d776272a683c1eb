"""The saves of a loop that is not ours: each step once, and one that the disk refuses is told of, not raised.

What was on its way is settled before the next save begins, so that an error is said of the step it belongs to, and the
next save is tried all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ckptop.store.run import Run

Save = Callable[[], object]
"""Saves a checkpoint of the present step."""

_NONE = -1


class StepSaves:
    """Saves steps of a run, from the one it goes on from."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._saved_step = run.start.from_step

    def last(self, step: int, save: Save) -> str:
        """Save `step`, unless that was done, and wait until it is durable; returns what to answer.

        Raises:
            OSError: The disk refused.
        """
        self._settle()
        if self._saved_step != step:
            save()
            self._run.checkpoints.wait()
            self._saved_step = step
        return f"step {step:,} is saved"

    def now(self, step: int, save: Save) -> str | None:
        """The same; but where the disk refuses a save is lost, never the training: None."""
        try:
            return self.last(step, save)
        except OSError as error:
            self._tell_lost(step, error)
            return None

    def due(self, step: int, save: Save) -> None:
        """Save without waiting until it is durable, where the run saves beside the loop; see `look`.

        Where the run skips what comes due while a save is on its way, this step has no training checkpoint.
        """
        with self._run.checkpoints.skipping() as is_skipped:
            if not is_skipped:
                self._settle()
            if self._saved_step == step:
                return
            try:
                save()  # when skipped too: it may save a milestone besides
            except OSError as error:
                self._tell_lost(step, error)
            else:
                if not is_skipped:
                    self._saved_step = step

    def look(self) -> None:
        """Hear of a save on its way that the disk refused; to be called every step, it costs nothing."""
        self._hear(self._run.check_saves)

    def _settle(self) -> None:
        self._hear(self._run.checkpoints.wait)

    def _hear(self, ask: Callable[[], None]) -> None:
        try:
            ask()
        except OSError as error:
            self._tell_lost(self._saved_step, error)
            self._saved_step = _NONE  # none is there: whoever asks for this step again gets another try

    def _tell_lost(self, step: int, error: OSError) -> None:
        message = f"the checkpoint of step {step:,} was not saved: {error}; training goes on"
        self._run.event("alert", kind="disk", message=message)
