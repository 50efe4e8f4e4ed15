"""Hosts with addresses of their own on this machine: network namespaces, and between them a network with a delay.

Each host has a TUN device, and one thread here passes on what they send, packet by packet, after the delay: so that
it needs no kernel with netem, every byte is counted, and a cut link drops packets in silence, as a pulled cable does.
"""

import ctypes
import fcntl
import os
import selectors
import shutil
import signal
import struct
import subprocess
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

PREFIX = "10.77.0."
MTU = 1500  # bytes
_CLONE_NEWNET = 0x40000000
_TUNSETIFF, _TUN_WITHOUT_HEADER = 0x400454CA, 0x0001 | 0x1000


def why_no_hosts() -> str | None:
    """What is missing to make hosts."""
    if os.geteuid() != 0:
        return "this is not root"
    if shutil.which("ip") is None:
        return "there is no `ip` (apt-get install iproute2)"
    return None if Path("/dev/net/tun").exists() else "there is no /dev/net/tun"


def need_hosts() -> None:
    """Skip where hosts cannot be made, with the reason."""
    if reason := why_no_hosts():
        pytest.skip(f"left out: a cluster of several hosts, {reason}")


class Host:
    """One namespace, its address and what runs there."""

    def __init__(self, name: str, number: int) -> None:
        self.name, self.address = name, f"{PREFIX}{number}"
        self.namespace = f"{name}-{os.getpid()}"
        self.processes: list[subprocess.Popen] = []

    def add(self) -> int:
        """Make the namespace; a file descriptor of its network device."""
        _ip("netns", "add", self.namespace)
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        interface = f"tun{self.address.rpartition('.')[2]}-{os.getpid() % 100_000}"
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH", interface.encode(), _TUN_WITHOUT_HEADER))
        _ip("link", "set", interface, "netns", self.namespace)
        _ip("-n", self.namespace, "addr", "add", f"{self.address}/24", "dev", interface)
        for link in (interface, "lo"):
            _ip("-n", self.namespace, "link", "set", link, "mtu", str(MTU if link != "lo" else 65536), "up")
        return device

    def command(self, *words: object) -> list[str]:
        """`words`, to be run on this host."""
        return ["ip", "netns", "exec", self.namespace, *map(str, words)]

    def start(self, *words: object, log: Path, cwd: Path, env: Mapping[str, str]) -> subprocess.Popen:
        with log.open("ab") as out:
            process = subprocess.Popen(
                self.command(*words), cwd=cwd, env=dict(env), stdout=out, stderr=out, start_new_session=True
            )
        self.processes.append(process)
        return process

    @contextmanager
    def inside(self) -> Iterator[None]:
        """This thread, and those that it starts in the block, are on this host."""
        with open(f"/run/netns/{self.namespace}") as wanted, open("/proc/thread-self/ns/net") as own:
            _enter(wanted.fileno())
            try:
                yield
            finally:
                _enter(own.fileno())

    def kill(self) -> None:
        """SIGKILL for all that runs here, whoever started it: as when its power is cut."""
        while pids := self.pids():
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        for process in self.processes:
            process.wait()
        self.processes.clear()

    def pids(self) -> list[int]:
        """Of all processes here but this one, which may be `inside`."""
        done = subprocess.run(["ip", "netns", "pids", self.namespace], capture_output=True, text=True, check=False)
        return [pid for pid in map(int, done.stdout.split()) if pid != os.getpid()]

    def remove(self) -> None:
        self.kill()
        subprocess.run(["ip", "netns", "delete", self.namespace], capture_output=True, check=False)


class Network:
    """Passes packets between hosts, `delay` seconds after they were sent."""

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.hosts: dict[str, Host] = {}
        self.bytes: Counter[tuple[str, str]] = Counter()  # (from, to), by name of the host
        self.packets: Counter[tuple[str, str]] = Counter()
        self._cut: set[str] = set()
        self._devices: dict[bytes, tuple[str, int]] = {}  # address -> name of the host, its device
        self._end, self._wake = os.pipe()
        self._thread = threading.Thread(target=self._pass_on, daemon=True, name="network")

    def cut(self, name: str) -> None:
        """From now on nothing reaches the host or leaves it; nobody is told."""
        self._cut.add(name)

    def mend(self, name: str) -> None:
        self._cut.discard(name)

    def add(self, *names: str) -> None:
        for number, name in enumerate(names, 1):
            host = self.hosts[name] = Host(name, number)
            self._devices[bytes(map(int, host.address.split(".")))] = (name, host.add())
        self._thread.start()

    def close(self) -> None:
        os.close(self._wake)
        if self._thread.ident is not None:
            self._thread.join()
        for host in self.hosts.values():
            host.remove()
        for _, device in self._devices.values():
            os.close(device)
        os.close(self._end)

    def _pass_on(self) -> None:
        waiting: deque[tuple[float, int, bytes]] = deque()  # all wait equally long, so in order of time
        with selectors.DefaultSelector() as selector:
            for _, device in self._devices.values():
                selector.register(device, selectors.EVENT_READ)
            selector.register(self._end, selectors.EVENT_READ)
            while True:
                wanted = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
                ready = [key.fd for key, _ in selector.select(wanted)]
                if self._end in ready:
                    return
                for device in ready:
                    self._take(device, waiting)
                while waiting and waiting[0][0] <= time.monotonic():
                    _, device, packet = waiting.popleft()
                    with suppress(OSError):  # its queue is full, or it is gone: a network may lose a packet
                        os.write(device, packet)

    def _take(self, device: int, waiting: deque[tuple[float, int, bytes]]) -> None:
        with suppress(OSError):  # BlockingIOError: no more of them
            for _ in range(64):
                packet = os.read(device, MTU)
                sender, receiver = (self._devices.get(address) for address in (packet[12:16], packet[16:20]))
                if packet[0] >> 4 != 4 or not sender or not receiver or self._cut & {sender[0], receiver[0]}:
                    continue
                way = (sender[0], receiver[0])
                self.bytes[way] += len(packet)
                self.packets[way] += 1
                waiting.append((time.monotonic() + self.delay, receiver[1], packet))


@contextmanager
def network(*names: str, delay: float) -> Iterator[Network]:
    """Hosts of these names, `delay` seconds from one to another; all of it is gone afterwards, whatever happened."""
    made = Network(delay)
    try:
        made.add(*names)
        yield made
    finally:
        made.close()


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")


def _enter(namespace: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
