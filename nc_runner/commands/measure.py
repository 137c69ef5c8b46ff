"""``nc-measure``: the row of metrics.csv for features files, run folders and saved models."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from nc_runner.commands.ending import add_examples, add_version, finish
from nc_runner.errors import ConfigError, MeasurementError, RunFolderError
from nc_runner.runs.measured import check_folder

PROGRAM = "nc-measure"

EXAMPLES = (
    "nc-measure features.npz     arrays features, labels; may have weight, bias, test_features, test_labels",
    "nc-measure outputs/mse-resnet8-digits/lr0.1-seed0-... --metrics all --layers 'layer*'",
    "nc-measure --model torchvision:resnet18 --weights resnet18.pt data=cifar10 data.root=~/data",
    "nc-measure --model my_model.py:make --weights epoch-*.pt data=digits --out outputs/mine",
    "nc-plot outputs/mine",
)


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog=PROGRAM,
        usage="%(prog)s SOURCE ... [options]\n"
        "       %(prog)s --model MODEL [--weights FILE ...] data=NAME [options]",
        description="Measure the Neural Collapse of what has features: a features file, a run folder of "
        "nc-run, or a saved model with data. Several sources, in one command, are a series.",
        allow_abbrev=False,
    )
    add_examples(result, *EXAMPLES)
    add = result.add_argument
    add(
        "sources",
        nargs="*",
        metavar="SOURCE",
        help="features files (.npz, .pt, .safetensors), run folders, or settings of the data as nc-run takes "
        "them: data=NAME, data.KEY=VALUE",
    )
    models = result.add_argument_group("a saved model")
    models.add_argument(
        "--model",
        help="torchvision:NAME, timm:NAME, hf:NAME (a folder or name of Transformers), or FILE.py:CALLABLE, "
        "which gets those of num_classes, in_channels and image_size that it names",
    )
    models.add_argument(
        "--weights", nargs="+", type=Path, default=[], metavar="FILE",
        help="state_dicts: one, or one for each row of a series",
    )  # fmt: skip
    models.add_argument("--classifier", metavar="NAME", help="the last linear layer; by default it is found")
    runs = result.add_argument_group("a run folder")
    runs.add_argument(
        "--epoch", nargs="+", default=[], metavar="N",
        help="epochs whose weights the run kept (keep_checkpoints), or all; by default the last weights",
    )  # fmt: skip
    what = result.add_argument_group("what is measured")
    what.add_argument(
        "--metrics", nargs="+", default=["core"], metavar="COLUMN",
        help="core (default), all, or further columns of docs/metrics.md",
    )  # fmt: skip
    what.add_argument(
        "--layers", nargs="+", default=[], metavar="NAME", help="inner layers too: names or globs of modules"
    )
    what.add_argument(
        "--custom", nargs="+", default=[], metavar="COLUMN=PATH",
        help="custom metrics: callables (stats, weight, bias) -> number",
    )  # fmt: skip
    what.add_argument("--loss", choices=("ce", "mse"), help="of the loss columns (default: ce; a run's own)")
    what.add_argument(
        "--ridge", help="lambda: objective (default), notebook, or a number (default for a run: its own)"
    )
    what.add_argument(
        "--weight-decay", type=float, metavar="WD", help="of the training (default: 0; a run's own)"
    )
    what.add_argument(
        "--min-samples", type=int, metavar="N", help="leave out classes with fewer train samples than that"
    )
    what.add_argument(
        "--batchnorm", choices=("running", "recomputed"),
        help="statistics of batch norm: running (default; a run's own choice), or computed anew by a pass "
        "over the train set",
    )  # fmt: skip
    how = result.add_argument_group("how")
    how.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:N, mps")
    how.add_argument("--batch-size", type=int, metavar="N", help="images per pass (default: 512)")
    how.add_argument("--threads", type=int, metavar="N", help="CPU threads of torch")
    output = result.add_argument_group("output (default: a table)")
    formats = output.add_mutually_exclusive_group()
    formats.add_argument("--json", action="store_true", help="column -> value; a list of them for a series")
    formats.add_argument("--csv", action="store_true", help="a header, and a line for each source")
    output.add_argument(
        "--out", type=Path, metavar="FOLDER",
        help="also write a run folder, a row for each source, for nc-plot and nc-status; epochs are the last "
        "numbers in the sources' names, where all differ, else 1, 2, ...",
    )  # fmt: skip
    output.add_argument(
        "--overwrite", action="store_true", help="replace what an earlier nc-measure wrote to --out"
    )
    return add_version(result)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return finish(PROGRAM, lambda: _measure(sys.argv[1:] if arguments is None else arguments))


def _measure(arguments: list[str]) -> int:
    settings = [argument for argument in arguments if is_setting(argument)]  # also after --weights FILE ...
    chosen = parser().parse_intermixed_args([argument for argument in arguments if argument not in settings])
    sources = chosen.sources
    check_arguments(chosen, sources, settings)

    if chosen.out is not None:
        try:
            check_folder(chosen.out, overwrite=chosen.overwrite)
        except RunFolderError as error:
            raise ConfigError(f"--out {error}") from None
    try:
        return _carry_out(chosen, sources, settings)
    except (MeasurementError, RunFolderError) as error:
        raise ConfigError(str(error)) from error


def _carry_out(chosen: argparse.Namespace, sources: list[str], settings: list[str]) -> int:
    # Imported here: they bring torch, which help and errors need not wait for.
    from nc_runner.commands.measure_output import print_all, write_folder
    from nc_runner.commands.measure_series import Series
    from nc_runner.commands.measure_sources import Sources

    series = Series(Sources(chosen, settings).tasks(sources))
    series.measure()
    if series.done:
        try:
            if chosen.out is not None:
                write_folder(chosen.out, series, chosen.ridge, overwrite=chosen.overwrite)
        finally:  # rows that cannot be written are not lost
            print_all(series, as_json=chosen.json, as_csv=chosen.csv)
        if chosen.out is not None and not (chosen.json or chosen.csv):
            count = len(series.done)
            print(f"{count} row{'s' * (count > 1)} in {chosen.out}: nc-plot {chosen.out}")
    if series.ended is not None:
        raise series.ended
    return series.exit_code


def is_setting(argument: str) -> bool:
    """Whether an argument is a setting of the data, such as data=digits."""
    return re.match(r"\+{0,2}(data(\.[\w.]+)?|seed)=", argument) is not None and not Path(argument).exists()


def check_arguments(chosen: argparse.Namespace, sources: list[str], settings: list[str]) -> None:
    """Raise ConfigError for arguments that do not go together, or that nothing would use."""
    if chosen.model is None:
        if not sources:
            raise ConfigError(
                "nothing to measure\ngive a features file, a run folder, or --model with data=NAME"
            )
        for path in map(Path, sources):
            if not path.exists() and "=" in str(path):
                raise ConfigError(
                    f"{path} is no setting of the data\ngive data=NAME, data.KEY=VALUE, seed=N, or flags"
                )
            if not path.exists():
                raise ConfigError(f"there is no file or folder {path}")
        for flag, given in (("--weights", chosen.weights), ("--classifier", chosen.classifier)):
            if given:
                raise ConfigError(f"{flag} needs --model MODEL")
    else:
        if sources:
            raise ConfigError(f"{sources[0]}: give weights of a model as --weights FILE")
        if not any(setting.startswith("data=") for setting in settings):
            raise ConfigError("--model needs data\ngive data=NAME, such as data=cifar10 or data=folder")
        for path in chosen.weights:
            if not path.is_file():
                raise ConfigError(f"there is no file {path}")
    if settings and not any(setting.startswith("data=") for setting in settings):
        raise ConfigError(f"{settings[0]} needs data=NAME: it is a setting of that data set")
    if chosen.layers and chosen.min_samples is not None:
        raise ConfigError("--layers and --min-samples cannot be combined\nmeasure the layers without it")
    folders = [source for source in sources if Path(source).is_dir()]
    files = [source for source in sources if source not in folders]
    if chosen.epoch and not folders:
        raise ConfigError("--epoch needs a run folder")
    for flag, given in (*((s, True) for s in settings), ("--layers", chosen.layers),
                        ("--batchnorm", chosen.batchnorm)):  # fmt: skip
        if files and given:
            raise ConfigError(f"{flag} has no meaning for a features file: {files[0]}")
    if files and not folders:
        for flag, given in (
            ("--batch-size", chosen.batch_size),
            (f"--device {chosen.device}", chosen.device not in ("auto", "cpu")),
        ):
            if given:
                raise ConfigError(f"{flag} has no meaning for a features file, which is measured on the CPU")
    for flag, number in (("--batch-size", chosen.batch_size), ("--threads", chosen.threads)):
        if number is not None and number < 1:
            raise ConfigError(f"{flag} must be at least 1")


if __name__ == "__main__":
    sys.exit(main())
