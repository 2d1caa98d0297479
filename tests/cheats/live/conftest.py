"""The live side for cheats: real web nodes, real sockets, as the signaling tests have them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_path = Path(__file__).parents[2] / "signaling" / "conftest.py"
_spec = importlib.util.spec_from_file_location("cheats_signaling_conftest", _path)
assert _spec is not None and _spec.loader is not None
_signaling = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = _signaling  # dataclasses look their module up
_spec.loader.exec_module(_signaling)

redis = _signaling.redis
database_url = _signaling.database_url
make_world = _signaling.make_world
world = _signaling.world
make_node = _signaling.make_node
node = _signaling.node
open_page = _signaling.open_page
until = _signaling.until_fixture
