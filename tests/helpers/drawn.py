"""What a figure shows, read back from matplotlib's artists."""

import dataclasses

from matplotlib.lines import Line2D
from matplotlib.text import Text

from helpers.synthetic import write_run
from nc_runner.figures.choice import Choice, plan
from nc_runner.figures.draw import FigureWriter, draw_all
from nc_runner.figures.hue import Hue
from nc_runner.figures.sheets import drawing
from nc_runner.runs.reader import read_run


def read(*folders):
    return [read_run(folder) for folder in folders]


def sweep(tmp_path, decays, *, losses=("mse",), seeds=1, epochs=5):
    """Runs that differ in weight_decay, loss and seed."""
    runs = []
    for decay in decays:
        for loss in losses:
            for seed in range(seeds):
                (run,) = read(write_run(tmp_path / f"{decay}", loss=loss, seed=seed, epochs=epochs))
                run.settings["weight_decay"] = decay
                run.content["identity"] = {"weight_decay": decay, "seed": seed, "loss.name": loss}
                runs.append(run)
    return runs


def figure_of(name, runs, sheet=None, **choice):
    """A figure of ``runs``, each a line of its own: groups of seeds are made by the caller."""
    with drawing(sheet):
        planned = plan(runs, Choice(**choice))
        hue = Hue(runs, choice.get("hue"), besides=choice.get("x"))
        view = dataclasses.replace(planned.view, hue=hue)
        frame = next(job for job in planned.jobs if job.name == name).frame(runs, view)
        return None if frame is None else frame.draw()


def jobs_of(runs, **choice):
    drawn = [run for run in runs if len(run.rows)]
    with drawing():
        return plan(drawn, Choice(**choice)).jobs if drawn else ()


def names_of(runs, **choice):
    return [job.name for job in jobs_of(runs, **choice)]


def write_all(runs, out, formats, pictures=None, **choice):
    with drawing():
        planned = plan(runs, Choice(**choice))
    return draw_all(planned, FigureWriter(out, formats, pictures))


def lines(axes):
    return [artist for artist in axes.get_children() if isinstance(artist, Line2D)]


def curves(axes):
    """The data lines of a panel, without end markers and terminal-phase lines."""
    return [line for line in lines(axes) if len(line.get_xdata()) > 2]


def vertical_lines(axes):
    return [line for line in lines(axes) if len(line.get_xdata()) == 2]


def markers(axes):
    return [line for line in lines(axes) if line.get_marker() != "None"]


def legend(figure):
    (legend,) = figure.subfigs[1].legends
    return legend


def legend_words(figure):
    return [text.get_text() for text in legend(figure).get_texts()]


def texts(figure):
    """The titles, labels and captions of a figure, without those of ticks and legend entries."""
    ticks = {
        label for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for label in axis.get_ticklabels()
    }
    others = ticks | set(legend(figure).get_texts())
    return [text for text in figure.findobj(Text) if text.get_text() and text not in others]


def written(figure):
    return [text.get_text() for text in texts(figure)]
