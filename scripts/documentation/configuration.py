"""docs/configuration.md, made from the typed settings (``nc_runner.config``) and the defaults in conf/."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from pydantic.fields import FieldInfo

from documentation.choices import CONF, Choice, choices, default
from documentation.words import accepted, identity
from nc_runner.config.data_schema import DATA_SETS, CustomData
from nc_runner.config.fields import Group
from nc_runner.config.loss_schema import LOSSES, CustomLoss
from nc_runner.config.optimizer_schema import LR_SCHEDULES, OPTIMIZERS, CustomLRSchedule, CustomOptimizer
from nc_runner.config.schema import NETWORKS, Config, CustomNetwork, Machine, Recording, Training
from nc_runner.config.validation import leaves

KINDS: dict[str, Mapping[str, type[Group]]] = {  # the classes of a group's settings, by _target_
    "net": {**NETWORKS, "custom": CustomNetwork},
    "data": {**DATA_SETS, "custom": CustomData},
    "loss": {**LOSSES, "custom": CustomLoss},
    "optimizer": {**OPTIMIZERS, "custom": CustomOptimizer},
    "lr_schedule": {**LR_SCHEDULES, "custom": CustomLRSchedule},
}
TITLES = {
    "net": "Network",
    "data": "Data",
    "loss": "Loss",
    "optimizer": "Optimizer",
    "lr_schedule": "Learning-rate schedule",
    "decay": "Weight decay of some parameters",
    "head": "Last layer",
    "analysis": "Measurement",
    "launcher": "Launchers of sweeps",
    "experiment": "Experiments",
}
INTRO = """\
# Configuration

All settings of `nc-run`. This page is made from the typed settings (`nc_runner/config`) and the
defaults in [conf/](../conf), so it says what the program checks. `nc-run --help` is the short form;
`nc-run --cfg job` prints the settings that a command would use and starts nothing.

```sh
# choices of groups, and single settings
nc-run loss=ce net=resnet18 epochs=100 data.samples_per_class=500
# every combination: a sweep
nc-run -m seed=0,1,2 lr=0.03,0.1
# lists: without spaces, or in quotes
nc-run analysis.schedule=[0,1,10,100] analysis.metrics=all
```

- **Choices.** `GROUP=NAME` takes the settings of `conf/GROUP/NAME.yaml`. `custom` takes a callable of
  yours; its further arguments are added with a plus: `+net.width=64`.
- **Checks.** An unknown setting, a wrong type or a value out of range is an error before anything is
  written. A setting that a choice does not use is `null` there; giving it a value is an error.
- **Identity.** The last column says whether a setting identifies the run, that is, whether it is part
  of what names the run's folder: *unless* its neutral value, always (*yes*), or *no*. The same
  settings find the same folder: [the run folder](run_folder.md).
"""

EXPERIMENTS = """\
A named bundle of settings; those that are given beside it win. [Experiments](experiments.md) has
their results."""


def page() -> str:
    """The whole page."""
    fields = Config.model_fields
    groups = {name: of for name in fields if (of := group_classes(name))}
    parts = [INTRO.rstrip()]
    sections = {"Training": Training, "Machine": Machine, "Recording": Recording}
    tables = {
        title: _table((name, fields[name]) for name in kind.model_fields if name not in groups)
        for title, kind in sections.items()
    }
    parts += ["## Training", tables.pop("Training")]
    for name in sorted(groups, key=lambda name: [*TITLES, name].index(name)):
        parts += _group(name, groups[name])
    for title, table in tables.items():
        parts += [f"## {title}", table]
    parts += [f"## {TITLES['experiment']}: `experiment`", EXPERIMENTS, _choices("experiment")]
    return "\n\n".join(parts) + "\n"


def group_classes(name: str) -> Mapping[str, type[Group]]:
    """The classes of a group of settings by the choices that have them; none for a single setting."""
    if name in KINDS:
        return KINDS[name]
    kind = Config.model_fields[name].annotation
    return {"": kind} if isinstance(kind, type) and issubclass(kind, Group) else {}


def settings() -> Iterator[tuple[str, FieldInfo]]:
    """Every setting of every choice, as (dotted key, field)."""
    for name, field in Config.model_fields.items():
        kinds = group_classes(name)
        for kind in kinds.values():
            yield from leaves(kind, f"{name}.")
        if not kinds:
            yield name, field


def _group(name: str, kinds: Mapping[str, type[Group]]) -> list[str]:
    """The section of a group: its choices, what all have, what some have."""
    parts = [f"## {TITLES.get(name, name.capitalize())}: `{name}`"]
    if (CONF / name).is_dir():
        parts += [_choices(name)]
    by_owners: dict[tuple[str, ...], list[tuple[str, FieldInfo]]] = {}
    for (key, _, _), (owners, field) in _owned(name, kinds).items():
        by_owners.setdefault(tuple(owners), []).append((key, field))
    for owners, rows in sorted(by_owners.items(), key=lambda item: -len(item[0])):
        if len(owners) < len(kinds):
            parts.append(f"Only for {', '.join(f'`{owner}`' for owner in owners)}:")
        parts.append(_table(rows))
    return parts


_Key = tuple[str, str, str]


def _owned(name: str, kinds: Mapping[str, type[Group]]) -> dict[_Key, tuple[list[str], FieldInfo]]:
    """(key, meaning, type): the choices that have this setting, and its field."""
    owned: dict[_Key, tuple[list[str], FieldInfo]] = {}
    for choice, kind in kinds.items():
        for key, field in leaves(kind, f"{name}."):
            unique = (key, str(field.description), accepted(field))
            owned.setdefault(unique, ([], field))[0].append(choice)
    return owned


def _choices(group: str) -> str:
    all_of_group = choices(group)
    rows = ["| choice | what it is |", "| --- | --- |"]
    for choice in all_of_group:
        if choice.extends:
            continue
        same = [f"[`{each.name}`]({_file(each)})" for each in all_of_group if each.extends == choice.name]
        also = f" With the depth in its name: {', '.join(same)}." if same else ""
        rows.append(f"| [`{group}={choice.name}`]({_file(choice)}) | {_cell(choice.meaning)}{also} |")
    return "\n".join(rows)


def _file(choice: Choice) -> str:
    return f"../conf/{choice.group}/{choice.name}.yaml"


def _table(rows: Iterable[tuple[str, FieldInfo]]) -> str:
    lines = [
        "| setting | meaning | accepts | default | identifies the run |",
        "| --- | --- | --- | --- | --- |",
    ]
    for key, field in rows:
        cells = (f"`{key}`", _cell(str(field.description)), accepted(field), default(key), identity(field))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Text without what Markdown or a table would take for markup; code stays as it is."""
    parts = text.split("`")
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"([|*<])", r"\\\1", parts[i])
    return "`".join(parts)
