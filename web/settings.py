"""Every setting of the platform, read once from the environment (`ANKE_*`) and handed on as values.

No other module reads the environment. Defaults make one machine work as it comes (`anke up`); a production
installation sets `ANKE_DATABASE_URL`, `ANKE_REDIS_URL` and the public addresses.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from media.ice_servers import Turn
from media.listening import in_url
from web.key_files import KeyFiles

WILDCARDS = ("0.0.0.0", "::")
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")
HEX_KEY = r"^([0-9a-f]{64})?$"
Words = Annotated[list[str], NoDecode]


def cores() -> int:
    """Cores that this process may use, at most four: a node of more viewers than they carry is better two nodes."""
    return min(len(os.sched_getaffinity(0)), 4)


class Settings(BaseSettings):
    """One value for the whole process. Times carry their unit in the name; addresses without one are host names."""

    model_config = SettingsConfigDict(env_prefix="ANKE_", frozen=True, extra="ignore")

    data_dir: Path = Path("var")
    host: str = "127.0.0.1"  # of every listener; production puts a TLS proxy in front
    web_port: int = Field(default=8080, ge=1, le=65535)
    media_port: int = Field(default=8081, ge=1, le=65535)  # HTTP: WHIP, WHEP, control
    media_udp_port: int = Field(default=8082, ge=1, le=65535)  # of packets, on UDP and on TCP
    redis_port: int = Field(default=8079, ge=1, le=65535)  # of the Redis child; unused when redis_url is set

    web_url: str = ""  # what people type; default http://{host}:{web_port}
    media_public_url: str = ""  # where browsers reach WHIP/WHEP; default http://{host}:{media_port}
    media_control_url: str = ""  # where web nodes reach the node; default this machine
    media_public_ips: Words = []  # ICE candidates; default the host, or every interface's
    media_threads: int = Field(default_factory=cores, ge=1, le=16)  # that carry packets; a class of 100 needs one
    turn: bool = True  # `anke up` runs coturn beside the media node where `turnserver` is installed
    turn_urls: Words = []  # TURN servers that run elsewhere (RFC 7065), told to clients; default the child of `anke up`
    turn_port: int = Field(default=8083, ge=1, le=65535)  # of the child: UDP and TCP
    turn_tls_port: int = Field(default=8084, ge=1, le=65535)  # TLS; 443 passes most firewalls, see deploy/coturn
    turn_first_relay_port: int = Field(default=8100, ge=1024, le=65535)  # UDP, one for each allocation
    turn_last_relay_port: int = Field(default=8299, ge=1024, le=65535)
    turn_certificate: Path | None = None  # PEM chain; default self-signed, which browsers do not trust
    turn_private_key: Path | None = None
    turn_host: str = ""  # the name in that certificate
    turn_secret_file: Path | None = None  # shared with every coturn; default secrets_dir/turn.key
    media_node_id: str = ""  # default: made from the machine's name and the port

    database_url: str = ""  # default: SQLite in data_dir
    redis_url: str = ""  # default: the Redis child of this data_dir
    ui_dist: Path = Path(__file__).parent / "ui" / "dist"
    allowed_origins: Words = []  # further origins whose pages may call us; our own always may

    secrets_dir: Path | None = None  # default data_dir/secrets
    media_token_key: str = Field(default="", pattern=HEX_KEY)  # instead of secrets_dir/media-token.key
    control_key: str = Field(default="", pattern=HEX_KEY)  # instead of secrets_dir/control.key
    template_key_file: Path | None = None  # face templates are sealed with it; keep it away from their files

    demo: bool = False
    clock_factor: float = Field(default=11.25, ge=1, le=60)  # of the demo class only: 2700 s an hour / 11.25 = 240 s
    keep_demo_data: bool = False  # the headless demo then leaves its data directory for a look
    demo_learners: int = Field(default=12, ge=3, le=12)

    recordings: Path | None = None  # where recordings are kept; default data_dir/recordings

    operator_models: Path | None = None  # folder with models an operator may add (anti-spoofing)

    worker_concurrency: int = Field(default=1, ge=1, le=64)
    worker_max_memory_kib: int = Field(default=1_200_000, ge=100_000)  # a worker child is replaced above this
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("media_public_ips", "allowed_origins", "turn_urls", mode="before")
    @classmethod
    def _split_words(cls, value: object) -> object:
        return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value

    @field_validator("data_dir", "ui_dist")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        # Children of `anke up` may have another working directory.
        return value.absolute()

    @cached_property
    def keys(self) -> KeyFiles:
        directory = self.secrets_dir or self.data_dir / "secrets"
        given = {"media_token": self.media_token_key, "control": self.control_key}
        return KeyFiles(directory, self.template_key_file, self.turn_secret_file, **given)

    @property
    def runs_redis(self) -> bool:
        """Whether `anke up` starts a Redis child: only where no other Redis was named."""
        return not self.redis_url

    @property
    def redis(self) -> str:
        if self.redis_url:
            return self.redis_url
        return f"redis://:{self.keys.redis_password}@127.0.0.1:{self.redis_port}/0"

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite+aiosqlite:///{self.data_dir / 'anke.sqlite3'}"

    @property
    def reached_at(self) -> str:
        """The address by which this machine reaches its own listeners; a wildcard is no address to connect to."""
        return "127.0.0.1" if self.host in WILDCARDS else self.host

    @property
    def reached_in_url(self) -> str:
        return in_url(self.reached_at)

    @property
    def ice_turn(self) -> Turn | None:
        """The TURN servers that clients are told of."""
        return Turn(tuple(self.turn_urls), self.keys.turn) if self.turn_urls else None

    @property
    def own_url(self) -> str:
        return (self.web_url or f"http://{self.reached_in_url}:{self.web_port}").rstrip("/")

    @property
    def media_url(self) -> str:
        return (self.media_public_url or f"http://{self.reached_in_url}:{self.media_port}").rstrip("/")

    @property
    def media_control(self) -> str:
        return (self.media_control_url or f"http://{self.reached_in_url}:{self.media_port}").rstrip("/")

    @property
    def media_ips(self) -> list[str]:
        """Addresses of the node's ICE candidates; empty: those of every interface."""
        return self.media_public_ips or ([] if self.host in WILDCARDS else [self.host])

    @property
    def origins(self) -> list[str]:
        """Origins whose pages may write to us and reach the media node: our own under each of its loopback names."""
        own = [self.own_url]
        if self.reached_at in LOOPBACK_NAMES:
            own += [f"http://{in_url(name)}:{self.web_port}" for name in LOOPBACK_NAMES]
        return list(dict.fromkeys(own + [origin.rstrip("/") for origin in self.allowed_origins]))

    @property
    def templates_dir(self) -> Path:
        return self.data_dir / "templates"

    @property
    def recordings_dir(self) -> Path:
        return self.recordings or self.data_dir / "recordings"

    @property
    def run_dir(self) -> Path:
        """Process ids of the running platform, one `{name}.pid` each."""
        return self.data_dir / "run"

    def environment(self) -> dict[str, str]:
        """The `ANKE_*` variables that make a child process read these same settings."""
        shown = self.model_dump(mode="json", exclude_none=True)
        return {
            f"ANKE_{name.upper()}": ",".join(value) if isinstance(value, list) else str(value)
            for name, value in shown.items()
        }
