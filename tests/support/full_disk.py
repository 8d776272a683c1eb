"""What happens on a disk that is full, or read-only; run as a program on one of a few MiB: `full_disk.py SCENARIO DIR`.

Prints one JSON object of facts. `run_on_small_disk` mounts a tmpfs in a mount namespace of its own, so that no other
process sees it and it goes with the program.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SIZE_KIB = 2500


def run_on_small_disk(tmp_path: Path, scenario: str) -> dict[str, Any]:
    """Run a scenario on a tmpfs of `SIZE_KIB`; skips the test where mounting is refused."""
    if shutil.which("unshare") is None:
        pytest.skip("no small disk: there is no unshare here")
    mount = tmp_path / "mount"
    mount.mkdir()
    # Paths are arguments of the shell, never part of its script.
    script = 'mount -t tmpfs -o size="$1"k none "$2" && shift 2 && exec "$@"'
    namespace = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", str(SIZE_KIB), str(mount)]
    probe = subprocess.run([*namespace, "true"], capture_output=True, text=True, check=False)
    if probe.returncode != 0:
        pytest.skip(f"no small disk: {probe.stderr.strip() or 'unshare or mount was refused'}")
    argv = [*namespace, sys.executable, __file__, scenario, str(mount)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return facts


def _fill(directory: Path, leave_bytes: int) -> Path:
    """Take all space of the disk but about `leave_bytes`."""
    ballast = directory / "ballast"
    facts = os.statvfs(directory)
    with ballast.open("wb") as file:
        file.write(b"\0" * max(0, facts.f_bavail * facts.f_frsize - leave_bytes))
    return ballast


def full(directory: Path) -> dict[str, Any]:
    """Save until the disk is full, to the last byte; then somebody makes room."""
    import torch

    from ckptop.store.checkpoints import CheckpointManager
    from ckptop.store.verify import verify_run
    from ckptop.store.views import read_standalone

    manager = CheckpointManager(directory / "checkpoints", 0)
    model = torch.nn.Linear(300, 400)
    refusals = []
    saved = 0
    for epoch in range(1, 8):
        try:
            manager.save_training_checkpoint(model, None, epoch, epoch, {})
            saved += 1
        except OSError as error:
            refusals.append([error.errno, str(error)])
    ballast = _fill(directory, 0)
    for epoch in (8, 9):
        try:
            manager.save_training_checkpoint(model, None, epoch, epoch, {})
        except OSError as error:
            refusals.append([error.errno, str(error)])
    torn = os.listdir(directory / "checkpoints" / ".staging")
    report = verify_run(read_standalone(directory / "checkpoints"))
    ballast.unlink()
    first = manager.list_checkpoints("training")["training"][0]
    for path in (first.path, first.path.with_suffix(".json")):
        path.unlink()
    manager.save_training_checkpoint(model, None, 10, 10, {})
    epochs = [info.epoch for info in manager.list_checkpoints("training")["training"]]
    return {
        "saved": saved, "refusals": refusals, "torn": torn, "damaged": report.damaged, "checked": report.checked,
        "epochs": epochs,
    }  # fmt: skip


def trainer(directory: Path) -> dict[str, Any]:
    """A training whose disk fills up: saves are skipped and said, the last one spills, a resume brings it home."""
    from trainer_runs import logged, run_training

    from ckptop.store.events import read_events
    from ckptop.store.trash import purge
    from ckptop.store.verify import verify_run
    from ckptop.store.views import read_run

    store, spill = directory / "runs", directory.parent / "spill"
    settings = {
        "model__hidden": "[256,128]", "keep_training": "9", "batch_size": "64", "epochs": "8", "keep_milestones": "1",
        "full_disk_patience_seconds": "0.2", "spill_dir": str(spill),
    }  # fmt: skip
    code = run_training(store, name="mine", **settings)
    view = read_run(store / "mine")
    alerts = [event.details["message"] for event in read_events(view.paths.events) if event.event == "alert"]
    spilled = [path.name for path in spill.glob("*/training/checkpoint*.pt")]
    first = {"code": code, "state": view.state, "alerts": alerts, "spilled": spilled,
             "damaged": verify_run(view).damaged, "steps": len({step for step, _ in logged(view.root)})}  # fmt: skip
    from ckptop.store.actions import prune
    from ckptop.store.retention import Policy

    prune(view, [Policy(keep_last=1)])
    purge(view.checkpoint_paths)
    code = run_training(store, name="mine", resume="auto", epochs="9", keep_training="1")
    view = read_run(store / "mine")
    home = [info.epoch for info in view.checkpoints if info.tier == "training"]
    return {**first, "code_of_resume": code, "home": home, "left": [str(p) for p in spill.rglob("*.pt")]}


def logs(directory: Path) -> dict[str, Any]:
    """Logging on a disk without a free byte: nothing stops, what is lost is counted, what comes after is whole."""
    from ckptop.store.run import Run
    from ckptop.store.verify import verify_run
    from ckptop.store.views import read_run

    run = Run.create(directory / "runs", name="mine", task="t")
    run.log(1, {"train/loss": 1.0})
    ballast = _fill(directory, 0)
    for step in range(2, 400):
        run.log(step, {"train/loss": 1.0})
    problem = run.problem
    ballast.unlink()
    run.log(400, {"train/loss": 1.0})
    run.finish("finished", code=0)
    lines = (run.root / "metrics.jsonl").read_bytes().splitlines()
    whole = [line for line in lines if line.endswith(b"}")]
    return {
        "problem": problem, "last": json.loads(whole[-1]), "bad": len(lines) - len(whole),
        "damaged": verify_run(read_run(run.root)).damaged,
    }  # fmt: skip


def read_only(directory: Path) -> dict[str, Any]:
    """A store on a disk that became read-only: looking works, changing says so, nothing is lost."""
    from tiny_model import find, make_run, manager_of, save

    from ckptop.cli.main import run as run_command
    from ckptop.store.pins import unpin
    from ckptop.store.views import read_run

    root = make_run(directory / "runs")
    unpin(read_run(root), find(root, "training", 1))  # else a pin would refuse the deletion of the run first
    subprocess.run(["mount", "-o", "remount,ro", str(directory)], check=True)
    before = sorted(str(path) for path in directory.rglob("*"))
    codes, errors = {}, {}
    for words in (
        "ls", "ls mine", "verify", "trash", "prune mine --dry-run", "delete mine:epoch=2", "delete mine",
        "prune mine --keep-last 1", "restore mine", "trash --empty", "promote mine:best --to milestone",
    ):  # fmt: skip
        told = io.StringIO()
        with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()):
            codes[words] = run_command([*words.split(), "--store", str(directory / "runs")])
        errors[words] = told.getvalue()
    try:
        save(manager_of(root), 9)
        saved = "saved"
    except OSError as error:
        saved = type(error).__name__
    return {
        "codes": codes, "errors": errors, "saved": saved,
        "changed": sorted(str(path) for path in directory.rglob("*")) != before,
    }  # fmt: skip


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    print(
        json.dumps(
            {"full": full, "trainer": trainer, "logs": logs, "read_only": read_only}[sys.argv[1]](Path(sys.argv[2]))
        )
    )
