"""Every error ckptop raises on purpose, with the exit code scripts may rely on.

    CkptopError                     10
    ├── UsageError(ValueError)       2   wrong use or configuration
    ├── StoreError                  10   the store is not one, or refuses
    │   ├── NotFound                11   no such run, checkpoint or release (FileNotFoundError)
    │   ├── Damaged                 12   bytes or fields are not what was written
    │   ├── Held                    13   another process holds it (BlockingIOError)
    │   └── DiskError               14   the disk refused (OSError)
    ├── DataError(ValueError)       15   the training data is unusable
    ├── TrainingFailed              16   NaN, out of memory
    └── MissingExtra(ImportError)   17   an optional dependency is not installed

A message says what, where, and what to do now, in one line.
"""

from __future__ import annotations

EXIT_DONE = 0
EXIT_NO = 1
"""The answer is no: a requirement does not hold, nothing is running, the run is complete."""
EXIT_STOPPED = 3
"""Stopped on request before the end; the run can be resumed."""


TRACEBACK_LINES = 40
"""Kept of a traceback in an event: its end, where the error is."""


class CkptopError(Exception):
    """Base of everything raised on purpose; `str(error)` is one clear line."""

    exit_code = 10


class UsageError(CkptopError, ValueError):
    """The call, the command line or the configuration is wrong; nothing was changed."""

    exit_code = 2


class StoreError(CkptopError):
    """The store cannot do what was asked; what it holds is as it was."""

    exit_code = 10


class NotFound(StoreError, FileNotFoundError):
    """No such run, checkpoint or release."""

    exit_code = 11


class Damaged(StoreError):
    """A file's bytes or fields are not what was written; the file was left as it is."""

    exit_code = 12


class Held(StoreError, BlockingIOError):
    """Another process holds the run; nothing was changed."""

    exit_code = 13


class DiskError(StoreError, OSError):
    """The disk refused; what was committed before is whole. Made with an errno and a line, or a line alone."""

    exit_code = 14

    def __str__(self) -> str:
        return self.strerror or super().__str__()


class DataError(CkptopError, ValueError):
    """The training data is missing or unusable."""

    exit_code = 15


class TrainingFailed(CkptopError):
    """Training cannot go on (NaN, out of memory); the newest checkpoint is whole."""

    exit_code = 16


class MissingExtra(CkptopError, ImportError):
    """A package of an optional extra is not installed."""

    exit_code = 17


def traceback_of(error: BaseException) -> dict[str, list[str]]:
    """The last lines of where an error came from, for an event; nothing where the error's own line says it all."""
    if isinstance(error, CkptopError) and error.__cause__ is None:
        return {}
    import traceback  # 1.5 ms that nothing else needs

    lines = "".join(traceback.format_exception(error)).splitlines()
    return {"traceback": lines[-TRACEBACK_LINES:]}
