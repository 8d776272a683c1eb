"""The two logs of a run, of its metrics and of the machine, and how far each goes."""

from __future__ import annotations

from collections.abc import Mapping

from ckptop.store.layout import RunPaths
from ckptop.store.log_digest import LogDigest
from ckptop.store.manifest import LogMark
from ckptop.store.metric_writer import MetricWriter


class RunLogs:
    """Opens both for appending.

    Raises:
        DiskError: One cannot be opened or made.
    """

    def __init__(self, paths: RunPaths) -> None:
        self.metrics, self.system = MetricWriter(paths.metrics), MetricWriter(paths.system)
        self._digests = {path.name: LogDigest(path) for path in (paths.metrics, paths.system)}

    def marks(self) -> Mapping[str, LogMark]:
        """How far each goes, by file name; to be asked when both are durable."""
        marks = {name: digest.mark() for name, digest in self._digests.items()}
        return {name: mark for name, mark in marks.items() if mark is not None}

    def close(self) -> None:
        """Close both; a second time does nothing."""
        self.metrics.close()
        self.system.close()
