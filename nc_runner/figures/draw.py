"""Draws figures and writes them: one file for each figure and format.

The same runs give the same bytes, whatever the user's matplotlib settings.
"""

from __future__ import annotations

import gc
import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from matplotlib.figure import Figure
from PIL import Image

from nc_runner.config.cores import usable_cores
from nc_runner.figures.base import Cells
from nc_runner.figures.catalogue import FLOW_CATALOGUE
from nc_runner.figures.choice import Job, Plan
from nc_runner.figures.grid import Frame
from nc_runner.figures.sheets import drawing
from nc_runner.runs.flows import FlowRun
from nc_runner.runs.garbage import garbage_kept
from nc_runner.runs.many import leave_interrupts_to_parent
from nc_runner.runs.tables import write_atomically

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized

_Written: TypeAlias = dict[str, list[Path] | None]  # the files of each figure; None: it has nothing to show

_PARALLEL_FROM = 12  # panels in all; below, starting processes takes longer than it saves
PICTURE_DPI = 144  # of a picture in the report that is no SVG
_LARGEST_SVG = 200_000  # bytes
_SAVING: dict[str, dict[str, Any]] = {  # without dates: the same runs give the same bytes
    # run lengths suit lines on white: a twentieth of all time is saved, files are that much larger
    "png": {"pil_kwargs": {"compress_type": zlib.Z_RLE}},
    "pdf": {"metadata": {"CreationDate": None}},
    "svg": {"metadata": {"Date": None}},
}


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
        with drawing(self.sheet), garbage_kept():
            figure = frame.draw()
            for format in dict.fromkeys((*self.formats, *(["svg"] if self.pictures else []))):
                content = io.BytesIO()
                figure.savefig(content, format=format, **_SAVING[format])
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

    Processes draw them where there are many.

    Raises :class:`OSError` where a file cannot be written.
    """
    cells = Cells(plan.runs, plan.view.hue)
    panels = len(cells.networks) * len(cells.data_sets) * len(plan.jobs)
    workers = min(usable_cores(), len(plan.jobs)) if panels >= _PARALLEL_FROM else 1
    written = _in_processes(plan, writer, workers) if workers > 1 else None
    if written is None:
        written = {job.name: _drawn(job, plan, writer) for job in plan.jobs}
    return [file for job in plan.jobs for file in written[job.name] or ()], [
        job.name for job in plan.jobs if written[job.name] is None
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


def _drawn(job: Job, plan: Plan, writer: FigureWriter) -> list[Path] | None:
    """The files of one figure; None where it has nothing to show."""
    with drawing(plan.sheet), garbage_kept():
        frame = job.frame(plan.runs, plan.view)
    return None if frame is None else writer.write(frame, job.name)


def _in_processes(plan: Plan, writer: FigureWriter, workers: int) -> _Written | None:
    """The files of each figure; None where that failed, or where no processes can be started."""
    found = _Written()
    processes, receivers = [], []
    gc.freeze()  # what the processes share with this one stays so: their collections leave it alone
    try:
        context = get_context()
        drawn = context.Value("i", 0)
        for _ in range(workers):
            receiver, sender = context.Pipe(duplex=False)
            receivers.append(receiver)
            arguments = (plan, writer, drawn, sender)
            processes.append(context.Process(target=_draw_some, args=arguments, daemon=True))
            processes[-1].start()
            sender.close()
        for receiver in receivers:
            found |= receiver.recv()
    except (OSError, EOFError, NotImplementedError):  # EOFError: a process ended without a word
        return None
    finally:
        gc.unfreeze()
        for process in processes:
            process.terminate()  # where another one failed; those that are done have ended
    return found


def _draw_some(plan: Plan, writer: FigureWriter, drawn: Synchronized[int], sender: Connection) -> None:
    """In a process: take the next figure until all are ``drawn``, and send what was written.

    The last of the catalogue come first: they have the most lines.
    """
    leave_interrupts_to_parent()
    gc.disable()  # garbage is looked for once a figure
    written = _Written()
    while True:
        with drawn.get_lock():
            drawn.value += 1
            number = drawn.value
        if number > len(plan.jobs):
            break
        job = plan.jobs[-number]
        try:
            written[job.name] = _drawn(job, plan, writer)
        except OSError:  # the other process draws all again, and says what is wrong
            return
        gc.collect()  # the figure: a hundred megabytes where there are many runs
    sender.send(written)
