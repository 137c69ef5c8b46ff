"""What a sweep keeps of its runs until it ends."""

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from nc_runner.commands.hydra_app.light import DropSettings


def test_what_a_run_returns_is_kept_without_its_settings():
    settings = OmegaConf.create({"lr": 0.1})
    returned = JobReturn(overrides=["lr=0.1"], cfg=settings, hydra_cfg=settings, status=JobStatus.COMPLETED)
    returned.return_value = 0.5
    DropSettings().on_job_end(config=settings, config_name="config", job_return=returned)
    assert (returned.cfg, returned.hydra_cfg) == (None, None)
    assert (returned.return_value, returned.overrides) == (0.5, ["lr=0.1"])
