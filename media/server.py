"""One media node as a process: the native router's sockets, the HTTP server, Redis. The only file that starts them."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator
from ipaddress import ip_address

import httpx
import uvicorn
import uvloop
from quart import Quart, Response
from redis.asyncio import Redis
from werkzeug.exceptions import HTTPException

from media._router import Router as NativeRouter
from media.control_server import control_blueprint
from media.errors import MediaError
from media.link import Links
from media.listening import interface_addresses, listen_on
from media.load import LoadMeter
from media.node import MediaNode, MediaNodeConfig
from media.relay_check import RelayWatch
from media.router import MediaEvent, MediaRouter, wall_clock_ms
from media.sdp import MAX_SDP_BYTES
from media.session_http import Desk, error_response, http_error_response
from media.stats import RouterStats
from media.trunks import Trunks
from media.whep import whep_blueprint
from media.whereabouts import Directory
from media.whip import whip_blueprint

REDIS_TIMEOUT_S = 2.0
# Keep-alive connections of browsers must not hold a stopping node.
GRACEFUL_SHUTDOWN_S = 2
# A node that others can stand in for lets its sessions move before it goes, for this long at most.
DRAIN_S = 10.0
DRAIN_LOOK_S = 0.1


class RunningNode:
    """A media node inside the current event loop: `await RunningNode.start(config)` … `await node.stop()`."""

    def __init__(self, config: MediaNodeConfig, clock_ms: Callable[[], int]) -> None:
        self.config = config
        self.redis = Redis.from_url(
            config.redis_url, socket_timeout=REDIS_TIMEOUT_S, socket_connect_timeout=REDIS_TIMEOUT_S
        )
        self.node = MediaNode(self.redis, config, clock_ms)
        self.native = NativeRouter(
            list(config.bind), history_packets=config.history_packets, threads=config.threads, tcp=config.tcp
        )
        candidates = tuple(_candidates(self.native.local_addresses(), config.announced))
        self.router = MediaRouter(
            self.native,
            candidates,
            tcp=config.tcp,
            on_event=self._tell,
            max_sessions=config.max_sessions,
            handshake_timeout_s=config.handshake_timeout_s,
            clock_ms=clock_ms,
        )
        self.node.load = LoadMeter(self.router, candidates, config.threads)
        self.stats = RouterStats(self.router, self.node)
        self._http = httpx.AsyncClient(trust_env=False)
        self.links = Links(self.node, self.router, self._http, config.control_secret, config.control_url)
        directory = Directory(self.redis, self.node.keys, config.node_id)
        self.trunks = Trunks(self.node, self.router, self.links, directory, self._http, config.control_secret)
        self.app = _app(Desk(self.router, self.node, config, clock_ms, self.links, self.trunks), self.stats)
        self._tasks: list[asyncio.Task[None]] = []
        if config.turn is not None and candidates:
            watch = RelayWatch(self.router, config.turn, candidates[0], clock_ms, self._relay_told)
            self._tasks.append(asyncio.create_task(watch.run()))
        self.node.start()
        self.trunks.start()

    def _tell(self, event: MediaEvent) -> None:
        self.node.tell(event)
        self.trunks.told(event)

    async def drain(self) -> None:
        """Returns when no session is left, when no other node could take them, or after `DRAIN_S`."""
        for look in range(round(DRAIN_S / DRAIN_LOOK_S)):
            if not (self.router.sessions and self.node.others()):
                return
            if look == 0:
                await self.node.drain()
            await asyncio.sleep(DRAIN_LOOK_S)

    def _relay_told(self, problems: dict[str, str]) -> None:
        self.node.relay_problems = problems

    async def stop(self) -> None:
        """Ends all sessions (`node_stopping`), says so in Redis, closes the sockets."""
        for task in self._tasks:
            task.cancel()
        await self.trunks.stop()
        await self._http.aclose()
        await self.router.close()
        await self.node.stop()
        await self.redis.aclose()


class NodeServer(uvicorn.Server):
    """uvicorn without signal handlers of its own: the node ends its sessions before the process goes."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def serve_media_node(config: MediaNodeConfig) -> None:
    """`run_media_node` on an event loop of uvloop, which takes a third off what a join costs."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run_media_node(config))


async def run_media_node(config: MediaNodeConfig, *, clock_ms: Callable[[], int] = wall_clock_ms) -> None:
    """Runs one media node until SIGTERM or SIGINT, then ends its sessions and says that it is gone.

    Where other nodes can take its sessions they get the time to move; a second signal does not wait for that.
    OSError when the UDP or the HTTP address is taken.
    """
    running = RunningNode(config, clock_ms)
    server = NodeServer(
        uvicorn.Config(
            running.app,
            host=config.http_host,
            port=config.http_port,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=GRACEFUL_SHUTDOWN_S,
        )
    )

    leaving: list[asyncio.Task[None]] = []

    async def drain_and_leave() -> None:
        await running.drain()
        server.should_exit = True

    def leave() -> None:
        if leaving:
            server.should_exit = True
        else:
            leaving.append(loop.create_task(drain_and_leave()))

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, leave)
    # Bound here, so that a taken port is an OSError of ours and not an exit inside uvicorn.
    listener = listen_on(config.http_host, config.http_port)
    try:
        await server.serve(sockets=[listener])
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        listener.close()
        for task in leaving:
            task.cancel()
        await running.stop()


def _app(desk: Desk, stats: RouterStats) -> Quart:
    app = Quart("media")
    app.config["MAX_CONTENT_LENGTH"] = MAX_SDP_BYTES
    app.register_blueprint(whip_blueprint(desk))
    app.register_blueprint(whep_blueprint(desk))
    app.register_blueprint(control_blueprint(desk, stats))
    app.register_error_handler(MediaError, error_response)
    app.register_error_handler(HTTPException, http_error_response)

    @app.get("/healthz")
    async def healthz() -> dict[str, object]:
        return {"ok": True, "node_id": desk.node.node_id}

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(stats.metrics(), content_type="text/plain; version=0.0.4; charset=utf-8")

    return app


def _candidates(bound: list[tuple[str, int]], announced: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    """Host candidates: the announced addresses on the bound ports, or the bound ones with wildcards spelt out."""
    ports = {ip_address(ip).version: port for ip, port in bound}
    if announced:
        for ip in announced:
            port = ports.get(ip_address(ip).version)
            if port is not None:
                yield ip, port
        return
    for ip, port in bound:
        if not ip_address(ip).is_unspecified:
            yield ip, port
            continue
        for found in interface_addresses(ip_address(ip).version):
            yield found, port
