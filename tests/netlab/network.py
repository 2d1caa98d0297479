"""A small internet for tests: hosts in network namespaces around one router, each behind a line as bad as you ask.

    with Network() as network:                      # or the pytest fixture `network` (tests/conftest.py)
        server = network.host("server")             # a clean gigabit line
        learner = network.host(
            "learner",
            down=Line(loss=0.10, rate_bps=1_000_000, delay_ms=50, jitter_ms=10),    # towards the host
            up=Line(delay_ms=50),                                                   # from the host
        )
        server.start([sys.executable, "server.py"])         # a Popen inside the namespace; output in server.log(…)
        learner.run(["ping", "-c1", server.ip])             # CompletedProcess; raises when the command fails
        learner.call(fetch, f"http://{server.ip}:8080")     # a Python function in a thread inside the namespace
        learner.impair(down=Line(loss=0.2))                 # at run time; a Line left out stays as it was
        learner.firewall("udp-blocked")                     # or "tcp-443-only", "none"
        learner.readdress()                                 # another address while it runs, as Wi-Fi → 4G
        learner.unplug(); learner.plug()                    # link down and up, routes and addresses come back
        network.host("phone", addressing="ipv6")            # "dual" (default), "ipv4", "ipv6"

The process of the test itself is a host too: it reaches every host by its address over an unimpaired link and is
reached as `network.outside_ip` and `network.outside_ip6`. So a publisher, a Playwright driver or an HTTP client may
stay where it is. `running.py` starts Redis, media nodes and Chromium inside hosts, `probe.py` measures a path.

How it is made: one namespace per host and one for the router in the middle, joined by veth pairs. Loss and firewalls
are nftables rules in the router, rates are tbf queues on both ends of the line. The kernel may lack netem, so a line
with delay is a pair of TUN devices joined by `wire.py`, a process that holds every packet back for its time; such lines
must have a delay from the start (or `delayable=True`). Senders' GSO trains are cut into packets before the line: one
loss is one packet.

Names are random and carry the process id. Leaving the context ends the processes inside and removes everything, also
after a failure; what a killed run left behind is removed by the next one (`sweep`). Needs root, iproute2, nftables and
/dev/net/tun.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeVar

HERE = Path(__file__).parent
PREFIX = "anke-lab-"
CLONE_NEWNET = 0x40000000
# What a host may send at once although its rate says less: one frame of the Ethernet's size and a little.
MIN_BURST_BYTES = 1_700
BURST_S = 0.004
FIREWALLS = {
    "none": (),
    "udp-blocked": ("meta l4proto udp drop",),
    "tcp-443-only": ("tcp dport 443 accept", "ct state established,related accept", "drop"),
}
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Line:
    """One direction of a host's line. The default is perfect.

    `loss`: probability 0…1 per packet. `rate_bps`: bits per second, None is unlimited; the queue before it holds
    `queue_ms` and drops what comes later. `delay_ms` ± `jitter_ms` (uniform) is added to each packet; packets keep
    their order (those behind a late one wait for it) unless `reorder`.
    """

    loss: float = 0.0
    rate_bps: int | None = None
    queue_ms: int = 200
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    reorder: bool = False

    @property
    def is_delayed(self) -> bool:
        return self.delay_ms > 0 or self.jitter_ms > 0


class LabError(RuntimeError):
    """A namespace, link or rule could not be made as asked."""


def unavailable() -> str | None:
    """Why no network can be made on this machine, or None when it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [tool for tool in ("ip", "tc", "nft") if shutil.which(tool) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (deploy/system-packages.sh installs iproute2 and nftables)"
    if not Path("/dev/net/tun").exists():
        return "there is no /dev/net/tun"
    probe = f"{PREFIX}{os.getpid()}-{secrets.token_hex(3)}-probe"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True)
    if made.returncode != 0:
        return f"network namespaces cannot be made: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "delete", probe], check=True)
    return None


def sweep() -> list[str]:
    """Removes the namespaces (and the processes in them) of runs whose process is gone; returns their names."""
    removed = []
    for line in _command("ip", "netns", "list").splitlines():
        name = line.split(" ")[0]
        owner = re.match(rf"{PREFIX}(\d+)-", name)
        if owner and not Path(f"/proc/{owner[1]}").exists():
            _remove_namespace(name)
            removed.append(name)
    return removed


def enter_namespace(name: str) -> None:
    """Moves the calling thread, and only it, into a named network namespace. OSError when that cannot be."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{name}", "rb") as handle:
        if libc.setns(handle.fileno(), CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"setns {name}: {os.strerror(number)}")


class Network:
    """A router and the hosts around it. A context manager; see the top of the module."""

    def __init__(self) -> None:
        self.hosts: dict[str, Host] = {}
        self._id = f"{PREFIX}{os.getpid()}-{secrets.token_hex(3)}"
        self._core = f"{self._id}-router"
        self._folder = Path(tempfile.mkdtemp(prefix="anke-lab-"))
        # 198.18.0.0/15 is set aside for tests of networks (RFC 2544 C.2.2), fd00::/8 for private use (RFC 4193).
        self._block = 0
        self.outside_ip = self.outside_ip6 = ""

    def __enter__(self) -> Network:
        sweep()
        try:
            self._make_core()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def host(
        self,
        name: str,
        *,
        down: Line | None = None,
        up: Line | None = None,
        addressing: str = "dual",
        delayable: bool = False,
    ) -> Host:
        """Adds a host named `name` (short, unique here) behind a line of its own."""
        if name in self.hosts or name in ("router", "outside") or not re.fullmatch(r"[a-z0-9]{1,12}", name):
            raise LabError(f"a host cannot be named {name!r}")
        if addressing not in ("dual", "ipv4", "ipv6"):
            raise LabError(f"unknown addressing {addressing!r}")
        number = len(self.hosts) + 2
        if number > 31:
            raise LabError("a network has room for thirty hosts")
        host = Host(self, name, number, addressing, down or Line(), up or Line(), self._folder)
        self.hosts[name] = host
        host._attach(self._id, self._core, delayable)
        return host

    def close(self) -> None:
        """Ends what runs inside and removes everything. Safe to call twice."""
        for host in self.hosts.values():
            host._end_processes()
        for name in [host.namespace for host in self.hosts.values()] + [self._core]:
            if Path(f"/run/netns/{name}").exists():
                _remove_namespace(name)
        self.hosts.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    def subnet(self, number: int) -> tuple[str, str]:
        """The first three octets of this network's addresses and the IPv6 prefix of one host's line."""
        return f"198.{18 + self._block // 256}.{self._block % 256}.", f"fd42:6e6c:{self._block:x}:{number:x}::"

    def address(self, number: int, which: int) -> tuple[str, str]:
        """(IPv4, IPv6) of address `which` (1 the router, 2…6 the host) on the line of host `number`: /29 and /64."""
        prefix, prefix6 = self.subnet(number)
        return f"{prefix}{number * 8 + which}", f"{prefix6}{which}"

    def _make_core(self) -> None:
        _command("ip", "netns", "add", self._core)
        _batch(self._core, "link set lo up")
        sysctls = {
            "net/ipv4/ip_forward": "1",
            "net/ipv6/conf/all/forwarding": "1",
            "net/ipv6/conf/default/accept_dad": "0",
        }
        _in_namespace(self._core, _write_sysctls, sysctls)
        device = f"lab{secrets.token_hex(4)}"
        _command("ip", "link", "add", device, "type", "veth", "peer", "name", "outside", "netns", self._core)
        # Other networks may exist at the same time: a block is ours when its route could be added.
        for _ in range(50):
            self._block = secrets.randbelow(512)
            prefix, _ = self.subnet(0)
            (mine, mine6), (gateway, gateway6) = self.address(0, 2), self.address(0, 1)
            block6 = f"fd42:6e6c:{self._block:x}::/48"
            if _command("ip", "route", "show", "root", f"{prefix}0/24").strip():
                continue
            _batch(
                None,
                f"link set {device} up gso_max_segs 1",
                f"address add {mine}/29 dev {device}",
                f"-6 address add {mine6}/64 dev {device} nodad",
            )
            _batch(
                self._core,
                "link set outside up",
                f"address add {gateway}/29 dev outside",
                f"-6 address add {gateway6}/64 dev outside nodad",
            )
            added = subprocess.run(
                ["ip", "route", "add", f"{prefix}0/24", "via", gateway], capture_output=True, text=True
            )
            if added.returncode == 0:
                _command("ip", "-6", "route", "add", block6, "via", gateway6)
                self.outside_ip, self.outside_ip6 = mine, mine6
                return
            _batch(None, f"address flush dev {device}")
            _batch(self._core, "address flush dev outside")
        raise LabError("no free block of addresses in 198.18.0.0/15")

    def _apply_rules(self) -> None:
        """Loss and firewalls of every host as one ruleset, replaced in one transaction."""
        rules = []
        for host in self.hosts.values():
            for match, loss in ((f'oifname "{host.port}"', host.down.loss), (f'iifname "{host.port}"', host.up.loss)):
                if loss > 0:
                    rules.append(f"{match} numgen random mod 100000 < {round(loss * 100_000)} counter drop")
            rules += [f'iifname "{host.port}" {rule}' for rule in FIREWALLS[host.firewall_name]]
        text = "flush ruleset\ntable inet lab {\n chain forward {\n  type filter hook forward priority 0;\n"
        text += "".join(f"  {rule}\n" for rule in rules) + " }\n}\n"
        _command("ip", "netns", "exec", self._core, "nft", "-f", "-", text=text)


@dataclass
class Host:
    """One host: its namespace, its addresses now, its line. Made by `Network.host`."""

    network: Network
    name: str
    number: int
    addressing: str
    down: Line
    up: Line
    folder: Path
    namespace: str = ""
    port: str = ""  # the router's device towards this host
    ip: str = ""  # empty when IPv6 only
    ip6: str = ""  # empty when IPv4 only
    firewall_name: str = "none"
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _wire: subprocess.Popen[str] | None = None
    _which: int = 2

    def impair(self, *, down: Line | None = None, up: Line | None = None) -> None:
        """Changes the line while it runs. LabError when delay is asked of a line that was made without."""
        down, up = down or self.down, up or self.up
        if self._wire is None and (down.is_delayed or up.is_delayed):
            raise LabError(f"the line of {self.name} was made without delay: pass delayable=True")
        self.down, self.up = down, up
        self.network._apply_rules()
        _set_rate(self.network._core, self.port, down)
        _set_rate(self.namespace, "eth0", up)
        if self._wire is not None:
            self._tell_wire()

    def firewall(self, name: str) -> None:
        """What the router lets this host send: "none" (everything), "udp-blocked", "tcp-443-only"."""
        if name not in FIREWALLS:
            raise LabError(f"unknown firewall {name!r}: one of {', '.join(FIREWALLS)}")
        self.firewall_name = name
        self.network._apply_rules()

    def readdress(self) -> None:
        """Gives the host its next address (of five) and takes the old one away, as a change of access network does."""
        before, before6 = self.network.address(self.number, self._which)
        self._which = 2 + (self._which - 1) % 5
        self._assign(self._which)
        lines = []
        if self.addressing != "ipv6":
            lines.append(f"address delete {before}/29 dev eth0")
        if self.addressing != "ipv4":
            lines.append(f"-6 address delete {before6}/64 dev eth0")
        _batch(self.namespace, *lines)
        self._route()

    def unplug(self) -> None:
        """The link goes down: the host sees no carrier."""
        _batch(self.network._core, f"link set {self.port} down")
        _batch(self.namespace, "link set eth0 down")

    def plug(self) -> None:
        """The link is up again with the same address and routes."""
        _batch(self.network._core, f"link set {self.port} up")
        _batch(self.namespace, "link set eth0 up")
        self._address_port()
        self._assign(self._which)
        self._route()

    def start(
        self, command: Sequence[str], *, log: str = "process", stdin: int | None = subprocess.DEVNULL, **popen: Any
    ) -> subprocess.Popen[bytes]:
        """A process inside; it is ended with the network. Its output is appended to `self.log(log)`."""
        with self.log_path(log).open("ab") as output:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self.namespace, *command],
                stdin=stdin,
                stdout=popen.pop("stdout", output),
                stderr=popen.pop("stderr", output),
                **popen,
            )
        self.processes.append(process)
        return process

    def log_path(self, name: str) -> Path:
        return self.folder / f"{self.name}.{name}.log"

    def log(self, name: str = "process") -> str:
        """What the processes started with this log name wrote so far."""
        path = self.log_path(name)
        return path.read_text(errors="replace") if path.exists() else ""

    def run(
        self, command: Sequence[str], timeout: float = 30.0, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """A command inside, waited for."""
        done = subprocess.run(
            ["ip", "netns", "exec", self.namespace, *command], capture_output=True, text=True, timeout=timeout
        )
        if check and done.returncode != 0:
            raise LabError(f"{' '.join(command)} in {self.name}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """`function(*arguments)` in a fresh thread inside, where its sockets stay. E.g. `call(asyncio.run, main())`."""
        return _in_namespace(self.namespace, function, *arguments)

    def executable(self, program: str) -> str:
        """The path of a script that runs `program` inside: for Playwright's `executable_path`."""
        path = self.folder / f"{self.name}-{Path(program).name}"
        path.write_text(f'#!/bin/sh\nexec ip netns exec {self.namespace} {program} "$@"\n')
        path.chmod(0o755)
        return str(path)

    def _attach(self, network_id: str, core: str, delayable: bool) -> None:
        self.namespace = f"{network_id}-{self.name}"
        self.port = f"h{self.number}"
        _command("ip", "netns", "add", self.namespace)
        settings = {"net/ipv6/conf/default/accept_dad": "0", "net/ipv6/conf/default/accept_ra": "0"}
        _in_namespace(self.namespace, _write_sysctls, settings)
        if delayable or self.down.is_delayed or self.up.is_delayed:
            self._wire = subprocess.Popen(
                [sys.executable, "-I", "-S", str(HERE / "wire.py"), self.namespace, core, self.port],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            assert self._wire.stdout is not None
            if self._wire.stdout.readline() != "ready\n":
                raise LabError(f"the wire of {self.name} did not start: status {self._wire.wait()}")
        else:
            _command(
                *("ip", "-n", core, "link", "add", self.port, "type", "veth"),
                *("peer", "name", "eth0", "netns", self.namespace),
            )
        _batch(core, f"link set {self.port} up gso_max_segs 1")
        _batch(self.namespace, "link set lo up", "link set eth0 up gso_max_segs 1")
        self._address_port()
        self._assign(self._which)
        self._route()
        self.impair()

    def _address_port(self) -> None:
        gateway, gateway6 = self.network.address(self.number, 1)
        lines = []
        if self.addressing != "ipv6":
            lines.append(f"address replace {gateway}/29 dev {self.port}")
        if self.addressing != "ipv4":
            lines.append(f"-6 address replace {gateway6}/64 dev {self.port} nodad")
        _batch(self.network._core, *lines)

    def _assign(self, which: int) -> None:
        address, address6 = self.network.address(self.number, which)
        lines = []
        if self.addressing != "ipv6":
            self.ip = address
            lines.append(f"address replace {address}/29 dev eth0")
        if self.addressing != "ipv4":
            self.ip6 = address6
            lines.append(f"-6 address replace {address6}/64 dev eth0 nodad")
        _batch(self.namespace, *lines)

    def _route(self) -> None:
        gateway, gateway6 = self.network.address(self.number, 1)
        lines = []
        if self.addressing != "ipv6":
            # Deleting a subnet's first address deletes the others unless promote_secondaries; assert what shall be.
            lines += [f"address replace {self.ip}/29 dev eth0", f"route replace default via {gateway} dev eth0"]
        if self.addressing != "ipv4":
            lines += [f"-6 route replace default via {gateway6} dev eth0"]
        _batch(self.namespace, *lines)

    def _tell_wire(self) -> None:
        assert self._wire is not None and self._wire.stdin is not None and self._wire.stdout is not None
        told = {
            name: [line.delay_ms, line.jitter_ms, line.reorder] for name, line in (("down", self.down), ("up", self.up))
        }
        self._wire.stdin.write(json.dumps(told) + "\n")
        self._wire.stdin.flush()
        if self._wire.stdout.readline() != "set\n":
            raise LabError(f"the wire of {self.name} is gone: status {self._wire.wait()}")

    def _end_processes(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
        deadline_s = time.monotonic() + 3.0
        for process in self.processes:
            try:
                process.wait(timeout=max(0.05, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(timeout=10)
        self.processes.clear()
        if self._wire is not None:
            pipes: list[IO[str] | None] = [self._wire.stdin, self._wire.stdout]
            self._wire.kill()
            self._wire.wait(timeout=10)
            for pipe in pipes:
                if pipe is not None:
                    pipe.close()
            self._wire = None


def _command(*words: str, text: str | None = None) -> str:
    done = subprocess.run(words, capture_output=True, text=True, input=text)
    if done.returncode != 0:
        raise LabError(f"{' '.join(words)}: {done.stderr.strip() or done.returncode}\n{text or ''}")
    return done.stdout


def _batch(namespace: str | None, *lines: str) -> None:
    """Lines of `ip -batch`; a line may begin with `-6`, which a batch does not take, so such lines go by themselves."""
    where = ["-n", namespace] if namespace else []
    plain = [line for line in lines if not line.startswith("-6 ")]
    if plain:
        _command("ip", *where, "-batch", "-", text="\n".join(plain) + "\n")
    sixth = [line.removeprefix("-6 ") for line in lines if line.startswith("-6 ")]
    if sixth:
        _command("ip", *where, "-6", "-batch", "-", text="\n".join(sixth) + "\n")


def _set_rate(namespace: str, device: str, line: Line) -> None:
    if line.rate_bps is None:
        # A plain queue whether there was a rate before or not: deleting what may not be there would be an error.
        _command("tc", "-n", namespace, "qdisc", "replace", "dev", device, "root", "pfifo", "limit", "1000")
        return
    burst = max(MIN_BURST_BYTES, int(line.rate_bps / 8 * BURST_S))
    _command(
        *("tc", "-n", namespace, "qdisc", "replace", "dev", device, "root", "tbf"),
        *("rate", f"{line.rate_bps}bit", "burst", str(burst), "latency", f"{line.queue_ms}ms"),
    )


def _remove_namespace(name: str) -> None:
    """Ends the processes whose namespace this is (only ours can be in it) and removes it."""
    deadline_s = time.monotonic() + 5.0
    while time.monotonic() < deadline_s:
        inside = [int(word) for word in _command("ip", "netns", "pids", name).split() if int(word) != os.getpid()]
        if not inside:
            break
        for pid in inside:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.02)
    _command("ip", "netns", "delete", name)


def _write_sysctls(values: dict[str, str]) -> None:
    for name, value in values.items():
        Path("/proc/sys", name).write_text(value)


def _in_namespace(name: str, function: Callable[..., T], *arguments: Any) -> T:
    results: list[T] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            enter_namespace(name)
            results.append(function(*arguments))
        except BaseException as error:  # noqa: BLE001 — raised again in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
