"""What a figure shows, read back from matplotlib's artists."""

from matplotlib.lines import Line2D

from nc_runner.figures import draw
from nc_runner.runs.reader import read_run


def read(*folders):
    return [read_run(folder) for folder in folders]


def figure_of(name, runs):
    job = next(job for job in draw.jobs(runs) if job.name == name)
    return draw.draw_figure(job, runs)


def lines(axes):
    return [artist for artist in axes.get_children() if isinstance(artist, Line2D)]


def curves(axes):
    """The data lines of a panel, without end markers and terminal-phase lines."""
    return [line for line in lines(axes) if len(line.get_xdata()) > 2]


def vertical_lines(axes):
    return [line for line in lines(axes) if len(line.get_xdata()) == 2]


def markers(axes):
    return [line for line in lines(axes) if line.get_marker() != "None"]


def legend_words(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def written(figure):
    return [text.get_text() for text in figure.texts]
