"""The cache of a long log: it says what the log says, or nothing; and whatever becomes of it, the log is read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ckptop.store import metric_cache
from ckptop.store.metric_cache import MetricCache
from ckptop.store.metric_log import MetricLog

STEPS = 2000
SPIKE = 1234


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log of two kinds of lines, a damaged one, a spike, a NaN, and an attempt that went back."""
    found = tmp_path / "run" / "metrics.jsonl"
    found.parent.mkdir()
    write(found, range(1, STEPS))
    return found


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MetricCache:
    monkeypatch.setattr(metric_cache, "LEAST_BYTES", 1000)
    return MetricCache(tmp_path / "cache" / "metrics")


def lines_of(steps: range) -> list[str]:
    lines = []
    for step in steps:
        loss: float | str = 99.0 if step == SPIKE else "NaN" if step == 77 else 1 / step
        lines.append(json.dumps({"step": step, "epoch": step // 100, "time": step / 8, "train/loss": loss, "lr": 0.1}))
        if step % 100 == 0:
            lines.append(json.dumps({"step": step, "val/loss": 2 / step}))
        if step == 500:
            lines += ["{torn", json.dumps({"attempt": 2, "from_step": 450, "time": 60.0})]
    return lines


def write(path: Path, steps: range) -> None:
    with path.open("a") as file:
        file.writelines(line + "\n" for line in lines_of(steps))


def files(cache: MetricCache) -> list[Path]:
    directory = cache._directory
    assert directory is not None
    return sorted(directory.iterdir()) if directory.is_dir() else []


def kept(cache: MetricCache, path: Path) -> Path:
    """The cache of the log at `path`, written now."""
    log = cache.open(path)
    log.poll()
    assert cache.keep(log)
    (place,) = files(cache)
    return place


def is_known(cache: MetricCache, path: Path) -> bool:
    """Whether the cache knows the log at `path`; either way it then says what the log says."""
    log, plain = cache.open(path), MetricLog(path)
    known = bool(log.names)
    log.poll()
    plain.poll()
    assert log.names == plain.names
    for name in plain.names:
        ours, theirs = log.series(name), plain.series(name)
        for field in ("step", "value", "time", "epoch", "abandoned"):
            ours_bits, theirs_bits = (getattr(one, field).tobytes() for one in (ours, theirs))
            assert ours_bits == theirs_bits, (name, field)
        assert log.last(name) == plain.last(name)
    told = [(one.attempts, one.bad_lines, one.first_bad, one.last_step, one.read_bytes) for one in (log, plain)]
    assert told[0] == told[1]
    return known


def test_a_kept_log_is_known_to_the_last_bit(cache: MetricCache, path: Path) -> None:
    kept(cache, path)

    assert is_known(cache, path)
    assert np.max(cache.open(path).series("train/loss").value[1000:]) == 99.0


def test_what_was_appended_is_read_behind_what_was_kept(cache: MetricCache, path: Path) -> None:
    place = kept(cache, path)
    before = place.read_bytes()
    write(path, range(STEPS, STEPS + 2))
    with path.open("a") as file:
        file.write('{"step": 9000, "train/l')  # still being written
    assert is_known(cache, path)
    with path.open("a") as file:
        file.write('oss": 0.5, "new": 1}\n')
    write(path, range(9001, 9000 + STEPS))  # more than there is room for behind the mapped rows

    assert is_known(cache, path)
    assert place.read_bytes() == before, "a reader wrote into the file it had mapped"


def replaced(path: Path) -> None:
    path.rename(path.with_name("old"))
    write(path, range(1, STEPS))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def cut_and_grown(path: Path) -> None:
    cut(path)
    write(path, range(1, 2 * STEPS))


def begun_otherwise(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b'{"step": 5,')


def changed_in_the_middle(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"7")
    os.utime(path, ns=(1, 1))


def changed_and_appended(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size - 5)
        file.write(b"9")
    write(path, range(STEPS, STEPS + 5))


@pytest.mark.parametrize(
    "change", [replaced, cut, cut_and_grown, begun_otherwise, changed_in_the_middle, changed_and_appended, Path.unlink]
)
def test_of_another_log_nothing_is_known(cache: MetricCache, path: Path, change: Callable[[Path], None]) -> None:
    kept(cache, path)

    change(path)

    assert not is_known(cache, path)


def test_a_log_on_another_device_is_another_log(
    cache: MetricCache, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(cache, path)
    of_file = os.fstat

    def elsewhere(descriptor: int) -> os.stat_result:
        found = of_file(descriptor)
        is_log = found.st_ino == path.stat().st_ino
        return os.stat_result((*found[:2], found.st_dev + is_log, *found[3:10]), {"st_mtime_ns": found.st_mtime_ns})

    monkeypatch.setattr(os, "fstat", elsewhere)

    assert not cache.open(path).names


def test_a_cache_with_any_byte_changed_or_cut_anywhere_is_read_past(cache: MetricCache, path: Path) -> None:
    place = kept(cache, path)
    whole = place.read_bytes()
    used = [0, 20, 33, 4096 + 8, len(whole) - 1, len(whole) - 200, *range(4096 + 800, 4096 + STEPS * 4, 3000)]
    for at in used:
        data = bytearray(whole)
        data[at] ^= 0x10
        place.write_bytes(data)
        assert not cache.open(path).names, at
    for size_bytes in (0, 10, 4096, len(whole) // 2, len(whole) - 1):
        place.write_bytes(whole[:size_bytes])
        assert not is_known(cache, path), size_bytes

    place.write_bytes(whole)
    assert is_known(cache, path)


@pytest.mark.parametrize("mode", [0o622, 0o000])
def test_what_others_may_write_or_we_cannot_read_is_not_believed(cache: MetricCache, path: Path, mode: int) -> None:
    place = kept(cache, path)
    place.chmod(mode)

    assert is_known(cache, path) == (mode == 0 and os.getuid() == 0)  # root reads everything


def test_a_cache_is_for_its_user_alone(cache: MetricCache, path: Path) -> None:
    place = kept(cache, path)

    assert place.stat().st_mode & 0o777 == 0o600
    assert place.parent.stat().st_mode & 0o777 == 0o700


def test_a_directory_that_others_may_write_is_left_alone(cache: MetricCache, path: Path) -> None:
    place = kept(cache, path)
    place.unlink()
    place.parent.chmod(0o777)
    log = cache.open(path)
    log.poll()

    assert not cache.keep(log)
    assert files(cache) == []


def test_a_cache_is_written_again_when_enough_came(cache: MetricCache, path: Path) -> None:
    kept(cache, path)
    log = cache.open(path)
    log.poll()
    unchanged = cache.keep(log)
    write(path, range(STEPS, STEPS + 50))
    log.poll()
    little = cache.keep(log)
    write(path, range(STEPS + 50, STEPS + 500))
    log.poll()
    enough = cache.keep(log)
    replaced(path)
    log.poll()
    another = cache.keep(log)

    assert (unchanged, little, enough, another) == (False, False, True, True)


def test_a_short_log_is_not_kept(tmp_path: Path, path: Path) -> None:
    cache = MetricCache(tmp_path / "cache" / "metrics")
    log = cache.open(path)
    log.poll()

    assert not cache.keep(log)
    assert files(cache) == []


def test_all_caches_together_stay_within_bounds(
    cache: MetricCache, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size_bytes = kept(cache, path).stat().st_blocks * 512
    monkeypatch.setattr(metric_cache, "MOST_BYTES", 5 * size_bytes // 2)
    paths = [path, *(path.with_name(f"{number}.jsonl") for number in range(3))]
    for age, one in enumerate(paths):
        if one != path:
            write(one, range(1, STEPS))
        log = cache.open(one)
        log.poll()
        cache.keep(log)
        for place in files(cache):
            os.utime(place, (place.stat().st_mtime - 60,) * 2)
        if age == 1:
            assert is_known(cache, path)  # used again: not the oldest any more

    assert [is_known(cache, one) for one in paths] == [False, False, True, True]


def test_two_readers_at_once_each_have_the_whole_log(cache: MetricCache, path: Path) -> None:
    kept(cache, path)
    first, second = cache.open(path), MetricCache(cache._directory).open(path)
    write(path, range(STEPS, 2 * STEPS))
    second.poll()
    other = MetricCache(cache._directory)
    assert other.keep(second), "it replaces the file that the first has mapped"
    first.poll()

    values = [log.series("train/loss").value.tobytes() for log in (first, second, cache.open(path))]

    assert values[0] == values[1] == values[2]


def test_a_disk_without_room_costs_nothing_but_the_cache(
    cache: MetricCache, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metric_cache, "ROOM_BYTES", 2**62)
    log = cache.open(path)
    log.poll()

    assert not cache.keep(log)
    assert files(cache) == []


@pytest.mark.parametrize("home", ["/proc/nothing", "/dev/null", "relative"])
def test_without_a_place_for_it_there_is_no_cache(path: Path, home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", home)
    monkeypatch.setenv("HOME", "/dev/null")
    monkeypatch.setattr(metric_cache, "LEAST_BYTES", 1000)
    cache = MetricCache()
    log = cache.open(path)
    log.poll()

    assert not cache.keep(log)
    assert not is_known(cache, path)
