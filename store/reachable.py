"""Whether there may be a trainer to ask for something: what its status says, and where there is none, its lease."""

from __future__ import annotations

from ckptop.host.mounts import mount_of
from ckptop.store.lease import is_held
from ckptop.store.records import LIVE_PHASES
from ckptop.store.views import RunHead


def may_answer(head: RunHead) -> bool:
    """Whether a trainer may be there to answer; one of another host that fell silent may.

    Where status.json is gone or damaged, the kernel tells of this host whether somebody holds the run; on a shared
    folder it may be somebody elsewhere.
    """
    if head.status is not None:
        return head.status.phase in LIVE_PHASES and head.state != "crashed"
    return is_held(head.paths) or (head.paths.lease.exists() and mount_of(head.root).is_network)
