"""Tasks by name, found without importing torch: ours, and those other packages register.

A package adds tasks by the entry-point group `ckptop.tasks`; a single file in the working directory is
named as MODULE:CLASS.
"""

from __future__ import annotations

import difflib
import importlib
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ckptop.store.errors import UsageError

if TYPE_CHECKING:
    from ckptop.trainer.task import Task

ENTRY_POINT_GROUP = "ckptop.tasks"

_BUILT_IN = {
    "diabetes": "ckptop.trainer.tasks.diabetes:Diabetes",
    "digits": "ckptop.trainer.tasks.digits:Digits",
    "price": "ckptop.trainer.tasks.price:Price",
    "sentiment": "ckptop.trainer.tasks.sentiment:Sentiment",
}


def task_names() -> list[str]:
    """Every registered task, sorted."""
    return sorted({*_BUILT_IN, *(point.name for point in entry_points(group=ENTRY_POINT_GROUP))})


def load_task(name: str) -> Task[Any]:
    """The task of that name.

    Args:
        name: A registered name, or MODULE:CLASS with the module importable from the working directory.

    Raises:
        UsageError: There is no such task; the message lists them and names the nearest.
    """
    if name in _BUILT_IN:
        return _import(_BUILT_IN[name])
    if ":" in name:
        return _import_local(name)
    for point in entry_points(group=ENTRY_POINT_GROUP, name=name):
        return _checked(point.load(), name)
    known = task_names()
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UsageError(f"no task {name!r}; {hint}There are: {', '.join(known)}; your own is MODULE:CLASS")


def run_name(name: str) -> str:
    """What the task of that name calls its runs; known without torch where the task is one of ours.

    Raises:
        UsageError: There is no such task.
    """
    return name if name in _BUILT_IN else load_task(name).name


def _import(target: str) -> Task[Any]:
    module, _, attribute = target.partition(":")
    return _checked(getattr(importlib.import_module(module), attribute, None), target)


def _import_local(target: str) -> Task[Any]:
    here = str(Path.cwd())
    if here not in sys.path:  # a console script starts without it, `python -m` with it
        sys.path.insert(0, here)
    module = target.partition(":")[0]
    try:
        return _import(target)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0] and error.name != module:
            raise UsageError(f"{module} imports {error.name}, which is not installed here") from error
        raise UsageError(f"no module {module!r} here; {target} is MODULE:CLASS, looked for in {here}") from None
    except SyntaxError as error:
        where = f"{error.filename}, line {error.lineno}"
        raise UsageError(f"{target} cannot be read: {error.msg} ({where}); correct it there") from None


def _checked(kind: Any, name: str) -> Task[Any]:
    from ckptop.trainer.task import Task

    if not (isinstance(kind, type) and issubclass(kind, Task)):
        raise UsageError(f"{name} is not a subclass of ckptop.trainer.task.Task")
    return kind()
