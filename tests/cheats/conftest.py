"""What cheats and auditors are tried in: the same world that the record's own tests live in."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def _neighbour(name: str) -> ModuleType:
    """Another folder's file: the folders of tests are no packages, so it is loaded by its path."""
    path = Path(__file__).parent.parent / name
    spec = importlib.util.spec_from_file_location("cheats_" + name.replace("/", "_").removesuffix(".py"), path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


_classroom = _neighbour("classroom/conftest.py")
empty_database = _classroom.empty_database
sqlite_url = _classroom.sqlite_url
postgres_template = _classroom.postgres_template
postgres_record_url = _classroom.postgres_record_url
database_url = _classroom.database_url
world = _classroom.world
small_world = _classroom.small_world
