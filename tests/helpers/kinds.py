"""The kind of each test, unit, integration or browser, and skips that count as failures.

Pytest hooks, which tests/conftest.py imports.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType

import pytest

KINDS = ("unit", "integration", "browser")
TESTS = Path(__file__).parents[1]
BROWSER = ("figures/test_report_in_browser.py", "test_site.py")
INTEGRATION = ("commands", "test_bench.py", "test_examples.py", "test_notebook.py", "test_packaging.py")

NEVER_SKIPPED = ("browser", "fashionmnist")  # where NC_RUNNER_ALL_TESTS=1, as in .ci/run


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with its kind, unless it is marked already; without a GPU skip what needs one."""
    for item in items:
        if item.get_closest_marker("gpu") and not _has_gpu():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA GPU"))
        if not any(item.get_closest_marker(kind) for kind in KINDS):
            item.add_marker(kind_of(item))


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def kind_of(item: pytest.Item) -> str:
    """By the file that the test is in; integration too where the test, or its fixtures, start a process."""
    if _is_in(item.path, BROWSER):
        return "browser"
    if _is_in(item.path, INTEGRATION) or any(map(starts_a_process, _functions_of(item))):
        return "integration"
    return "unit"


def starts_a_process(function: Callable[..., object], seen: set[object] | None = None) -> bool:
    """Whether a function, or one of the tests' functions that it calls, uses subprocess."""
    seen = set() if seen is None else seen
    if not isinstance(function, FunctionType) or function in seen:
        return False
    seen.add(function)
    names = set(_names_in(function.__code__))
    called = [function.__globals__.get(name) for name in names]
    ours = [value for value in called if isinstance(value, FunctionType) and _is_in(_file_of(value), ("",))]
    return "subprocess" in names or any(starts_a_process(value, seen) for value in ours)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Where NC_RUNNER_ALL_TESTS=1, a test that needs a browser or FashionMNIST must not be skipped."""
    report = yield
    wanted = any(item.get_closest_marker(name) for name in NEVER_SKIPPED)
    return _failed_if_skipped(report) if wanted else report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    """The same for a whole file, which is skipped where a library is missing."""
    report = yield
    return _failed_if_skipped(report) if _is_in(collector.path, BROWSER) else report


def _failed_if_skipped(report: pytest.TestReport | pytest.CollectReport):
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("NC_RUNNER_ALL_TESTS") == "1":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"{reason}\nNC_RUNNER_ALL_TESTS=1: a skip counts as a failure here"
    return report


def _functions_of(item: pytest.Item) -> Iterator[Callable[..., object]]:
    if isinstance(item, pytest.Function):
        yield item.function
        for definitions in item._fixtureinfo.name2fixturedefs.values():
            yield from (definition.func for definition in definitions)


def _names_in(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_in(constant)


def _file_of(function: FunctionType) -> Path:
    return Path(function.__code__.co_filename)


def _is_in(path: Path, places: tuple[str, ...]) -> bool:
    return any(path.is_relative_to(TESTS / place) for place in places)
