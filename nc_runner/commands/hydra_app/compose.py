"""Composing the settings of one run or of a whole sweep, once for each combination of groups."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from nc_runner.commands.hydra_app.messages import explain
from nc_runner.commands.hydra_app.settings import settings_of
from nc_runner.config.identity import folder_name
from nc_runner.config.schema import Config
from nc_runner.errors import ConfigError, NCRunnerError

CONFIG_MODULE, CONFIG_NAME = "nc_runner.conf", "config"
MOST_RUNS = 100_000  # of a sweep: each is composed and checked before the first begins
_FOLDER_RULE = "${nc_run_folder:}"  # conf/config.yaml: hydra.sweep.subdir


@dataclass(frozen=True)
class Job:
    """One run that the command line asks for: its overrides, as Hydra's launchers take them."""

    overrides: list[str]
    config: Config
    folder: Path

    def settings(self) -> dict[str, Any]:
        """The settings as the run's record will have them."""
        return self.config.model_dump(mode="json", by_alias=True)


@contextmanager
def session() -> Iterator[Any]:
    """Hydra's application object, with nc-runner's configuration as its primary one."""
    with initialize_config_module(CONFIG_MODULE, job_name="nc-run", version_base="1.3"):
        yield GlobalHydra.instance().hydra


def compose(app: Any, overrides: Sequence[str], *, sweep: bool = False) -> DictConfig:
    """The configuration of ``nc-run OVERRIDES``, or of ``nc-run -m OVERRIDES``, ``hydra`` included."""
    mode = RunMode.MULTIRUN if sweep else RunMode.RUN
    composed: DictConfig = app.compose_config(
        config_name=CONFIG_NAME, overrides=list(overrides), run_mode=mode, with_log_configuration=True
    )
    return composed


def composed_settings(overrides: Sequence[str]) -> Config:
    """The checked settings of ``nc-run OVERRIDES``, for another command. Raises ConfigError."""
    with session() as app:
        try:
            return settings_of(compose(app, overrides))
        except NCRunnerError:
            raise
        except Exception as error:  # whatever Hydra finds wrong
            raise ConfigError(explain(error)) from error


def single_job(config: DictConfig, overrides: Sequence[str]) -> Job:
    """The run that a composed configuration describes.

    Raises ConfigError where it describes several: the settings of a sweep would be left out without a word.
    """
    given = {override.partition("=")[0].lstrip("+") for override in config.hydra.overrides.task}
    if left := [str(key) for key in config.hydra.sweeper.get("params") or {} if key not in given]:
        raise ConfigError(
            f"this is a sweep over {', '.join(left)}, not one run\n"
            f"begin with nc-run -m, or give one value of {'each' if len(left) > 1 else left[0]}"
        )
    folder = Path(str(OmegaConf.select(config, "hydra.run.dir"))).absolute()
    return Job(list(overrides), settings_of(config), folder)


def sweep_jobs(app: Any, sweep: DictConfig) -> list[Job]:
    """Every run of a sweep by Hydra's basic sweeper, in its order: the last override varies fastest.

    Hydra composes one configuration in 70 ms. Here that is done once for each combination of config groups;
    plain values are set on it one after the other.
    """
    loader = app.config_loader
    params = sweep.hydra.sweeper.get("params") or {}
    arguments = [f"{key}={params[key]}" for key in params] + list(sweep.hydra.overrides.task)
    parser = OverridesParser.create(config_loader=loader)
    given = parser.parse_overrides(arguments)
    choices = _choices(given)
    groups = {override.key_or_group for override in given if _is_group(override.key_or_group, loader)}
    read = {text: parser.parse_overrides([text])[0] for texts in choices for text in texts}
    composed: dict[tuple[str, ...], DictConfig] = {}
    jobs = []
    for overrides in itertools.product(*choices):
        parsed = [read[text] for text in overrides]
        plain = [o for o in parsed if o.key_or_group not in groups and _is_plain_value(o)]
        rest = tuple(override.input_line or "" for override in parsed if override not in plain)
        if rest not in composed:
            composed[rest] = loader.load_sweep_config(sweep, [*rest, *(str(o.input_line) for o in plain)])
        config = composed[rest]
        for override in plain:
            OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
        jobs.append(_job(config, list(overrides)))
    return jobs


def _choices(overrides: Sequence[Override]) -> list[list[str]]:
    """For each key, in order, the overrides that a run may have of it; a key given twice has the last.

    Raises ConfigError where they make more than :data:`MOST_RUNS` runs.
    """
    choices: dict[str, list[str]] = {}
    for override in overrides:
        key = override.get_key_element()
        if override.is_sweep_override():
            if not override.is_discrete_sweep():
                raise HydraException(f"{override.input_line}: only a search takes an interval of values")
            values = itertools.islice(override.sweep_string_iterator(), MOST_RUNS + 1)
            choices[key] = [f"{key}={value}" for value in values]
        else:
            choices[key] = [f"{key}={override.get_value_element_as_str()}"]
    if math.prod(map(len, choices.values())) > MOST_RUNS:
        raise ConfigError(
            f"the sweep has more than {MOST_RUNS:,} runs\ngive fewer values, in several commands"
        )
    return list(choices.values())


def _is_group(key: str, loader: Any) -> bool:
    return "/" in key or bool(loader.get_group_options(key))


def _is_plain_value(override: Override) -> bool:
    """Whether the override sets one value in a composed configuration, and does nothing else."""
    if override.is_add() or override.is_force_add() or override.is_delete() or override.package is not None:
        return False
    return not override.key_or_group.startswith("hydra.") and not isinstance(override.value(), (dict, list))


def _job(config: DictConfig, overrides: list[str]) -> Job:
    settings = settings_of(config)
    root = Path(str(OmegaConf.select(config, "hydra.sweep.dir")))
    rule = OmegaConf.to_container(config.hydra.sweep, resolve=False)
    named = isinstance(rule, dict) and rule.get("subdir") == _FOLDER_RULE
    below = folder_name(settings) if named else str(OmegaConf.select(config, "hydra.sweep.subdir"))
    return Job(overrides, settings, (root / below).absolute())
