"""Seals: any changed byte of a sealed record is noticed, and what is sealed stays JSON for everybody."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ckptop.store.errors import Damaged
from ckptop.store.events import parse_event
from ckptop.store.files import read_json
from ckptop.store.layout import StorePaths
from ckptop.store.manifest import Manifest, TensorIndex
from ckptop.store.records import Sealed
from ckptop.store.registry import read_registry
from ckptop.store.releasing import ReleaseConfig
from ckptop.store.seal import check_seal, seal

GOLDEN = Path(__file__).parent / "golden"
SEALED: dict[str, type[Sealed]] = {
    "manifest.json": Manifest,
    "checkpoint.tensors.json": TensorIndex,
    "release.config.json": ReleaseConfig,
}


@pytest.mark.parametrize("name", SEALED)
def test_any_flipped_bit_of_a_sealed_record_is_noticed(name: str, tmp_path: Path) -> None:
    """Digits among them, which leave it valid JSON of the right shape."""
    data = (GOLDEN / name).read_bytes()
    path = tmp_path / name

    for place in range(len(data)):
        for bit in (1, 4):
            path.write_bytes(data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :])
            with pytest.raises(Damaged):
                read_json(path, SEALED[name])


def test_any_flipped_bit_of_a_registry_line_releases_nothing(tmp_path: Path) -> None:
    alias, release = (GOLDEN / "registry.jsonl").read_bytes().splitlines(keepends=True)
    paths = StorePaths(tmp_path)
    paths.production.mkdir()

    for place in range(len(release) - 1):
        flipped = release[:place] + bytes([release[place] ^ 1]) + release[place + 1 :]
        paths.registry.write_bytes(alias + flipped)
        read = read_registry(paths)
        assert read.releases == (), place
        assert read.bad_lines >= 1


def test_a_changed_event_is_not_told() -> None:
    line = next(iter((GOLDEN / "event_lines.jsonl").read_bytes().splitlines()))

    assert parse_event(line) is not None
    assert parse_event(line.replace(b'"step":0', b'"step":1')) is None


def test_an_event_of_another_program_needs_no_seal() -> None:
    event = parse_event(b'{"time":1.0,"event":"alert","message":"hot"}')

    assert event is not None
    assert dict(event.details) == {"message": "hot"}


@pytest.mark.parametrize("data", [b'{"a":1}', b'{"a":1}\n', b'{\n  "a": 1\n}\n'])
def test_a_sealed_object_is_the_same_object_with_a_checksum(data: bytes) -> None:
    sealed = seal(data)

    assert check_seal(sealed) == "whole"
    assert check_seal(data) == "missing"
    assert msgspec.json.decode(sealed) == msgspec.json.decode(data) | {
        "checksum": msgspec.json.decode(sealed)["checksum"]
    }
    assert sealed.endswith(b"\n") == data.endswith(b"\n")
    assert sealed.count(b"\n") == data.count(b"\n") + data.startswith(b"{\n")


def test_another_checksum_is_a_broken_seal() -> None:
    sealed = seal(b'{"a":1}')

    assert check_seal(sealed.replace(b'"a":1', b'"a":2')) == "broken"
