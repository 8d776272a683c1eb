"""The style sheet: sizes and grounds only, since what stands on a line is drawn by the widgets themselves."""

from __future__ import annotations

CSS = """
Screen { background: $background; }

MainScreen { layout: vertical; overflow: hidden; }
#header, #footer { height: 1; background: $panel; }
#body { height: 1fr; overflow: hidden; }
#body > * { background: $background; }
#enlarged-rule { height: 1; }

FilterPrompt { height: 1; background: $panel; }
#filter-slash { width: 3; background: $panel; }
#filter-text { width: 1fr; background: $panel; }
#filter-text:focus { background: $panel; background-tint: $panel; }

ModalScreen { align: center middle; background: $background 70%; }
#sheet { width: 76; max-width: 100%; height: auto; max-height: 100%; background: $panel; padding: 0; }
#sheet Row { height: 1; background: $panel; }
#sheet Field { background: $background; color: $foreground; padding: 0; }
#sheet Field:focus { background: $primary-muted; background-tint: $primary-muted; }
#plan { height: 9; }
#plan-chart { height: 6; background: $panel; margin: 0 1 0 0; }
#menu { height: 8; }
#commands { height: 14; }
HelpScreen, WhyScreen, PageScreen, TrashScreen { background: $background; }
#keys { width: 100%; height: 100%; }
WhyScreen, PageScreen, TrashScreen { layout: vertical; align: left top; }
#page, #trash { width: 100%; height: 1fr; }

ToastRack { overflow-y: hidden; }
Toast {
    width: auto; max-width: 90%; padding: 0 2; margin: 0 0 1 0;
    background: $panel; color: $foreground; border: none;
}
Toast.-warning { color: $warning; border: none; }
Toast.-error { color: $error; border: none; }
Toast .toast--title { display: none; }
"""
