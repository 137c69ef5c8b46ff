"""What a reader may do with bad input: return a result, or raise an error that a user may be shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nc_runner.errors import NCRunnerError


class Unexpected(AssertionError):
    """A command ended in a way that it must not."""


def accepted(read: Callable[[], Any]) -> None:
    """Call ``read``; an error that a user can cause, of one or two lines, is as good as a result."""
    try:
        read()
    except NCRunnerError as error:
        if not 1 <= len(str(error).strip().splitlines()) <= 2:
            raise Unexpected(f"a message of other than two lines: {error}") from None
