"""Colours, line styles, printed names, and the order of networks, data sets and losses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nc_runner import errors

if TYPE_CHECKING:
    from matplotlib.typing import LineStyleType

# Okabe & Ito's colours, which colour-blind readers can distinguish. The colours of the two losses also differ
# in lightness, for grey print.
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
BLACK, GREY = "#000000", "#666666"

LINE_STYLES: dict[str, LineStyleType] = {
    "solid": "solid",
    "dashed": (0.0, (3.5, 1.4)),
    "dotted": (0.0, (1.0, 1.2)),
    "dashdot": (0.0, (5.0, 1.2, 1.0, 1.2)),
}
TERMINAL_PHASE_DASHES = (2.0, 2.0)

_FAMILIES = {"vgg": "VGG", "resnet": "ResNet", "densenet": "DenseNet"}
_DATA_SETS = {
    "digits": "Digits",
    "mnist": "MNIST",
    "fashionmnist": "FashionMNIST",
    "svhn": "SVHN",
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
    "stl10": "STL10",
}
_LOSSES = {"mse": "MSE", "ce": "CE", "mse_path": "MSE path", "ce_path": "CE path"}
_LONGEST_NAME = 24
_LONGEST_LABEL = 48


def printable(text: str) -> str:
    """``text`` with a space for each character that breaks a line, hides or reverses text.

    >>> printable("a\\nb")
    'a b'
    """
    return errors.printable(text).replace("\n", " ")


def _short(name: str) -> str:
    shown = printable(name)
    return shown if len(shown) <= _LONGEST_NAME else shown[: _LONGEST_NAME - 1] + "…"


def _family_and_depth(name: str) -> tuple[str, int, str] | None:
    match = re.fullmatch(r"([a-z]+)([0-9]{1,6})(.*)", name, flags=re.DOTALL)
    if match is None or match[1] not in _FAMILIES:
        return None
    return match[1], int(match[2]), match[3]


def family_name(name: str) -> str:
    """The family of a network that ships, or its own name.

    >>> family_name("densenet40"), family_name("my_net")
    ('DenseNet', 'my_net')
    """
    known = _family_and_depth(name)
    return _short(_FAMILIES[known[0]] if known and not known[2] else name)


def network_name(name: str) -> str:
    """
    >>> network_name("densenet40"), network_name("my_net")
    ('DenseNet40', 'my_net')
    """
    known = _family_and_depth(name)
    return _short(f"{_FAMILIES[known[0]]}{known[1]}{known[2]}" if known else name)


def data_set_name(name: str) -> str:
    """
    >>> data_set_name("fashionmnist")
    'FashionMNIST'
    """
    return _short(_DATA_SETS.get(name, name))


def loss_name(name: str) -> str:
    """
    >>> loss_name("ce")
    'CE'
    """
    return _short(_LOSSES.get(name, name))


def cell_name(cell: tuple[str, str, str]) -> str:
    """
    >>> cell_name(("resnet8", "digits", "mse"))
    'ResNet8 on Digits, MSE'
    """
    net, data, loss = cell
    return f"{network_name(net)} on {data_set_name(data)}, {loss_name(loss)}"


def network_order(name: str) -> tuple[int, int, str]:
    """Sort key: VGG, ResNet, DenseNet, each by depth; then all others by name.

    >>> sorted(["own", "densenet40", "resnet50", "resnet8", "vgg11"], key=network_order)
    ['vgg11', 'resnet8', 'resnet50', 'densenet40', 'own']
    """
    known = _family_and_depth(name)
    return (list(_FAMILIES).index(known[0]), known[1], known[2]) if known else (len(_FAMILIES), 0, name)


def data_set_order(name: str) -> tuple[int, str]:
    """Sort key: the known data sets, easy ones first; then all others by name."""
    return (list(_DATA_SETS).index(name), name) if name in _DATA_SETS else (len(_DATA_SETS), name)


def loss_order(name: str) -> tuple[int, str]:
    """Sort key: MSE, CE, then all others by name."""
    return (list(_LOSSES).index(name), name) if name in _LOSSES else (len(_LOSSES), name)


def shortened(labels: Sequence[str], longest: int = _LONGEST_LABEL) -> list[str]:
    """``labels`` of at most ``longest`` letters or a few more: where two would be equal they get numbers.

    >>> shortened(["a" * 50, "a" * 51, "b"], 8)
    ['aaaaaaa…', 'aaaaaaa… (2)', 'b']
    """
    result: list[str] = []
    for label in map(printable, labels):
        short = label if len(label) <= longest else f"{label[: longest - 1]}…"
        number = 2
        while short in result:
            short, number = f"{short.removesuffix(f' ({number - 1})')} ({number})", number + 1
        result.append(short)
    return result
