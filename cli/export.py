"""`ckptop export`: a checkpoint's weights as a file for other tools."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from click.termui import progressbar

from ckptop.cli.common import json_option, print_json, store_option
from ckptop.cli.promote import require_torch
from ckptop.host.terminal import clean
from ckptop.host.units import format_bytes, format_count
from ckptop.store.errors import Damaged, UsageError
from ckptop.store.exporting import export_safetensors, export_state_dict
from ckptop.store.hashing import sha256_of
from ckptop.store.model_files import ModelFile, find_model
from ckptop.store.store import Store
from ckptop.store.verify import verify_checkpoint


@click.command()
@click.argument("checkpoint", metavar="CHECKPOINT|MODEL@VERSION")
@click.option("--to", "target", type=click.Path(path_type=Path), metavar="FILE", required=True,
              help="A new file: .safetensors, or .pt for the state dict alone.")  # fmt: skip
@store_option
@json_option
def export(checkpoint: str, target: Path, store_path: Path, as_json: bool) -> None:
    """Write the weights of a checkpoint or a release to a new file; its bytes are checked first.

    Exit codes: 0 done; 2 wrong use, or FILE exists; 11 not found; 12 the checkpoint is damaged; 14 FILE cannot be
    written; 17 a .pt needs torch.
    """
    if target.suffix not in (".safetensors", ".pt"):
        raise UsageError(f"{target} ends in neither .safetensors nor .pt")
    file = find_model(Store.open(store_path, missing_ok=True), checkpoint)
    _verify(file)
    if target.suffix == ".pt":
        require_torch("a .pt")
        names = export_state_dict(file.path, target)
    else:
        metadata = {"format": "pt", "from": file.label, "epoch": str(file.epoch), "step": str(file.step)}
        hidden = as_json or not sys.stderr.isatty()
        with progressbar(length=file.path.stat().st_size, label="exporting", file=sys.stderr, hidden=hidden) as bar:
            names = export_safetensors(file.path, target, metadata, progress=bar.update)
    size_bytes = target.stat().st_size
    if as_json:
        print_json({"checkpoint": file.label, "path": str(target), "tensors": len(names), "size_bytes": size_bytes})
    else:
        click.echo(clean(f"{file.label}: {format_count(len(names))} tensors ({format_bytes(size_bytes)}) in {target}."))


def _verify(file: ModelFile) -> None:
    """Raise Damaged if the bytes are not those that were saved or released; a stranger's file has nobody to tell."""
    finding = verify_checkpoint(file.info) if file.info is not None else None
    if finding is not None:
        raise Damaged(f"{finding.message}; nothing was exported")
    if file.sha256 is not None and sha256_of(file.path) != file.sha256:
        raise Damaged(f"{file.path}: bytes differ from its sha256; nothing was exported")
