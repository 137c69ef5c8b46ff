"""Hosts on this machine: network namespaces joined by a cable, each with a host name and the same files.

Made with iproute2's ``ip`` and util-linux's ``unshare``, by root. A command in a namespace sees its own
loopback, its own end of the cable and its own host name; processes and files are those of the machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

CABLE = "nc0"  # the name of each end, in its own namespace


@dataclass(frozen=True)
class Host:
    """A namespace: its host name, and its address at the cable."""

    name: str
    namespace: str
    address: str

    def start(
        self, *command: object, cwd: Path, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """``command`` on this host. The process is the command's own: no shell is left around it."""
        named = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', self.name]
        return subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, *named, *map(str, command)],
            cwd=cwd, env={**os.environ, **(environment or {})},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def cut(self) -> None:
        """Pull the cable: whatever is sent is lost, and nobody is told."""
        _ip("-n", self.namespace, "link", "set", CABLE, "down")

    def join(self) -> None:
        _ip("-n", self.namespace, "link", "set", CABLE, "up")


def why_not() -> str:
    """Why this machine cannot have such hosts; empty where it can."""
    if missing := [name for name in ("ip", "unshare", "hostname") if shutil.which(name) is None]:
        return f"no {' and no '.join(missing)} here (Debian: iproute2, util-linux, hostname)"
    if os.geteuid() != 0:
        return "network namespaces need root"
    try:
        with two_hosts():
            return ""
    except subprocess.CalledProcessError as error:
        return f"no network namespaces here: {' '.join(error.stderr.split())}"


@contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """Two hosts with a cable between them, taken away afterwards."""
    hosts = tuple(Host(f"host-{end}", f"nc-{os.getpid()}-{end}", f"10.77.0.{number}")
                  for number, end in ((1, "a"), (2, "b")))  # fmt: skip
    first, second = hosts
    try:
        for host in hosts:
            _ip("netns", "add", host.namespace)
            _ip("-n", host.namespace, "link", "set", "lo", "up")
        peer = ("peer", "name", CABLE, "netns", second.namespace)
        _ip("-n", first.namespace, "link", "add", CABLE, "type", "veth", *peer)
        for host in hosts:
            _ip("-n", host.namespace, "address", "add", f"{host.address}/24", "dev", CABLE)
            _ip("-n", host.namespace, "link", "set", CABLE, "up")
        yield first, second
    finally:
        for host in hosts:
            subprocess.run(["ip", "netns", "delete", host.namespace], capture_output=True)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def marks() -> list[pytest.MarkDecorator]:
    """The marks of a test that needs two hosts."""
    reason = why_not()
    needed = pytest.mark.skipif(bool(reason), reason=reason)
    return [pytest.mark.hosts, pytest.mark.slow, pytest.mark.timeout(900), needed]
