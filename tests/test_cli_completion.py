"""What a shell is offered, asked as the scripts ask it, and in a real bash."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from store_fixture import RunPlan, build_store
from terminal import TerminalProgram

from ckptop.cli.main import COMMANDS, run

BREAKS = " \t\n\"'@><=;|&(:"
"""bash's own COMP_WORDBREAKS."""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = build_store(
        tmp_path / "runs",
        [RunPlan(name="cnn", phase="stopped", epochs=12), RunPlan(name="cat", epochs=3, checkpoints=0)],
    )
    monkeypatch.setenv("CKPTOP_STORE", str(root))
    return root


def offered(line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What bash is told when TAB is pressed at the end of `line`."""
    monkeypatch.setenv("_CKPTOP_COMPLETE", "bash_complete")
    for name, value in (("COMP_LINE", line), ("COMP_POINT", str(len(line))), ("COMP_WORDBREAKS", BREAKS)):
        monkeypatch.setenv(name, value)
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        run([])
    assert ended.value.code == 0
    return capsys.readouterr().out.split()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ckptop ver", ["plain,verify"]),
        ("ckptop logs c", ["plain,cat", "plain,cnn"]),
        ("ckptop logs cn", ["plain,cnn"]),
        ("ckptop show cnn:", ["plain,latest", "plain,best", "plain,epoch=12", "plain,epoch=11", "plain,epoch=10",
                              "plain,step=288", "plain,step=264", "plain,step=240"]),
        ("ckptop show cnn:epoch=1", ["plain,12", "plain,11", "plain,10"]),
        ("ckptop delete cnn:latest cnn:b", ["plain,best"]),
        ("ckptop resume cnn --from epoch=12", ["plain,12"]),
        ("ckptop resume cnn --from l", ["plain,latest"]),
        ("ckptop train digits --name cnn --resume ", ["plain,latest", "plain,best", "plain,epoch=12", "plain,epoch=11",
                                                      "plain,epoch=10", "plain,step=288", "plain,step=264",
                                                      "plain,step=240", "plain,auto"]),
        ("ckptop train d", ["plain,diabetes", "plain,digits"]),
        ("ckptop ctl cnn p", ["plain,pause"]),
        ("ckptop watch --onc", ["plain,--once"]),
        ("ckptop completion ", ["plain,bash", "plain,zsh", "plain,fish"]),
        ("ckptop delete ./x", ["file,./x"]),
        ("ckptop xyz", ["dir,xyz"]),
        ("ckptop releases ", ["dir,"]),
        ("ckptop logs --store ", ["dir,"]),
        ("ckptop show cat:epoch", []),
        ("ckptop show nope:epoch", []),
        ("ckptop show ../../etc:epoch", []),
        ("ckptop nonsense ", []),
        ("ckptop logs --store /nowhere ", []),
        ("ckptop logs 'c", ["plain,cat", "plain,cnn"]),
    ],
)  # fmt: skip
def test_a_line_goes_on_as_its_metavars_say(
    line: str, words: list[str], store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert offered(line, monkeypatch, capsys) == words


def test_every_command_is_offered(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = offered("ckptop ", monkeypatch, capsys)

    assert {word.removeprefix("plain,") for word in found} == set(COMMANDS) - {"dashboard"}


def test_only_what_is_before_the_cursor_counts(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "ckptop logs cn --follow"
    monkeypatch.setenv("_CKPTOP_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_POINT", str(line.index("n -") + 1))

    with pytest.raises(SystemExit):
        run([])

    assert capsys.readouterr().out.split() == ["plain,cnn"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_are_told_whole_words(
    shell: str, store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_CKPTOP_COMPLETE", f"{shell}_complete")
    monkeypatch.setenv("COMP_WORDS", "ckptop show cnn:la")
    monkeypatch.setenv("COMP_CWORD", "2" if shell == "zsh" else "cnn:la")

    with pytest.raises(SystemExit):
        run([])

    assert "cnn:latest" in capsys.readouterr().out.replace("\\", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell_is_one_that_it_reads(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", shell]) == 0

    script = capsys.readouterr().out
    assert f"_CKPTOP_COMPLETE={shell}_complete" in script
    if shutil.which(shell) is not None:
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


def test_nothing_heavy_is_loaded_for_a_tab(store: Path) -> None:
    code = (
        "import sys\nfrom ckptop.cli.main import run\n"
        "try:\n    run([])\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('textual', 'torch', 'numpy', 'psutil') if name in sys.modules])"
    )
    env = {**os.environ, "_CKPTOP_COMPLETE": "bash_complete", "COMP_LINE": "ckptop show cnn:", "COMP_POINT": "16"}

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)

    assert done.stdout.endswith("[]\n")


def test_a_real_bash_completes_across_its_word_breaks(store: Path, tmp_path: Path) -> None:
    """bash cuts words at colons and equals signs, and puts what it is told in place of the last piece."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    env = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PS1": "$ ", "HOME": str(tmp_path)}

    with TerminalProgram([bash, "--norc", "--noprofile", "-i"], cwd=tmp_path, env=env) as program:
        program.press("source <(ckptop completion bash); echo rea''dy\n")
        program.wait_for("\nready")
        program.press("ckptop delete cnn:la\t")
        program.wait_for("$ ckptop delete cnn:latest")
        program.press("cnn:step=28\t")
        program.wait_for("$ ckptop delete cnn:latest cnn:step=288")
