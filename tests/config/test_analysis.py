"""The settings of the measurement: which columns and which out-of-distribution data they take."""

import pytest
from helpers.settings import settings_of

from nc_runner.columns import OOD_COLUMN
from nc_runner.errors import ConfigError


def test_the_column_and_its_data_set_need_each_other():
    with pytest.raises(ConfigError, match=r"nc5_ood_orthogonality needs .*\n.*analysis\.ood="):
        settings_of(f"analysis.metrics=[{OOD_COLUMN}]")
    with pytest.raises(ConfigError, match=r"analysis\.ood=mnist has no use .*\n.*analysis\.metrics="):
        settings_of("analysis.ood=mnist")


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("metrics=[nc1_cdvn]", "did you mean nc1_cdnv"),
        ("metrics=[nc1]", "nc1 is in every run"),
        ("metrics=nc1_cdnv", r"a list of columns such as \[nc1_cdnv\]"),
        ("metrics=[]", "core, all or a list"),
        ("ood=fashionmnits", "did you mean fashionmnist"),
    ],
)
def test_an_invalid_value_is_an_error_that_helps(override, hint):
    with pytest.raises(ConfigError, match=f"analysis.{override.split('=')[0]}=.*is not valid: .*{hint}"):
        settings_of(f"analysis.{override}")


def test_the_chosen_columns_come_in_the_order_of_the_table_once_each():
    assert settings_of("analysis.metrics=[rank,nc1_cdnv,rank]").analysis.metrics == ("nc1_cdnv", "rank")
