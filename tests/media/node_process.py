"""Runs one media node as a process of its own, for tests and benchmarks: `node_process.py '{"bind": …}'`."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

from media.ice_servers import IceServer, Turn
from media.node import MediaNodeConfig
from media.server import serve_media_node


def config_of(fields: dict[str, Any]) -> MediaNodeConfig:
    fields["bind"] = tuple((str(ip), int(port)) for ip, port in fields["bind"])
    for name in ("announced", "origins"):
        if name in fields:
            fields[name] = tuple(fields[name])
    fields["ice_servers"] = tuple(IceServer(**server) for server in fields.get("ice_servers", ()))
    if "turn" in fields:
        fields["turn"] = Turn(tuple(fields["turn"]["urls"]), fields["turn"]["secret"])
    return MediaNodeConfig(**fields)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    logging.getLogger("aiortc").setLevel(logging.WARNING)
    serve_media_node(config_of(json.loads(sys.argv[1])))
