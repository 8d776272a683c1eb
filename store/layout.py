"""Where everything stands in a store; the only module that spells these names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

STAGING = ".staging"
"""Torn checkpoints live here and nowhere else, so listing never has to filter."""
DISCARDED = ".discarded"
"""Checkpoints of abandoned attempts."""
TRASH = ".trash"
"""What a person deleted, until purged."""
QUARANTINE = ".quarantine"
"""Checkpoints whose bytes are not what was written."""
UNREGISTERED = ".unregistered"
"""Files of releases that no line of the registry knows: one was cut off, or the registry lost it."""
LOCK = ".lock"


@dataclass(frozen=True, slots=True)
class CheckpointPaths:
    """A set of checkpoints: a run's, or a stand-alone manager's directory."""

    root: Path

    @property
    def training(self) -> Path:
        """Directory of training checkpoints."""
        return self.root / "training"

    @property
    def milestone(self) -> Path:
        """Directory of milestones."""
        return self.root / "milestone"

    @property
    def staging(self) -> Path:
        """Directory of torn writes."""
        return self.root / STAGING

    @property
    def discarded(self) -> Path:
        """Directory of abandoned attempts' checkpoints."""
        return self.root / DISCARDED

    @property
    def trash(self) -> Path:
        """Directory of deleted checkpoints."""
        return self.root / TRASH

    @property
    def quarantine(self) -> Path:
        """Directory of checkpoints whose bytes were found to differ."""
        return self.root / QUARANTINE

    @property
    def lock(self) -> Path:
        """Held by whoever changes the set."""
        return self.root / LOCK

    @property
    def directories(self) -> tuple[Path, ...]:
        """All of them but the root, which a person may have put elsewhere for a stand-alone set."""
        return (self.training, self.milestone, self.staging, self.discarded, self.trash, self.quarantine)

    def tier(self, name: str) -> Path:
        """Directory of a run's tier, training or milestone."""
        return self.root / name


@dataclass(frozen=True, slots=True)
class RunPaths:
    """The files of one run."""

    root: Path

    @property
    def record(self) -> Path:
        """run.json."""
        return self.root / "run.json"

    @property
    def status(self) -> Path:
        """status.json."""
        return self.root / "status.json"

    @property
    def metrics(self) -> Path:
        """metrics.jsonl."""
        return self.root / "metrics.jsonl"

    @property
    def system(self) -> Path:
        """system.jsonl."""
        return self.root / "system.jsonl"

    @property
    def events(self) -> Path:
        """events.jsonl."""
        return self.root / "events.jsonl"

    @property
    def log(self) -> Path:
        """train.log."""
        return self.root / "train.log"

    @property
    def lease(self) -> Path:
        """lease.lock: opened by the trainer only, since closing any descriptor of it drops the lock."""
        return self.root / "lease.lock"

    @property
    def control(self) -> Path:
        """Directory of requests to the trainer."""
        return self.root / "control"

    @property
    def tensorboard(self) -> Path:
        """Directory of event files."""
        return self.root / "tensorboard"

    @property
    def checkpoints(self) -> CheckpointPaths:
        """The run's set of checkpoints."""
        return CheckpointPaths(self.root / "checkpoints")


@dataclass(frozen=True, slots=True)
class StorePaths:
    """The files of a store that belong to no single run."""

    root: Path

    @property
    def production(self) -> Path:
        """Directory of releases."""
        return self.root / "production"

    @property
    def registry(self) -> Path:
        """registry.jsonl: the truth about releases."""
        return self.production / "registry.jsonl"

    @property
    def trash(self) -> Path:
        """Directory of deleted runs."""
        return self.root / TRASH

    @property
    def metadata(self) -> Path:
        """Directory of metadata."""
        return self.root / "metadata"

    @property
    def model_cards(self) -> Path:
        """Directory of model cards."""
        return self.metadata / "model_cards"

    def run(self, name: str) -> RunPaths:
        """The files of the run `name`."""
        return RunPaths(self.root / name)


def manifest_path(checkpoint: Path) -> Path:
    """The manifest of a `.pt`; not `with_suffix`, since names hold dots."""
    return checkpoint.with_name(checkpoint.name.removesuffix(".pt") + ".json")


def release_config_path(release: Path) -> Path:
    """What a release is, beside its `.pt`."""
    return release.with_name(release.name.removesuffix(".pt") + ".config.json")


def tensors_path(checkpoint: Path) -> Path:
    """The tensor index of a `.pt`."""
    return checkpoint.with_name(checkpoint.name.removesuffix(".pt") + ".tensors.json")
