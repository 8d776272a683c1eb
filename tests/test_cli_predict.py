"""`ckptop predict`: the answers of a trained model, in every format, and every way in which there are none."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from trained_store import MODEL, ROWS, copy_store, train_store, write_digits, write_patients

from ckptop.cli.main import run
from ckptop.store.layout import manifest_path
from ckptop.store.manifest import Manifest
from ckptop.store.seal import seal
from ckptop.store.store import Store
from ckptop.trainer.tasks.digits import Digits, DigitsOptions


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_store(tmp_path_factory.mktemp("trained") / "runs")


@pytest.fixture
def here(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: the store `runs`, and files of inputs."""
    copy_store(trained, tmp_path / "runs")
    write_digits(tmp_path)
    write_patients(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def predict(*words: str, data: str = "photos.csv", out: str = "out.csv") -> int:
    return run(["predict", *words, "--data", data, "--out", out])


def by_hand(here: Path) -> np.ndarray:
    """The probabilities that the best checkpoint gives, without any of our loading."""
    best = Store.open(here / "runs").run("digits").best
    assert best is not None
    model = Digits().build_model(DigitsOptions(**MODEL))
    model.load_state_dict(torch.load(best.path, weights_only=True)["model_state_dict"])
    images = torch.from_numpy(load_digits().data[:ROWS]).float().view(-1, 1, 8, 8) / 16
    with torch.no_grad():
        return np.asarray(model.eval()(images).softmax(1))


def table_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    """What stderr says, which is one line."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line and not line.startswith(("Usage:", "Try "))]
    assert len(lines) == 1, lines
    return lines[0]


def test_every_format_holds_the_answers_of_the_model(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = by_hand(here)

    codes = [predict("digits:best", out=f"out{ending}") for ending in (".csv", ".jsonl", ".npy", ".npz")]

    assert codes == [0, 0, 0, 0]
    assert f"{ROWS} predictions of digits:" in capsys.readouterr().out
    rows, lines = table_of(here / "out.csv"), (here / "out.jsonl").read_text().splitlines()
    probabilities = np.load(here / "out.npy")
    archive = np.load(here / "out.npz")
    assert probabilities.dtype == np.float32
    assert np.allclose(probabilities, expected, atol=1e-6)
    assert (archive["probability"] == probabilities).all()
    assert [row["class"] for row in rows] == archive["class"].tolist() == [str(n) for n in expected.argmax(1)]
    assert [json.loads(line)["class"] for line in lines] == archive["class"].tolist()
    for place in range(10):
        column = [np.float32(row[f"probability_{place}"]) for row in rows]
        assert (np.array(column) == probabilities[:, place]).all(), "the decimals mean the same float32"
        assert rows[0][f"probability_{place}"] == str(probabilities[0, place]), "and are the shortest that do"
        assert [json.loads(line)[f"probability_{place}"] for line in lines] == [
            float(row[f"probability_{place}"]) for row in rows
        ]


def test_a_regression_gives_a_value(here: Path) -> None:
    assert predict("diabetes", data="patients.csv") == 0
    assert predict("diabetes", data="patients.csv", out="out.npy") == 0

    rows = table_of(here / "out.csv")
    assert list(rows[0]) == ["value"]
    assert [float(row["value"]) for row in rows] == pytest.approx(np.load(here / "out.npy").tolist())
    assert np.load(here / "out.npy").shape == (442,)


def test_arrays_are_read_like_tables(here: Path) -> None:
    images = np.loadtxt(here / "photos.csv", delimiter=",")
    np.save(here / "images.npy", images.reshape(-1, 8, 8).astype(np.uint8))
    np.savez(here / "images.npz", inputs=images)

    predict("digits:best")
    predict("digits:best", data="images.npy", out="a.csv")
    predict("digits:best", data="images.npz", out="b.csv")

    assert (here / "out.csv").read_bytes() == (here / "a.csv").read_bytes() == (here / "b.csv").read_bytes()


@pytest.mark.parametrize(("run_name", "data"), [("digits", "photos.csv"), ("diabetes", "patients.csv")])
def test_neither_batch_size_nor_order_nor_a_second_time_changes_an_answer(here: Path, run_name: str, data: str) -> None:
    """With BatchNorm or dropout at work in training mode all three would."""
    lines = (here / data).read_text().splitlines()
    head = lines[:1] if run_name == "diabetes" else []
    rows = lines[len(head) :]
    (here / "turned.csv").write_text("\n".join([*head, *reversed(rows)]))

    answers = []
    for place, words in enumerate([[], [], ["--batch-size", "1"], ["--batch-size", "7"], ["--batch-size", "100000"]]):
        assert predict(run_name, *words, data=data, out=f"{place}.npy") == 0
        answers.append(np.load(here / f"{place}.npy"))
    predict(run_name, data="turned.csv", out="turned.npy")

    assert (answers[0] == answers[1]).all()
    for answer in [*answers, np.load(here / "turned.npy")[::-1]]:
        assert answer == pytest.approx(answers[0], rel=1e-5, abs=1e-6)


def test_releases_copies_and_links_answer_alike(here: Path) -> None:
    best = Store.open(here / "runs").run("digits").best
    assert best is not None
    (here / "alone.pt").write_bytes(best.path.read_bytes())
    assert run(["promote", "digits:best", "--to", "production", "--store", "runs"]) == 0

    names = ["digits:best", str(best.path), "alone.pt", "digits@1.0.0", "digits@latest", "runs/production/latest.pt"]
    codes = [predict(name, out=f"{place}.csv") for place, name in enumerate(names)]

    assert codes == [0] * len(names)
    assert len({(here / f"{place}.csv").read_bytes() for place in range(len(names))}) == 1


def test_json_says_what_was_written(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["predict", "digits:best", "--data", "photos.csv", "--out", "out.npz", "--json"])

    told = json.loads(capsys.readouterr().out)
    assert code == 0
    assert told["checkpoint"].startswith("digits:milestone/best_accuracy_")
    assert (told["samples"], told["not_finite"]) == (ROWS, 0)
    assert told["arrays"] == {"class": [ROWS], "probability": [ROWS, 10]}
    assert Path(told["out"]) == here / "out.npz"


def test_nothing_is_overwritten_unless_it_is_asked_for(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "out.csv").write_text("mine")

    assert predict("digits:best") == 2
    assert "out.csv is there already; --force replaces it" in error_of(capsys)
    assert (here / "out.csv").read_text() == "mine"
    assert predict("digits:best", "--force") == 0
    assert table_of(here / "out.csv")[0]["class"] == "0"


def test_a_disk_that_refuses_leaves_what_was_there(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "out.csv").write_text("mine")
    before = sorted(here.iterdir())

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device", "out.csv")

    monkeypatch.setattr("ckptop.store.fs.FileSystem.fsync", refuse)
    code = predict("digits:best", "--force")

    assert code == 14
    assert "No space left" in error_of(capsys)
    assert (here / "out.csv").read_text() == "mine"
    assert sorted(here.iterdir()) == before


@pytest.mark.parametrize(
    ("out", "code", "said"),
    [
        ("out.txt", 2, "the ending says the format; use one of .csv, .jsonl, .npy, .npz"),
        ("no/out.csv", 11, "/no does not exist"),
        ("directory.csv", 2, "directory.csv is no regular file; name another"),
        ("photos.csv", 2, "photos.csv is the file of inputs; name another"),
    ],
)
def test_a_place_that_cannot_be_written_to_is_refused_before_any_work(
    here: Path, capsys: pytest.CaptureFixture[str], out: str, code: int, said: str
) -> None:
    (here / "directory.csv").mkdir()
    before = (here / "photos.csv").read_bytes()

    assert predict("digits:best", "--force", out=out) == code
    assert said in error_of(capsys)
    assert (here / "photos.csv").read_bytes() == before


PIXELS = ",".join(["0"] * 64)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{PIXELS}\n{PIXELS},5\n", "in.csv, line 2: 65 columns, expected 64 (8 x 8 pixels)"),
        (f"{PIXELS}\n{PIXELS[:-1]}dark\n", "in.csv, line 2, column 64: 'dark' is no number"),
        (f"{PIXELS}\n{PIXELS[:-1]}255\n", "in.csv, line 2, column 64: a pixel is 0 to 16; scale the images"),
        ("", "in.csv holds no rows; each has 64 numbers (8 x 8 pixels)"),
    ],
    ids=["columns", "text", "scale", "empty"],
)
def test_inputs_that_no_model_can_take_are_said_by_line(
    here: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    (here / "in.csv").write_text(text)

    assert predict("digits:best", data="in.csv") == 15
    assert said in error_of(capsys)
    assert not (here / "out.csv").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nowhere:best"], 11, "no run 'nowhere' in runs; there: diabetes, digits"),
        (["digits:epoch=99"], 11, "digits has not a checkpoint of epoch 99"),
        (["digits@9.0.0"], 11, "no model 'digits' is released here"),
        (["no.pt"], 11, "no.pt"),
        (["digits:best", "--task", "digit"], 2, "no task 'digit'; did you mean digits?"),
        (["digits:best", "--task", "nowhere:Task"], 2, "no module 'nowhere' here"),
        (["digits:best", "--task", "diabetes"], 2, "columns"),
        (["digits:best", "--device", "abacus"], 2, "no device 'abacus'"),
        (["digits:best", "--device", "cuda:99"], 2, "no device 'cuda:99'"),
        (["digits:best", "--batch-size", "0"], 2, "'--batch-size'"),
    ],
)
def test_what_cannot_be_asked_is_one_clear_line(
    here: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, said: str
) -> None:
    exit_code = 15 if said == "columns" else code

    assert predict(*words) == exit_code
    assert said in error_of(capsys)


def test_another_task_than_that_of_the_checkpoint_is_told_by_its_configuration(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict("digits:best", "--task", "diabetes", data="patients.csv") == 2
    assert "was trained with what task diabetes does not know: unknown configuration key" in error_of(capsys)


def change_manifest(here: Path, **changes: Any) -> str:
    """Change the manifest of the newest training checkpoint of `digits`, sealed anew; returns its selector."""
    latest = Store.open(here / "runs").run("digits").latest
    assert latest is not None
    assert latest.manifest is not None
    new: Manifest = msgspec.structs.replace(latest.manifest, **changes)
    manifest_path(latest.path).write_bytes(seal(msgspec.json.encode(new)))
    return "digits:latest"


def test_a_checkpoint_of_another_shape_says_where_they_differ(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    latest = change_manifest(here, config={"task": "digits", "model": {**MODEL, "hidden": 32}})

    assert predict(latest) == 2

    error = error_of(capsys)
    assert "is of another model: 13.weight is (64, 128) in the checkpoint, (32, 128) in the model" in error
    assert "its code changed, or --task means another" in error


@pytest.mark.parametrize("place", [0.1, 0.5, 0.9])
def test_a_flipped_byte_is_never_asked(here: Path, capsys: pytest.CaptureFixture[str], place: float) -> None:
    latest = Store.open(here / "runs").run("digits").latest
    assert latest is not None
    data = bytearray(latest.path.read_bytes())
    data[int(len(data) * place)] ^= 1
    latest.path.write_bytes(data)

    assert predict("digits:latest") == 12
    assert "bytes differ from its manifest; it was not loaded" in error_of(capsys)
    assert not (here / "out.csv").exists()


def test_a_damaged_release_is_never_asked_even_without_what_stands_beside_it(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["promote", "digits:best", "--to", "production", "--store", "runs"])
    file = here / "runs" / "production" / "digits_v1.0.0.pt"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)

    assert predict("digits@1.0.0") == 12
    assert "is not what was released" in error_of(capsys)
    file.with_suffix("").with_name("digits_v1.0.0.config.json").unlink()
    assert predict("digits@1.0.0") == 12


def test_a_damaged_manifest_and_a_strange_file_are_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    latest = Store.open(here / "runs").run("digits").latest
    assert latest is not None
    manifest_path(latest.path).write_bytes(b"{")
    torch.save({"weights": torch.zeros(3)}, here / "strange.pt")
    (here / "text.pt").write_text("hello")

    codes = [predict(name) for name in (f"digits:{latest.key}", "strange.pt", "text.pt")]

    assert codes == [12, 12, 12]
    errors = capsys.readouterr().err
    assert errors.count("\n") == 3
    assert "truncated" in errors
    assert "does not say what it was trained with" in errors


def test_answers_that_are_no_numbers_are_written_and_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    best = Store.open(here / "runs").run("diabetes").best
    assert best is not None
    state = torch.load(best.path, weights_only=True)
    state["model_state_dict"]["target_mean"] += torch.nan
    torch.save(state, here / "broken.pt")

    assert predict("broken.pt", data="patients.csv", out="out.jsonl") == 0

    assert error_of(capsys) == "442 of 442 answers are no finite numbers"
    assert (here / "out.jsonl").read_text().splitlines()[0] == '{"value":"NaN"}'


def test_a_task_that_reads_no_files_says_what_it_lacks(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "own_mute.py").write_text(
        "from ckptop.trainer.task import Task\nfrom ckptop.trainer.tasks.digits import Digits\n"
        "class Mute(Digits):\n    name = 'mute'\n    read_inputs = Task.read_inputs\n"
    )
    monkeypatch.syspath_prepend(str(here))

    assert predict("digits:best", "--task", "own_mute:Mute") == 2
    assert "mute cannot predict from photos.csv: it has no method read_inputs" in error_of(capsys)


def test_a_task_of_one_s_own_is_found_again(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "own_numerals.py").write_text(
        "from ckptop.trainer.tasks.digits import Digits\nclass Numerals(Digits):\n    name = 'numerals'\n"
    )
    small = ["--epochs", "1", "--set", "model.channels=2", "--set", "model.hidden=4", "--set", "tensorboard=false"]
    command = [sys.executable, "-m", "ckptop.cli", "train", "own_numerals:Numerals", "--store", "runs", *small]
    subprocess.run(command, check=True, capture_output=True, cwd=here)
    monkeypatch.syspath_prepend(str(here))

    assert predict("numerals:best") == 0

    assert f"{ROWS} predictions of numerals:" in capsys.readouterr().out
    (here / "elsewhere").mkdir()
    done = subprocess.run(
        [sys.executable, "-P", "-m", "ckptop.cli", "predict", "numerals:best", "--store", "../runs",
         "--data", "../photos.csv", "--out", "out.csv"],
        capture_output=True, text=True, cwd=here / "elsewhere", check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "was trained by own_numerals:Numerals, not found here" in done.stderr
    assert done.stderr.rstrip().endswith("name it with --task")


def test_help_loads_no_torch_and_without_torch_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = (
        "import sys\nfrom ckptop.cli.main import run\nassert run(['predict', '--help']) == 0\n"
        "assert run(['eval', '--help']) == 0\nassert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    assert predict("digits:best") == 17
    assert "pip install 'ckptop[train]'" in error_of(capsys)
    assert run(["eval", "digits"]) == 17
