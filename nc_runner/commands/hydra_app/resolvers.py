"""What ``${...}`` in conf/ may call. Importing this module makes it known to OmegaConf, in any process."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from nc_runner.commands import ray_worker, shares
from nc_runner.commands.hydra_app.settings import settings_of
from nc_runner.config.cells import Cell, look_up, missing
from nc_runner.config.identity import folder_name


def _folder(*, _root_: DictConfig) -> str:
    """``${nc_run_folder:}``: the run's folder below the outputs folder."""
    if "net" not in _root_:  # --cfg hydra: the settings that name the folder are not there
        return "LOSS-NET-DATA/lrLR-seedSEED-HASH"
    return folder_name(settings_of(_root_))


def _cell(key: str, *default: Any, _root_: DictConfig) -> Any:
    """``${nc_cell:KEY}`` and ``${nc_cell:KEY,DEFAULT}``: from the experiment's table, if one is loaded."""
    loaded = _root_.get("cells")
    if loaded is None and default:
        return default[0]
    net = _root_.net
    asked_for_lr = key == "lr"  # the depth must not be asked for while it is being looked up
    cell = Cell(
        data=str(_root_.data.name),
        family=str(net._target_),
        loss=str(_root_.loss.name),
        depth=net.get("depth") if asked_for_lr else None,
        net=str(net.name) if asked_for_lr else "",
    )
    rows = {} if loaded is None else loaded
    value = look_up({cell.data: _plain(rows.get(cell.data))}, key, cell)  # not of all data sets: 750 runs ask
    if value is not None:
        return value
    if default:
        return default[0]
    raise missing(_plain(rows), key, cell)


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def register() -> None:
    """Make the resolvers known to OmegaConf."""
    for name, resolver in (
        ("nc_run_folder", _folder),
        ("nc_cell", _cell),
        ("nc_run_count", shares.runs_at_a_time),
        ("nc_run_cpus", shares.cpus_of_run),
        ("nc_run_gpus", shares.gpus_of_ray_run),
        ("nc_run_ray_variables", ray_worker.environment),
        ("nc_run_minutes", lambda hours: max(1, round(60 * hours))),
    ):
        OmegaConf.register_new_resolver(name, resolver, replace=True)


register()
