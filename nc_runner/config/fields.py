"""What a group of settings is made of: the base class, and the kinds of fields. Imports no torch."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

ALWAYS = object()  # no neutral value: the setting is part of every run's identity


class Group(BaseModel):
    """Settings that are checked when they are made: types are strict, NaN and unknown keys are errors."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", allow_inf_nan=False, validate_by_alias=True
    )


def setting(meaning: str, *, neutral: Any = ALWAYS, **limits: Any) -> Any:
    """A setting that identifies a run unless it has its neutral value. ``limits``: pydantic's ge, gt, le."""
    identity: Any = {} if neutral is ALWAYS else {"neutral": neutral}
    return Field(description=meaning, json_schema_extra=identity, **limits)


def passive(meaning: str, **limits: Any) -> Any:
    """A setting that cannot change a run's numbers, only where and how it runs."""
    return Field(description=meaning, json_schema_extra={"passive": True}, **limits)


def target(meaning: str) -> Any:
    """The key ``_target_``: the name of what ships, or the path of a custom callable."""
    return Field(alias="_target_", description=meaning)
