"""The overview: NC1 to NC4 and the decomposition of one network on one data set, on one page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from nc_runner.figures.base import RunFigure, View
from nc_runner.figures.grid import Frame, LegendEntry, Panel
from nc_runner.figures.hue import Hue
from nc_runner.figures.style import data_set_name, loss_name, loss_order, network_name
from nc_runner.runs.reader import Run

_COLUMNS = 3


@dataclass(frozen=True, kw_only=True)
class OverviewFigure(RunFigure):
    """The figures ``parts`` of one network and data set, each a panel with its own axis."""

    parts: Sequence[RunFigure]
    cell: tuple[str, str]  # network and data set

    def shows(self, run: Run) -> bool:
        return run.cell[:2] == self.cell

    def separate(self, hue: Hue) -> bool:
        """Line styles are those of the curves: there is none left for losses."""
        return bool(hue.losses)

    def frame(self, title: str, runs: Sequence[Run], view: View) -> Frame | None:
        losses = sorted({run.cell[2] for run in runs}, key=loss_order)
        alone = replace(view, facets=False, hue=view.hue.of_one_loss() if len(losses) == 1 else view.hue)
        panels: list[Panel] = []
        legend: dict[str, LegendEntry] = {}
        captions: dict[str, None] = {}
        frames: list[Frame] = []
        for part in self.parts:
            one_loss = part.per_loss and len(losses) > 1
            mine = [run for run in runs if run.cell[2] == losses[0]] if one_loss else list(runs)
            frame = part.frame(part.title, mine, alone)
            if frame is None:
                continue
            frames.append(frame)
            name = f"{part.title}, {loss_name(losses[0])}" if one_loss else part.title
            panels.append(replace(frame.panels[0][0], title=name, y_label=part.y_label))
            legend |= {entry.label: entry for entry in frame.legend}
            captions |= dict.fromkeys([frame.caption] if part.per_loss and frame.caption else [])
        if not panels:
            return None
        panels += [replace(panels[0], traces=(), title="", y_label="")] * (-len(panels) % _COLUMNS)
        rows = [panels[i : i + _COLUMNS] for i in range(0, len(panels), _COLUMNS)]
        return Frame(
            rows=[""] * len(rows),
            columns=[""] * _COLUMNS,
            panels=rows,
            title=title,
            x_label="epoch",
            y_label="",
            legend=list(legend.values()),
            caption="; ".join(captions),
            bar=next((frame.bar for frame in frames if frame.bar), None),
        )


def overviews(runs: Sequence[Run], parts: Sequence[RunFigure]) -> list[OverviewFigure]:
    """One for each network and data set; named ``overview`` where there is one alone."""
    cells = list(dict.fromkeys(run.cell[:2] for run in runs))
    return [
        OverviewFigure(
            name="overview" if len(cells) == 1 else f"overview_{net}_{data}",
            title=f"{network_name(net)} on {data_set_name(data)}",
            y_label="",
            reading="NC1 to NC4 of the last layer, and the terms of the mean squared error.",
            parts=parts,
            cell=(net, data),
        )
        for net, data in cells
    ]
