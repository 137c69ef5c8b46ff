"""Draws figures and writes them: one file for each figure and format.

The same runs give the same bytes, whatever the user's matplotlib settings.
"""

from __future__ import annotations

import gc
import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from nc_runner.figures.base import Cells
from nc_runner.figures.catalogue import FLOW_CATALOGUE
from nc_runner.figures.choice import Plan
from nc_runner.figures.grid import Frame
from nc_runner.figures.sheets import drawing
from nc_runner.runs.flows import FlowRun
from nc_runner.runs.many import leave_interrupts_to_parent
from nc_runner.runs.tables import write_atomically

_PARALLEL_FROM = 12  # panels in all; below, starting processes takes longer than it saves
PICTURE_DPI = 144  # of a picture in the report that is no SVG
_LARGEST_SVG = 200_000  # bytes
_UNDATED = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}  # the same runs give the same bytes


@dataclass(frozen=True)
class FigureWriter:
    """Writes figures into the folder ``out``. ``pictures``: a folder that also gets each as SVG."""

    out: Path
    formats: Sequence[str]
    pictures: Path | None = None
    sheet: dict[Any, Any] = field(default_factory=dict)

    def write(self, frame: Frame, name: str) -> list[Path]:
        """Draw a figure and write ``name`` in every format; return the files.

        Raises :class:`OSError` where a file cannot be written.
        """
        files: list[Path] = []
        with drawing(self.sheet), _garbage_kept():
            figure = frame.draw()
            for format in dict.fromkeys((*self.formats, *(["svg"] if self.pictures else []))):
                content = io.BytesIO()
                figure.savefig(content, format=format, metadata=_UNDATED.get(format))
                if self.pictures and format == "svg":
                    _write_picture(figure, self.pictures / name, content.getvalue())
                if format in self.formats:
                    files.append(self.out / f"{name}.{format}")
                    write_atomically(files[-1], content.getvalue())
        return files


def _write_picture(figure: Figure, path: Path, svg: bytes) -> None:
    """A figure for the report: as SVG, or as PNG of few colours where that would be large: of many points."""
    if len(svg) <= _LARGEST_SVG:
        path.with_name(f"{path.name}.svg").write_bytes(svg)
        return
    pixels = io.BytesIO()
    figure.savefig(pixels, format="png", dpi=PICTURE_DPI)
    image = Image.open(pixels).convert("RGB").quantize(colors=96)
    image.save(path.with_name(f"{path.name}.png"), optimize=True)


def draw_all(plan: Plan, writer: FigureWriter) -> tuple[list[Path], list[str]]:
    """Write all figures of ``plan``; return the files, and the names of figures without data.

    Processes draw them where there are many; this one decides what is drawn.

    Raises :class:`OSError` where a file cannot be written.
    """
    cells = Cells(plan.runs, plan.view.hue)
    panels = len(cells.networks) * len(cells.data_sets) * len(plan.jobs)
    workers = min(os.cpu_count() or 1, len(plan.jobs)) if panels >= _PARALLEL_FROM else 1
    written = _in_processes(plan, writer, workers) if workers > 1 else None
    if written is None:
        written = {name: writer.write(frame, name) for name, frame in _frames(plan)}
    return [file for files in written.values() for file in files], [
        job.name for job in plan.jobs if job.name not in written
    ]


def draw_flows(flows: Sequence[FlowRun], only: Sequence[str], writer: FigureWriter) -> list[Path]:
    """Write the figures of ``flows`` that ``only`` names, or all. Raises :class:`OSError` if it cannot."""
    files: list[Path] = []
    for figure in FLOW_CATALOGUE:
        if only and figure.name not in only:
            continue
        with drawing(writer.sheet):
            frame = figure.frame(flows)
        if frame is not None:
            files += writer.write(frame, figure.name)
    return files


def _frames(plan: Plan) -> Iterator[tuple[str, Frame]]:
    """Each figure that has something to show, by name."""
    with drawing(plan.sheet):
        for job in plan.jobs:
            frame = job.frame(plan.runs, plan.view)
            if frame is not None:
                yield job.name, frame


def _in_processes(plan: Plan, writer: FigureWriter, workers: int) -> dict[str, list[Path]] | None:
    """The files of each figure; None where that failed, or where no processes can be started."""
    try:
        with ProcessPoolExecutor(workers, initializer=leave_interrupts_to_parent) as pool:
            futures: dict[str, Future[list[Path]]] = {}
            for name, frame in _frames(plan):
                waiting = [future for future in futures.values() if not future.done()]
                if len(waiting) > workers:  # frames of many runs are large: few are in memory at a time
                    wait(waiting, return_when=FIRST_COMPLETED)
                futures[name] = pool.submit(writer.write, frame, name)
            return {name: future.result() for name, future in futures.items()}
    except (OSError, NotImplementedError, BrokenProcessPool):
        return None


@contextmanager
def _garbage_kept() -> Iterator[None]:
    """No garbage collection: a figure's many objects refer to each other, and checking them takes long."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
