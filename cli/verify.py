"""`ckptop verify`: is everything on disk what was written?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from click.termui import progressbar

from ckptop.cli.common import default_store, json_option, names_file, print_json, store_or_run
from ckptop.host.terminal import clean
from ckptop.host.units import format_bytes
from ckptop.store.errors import EXIT_DONE, Damaged
from ckptop.store.find import find_file, find_release, is_release, release_at
from ckptop.store.store import Store
from ckptop.store.verify import Report, total_bytes, verify_checkpoint, verify_run
from ckptop.store.verify_releases import verify_release
from ckptop.store.views import RunView


@click.command()
@click.argument("what", metavar="[STORE|RUN|CHECKPOINT]", required=False)
@click.option("--store", "store_path", metavar="DIR", type=click.Path(path_type=Path), help="The store.")
@json_option
@click.pass_context
def verify(ctx: click.Context, what: str | None, store_path: Path | None, as_json: bool) -> None:
    """Check sizes, hashes, records, logs and releases; exit 12 if anything is damaged."""
    report = _verify(what, store_path, quiet=as_json)
    if as_json:
        findings = [
            {"key": f.key, "message": f.message, "advice": f.advice, "damaged": f.severe} for f in report.findings
        ]
        print_json({"checked": report.checked, "checked_bytes": report.checked_bytes, "damaged": report.damaged,
                    "findings": findings})  # fmt: skip
    else:
        _print(report)
    ctx.exit(Damaged.exit_code if report.damaged else EXIT_DONE)


def _verify(what: str | None, store_path: Path | None, *, quiet: bool) -> Report:
    if what is not None and names_file(what):
        return _verify_file(what, store_path, quiet=quiet)
    store, view = store_or_run(what, store_path)
    if view is None or view.is_standalone:  # whose releases stand in it
        return _verify_store(store, quiet=quiet)
    return _verify_run(view, quiet=quiet)


def _verify_file(what: str, store_path: Path | None, *, quiet: bool) -> Report:
    store = Store(store_path or default_store())
    released = (store, find_release(store, what)) if is_release(what) else release_at(Path(what))
    if released is not None:
        home, release = released
        with _bar(release.size_bytes, quiet=quiet) as bar:
            return Report(1, release.size_bytes, tuple(verify_release(home.paths, release, bar.update)))
    info = find_file(store, what)
    with _bar(info.size_bytes, quiet=quiet) as bar:
        finding = verify_checkpoint(info, bar.update)
    return Report(1, info.size_bytes, (finding,) if finding else ())


def _verify_run(view: RunView, *, quiet: bool) -> Report:
    with _bar(total_bytes([view]), quiet=quiet) as bar:
        return verify_run(view, bar.update)


def _verify_store(store: Store, *, quiet: bool) -> Report:
    from ckptop.store.verify_store import store_bytes, verify_store

    with _bar(store_bytes(store), quiet=quiet) as bar:
        return verify_store(store, bar.update)


def _bar(length_bytes: int, *, quiet: bool) -> Any:
    return progressbar(length=length_bytes, label="verifying", file=sys.stderr, hidden=quiet or not sys.stderr.isatty())


def _print(report: Report) -> None:
    for finding in report.findings:
        click.echo(clean(f"{'✗' if finding.severe else '!'} {finding.message}: {finding.advice}"))
    size = format_bytes(report.checked_bytes)
    good = "all good" if not report.damaged else f"{report.damaged} damaged"
    click.echo(f"Verified {report.checked} ({size}): {good}.")
