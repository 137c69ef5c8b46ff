"""In which settings runs differ, and what to call them."""

import copy
import math

import pytest
from helpers.settings import settings_of
from hypothesis import given, settings
from hypothesis import strategies as st

from nc_runner.errors import ConfigError
from nc_runner.runs import groups
from nc_runner.runs.reader import Record
from nc_runner.runs.settings import completed
from nc_runner.runs.varying import Varying, is_number

PLAIN = settings_of().model_dump(mode="json", by_alias=True)


def record(**changes):
    """A record with the default settings but for ``changes``: dotted keys, with __ for a dot."""
    content = copy.deepcopy(PLAIN)
    for key, value in changes.items():
        *groups, last = key.split("__")
        place = content
        for group in groups:
            place = place[group]
        place[last] = value
    return Record({"settings": content})


def test_what_differs_is_found_and_called_by_its_short_name():
    records = [record(lr=0.1, weight_decay=w, seed=s) for w in (1e-3, 5e-4) for s in (0, 1)]
    varying = Varying(records)
    assert varying.keys == ("weight_decay",)
    assert [varying.label(one) for one in records[::2]] == ["weight_decay 0.001", "weight_decay 0.0005"]


def test_what_cannot_change_numbers_does_not_count():
    assert Varying([record(device="cpu"), record(device="cuda")]).keys == ()


def test_a_short_name_is_unique_among_all_settings():
    varying = Varying([record(), record(decay__norm=0.0, data__augment="standard")])
    assert [varying.heading(key) for key in varying.keys] == ["decay.norm", "augment"]
    assert varying.heading("data.imbalance.ratio") == "imbalance.ratio"
    assert varying.heading("analysis.batch_size") == "analysis.batch_size"


def test_numbers_have_as_few_digits_as_tell_them_apart():
    records = [record(lr=0.018423487), record(lr=0.1)]
    assert [Varying(records).text(one, "lr") for one in records] == ["0.01842", "0.1"]
    close = [record(lr=0.018423487), record(lr=0.018423488)]
    assert [Varying(close).text(one, "lr") for one in close] == ["0.018423487", "0.018423488"]


def test_a_name_is_found_by_its_end_and_an_unknown_one_is_an_error():
    varying = Varying([record()])
    assert varying.find("ratio") == "data.imbalance.ratio"
    assert varying.find("loss") == "loss.name"
    assert varying.find("optimizer") == "optimizer._target_"
    with pytest.raises(ConfigError, match=r"weight_decya.*did you mean.*weight_decay"):
        varying.find("weight_decya")
    with pytest.raises(ConfigError, match=r"name is not clear: give one of net\.name, data\.name"):
        varying.find("name")


def test_what_the_name_of_a_group_says_is_not_told_again():
    nets = [record(net__name=f"resnet{depth}", net__depth=depth, lr=depth / 100) for depth in (8, 14, 20)]
    varying = Varying(nets)
    assert varying.keys == ("lr", "net.depth")
    assert varying.telling() == ["lr"]
    another = Varying([*nets, record(net__name="resnet8", net__depth=9)])  # two networks of one name
    assert another.telling() == ["lr", "net.depth"]


def test_what_comes_with_a_choice_of_another_group_has_it_as_leader():
    sgd, other = record(), record(weight_decay=0.01)
    adam = record(optimizer___target_="adam", lr=0.001, momentum=None)
    adamw = record(optimizer___target_="adamw", lr=0.001, momentum=None)
    varying = Varying([sgd, adam, adamw, other])
    assert set(varying.telling()) == {"lr", "momentum", "optimizer._target_", "weight_decay"}
    assert varying.leader("lr") == varying.leader("momentum") == "optimizer._target_"
    assert varying.leader("weight_decay") is varying.leader("optimizer._target_") is None
    assert Varying([sgd, adam, adamw, record(lr=0.2)]).leader("lr") is None  # sgd has two


def test_of_two_choices_that_go_together_none_leads():
    varying = Varying([record(), record(optimizer___target_="adamw", lr_schedule___target_="cosine")])
    assert set(map(varying.leader, varying.telling())) == {None}


def test_records_of_several_shapes_are_completed_and_only_their_own_differences_count():
    older = record()
    del older.settings["head"], older.settings["momentum"]
    records = [record(), older, record(momentum=0.5), record(momentum=True)]
    varying = Varying(records)
    assert varying.keys == ("momentum",)
    assert [varying.text(one, "momentum") for one in records] == ["0.9", "0.9", "0.5", "true"]
    assert varying.differing(records[:2]) == []


def test_thousands_of_older_records_are_completed_as_one_is(monkeypatch):
    """What records of a shape lack is found out once; not where older names hold values."""

    def older(seed, own):
        one = record(seed=seed, lr=0.1 * seed)
        del one.settings["head"], one.settings["lr_warmup_epochs"], one.settings["data"]["imbalance"]
        one.settings["analysis"]["own"] = one.settings["analysis"].pop("custom")
        one.settings["analysis"]["own"] |= own
        return one

    calls = []
    monkeypatch.setattr(groups, "completed", lambda *a, **k: calls.append(a) or completed(*a, **k))
    plain = [older(seed, {}) for seed in range(1, 60)]
    varying = Varying([*plain, record(seed=1, lr=0.1)])
    assert varying.keys == ("lr",)
    assert len(calls) == 2
    named = [older(1, {"a": path}) for path in ("my.x", "my.y")]
    assert [Varying([*plain, *named]).value(one, "analysis.custom.a") for one in named] == ["my.x", "my.y"]


def test_a_key_that_no_command_line_gives_does_no_harm():
    varying = Varying([Record({"settings": {"a.b": 1, "lr": 1}}), Record({"settings": {"a.b": 2, "lr": 2}})])
    assert varying.keys == ("lr",)


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**20), 10**20), st.floats(allow_nan=False),
    st.text(max_size=20),
    st.sampled_from(["null", "true", "0.1", "1e3", "[1,2]", "'x'", "x", "\x1b[31m", "a\nb", "\\n", "\u202e"]),
    st.lists(st.integers(0, 3), max_size=3), st.lists(st.text(max_size=3), max_size=2),
)  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(VALUES, VALUES), min_size=2, max_size=6))
def test_runs_with_different_settings_have_different_labels_of_one_line(pairs):
    records = [Record({"settings": {"net": {"options": {"a": a}}, "data": {"b": b}}}) for a, b in pairs]
    varying = Varying(records)
    labels = {}
    for one in records:
        label = varying.label(one)
        assert label.isprintable()
        labels.setdefault(label, set()).add(varying.identity(one, varying.keys))
    assert all(len(found) == 1 for found in labels.values())
    assert len(labels) == len({varying.identity(one, varying.keys) for one in records})


def test_a_number_is_finite_and_within_the_range_of_floats():
    assert all(map(is_number, (0, -3, 1.5, 10**300)))
    assert not any(map(is_number, (10**400, math.inf, math.nan, True, "1", None)))
