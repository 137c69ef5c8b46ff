"""What a group of settings is made of: the base class, and the kinds of fields. Imports no torch."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field

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


def target(meaning: str, *, neutral: Any = ALWAYS) -> Any:
    """The key ``_target_``: the name of what ships, or the path of a custom callable."""
    return setting(meaning, neutral=neutral, alias="_target_")


def by_target(known: dict[str, type[Any]]) -> Discriminator:
    """Chooses a group's class by ``_target_``: a name that ships, else the path of a custom callable."""

    def choose(group: Any) -> str:
        path = group.get("_target_") if isinstance(group, dict) else getattr(group, "target", None)
        return known[path].__name__ if path in known else "custom"

    return Discriminator(choose)
