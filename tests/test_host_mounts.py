"""Which mount a path lies on, told from made-up mount tables and from this machine's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ckptop.host.mounts import Mount, is_network_type, mount_of

ROOT = "27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "mountinfo"


def test_the_longest_mount_point_above_a_path_is_its_mount(table: Path) -> None:
    table.write_text(
        "22 27 0:21 / /proc rw - proc proc rw\n"
        f"{ROOT}\n"
        "30 27 0:40 / /data rw,noatime shared:2 master:3 - xfs /dev/vdb rw\n"
        "31 30 0:41 /export /data/runs rw - nfs4 server:/export rw,vers=4.2\n"
    )

    assert mount_of("/data/runs/digits/x.pt", table) == Mount(Path("/data/runs"), "nfs4", True, False)
    assert mount_of("/data/runs", table).fs_type == "nfs4"
    assert mount_of("/data/other", table) == Mount(Path("/data"), "xfs", False, False)
    assert mount_of("/database", table).point == Path("/")


def test_escaped_mount_points_are_decoded(table: Path) -> None:
    table.write_bytes(
        ROOT.encode() + b"\n30 27 0:40 / /my\\040runs\\011\\134\\012 rw - fuse.sshfs me@host: rw\n"
        b"31 27 0:41 / /caf\xc3\xa9\\377 rw - cifs //server/x rw\n"
    )

    assert mount_of("/my runs\t\\\n/x", table).fs_type == "fuse.sshfs"
    assert mount_of(os.fsdecode(b"/caf\xc3\xa9\xff/x"), table).fs_type == "cifs"


def test_the_upper_of_two_mounts_on_one_point_wins(table: Path) -> None:
    table.write_text(f"{ROOT}\n30 27 0:40 / /data rw - ext4 /dev/vdb rw\n31 30 0:41 / /data rw - nfs server:/ rw\n")

    assert mount_of("/data/x", table).fs_type == "nfs"


def test_a_mount_over_a_parent_folder_hides_the_mounts_below_it(table: Path) -> None:
    table.write_text(
        f"{ROOT}\n"
        "40 27 0:50 / /data rw - xfs /dev/vdc rw\n"  # mounted last, listed first
        "30 27 0:40 / /data/runs rw - nfs server:/ rw\n"
    )
    assert mount_of("/data/runs/x", table).point == Path("/data")

    table.write_text(
        f"{ROOT}\n"
        "40 27 0:50 / /data rw - xfs /dev/vdc rw\n"
        "30 40 0:40 / /data/runs rw - nfs server:/ rw\n"  # the same, mounted inside of it
    )
    assert mount_of("/data/runs/x", table).point == Path("/data/runs")


@pytest.mark.parametrize(
    ("mount_options", "super_options", "read_only"),
    [
        ("rw", "rw", False),
        ("ro,noatime", "rw", True),
        ("rw", "ro,errors=remount-ro", True),
        ("rw", "rw,rota", False),
    ],
)
def test_read_only_is_told_from_the_mount_and_from_the_file_system(
    table: Path, mount_options: str, super_options: str, read_only: bool
) -> None:
    table.write_text(f"27 1 254:0 / / {mount_options} - ext4 /dev/vda {super_options}\n")

    assert mount_of("/x", table).read_only is read_only


def test_links_are_followed_before_the_mount_is_looked_up(table: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    table.write_text(f"{ROOT}\n30 27 0:40 / {tmp_path}/real rw - lustre mds:/ rw\n")

    assert mount_of(tmp_path / "link" / "not" / "there" / "yet", table).fs_type == "lustre"


def test_a_changed_root_without_a_root_mount_is_unknown_and_polled(table: Path) -> None:
    table.write_text("30 27 0:40 / /proc rw - proc proc rw\n31 27 0:41 / /srv/runs rw - ext4 /dev/vdb rw\n")

    assert mount_of("/srv/runs/x", table).fs_type == "ext4"
    assert mount_of("/home/x", table) == Mount(Path("/"), "unknown", True, False)


def test_damaged_lines_are_skipped_and_circles_end(table: Path) -> None:
    table.write_text(
        f"\nnonsense\n1 2 3\nx y 0:1 / / rw - ext4 /dev/vda rw\n9 9 0:9 / / rw\n{ROOT}\n"
        "30 27 0:40 / /a rw - ext4 /dev/vdb rw\n"
        "31 30 0:41 / /a rw - xfs /dev/vdc rw\n"
        "30 31 0:40 / /a rw - tmpfs t rw\n"
    )

    assert mount_of("/a/x", table).point == Path("/a")


@pytest.mark.parametrize(
    "fs_type",
    [
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "fuse",
        "fuse.sshfs",
        "fuse.s3fs",
        "lustre",
        "gpfs",
        "ceph",
        "9p",
        "virtiofs",
        "beegfs",
        "glusterfs",
        "afs",
        "orangefs",
    ],
)
def test_file_systems_written_from_elsewhere_are_network(fs_type: str) -> None:
    assert is_network_type(fs_type)


@pytest.mark.parametrize("fs_type", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuseblk", "vfat", "apfs"])
def test_disks_of_this_machine_are_local(fs_type: str) -> None:
    assert not is_network_type(fs_type)


def test_this_machine_knows_its_mounts() -> None:
    """On a Linux of any kind the kernel's own folder is a mount of type proc."""
    assert mount_of("/proc/self/mountinfo") == Mount(Path("/proc"), "proc", False, mount_of("/proc").read_only)
    assert mount_of(".").fs_type != "unknown"


def test_without_a_mount_table_the_reason_is_said(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="on Linux only"):
        mount_of("/", tmp_path / "missing")
