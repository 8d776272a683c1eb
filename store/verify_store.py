"""Checking a whole store: every run, those in the trash too, and every release; bytes with several names once."""

from __future__ import annotations

from dataclasses import replace

from ckptop.store.run_trash import list_deleted_runs, read_deleted_run
from ckptop.store.store import Store
from ckptop.store.verify import Hashes, Progress, Report, total_bytes, verify_run
from ckptop.store.verify_releases import release_bytes, verify_releases
from ckptop.store.views import RunView


def store_bytes(store: Store) -> int:
    """Bytes that `verify_store` will read."""
    return total_bytes(_views(store)) + release_bytes(store.paths)


def verify_store(store: Store, progress: Progress | None = None) -> Report:
    """Verify all that a store holds; `progress` is called with the bytes read since the last call."""
    hashes: Hashes = {}
    views = _views(store)
    reports = [_told_from(view, verify_run(view, progress, hashes), store) for view in views]
    releases = verify_releases(store.paths, progress)
    return Report(
        sum(report.checked for report in (*reports, releases)),
        total_bytes(views) + releases.checked_bytes,
        tuple(finding for report in (*reports, releases) for finding in report.findings),
    )


def _told_from(view: RunView, report: Report, store: Store) -> Report:
    """Of a run in the trash, what to do is another thing."""
    if view.root.parent != store.paths.trash:
        return report
    advice = f"`ckptop trash --empty` removes all of it, or look at {view.root}"
    findings = [
        replace(finding, message=f"{view.name}: {finding.message.removeprefix(f'{view.name}: ')}", advice=advice)
        for finding in report.findings
    ]
    return replace(report, findings=tuple(findings))


def _views(store: Store) -> list[RunView]:
    return [*store.runs(), *(read_deleted_run(run) for run in list_deleted_runs(store.paths))]
