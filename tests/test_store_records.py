"""The records on disk: exact bytes, so that what was written last year is still read, and the other way round."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ckptop.store.commit import encode_index
from ckptop.store.errors import Damaged, NotFound
from ckptop.store.files import MAX_JSON_BYTES, decode, read_json
from ckptop.store.layout import StorePaths
from ckptop.store.manifest import (
    LogMark,
    Manifest,
    Pin,
    Ranking,
    TensorEntry,
    TensorIndex,
    encode,
    to_number,
    to_stored,
)
from ckptop.store.records import (
    Actor,
    Attempt,
    Command,
    DataSource,
    Exit,
    KernelKills,
    Metric,
    Parent,
    Process,
    RunRecord,
    Slurm,
    Status,
)
from ckptop.store.registry import AliasLine, ReleaseLine, append_release, read_registry
from ckptop.store.releasing import ReleaseConfig
from ckptop.store.seal import seal

GOLDEN = Path(__file__).parent / "golden"
TIME = 1763683200.25
ADA = Actor(user="ada", host="box1", pid=4711)
COMMIT = "0123456789abcdef0123456789abcdef01234567"

RUN = RunRecord(
    id="0123456789abcdef", name="digits-cnn", task="digits", created=TIME, config={"lr": 0.001, "layers": [32, 64]},
    steered={"lr": 0.01}, seed=7, git_commit=COMMIT, host="box1", sweep="digits-lr",
    command=Command(
        python="/venv/bin/python", argv=["-m", "ckptop.cli", "train", "digits"], cwd="/home/ada",
        env={"OMP_NUM_THREADS": "2"},
    ),
    parent=Parent(run="digits", checkpoint="training/checkpoint_epoch_0002_step_00000200.pt"),
    metric=Metric(name="val/accuracy", mode="max"), data=DataSource(path="digits", hash="00ff"),
    attempts=[
        Attempt(attempt=1, from_step=0, time=TIME),
        Attempt(
            attempt=2, from_step=300, time=TIME + 60, overrides={"lr": "1e-4"},
            from_checkpoint="training/checkpoint_epoch_0003_step_00000300.pt",
        ),
    ],
)  # fmt: skip
STATUS = Status(
    phase="failed", attempt=2, epoch=4, step=400, total_epochs=10, total_steps=1000, heartbeat=TIME,
    last_step_time=TIME - 1, step_age_seconds=1.25, step_seconds=0.05, lost_lines=3,
    exit=Exit(code=16, error="loss is NaN"),
    kernel_kills=KernelKills(group="/sys/fs/cgroup/job", group_kills=0, machine_kills=3),
    process=Process(
        pid=4711, start_ticks=99, boot_id="b00t", host="box1", user="ada",
        slurm=Slurm(job_id="12", restart_count=1),
    ),
)  # fmt: skip
MANIFEST = Manifest(
    id="fedcba9876543210", file="best_accuracy_0.8500_epoch_0007.pt", tier="milestone", run="digits-cnn",
    run_id="0123456789abcdef", model_name="cnn", attempt=2, epoch=7, global_step=700, time=TIME,
    metrics={"val/accuracy": 0.85, "val/loss": "NaN", "grad_norm": "Infinity"},
    evaluations={"eval/test/accuracy": 0.8125, "eval/test/loss": "NaN", "eval/test/data_hash": "00ff"},
    ranking=Ranking(name="val/accuracy", mode="max"), config={"lr": 0.001},
    environment={"pytorch_version": "2.13.0", "cuda_version": None}, git_commit=COMMIT, size_bytes=4096,
    xxh3_128="00112233445566778899aabbccddeeff", pinned=Pin(time=TIME, actor=ADA), forks=["digits-2"],
    logs={"metrics.jsonl": LogMark(size_bytes=123, xxh3_128="ff" * 16)},
)  # fmt: skip
INDEX = TensorIndex(
    file="checkpoint_epoch_0001_step_00000100.pt",
    tensors=[
        TensorEntry(name="model_state_dict.fc1.weight", dtype="float32", shape=[2, 3], strides=[3, 1], offset=448,
                    storage="0", size_bytes=24),
        TensorEntry(name="model_state_dict.fc1.bias", dtype="bfloat16", shape=[2], strides=[1], offset=None,
                    storage="1", size_bytes=4),
    ],
)  # fmt: skip
RELEASE = ReleaseLine(
    time=TIME, model="cnn", version="1.2.0", file="cnn_v1.2.0.pt", sha256="ab" * 32, size_bytes=2048,
    run="digits-cnn", run_id="0123456789abcdef", checkpoint="milestone/best_accuracy_0.8500_epoch_0007.pt", epoch=7,
    global_step=700, metrics={"val/accuracy": 0.85, "val/loss": "NaN"}, actor=ADA,
)  # fmt: skip
CONFIG = ReleaseConfig(
    model="cnn", version="1.2.0", file="cnn_v1.2.0.pt", sha256="ab" * 32, size_bytes=2048, config={"lr": 0.001},
    metrics={"val/accuracy": 0.85}, run="digits-cnn", checkpoint="milestone/best_accuracy_0.8500_epoch_0007.pt",
    epoch=7, global_step=700, card={"intended use": "tests"},
)  # fmt: skip

RECORDS: dict[str, tuple[msgspec.Struct, Any]] = {
    "run.json": (RUN, encode),
    "status.json": (STATUS, encode),
    "manifest.json": (MANIFEST, encode),
    "checkpoint.tensors.json": (INDEX, encode_index),
    "release.config.json": (CONFIG, encode),
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_is_written_as_ever(name: str) -> None:
    record, encoded = RECORDS[name]

    assert encoded(record) == (GOLDEN / name).read_bytes()


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_is_read_back_as_it_was(name: str) -> None:
    record, _ = RECORDS[name]

    assert read_json(GOLDEN / name, type(record)) == record


@pytest.mark.parametrize("name", RECORDS)
def test_a_newer_writers_fields_are_ignored(name: str) -> None:
    """An older viewer reads a newer trainer's store."""
    record, _ = RECORDS[name]
    fields = msgspec.json.decode((GOLDEN / name).read_bytes()) | {"schema": 1, "invented_later": {"a": [1]}}

    fields.pop("checksum")

    assert decode(seal(msgspec.json.encode(fields)), type(record), Path(name)) == record


def test_registry_lines_are_written_as_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ckptop.store import registry

    monkeypatch.setattr(registry, "current_actor", lambda: ADA)
    monkeypatch.setattr("ckptop.store.registry.time.time", lambda: TIME)
    paths = StorePaths(tmp_path)
    paths.production.mkdir()

    append_release(paths, RELEASE)

    assert paths.registry.read_bytes() == (GOLDEN / "registry.jsonl").read_bytes()


def test_registry_lines_are_read_back(tmp_path: Path) -> None:
    paths = StorePaths(tmp_path)
    paths.production.mkdir()
    paths.registry.write_bytes((GOLDEN / "registry.jsonl").read_bytes())

    read = read_registry(paths)

    assert read.releases == (RELEASE,)
    assert dict(read.aliases) == {("cnn", "latest"): "1.2.0"}
    assert read.bad_lines == 0


def test_a_bad_registry_line_is_counted_and_hides_no_other(tmp_path: Path) -> None:
    alias, good = (GOLDEN / "registry.jsonl").read_bytes().splitlines(keepends=True)
    newer = seal(b'{"time":1.0,"event":"invented_later","model":"cnn","version":"1.2.0"}\n')
    bad_version = seal(good.partition(b',"checksum"')[0].replace(b'"1.2.0"', b'"one"') + b"}")
    paths = StorePaths(tmp_path)
    paths.production.mkdir()
    paths.registry.write_bytes(
        b"garbage\n\xff\xfe\n" + bad_version + b"\n" + good + newer + b"[1]\n" + alias + b'{"torn'
    )

    read = read_registry(paths)

    assert [release.version for release in read.releases] == ["1.2.0"]
    assert read.latest("cnn") == "1.2.0"
    assert read.bad_lines == 4


def test_alias_lines_have_a_shape_of_their_own() -> None:
    line = (GOLDEN / "registry.jsonl").read_bytes().splitlines()[0]

    assert msgspec.json.decode(line, type=AliasLine) == AliasLine(
        time=TIME, model="cnn", alias="latest", version="1.2.0", actor=ADA
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is truncated"),
        (b'{"id": "x", "na', "is truncated"),
        (b"[]", "does not hold what it should"),
        (b'{"id": 3}', r"at `\$\.id`"),
        (b'{"id": "x"}', "missing required field"),
        (b"\xff\xfe", "does not hold what it should"),
        (b"[" * 100_000, "does not hold what it should"),
        (b'{"id":"a","name":"b","task":"c","created":1,"config":' + b"[" * 100_000, "does not hold what it should"),
    ],
    ids=["empty", "torn", "list", "wrong-type", "missing-field", "not-utf-8", "deep", "deep-inside"],
)
def test_what_is_no_record_is_damaged_in_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(content)

    with pytest.raises(Damaged, match=words) as caught:
        read_json(path, RunRecord)

    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="does not exist"):
        read_json(tmp_path / "run.json", RunRecord)


def test_a_file_larger_than_any_record_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    with path.open("wb") as file:
        file.truncate(MAX_JSON_BYTES + 1)

    with pytest.raises(Damaged, match="larger than any record"):
        read_json(path, RunRecord)


@pytest.mark.parametrize("value", [0.5, -1.0, 0.0, math.inf, -math.inf])
def test_numbers_survive_json(value: float) -> None:
    assert to_number(msgspec.json.decode(msgspec.json.encode(to_stored(value)))) == value


def test_nan_survives_json_and_so_does_an_unknown_word() -> None:
    assert to_stored(math.nan) == "NaN"
    assert math.isnan(to_number("NaN"))
    assert math.isnan(to_number("a word"))
