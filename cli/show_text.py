"""What `ckptop show` prints for people of a checkpoint, a run and a release."""

from __future__ import annotations

from collections.abc import Iterable

import click

from ckptop.cli.common import print_table
from ckptop.cli.releases import origin
from ckptop.cli.show_parts import Value, age, moment, plain, print_facts, print_metrics, print_tree, who
from ckptop.host.terminal import clean
from ckptop.host.units import MISSING, format_bytes, format_cell, format_count, format_duration, format_percent
from ckptop.store.checkpoint_info import CheckpointInfo
from ckptop.store.facts import CheckpointFacts, Kept, RunFacts, is_there, typed
from ckptop.store.flatten import flatten
from ckptop.store.layout import StorePaths
from ckptop.store.records import LIVE_PHASES, Attempt, Mode, RunRecord
from ckptop.store.registry import Registry, ReleaseLine
from ckptop.store.releasing import ReleaseConfig
from ckptop.store.views import RunView


def print_checkpoint(view: RunView, info: CheckpointInfo, facts: CheckpointFacts) -> None:
    """Everything of a checkpoint but its tensors."""
    manifest = info.manifest
    click.echo(clean(f"{view.name}:{info.key}"))
    words = ["latest"] * (info is view.latest) + ["best"] * (info is view.best) + ["pinned"] * info.pinned
    print_facts("", {
        "problem": info.problem,
        "marks": ", ".join(words),
        "place": f"{info.tier}, epoch {info.epoch}, step {format_count(info.step)}",
        "committed": moment(info.time),
        "size": format_bytes(info.size_bytes),
        "save": f"{facts.save.blocked_seconds:.3g} s of the loop, durable after {facts.save.durable_seconds:.3g} s"
                if facts.save else None,
        "path": str(info.path),
        "same bytes": [*facts.same_bytes, *([f"{facts.other_names} more elsewhere"] if facts.other_names else [])],
        "best so far": _best_so_far(view, facts),
        "pinned": f"by {who(manifest.pinned.actor)}, {moment(manifest.pinned.time)}"
                  if manifest and manifest.pinned else None,
        "promoted": f"by {who(manifest.promoted)}" if manifest and manifest.promoted else None,
        "ranked by": _ranking(manifest.ranking.name, manifest.ranking.mode) if manifest and manifest.ranking else None,
        "lineage": _lineage(view, facts.attempt, info.attempt),
        "forks": _forks(view, manifest.forks if manifest else ()),
        "releases": _versions(facts.releases, facts.registry),
        "git": manifest.git_commit if manifest else None,
        "xxh3-128": manifest.xxh3_128 if manifest else None,
    })  # fmt: skip
    if manifest is not None:
        print_metrics(manifest.metrics | manifest.evaluated)
        print_tree("config", manifest.config)
        print_tree("environment", manifest.environment)


def print_run(view: RunView, facts: RunFacts) -> None:
    """Everything of a run."""
    record, best, latest = view.record, view.best, view.latest
    click.echo(clean(f"{view.name}: {view.state}"))
    value = f"{view.metric.name} {format_cell(view.best_value)} at epoch {best.epoch}" if view.metric and best else ""
    away = {"deleted": "trash", "abandoned": "abandoned", "damaged": "damaged"}
    print_facts("", {
        "problem": view.problem,
        **(_record(view, record) if record is not None else {}),
        **_status(view),
        "result": ", ".join(f"{name} {format_cell(number)}" for name, number in view.result.items()),
        "best": [value, best.key] if best else None,
        "latest": latest.key if latest else None,
        **{tier: _kept(kept) for tier, kept in facts.tiers.items()},
        "on disk": f"{format_bytes(view.size_bytes)}, shared bytes once" if view.checkpoints else None,
        **{away[kind]: _kept(kept) for kind, kept in facts.put_away.items()},
        "forks": _forks(view, facts.forks),
        "releases": _versions(facts.releases, facts.registry),
        "path": str(view.root),
    })  # fmt: skip
    if record is not None:
        _print_attempts(record.attempts)
        print_tree("config", record.config)


def print_release(
    paths: StorePaths, registry: Registry, release: ReleaseLine, config: ReleaseConfig | None, problem: str | None
) -> None:
    """Everything of a release but its tensors."""
    yanked = registry.yanks.get((release.model, release.version))
    is_latest = registry.latest(release.model) == release.version
    state = "yanked" if yanked else "latest" if is_latest else "released"
    click.echo(clean(f"{release.model} {release.version}: {state}"))
    beside = None if config else "what stands beside it (config, card) is gone or damaged"
    print_facts("", {
        "problem": [line for line in (problem, beside) if line],
        "released": f"by {who(release.actor)}, {moment(release.time)}",
        "yanked": f"by {who(yanked.actor)}, {moment(yanked.time)}" if yanked else None,
        "because": yanked.reason if yanked else None,
        "from": [f"{origin(release)}, step {format_count(release.global_step)}", release.checkpoint],
        "size": format_bytes(release.size_bytes),
        "path": str(paths.production / release.file),
        "sha256": release.sha256,
    })  # fmt: skip
    print_metrics(release.metrics)
    if config is not None:
        print_tree("card", config.card)
        print_tree("config", config.config)


def _record(view: RunView, record: RunRecord) -> dict[str, Value]:
    command, parent = record.command, record.parent
    deleted = " (deleted)" if parent is not None and not is_there(view, parent.run) else ""
    return {
        "task": record.task,
        "created": moment(record.created) + f", on {record.host}" * bool(record.host),
        "command": typed(command) if command else None,
        "in": command.cwd if command else None,
        "with": [f"{name}={value}" for name, value in command.env.items()] if command else None,
        "seed": str(record.seed) if record.seed is not None else None,
        "metric": _ranking(record.metric.name, record.metric.mode) if record.metric else None,
        "data": f"{record.data.path}, hash {record.data.hash}" if record.data else None,
        "git": record.git_commit,
        "sweep": record.sweep,
        "parent": f"{parent.run}:{parent.checkpoint}{deleted}" if parent else None,
    }


def _print_attempts(attempts: Iterable[Attempt]) -> None:
    rows = [
        [
            "", str(attempt.attempt), format_count(attempt.from_step),
            (attempt.from_checkpoint or MISSING).removeprefix("training/"), age(attempt.time),
            " ".join(f"{name}={plain(value)}" for name, value in flatten(attempt.overrides).items()),
        ]
        for attempt in attempts
    ]  # fmt: skip
    if rows:
        click.echo("\nattempts")
        print_table(["", "", "from step", "checkpoint", "age", "changed"], rows, right=frozenset({1, 2, 4}))


def _status(view: RunView) -> dict[str, Value]:
    status = view.status
    if status is None:
        return {}
    epochs = f"epoch {status.epoch}" + (f" of {status.total_epochs}" if status.total_epochs else "")
    steps = f"step {format_count(status.step)}" + (f" of {status.total_steps:,}" if status.total_steps else "")
    done = f", {format_percent(view.progress)}" if view.progress is not None else ""
    left = f", {format_duration(view.eta_seconds)} left" if view.eta_seconds is not None else ""
    process = status.process
    ended = status.exit
    return {
        "progress": f"{epochs}, {steps}{done}{left}",
        "process": f"pid {process.pid} of {process.user}@{process.host}, heartbeat {age(status.heartbeat)} ago"
                   if status.phase in LIVE_PHASES else None,
        "ended": moment(status.heartbeat) if ended else None,
        "exit": ", ".join(f"{word} {value}" for word, value in (("code", ended.code), ("signal", ended.signal))
                          if value is not None) if ended else None,
        "error": ended.error if ended else None,
    }  # fmt: skip


def _ranking(metric: str, mode: Mode) -> str:
    return f"{metric}, {'lower' if mode == 'min' else 'higher'} is better"


def _best_so_far(view: RunView, facts: CheckpointFacts) -> str | None:
    best, metric = facts.best_so_far, view.metric
    if best is None or metric is None:
        return None
    return f"{metric.name} {format_cell(best.metric(metric.name))} at epoch {best.epoch}"


def _lineage(view: RunView, attempt: Attempt | None, number: int) -> list[str]:
    if attempt is None:
        return [f"attempt {number}"] if number else []
    lines = [f"attempt {number}, from the start"]
    if attempt.from_step:
        lines = [f"attempt {number}, from step {format_count(attempt.from_step)}"]
        lines += [f"of {attempt.from_checkpoint}"] * bool(attempt.from_checkpoint)
    parent = view.record.parent if view.record is not None else None
    return lines + ([f"forked from {parent.run}:{parent.checkpoint}"] if parent else [])


def _forks(view: RunView, forks: Iterable[str]) -> list[str]:
    return [fork if is_there(view, fork) else f"{fork} (deleted)" for fork in forks]


def _versions(releases: Iterable[ReleaseLine], registry: Registry) -> list[str]:
    lines = []
    for release in releases:
        is_latest = registry.latest(release.model) == release.version
        is_yanked = (release.model, release.version) in registry.yanks
        lines.append(f"{release.model}@{release.version}" + " (latest)" * is_latest + " (yanked)" * is_yanked)
    return lines


def _kept(kept: Kept) -> str:
    return f"{format_count(kept.count)} · {format_bytes(kept.size_bytes)}" if kept.count else "none"
