"""`ckptop doctor`: what of this machine and of a store's place matters, and what to do about what is missing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from ckptop.cli.common import default_store, json_option, print_json
from ckptop.cli.states import is_ascii_only
from ckptop.host.checkup import Finding, check_machine
from ckptop.host.terminal import clean
from ckptop.store.checkup import check_store
from ckptop.store.errors import EXIT_DONE, EXIT_NO, UsageError

_GLYPHS = {"ok": ("✓", "+"), "note": ("·", "-"), "problem": ("✗", "x")}
_SUBJECT_CELLS = 10


@click.command()
@click.argument("store_path", metavar="[STORE]", type=click.Path(path_type=Path), required=False)
@json_option
@click.pass_context
def doctor(ctx: click.Context, store_path: Path | None, as_json: bool) -> None:
    """Look at Python, PyTorch, GPUs, the terminal, and try what a store relies on where it lies; exit 1 on a problem.

    What is tried is tried in a hidden directory of the store, which is removed. STORE need not exist yet.
    """
    root = store_path or default_store()
    if root.exists() and not root.is_dir():
        raise UsageError(f"{root} is a file; name the directory that holds the runs")
    findings = []
    for finding in _all(root):
        findings.append(finding)
        if not as_json:
            _print(finding)
    problems = sum(finding.verdict == "problem" for finding in findings)
    if as_json:
        print_json({"store": str(root), "problems": problems, "findings": [asdict(finding) for finding in findings]})
    else:
        several = "s" if problems > 1 else ""
        click.echo(f"{problems} problem{several} to mend." if problems else "All well.")
    ctx.exit(EXIT_NO if problems else EXIT_DONE)


def _all(root: Path) -> Iterator[Finding]:
    yield from check_machine()
    yield from check_store(root)


def _print(finding: Finding) -> None:
    glyph = _GLYPHS[finding.verdict][is_ascii_only()]
    word = f"{finding.verdict:<7}"
    click.echo(clean(f"{glyph} {word}  {finding.subject:<{_SUBJECT_CELLS}}  {finding.found}"))
    if finding.advice:
        click.echo(clean(f"{'':{_SUBJECT_CELLS + 13}}{finding.advice}"))
