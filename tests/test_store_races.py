"""Several processes at one run at the same time: whoever loses a race is told so, and nothing is torn or lost.

One other process imports torch once and does what it is asked over a pipe, so that hundreds of rounds take seconds. It
runs this very file.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_model import HASTY, METRIC, clone, find, keys_of, live, make_run, manager_of, put_away, save, tiny_model
from trainer_runs import child_environment

from ckptop.store import manifest_reading, promote
from ckptop.store.actions import delete_checkpoints, prune, restore_checkpoints
from ckptop.store.checkpoint_info import CheckpointInfo
from ckptop.store.checkpoints import CheckpointManager, RunLink
from ckptop.store.errors import Held, NotFound, StoreError
from ckptop.store.going_back import discard_abandoned, write_record
from ckptop.store.layout import RunPaths, StorePaths, tensors_path
from ckptop.store.locks import FileLock
from ckptop.store.manifest import Manifest
from ckptop.store.names import Version
from ckptop.store.pins import pin
from ckptop.store.promote import promote_to_milestone, promote_to_production
from ckptop.store.records import Attempt
from ckptop.store.registry import read_registry
from ckptop.store.retention import Policy
from ckptop.store.run import Run
from ckptop.store.trash import delete, list_trash
from ckptop.store.verify import verify_checkpoint, verify_run
from ckptop.store.views import read_run

SUPPORT = Path(__file__).parent / "support"
PATIENCE_SECONDS = 90.0
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


# What the other process does


def save_and_promote(root: str, first: int, count: int, seed: int) -> float:
    """Train: save and keep two, `count` epochs from `first`; returns the best value, which never went missing."""
    run, rng, best_value = Path(root), random.Random(seed), 0.0  # noqa: S311 - no secret
    record = read_run(run).record
    assert record is not None
    link = RunLink(name=run.name, id=record.id, attempt=1, attempts=tuple(record.attempts), metric=METRIC)
    manager = CheckpointManager(run / "checkpoints", 2, max_milestones=2, store_root=run.parent, run=link, fs=HASTY)
    for epoch in range(first, first + count):
        value = rng.uniform(0.9, 1.0)  # above what the run began with
        best_value = max(best_value, value)
        saved = save(manager, epoch, value)
        assert saved.exists(), f"{saved.name} is the newest and gone"
        manager.save_milestone_checkpoint(tiny_model(epoch), value, METRIC.name, epoch, step=epoch * 100)
        view = read_run(run)
        assert view.latest is not None
        assert view.latest.path == saved
        assert view.best_value == best_value
    return best_value


def save_one(root: str, epoch: int) -> str:
    """Save an epoch and keep two."""
    return save(manager_of(Path(root), HASTY, keep=2), epoch, 0.1).name


def delete_one(root: str, tier: str, epoch: int) -> int:
    """Delete a checkpoint as a viewer that has just looked; returns how many it did delete."""
    view = read_run(Path(root))
    return len(delete_checkpoints(view, [c for c in view.checkpoints if (c.tier, c.epoch) == (tier, epoch)], HASTY))


def restore_all(root: str) -> int:
    """Restore what is in the trash; returns how many, 0 where another was quicker."""
    return _restored(Path(root))


def go_back(root: str) -> int:
    """Begin a second attempt at step 300; returns how many checkpoints that put aside."""
    run = Path(root)
    record = read_run(run).record
    assert record is not None
    record.attempts.append(Attempt(attempt=2, from_step=300, time=1_763_683_260.0))
    write_record(RunPaths(run), record, HASTY)
    return discard_abandoned(RunPaths(run), record, HASTY)


def hold(store: str, name: str) -> list[Any]:
    """Make or take up a run and log a step; returns the attempt, or who holds it."""
    try:
        with Run.create(store, name=name, task="tiny", resume="auto") as run:
            run.log(run.start.from_step + 1, {"train/loss": 0.5})
            return ["attempt", run.attempt]
    except Held as error:
        return ["held", str(error)]


ROLES: dict[str, Callable[..., Any]] = {
    role.__name__: role for role in (save_and_promote, save_one, delete_one, restore_all, go_back, hold)
}


def serve() -> None:
    """Do what is asked, a line of JSON each, until nobody asks any more."""
    print(json.dumps({"result": "ready"}), flush=True)
    for line in sys.stdin:
        role, arguments = json.loads(line)
        try:
            answer = {"result": ROLES[role](*arguments)}
        except Exception:  # noqa: BLE001 - told to whoever asked
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), flush=True)


class Other:
    """The other process, seen from here."""

    def __init__(self) -> None:
        environment = child_environment() | ONE_THREAD
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(SUPPORT), environment.get("PYTHONPATH")]))
        self._is_asked = True  # it says by itself that it is ready
        self._process = subprocess.Popen(
            [sys.executable, __file__], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, role: Callable[..., Any], *arguments: object) -> None:
        """Have it do something, at once."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([role.__name__, arguments], default=str) + "\n")
        self._process.stdin.flush()
        self._is_asked = True

    def answer(self) -> Any:
        """What came of it, waited for."""
        assert self._process.stdout is not None
        answer = json.loads(self._process.stdout.readline())
        self._is_asked = False
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def finish(self) -> None:
        """Wait for what it still does, after a test that failed in between."""
        if self._is_asked:
            self.answer()

    def close(self) -> None:
        """Let it end."""
        self._process.communicate()


@pytest.fixture(scope="module")
def other_process() -> Iterator[Other]:
    started = Other()
    yield started
    started.close()


@pytest.fixture
def other(other_process: Other) -> Iterator[Other]:
    other_process.finish()
    yield other_process
    other_process.finish()


def tarry(seconds: float) -> None:
    """Let the other get ahead by a time too short to be slept."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


def long_too(rounds: int) -> list[Any]:
    """So many rounds, and twenty times as many in the slow suite."""
    return [rounds, pytest.param(20 * rounds, marks=pytest.mark.slow)]


def assert_tidy(root: Path) -> None:
    """Everything is whole, stands once, and is pointed at; nothing is left over."""
    view = read_run(root)
    assert view.problem is None
    assert verify_run(view).findings == ()
    for info in put_away(root):
        assert verify_checkpoint(info) is None, info.path
    ids = Counter(info.manifest.id for info in live(root) + put_away(root) if info.manifest is not None)
    assert [key for key, count in ids.items() if count > 1] == []
    checkpoints = RunPaths(root).checkpoints
    assert os.listdir(checkpoints.staging) == []
    if checkpoints.trash.exists():
        assert len(os.listdir(checkpoints.trash)) == len(list_trash(checkpoints))
    assert view.latest is not None
    assert os.readlink(checkpoints.training / "latest.pt") == view.latest.name


# One writer


def lines_of(root: Path) -> list[bytes]:
    try:
        return (root / "metrics.jsonl").read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []


def wait_for_lines(root: Path, count: int, child: subprocess.Popen[bytes]) -> None:
    """Wait until the trainer `child` has logged so many lines in all."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(lines_of(root)) < count:
        assert time.monotonic() < deadline
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(0.01)
            pytest.fail("the trainer ended by itself")


def test_a_second_trainer_is_refused_and_told_who_holds_the_run(tmp_path: Path) -> None:
    """The first trains on, undisturbed."""
    root = tmp_path / "mine"
    settings = [part for key in ("epochs=100000", "model.hidden=[8]") for part in ("--set", key)]
    train = [sys.executable, "-m", "ckptop.cli", "train", "diabetes", "--store", str(tmp_path), "--name", "mine"]
    environment = child_environment() | ONE_THREAD
    first = subprocess.Popen([*train, *settings], env=environment, stdout=subprocess.DEVNULL)
    try:
        wait_for_lines(root, 20, first)
        before = lines_of(root)

        second = subprocess.run(
            [*train, "--resume", "auto"], env=environment, capture_output=True, text=True, check=False
        )

        holder = f"pid {first.pid} of {getpass.getuser()} on {socket.gethostname()}"
        assert second.stderr == f"ckptop: run mine is held by {holder}; stop it with `ckptop stop mine`\n"
        assert (second.stdout, second.returncode) == ("", 13)
        wait_for_lines(root, len(lines_of(root)) + 20, first)
        first.send_signal(signal.SIGTERM)
        assert first.wait() == 3
    finally:
        first.kill()
        first.wait()
    assert lines_of(root)[: len(before)] == before
    steps = [fields["step"] for fields in map(json.loads, lines_of(root)) if "train/loss" in fields]
    assert steps == list(range(1, len(steps) + 1))
    view = read_run(root)
    assert view.record is not None
    assert [attempt.attempt for attempt in view.record.attempts] == [1]
    assert view.state == "stopped"
    assert_tidy(root)


@pytest.mark.parametrize("rounds", long_too(30))
def test_of_two_that_take_the_same_run_at_once_one_has_it(tmp_path: Path, other: Other, rounds: int) -> None:
    """The other is refused, or comes after the end of the first; never are there two."""
    rng = random.Random(1)  # noqa: S311 - no secret
    refused = 0
    for number in range(rounds):
        name = f"run-{number}"
        other.ask(hold, tmp_path, name)
        tarry(rng.uniform(0, 0.01))
        outcomes = [hold(str(tmp_path), name), other.answer()]

        held = [said for kind, said in outcomes if kind == "held"]
        attempts = sorted(attempt for kind, attempt in outcomes if kind == "attempt")
        assert attempts == list(range(1, 3 - len(held)))
        assert all(said.startswith(f"run {name} is held by ") for said in held)
        fields = [json.loads(line) for line in lines_of(tmp_path / name)]
        assert [line.get("attempt", "step") for line in fields] == [x for n in attempts for x in (n, "step")]
        view = read_run(tmp_path / name)
        assert view.record is not None
        assert [attempt.attempt for attempt in view.record.attempts] == attempts
        assert view.state == "finished"
        refused += len(held)
    assert refused > 0  # else they never met


# Many hands on one set of checkpoints


class Viewer:
    """Deletes, prunes and restores what a person may, in a thread, until told that it is over."""

    def __init__(self, root: Path, seed: int, is_over: threading.Event) -> None:
        self.root, self.rng, self.is_over = root, random.Random(seed), is_over  # noqa: S311 - no secret
        self.done: Counter[str] = Counter()
        self.problem: BaseException | None = None
        self.thread = threading.Thread(target=self._work)

    def _work(self) -> None:
        try:
            while not self.is_over.is_set():
                self.rng.choice((self._delete, self._prune, self._restore, self._look, self._verify))()
        except BaseException as error:  # noqa: BLE001 - raised again by the test
            self.problem = error

    def _delete(self) -> None:
        view = read_run(self.root)
        protected = {info.key for info in (view.latest, view.best) if info is not None}
        others = [info for info in view.checkpoints if info.key not in protected and not info.pinned]
        chosen = self.rng.sample(others, min(2, len(others)))
        self.done["deleted"] += bool(delete_checkpoints(view, chosen, HASTY))

    def _prune(self) -> None:
        _, entries = prune(read_run(self.root), [Policy(keep_last=1)], HASTY)
        self.done["pruned"] += bool(entries)

    def _restore(self) -> None:
        entries = list_trash(RunPaths(self.root).checkpoints)
        if entries:
            try:
                restore_checkpoints(read_run(self.root), [self.rng.choice(entries)], HASTY)
            except NotFound:
                self.done["too late"] += 1  # the other viewer was quicker
            else:
                self.done["restored"] += 1

    def _look(self) -> None:
        """While nobody changes anything all is whole, and the newest and the best are there."""
        with FileLock(RunPaths(self.root).checkpoints.lock):
            view = read_run(self.root)
            assert view.latest is not None
            assert view.best is not None
            assert not verify_run(view).findings
        self.done["looked"] += 1

    def _verify(self) -> None:
        """A reader takes no lock; what goes while it reads is no damage."""
        report = verify_run(read_run(self.root))
        assert not report.damaged, report.findings


@pytest.mark.parametrize("epochs", long_too(60))
def test_what_is_protected_survives_viewers_and_a_trainer_at_once(tmp_path: Path, other: Other, epochs: int) -> None:
    """Two viewers delete, prune and restore while a trainer saves and prunes: all is there, once, and told."""
    root = make_run(tmp_path)
    told_before = Counter(events_of(root))
    is_over = threading.Event()
    viewers = [Viewer(root, seed, is_over) for seed in (1, 2)]

    other.ask(save_and_promote, root, 10, epochs, 3)
    for viewer in viewers:
        viewer.thread.start()
    try:
        best_value = other.answer()
    finally:
        is_over.set()
        for viewer in viewers:
            viewer.thread.join()

    for viewer in viewers:
        if viewer.problem is not None:
            raise viewer.problem
    assert_tidy(root)
    view = read_run(root)
    assert view.latest is not None
    assert view.latest.epoch == 9 + epochs
    assert view.best_value == best_value
    done = viewers[0].done + viewers[1].done
    assert min(done["deleted"], done["pruned"], done["restored"], done["looked"]) > 0
    told = Counter(events_of(root)) - told_before
    assert [told[event] for event in ("deleted", "pruned", "restored")] == [
        done[event] for event in ("deleted", "pruned", "restored")
    ]


def events_of(root: Path) -> list[str]:
    """What events.jsonl tells, every line of it."""
    try:
        return [json.loads(line)["event"] for line in RunPaths(root).events.read_text().splitlines()]
    except FileNotFoundError:
        return []


@pytest.mark.parametrize("rounds", long_too(60))
def test_of_two_viewers_that_delete_or_restore_the_same_checkpoint_one_does(
    tmp_path: Path, other: Other, rounds: int
) -> None:
    """The other passes over it, or is told that it is too late; there is one entry in the trash, then none."""
    root = make_run(tmp_path)
    rng = random.Random(4)  # noqa: S311 - no secret
    restore_all(str(root))
    wins: Counter[tuple[str, bool]] = Counter()
    for number in range(rounds):
        tier, epoch = ("training", 4) if number % 2 else ("milestone", 2)
        view, target = read_run(root), find(root, tier, epoch)

        other.ask(delete_one, root, tier, epoch)
        tarry(rng.uniform(0, 0.005))
        mine = len(delete_checkpoints(view, [target], HASTY)) if target.exists() else 0
        assert mine + other.answer() == 1
        assert [entry.info.name for entry in list_trash(RunPaths(root).checkpoints)] == [target.name]
        wins["delete", bool(mine)] += 1
        assert_tidy(root)

        other.ask(restore_all, root)
        tarry(rng.uniform(0, 0.005))
        mine = _restored(root)
        assert mine + other.answer() == 1
        assert list_trash(RunPaths(root).checkpoints) == []
        wins["restore", bool(mine)] += 1
        assert_tidy(root)
    assert len(wins) == 4, wins  # each of them was the quicker one now and then


def _restored(root: Path) -> int:
    try:
        return len(restore_checkpoints(read_run(root), list_trash(RunPaths(root).checkpoints), HASTY))
    except NotFound:
        return 0


# A promotion against retention


def promote_as_milestone(root: Path, info: CheckpointInfo, _number: int) -> None:
    made = promote_to_milestone(read_run(root), info, fs=HASTY)
    assert verify_checkpoint(made) is None
    assert tensors_path(made.path).exists()
    assert made.metric(METRIC.name) == info.metric(METRIC.name)
    delete_checkpoints(read_run(root), [made], HASTY)  # else the rounds would take longer and longer


def promote_as_release(root: Path, info: CheckpointInfo, number: int) -> None:
    store, version = StorePaths(root.parent), Version(1, 0, number)
    promote_to_production(store, read_run(root), info, model="tiny", version=version, fs=HASTY)
    assert read_registry(store).releases[-1].version == str(version)


def names_in(*directories: Path) -> set[str]:
    """Every file in directories that may not be there."""
    return {str(path) for directory in directories for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize("rounds", long_too(50))
@pytest.mark.parametrize("promote_as", [promote_as_milestone, promote_as_release])
def test_a_promotion_that_retention_overtakes_is_whole_or_not_at_all(
    tmp_path: Path, other: Other, promote_as: Callable[[Path, CheckpointInfo, int], None], rounds: int
) -> None:
    root = make_run(tmp_path)
    rng = random.Random(5)  # noqa: S311 - no secret
    promoted = 0
    for epoch in (10, 11):
        save_one(str(root), epoch)
    for number in range(rounds):
        target = find(root, "training", 10 + number)
        before = names_in(root / "checkpoints" / "milestone", tmp_path / "production", tmp_path / "metadata")

        other.ask(save_one, root, 12 + number)
        tarry(rng.uniform(0, 0.02))
        try:
            promote_as(root, target, number)
        except NotFound:
            after = names_in(root / "checkpoints" / "milestone", tmp_path / "production", tmp_path / "metadata")
            assert after - before <= {str(tmp_path / "production" / ".lock")}
        else:
            promoted += 1
        assert other.answer() == find(root, "training", 12 + number).name
        assert not target.exists()
        assert_tidy(root)
    assert 0 < promoted < rounds  # else they never met


# What a viewer looked at a moment ago is something else by now


def save_again(root: Path, info: CheckpointInfo) -> CheckpointInfo:
    """Delete a checkpoint and save other bytes under its name, as a run does that went back and trains on."""
    delete_checkpoints(read_run(root), [info], HASTY)
    manager_of(root, HASTY).save_training_checkpoint(tiny_model(-1), None, info.epoch, info.step, {METRIC.name: 0.2})
    return find(root, info.tier, info.epoch)


def test_a_checkpoint_pinned_meanwhile_is_not_deleted(tmp_path: Path) -> None:
    root = make_run(tmp_path)
    view, target = read_run(root), find(root, "training", 4)
    assert pin(view, target, HASTY)

    with pytest.raises(StoreError, match="is pinned"):
        delete_checkpoints(view, [target], HASTY)

    assert target.exists()


def test_a_checkpoint_that_took_the_name_of_another_is_not_deleted_for_it(tmp_path: Path) -> None:
    root = make_run(tmp_path)
    view, target = read_run(root), find(root, "training", 4)
    new = save_again(root, target)

    assert delete_checkpoints(view, [target], HASTY) == []

    assert verify_checkpoint(new) is None
    assert_tidy(root)


def test_a_checkpoint_that_took_the_name_of_another_is_not_promoted_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes are hashed before the lock is taken; what is promoted is what was hashed, or nothing."""
    root = make_run(tmp_path)
    target = find(root, "training", 4)

    def verify_then_lose(info: CheckpointInfo) -> None:
        assert verify_checkpoint(info) is None
        save_again(root, info)

    monkeypatch.setattr(promote, "verify_checkpoint", verify_then_lose)
    with pytest.raises(NotFound, match="nothing was promoted"):
        promote_to_milestone(read_run(root), target, fs=HASTY)

    assert_tidy(root)


def test_a_checkpoint_deleted_while_it_is_looked_at_is_neither_listed_nor_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader takes no lock: its listing names a file whose manifest is gone when it gets there."""
    root = make_run(tmp_path)
    target = find(root, "training", 4)

    read = manifest_reading._read_usual

    def lose_then_read(directory: int, name: str, decode: Callable[[bytes], Manifest]) -> Manifest | None:
        if name == target.name and target.exists():
            delete(RunPaths(root).checkpoints, [target], HASTY)
        return read(directory, name, decode)

    monkeypatch.setattr(manifest_reading, "_read_usual", lose_then_read)
    view = read_run(root)

    assert not target.exists()
    assert target.name not in [info.name for info in view.checkpoints]
    assert not verify_run(view).damaged


# Going back


@pytest.mark.parametrize("rounds", long_too(40))
def test_going_back_while_a_viewer_changes_things_puts_everything_in_one_place(
    tmp_path: Path, other: Other, rounds: int
) -> None:
    """A viewer deletes or prunes what is about to be abandoned, or restores what is no longer wanted."""
    template = make_run(tmp_path / "template")
    stood, lay = keys_of(template)
    rng = random.Random(6)  # noqa: S311 - no secret
    where: Counter[str] = Counter()
    for number in range(rounds):
        root = clone(template, tmp_path / f"{number}" / "mine")
        view, entries = read_run(root), list_trash(RunPaths(root).checkpoints)
        chosen = [find(root, "training", epoch) for epoch in (5, 4, 2)]

        other.ask(go_back, root)
        tarry(rng.uniform(0, 0.01))
        if number % 3 == 0:
            delete_checkpoints(view, chosen, HASTY)
        elif number % 3 == 1:
            prune(view, [Policy(keep_last=1)], HASTY)
        else:
            try:
                restore_checkpoints(view, entries, HASTY)
            except StoreError as error:
                assert "abandoned attempt" in str(error)  # noqa: PT017 - it need not be raised
                where["refused"] += 1
        other.answer()

        stands, lies = keys_of(root)
        assert sorted(stands + lies) == sorted(stood + lay)
        assert not {"training/4", "training/5", "training/6"} & set(stands)
        record = read_run(root).record
        assert record is not None
        assert discard_abandoned(RunPaths(root), record, HASTY) == 0
        assert_tidy(root)
        where["discarded"] += len(list(RunPaths(root).checkpoints.discarded.rglob("*.pt")))
        where["trash"] += len(list_trash(RunPaths(root).checkpoints))
    assert where["refused"] > 0
    assert where["discarded"] > 0
    assert where["trash"] > 0


if __name__ == "__main__":
    serve()
