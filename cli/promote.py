"""`ckptop promote`: a milestone (a link), or a release with a version."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import click

from ckptop.cli.common import json_option, print_json, store_option
from ckptop.host.units import format_bytes
from ckptop.store.errors import MissingExtra, NotFound, UsageError
from ckptop.store.facts import store_of
from ckptop.store.find import find_checkpoint
from ckptop.store.names import Version
from ckptop.store.promote import promote_to_milestone, promote_to_production
from ckptop.store.registry import read_registry
from ckptop.store.requirement import Requirement
from ckptop.store.store import Store


@click.command()
@click.argument("checkpoint", metavar="CHECKPOINT")
@click.option("--to", "target", type=click.Choice(["milestone", "production"]), required=True, help="The tier.")
@click.option("--model", metavar="NAME", help="Name of the released model (default: the run's task).")
@click.option("--version", "version_text", metavar="X.Y.Z", help="The version; else the next one.")
@click.option("--bump", type=click.Choice(["major", "minor", "patch"]), help="Which part to raise (default: minor).")
@click.option("--card", "card_path", type=click.Path(path_type=Path), metavar="FILE", help="Model card, JSON.")
@click.option("--require", "requirements", multiple=True, metavar='"METRIC>=X"', help="Exit 1 unless it holds.")
@click.option("--metric", metavar="NAME", help="Name a milestone after this metric (default: the run's).")
@store_option
@json_option
def promote(
    checkpoint: str,
    target: str,
    model: str | None,
    version_text: str | None,
    bump: str | None,
    card_path: Path | None,
    requirements: tuple[str, ...],
    metric: str | None,
    store_path: Path,
    as_json: bool,
) -> None:
    """Make a checkpoint a milestone, or release it as a version of a model."""
    store = Store.open(store_path, missing_ok=True)
    view, info = find_checkpoint(store, checkpoint)
    for requirement in [Requirement.parse(text) for text in requirements]:
        requirement.check(info)
    if target == "milestone":
        if model or version_text or bump or card_path:
            raise UsageError("--model, --version, --bump and --card go with --to production")
        milestone = promote_to_milestone(view, info, metric)
        _answer(as_json, {"milestone": milestone.key, "path": str(milestone.path)}, f"Milestone {milestone.name}.")
        return
    if version_text and bump:
        raise UsageError("say --version or --bump, not both")
    if metric:
        raise UsageError("--metric goes with --to milestone")
    require_torch("a release")
    paths = store_of(view)
    name = model or (view.record.task if view.record is not None else info.manifest.model_name if info.manifest else "")
    version = Version.parse(version_text) if version_text else read_registry(paths).next_version(name, bump or "minor")
    release = promote_to_production(paths, view, info, model=name, version=version, card=_read_card(card_path))
    facts = {"model": release.model, "version": release.version, "sha256": release.sha256,
             "path": str(paths.production / release.file), "size_bytes": release.size_bytes}  # fmt: skip
    _answer(as_json, facts, f"Released {release.model} {release.version} ({format_bytes(release.size_bytes)}).")


def _answer(as_json: bool, facts: dict[str, Any], line: str) -> None:
    if as_json:
        print_json(facts)
    else:
        click.echo(line)


def require_torch(what: str) -> None:
    """Raise MissingExtra, exit 17, where torch is not installed; it is not imported."""
    if importlib.util.find_spec("torch") is None:
        raise MissingExtra(f"{what} needs torch, which is not installed here: pip install 'ckptop[train]'")


def _read_card(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        card = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise NotFound(f"{path} does not exist") from None
    except ValueError as error:
        raise UsageError(f"{path} is not JSON: {error}") from None
    if not isinstance(card, dict):
        raise UsageError(f'{path} must hold a JSON object, such as {{"intended_use": "…"}}')
    return card
