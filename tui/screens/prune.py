"""Delete old checkpoints: rules on top, and below what they mean, with reasons and bytes, while they are typed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from textual.events import Resize
from textual.widget import Widget

from ckptop.host.terminal import clean
from ckptop.host.units import format_bytes, format_count, shorten_right
from ckptop.store.actions import plan_prune
from ckptop.store.checkpoint_info import CheckpointInfo
from ckptop.store.errors import StoreError, UsageError
from ckptop.store.retention import Plan, Policy
from ckptop.store.views import RunView
from ckptop.tui import text
from ckptop.tui.model import RunDetail
from ckptop.tui.screens.dialog import Dialog, shown_command
from ckptop.tui.text import Line, Span, pad_left
from ckptop.tui.widgets.cursor_list import CursorList
from ckptop.tui.widgets.form import Buttons, Field, Row, Text

if TYPE_CHECKING:
    from ckptop.tui.widgets.chart import Chart

DEFAULT_KEEP_LAST = 3

OTHER_ROWS = 12
"""Of the sheet, beside the curve and the list."""
LEAST_CHART_ROWS, MOST_CHART_ROWS, MOST_PLAN_ROWS = 5, 11, 12
NUMBER_WIDTH, METRIC_WIDTH = 4, 16
LEAST_ROOM = 9
"""Rows for curve and list together below which the list stands alone."""


class PlanItem(NamedTuple):
    """One line of the plan."""

    info: CheckpointInfo
    goes: bool
    why: str


class PlanList(CursorList[PlanItem]):
    """What goes and what stays, under the sums."""

    GROUND = "panel"

    def __init__(self) -> None:
        super().__init__(id="plan")
        self._plan = Plan()
        self._problem = ""

    def show(self, plan: Plan, problem: str = "") -> None:
        """Show a plan, or why there is none."""
        self._plan, self._problem = plan, problem
        goes = [PlanItem(item.info, True, item.reason) for item in plan.deleted]
        stays = [PlanItem(item.info, False, ", ".join(item.reasons)) for item in plan.kept]
        self.set_items(goes + stays)

    def key_of(self, item: PlanItem) -> str:
        """The checkpoint."""
        return item.info.key

    def rule(self, width: int) -> Line:
        """The sums."""
        if self._problem:
            return Line((Span(" " + shorten_right(self._problem, width - 2), "error"),))
        plan = self._plan
        spans = [
            Span(" delete "),
            Span(f"{len(plan.deleted):,} · {format_bytes(plan.deleted_bytes)}", bold=True),
            Span(f"   keep {len(plan.kept):,} · {format_bytes(plan.kept_bytes)}", "muted"),
        ]
        if plan.pinned:
            spans.append(Span(f"   pinned {plan.pinned:,}", "muted"))
        return Line(tuple(spans))

    def heading(self, width: int) -> Line | None:  # noqa: ARG002  the sums are enough
        """None."""
        return None

    def empty_text(self) -> str:
        """Nothing, for the sums say it."""
        return ""

    def row(self, item: PlanItem, width: int, *, at_cursor: bool) -> Line:  # noqa: ARG002  the ground tells
        """One checkpoint, and why."""
        glyph, tone = ("✗", "error") if item.goes else ("✓", "success")
        said = f"{item.info.tier:<10} {format_count(item.info.epoch):>5} {format_count(item.info.step):>9}"
        size = pad_left(format_bytes(item.info.size_bytes), 9)
        why = shorten_right(clean(item.why), width - 42)
        tone_text = "foreground" if item.goes else "muted"
        return Line((Span(glyph + " ", tone, True), Span(said, tone_text), Span(f" {size}  {why}", "muted")))


class PruneScreen(Dialog[Policy]):
    """Answers with the policy to carry out."""

    def __init__(self, view: RunView, detail: RunDetail | None = None) -> None:
        """Show the form.

        Args:
            view: The run.
            detail: The same as it is shown: with its curves the plan is marked on one of them.
        """
        super().__init__(f"Delete old checkpoints of {view.name}", no="No, keep all", yes="Move to trash")
        self._view, self._detail = view, detail
        self._policy: Policy | None = None
        self._goes = 0

    def fields(self) -> Sequence[Widget]:
        """The rules, the plan and the command."""
        metric = clean(self._view.metric.name, 60) if self._view.metric is not None else ""
        row = Row(
            " keep last ",
            Field(str(DEFAULT_KEEP_LAST), width=NUMBER_WIDTH, id="last", type="integer"),
            "  every ",
            Field("", width=NUMBER_WIDTH, id="every", type="integer"),
            " epochs  best ",
            Field("", width=NUMBER_WIDTH, id="best", type="integer"),
            " by ",
            Field(metric, width=METRIC_WIDTH, id="metric", placeholder="a metric"),
        )
        drawn = [self._chart()] if self._has_curves else []
        return [row, Text([Line()]), *drawn, PlanList(), Text([Line()]), Text([Line(), Line()], id="command")]

    @property
    def _has_curves(self) -> bool:
        return self._detail is not None and self._detail.curves is not None and bool(self._detail.curves.groups)

    def _chart(self) -> Chart:
        from ckptop.tui.widgets.chart import Chart

        return Chart(id="plan-chart", marker=text.chart_marker())

    def on_resize(self, event: Resize) -> None:
        """Curve and list share what the rest leaves of the height."""
        room = event.size.height - OTHER_ROWS
        charts = self.query("#plan-chart")
        rows = max(LEAST_CHART_ROWS, min(MOST_CHART_ROWS, room // 2)) if charts and room >= LEAST_ROOM else 0
        for chart in charts:
            chart.display = rows > 0
            chart.styles.height = rows
        self.query_one(PlanList).styles.height = max(2, min(MOST_PLAN_ROWS, room - rows))

    def refresh_form(self) -> None:
        """Make the plan anew."""
        plans, buttons = self.query_one(PlanList), self.query_one(Buttons)
        self._policy, plan = None, Plan()
        try:
            policy = self._read_policy()
            plan = plan_prune(self._view, [policy])
        except (UsageError, StoreError) as error:
            plans.show(plan, str(error))
        else:
            plans.show(plan)
            self._policy = policy if plan.deleted else None
        self._goes = len(plan.deleted)
        self._mark(plan)
        buttons.show(["No, keep all", f"Move {self._goes:,} to trash" if self._goes else "Nothing to move"])
        self.query_one("#command", Text).show(shown_command(self._arguments(), self._view.root.parent))

    def _mark(self, plan: Plan) -> None:
        """Mark what goes on the curve."""
        from ckptop.tui.plot_settings import plan_model
        from ckptop.tui.widgets.chart import Chart

        detail, doomed = self._detail, plan.deleted_keys
        if detail is not None and detail.curves is not None and detail.curves.groups:
            points = sum(group.points for group in detail.curves.groups)
            self.query_one("#plan-chart", Chart).show(lambda: plan_model(detail, doomed), points)

    def _read_policy(self) -> Policy:
        """The policy of the fields; UsageError where they make none."""
        own, metric = self._view.metric, self.field("metric")
        best = _number(self.field("best"))
        if best is not None and not metric:
            raise UsageError("name the metric to rank by, or leave best empty")
        return Policy(
            keep_last=_number(self.field("last")),
            keep_every_epochs=_number(self.field("every")),
            keep_best=best,
            metric=metric if best is not None else None,
            mode=own.mode if best is not None and own is not None and own.name == metric else None,
        )

    def _arguments(self) -> list[str]:
        options = (("--keep-last", "last"), ("--keep-every", "every"), ("--keep-best", "best"))
        given = [(option, self.field(name)) for option, name in options if self.field(name)]
        own, metric = self._view.metric, self.field("metric")
        if self.field("best") and (own is None or own.name != metric):
            given.append(("--metric", metric))
        return ["prune", self._view.name, *(word for pair in given for word in pair)]

    def answer(self) -> Policy | None:
        """The policy, where it deletes anything."""
        return self._policy


def _number(typed: str) -> int | None:
    """The number in a field; None where it is empty."""
    if not typed:
        return None
    try:
        return int(typed)
    except ValueError:
        raise UsageError(f"{clean(typed, 20)!r} is not a whole number") from None
