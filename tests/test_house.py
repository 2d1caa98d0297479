"""The house rules that a machine can check: import contracts, generated files, the extension's stub, sizes, locks."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("signaling", "media", "classroom", "proctor", "web")

# file → why it may be longer than 600 lines
DEFENDED_LENGTHS: dict[str, str] = {}


def _tracked(*suffixes: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return [ROOT / name for name in listed.decode().split("\0") if name.endswith(suffixes) and (ROOT / name).exists()]


@pytest.mark.parametrize("name", PACKAGES)
def test_generic_package_names_come_from_this_repository(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__file__ is not None
    assert Path(module.__file__).is_relative_to(ROOT)


def test_import_contracts_hold() -> None:
    command = (
        "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True, no_logo=True))"
    )
    done = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ("media", "classroom", "proctor", "signaling"))
def test_importing_a_house_is_light(name: str) -> None:
    heavy = ("cv2", "dlib", "deepface", "onnxruntime", "av")
    command = f"import sys, {name}; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_stub_and_extension_agree() -> None:
    """Every public name of the extension is in `media/_router.pyi`, and every class and method of the stub exists."""
    native = importlib.import_module("media._router")
    stub = ast.parse((ROOT / "media" / "_router.pyi").read_text())
    promised: dict[str, set[str]] = {}
    for node in stub.body:
        if isinstance(node, ast.ClassDef) and not any("TypedDict" in ast.unparse(base) for base in node.bases):
            promised[node.name] = {item.name for item in node.body if isinstance(item, ast.FunctionDef)} - {"__init__"}
        elif isinstance(node, ast.FunctionDef):
            promised[node.name] = set()
    for name, methods in promised.items():
        assert hasattr(native, name), f"{name} is promised by the stub only"
        for method in methods:
            assert hasattr(getattr(native, name), method), f"{name}.{method} is promised by the stub only"
    for name in vars(native):
        if not name.startswith("_"):
            assert name in promised, f"{name} is missing from the stub"
            for method in vars(getattr(native, name)):
                if not method.startswith("_"):
                    assert method in promised[name], f"{name}.{method} is missing from the stub"


def test_files_have_a_bounded_length() -> None:
    generated = {"protocol.ts"}
    too_long = {
        str(path.relative_to(ROOT)): lines
        for path in _tracked(".py", ".rs", ".ts", ".vue", ".pyi")
        if path.name not in generated and "migrations" not in path.parts
        for lines in [path.read_text().count("\n")]
        if lines > 600 and str(path.relative_to(ROOT)) not in DEFENDED_LENGTHS
    }
    assert too_long == {}


def test_locks_carry_hashes_and_no_addresses() -> None:
    for name in ("requirements.lock", "requirements-bootstrap.lock"):
        text = (ROOT / name).read_text()
        assert "://" not in text
        pins = len(re.findall(r"^[a-z0-9._-]+(?:\[[a-z,_]+\])?==", text, flags=re.MULTILINE | re.IGNORECASE))
        assert pins > 0
        assert text.count("--hash=sha256:") >= pins
    package_lock = (ROOT / "web" / "ui" / "package-lock.json").read_text()
    assert '"resolved"' not in package_lock
    assert '"integrity"' in package_lock


def test_source_names_avoid_catch_alls() -> None:
    banned = {"utils", "helpers", "common", "manager", "service", "misc"}
    assert [str(p.relative_to(ROOT)) for p in _tracked(".py", ".rs", ".ts", ".vue") if p.stem.lower() in banned] == []


def test_environment_is_read_in_one_place() -> None:
    """Settings are read once, in `web/settings.py`; elsewhere only handed to children or libraries that insist."""
    allowed = {"web/settings.py", "web/supervisor.py", "web/demo/headless.py", "proctor/weights.py"}
    readers = [
        str(path.relative_to(ROOT))
        for path in _tracked(".py")
        if path.relative_to(ROOT).parts[0] in PACKAGES
        and re.search(r"os\.(environ\.get|getenv|environ\[\"[A-Z_]+\"\](?!\s*=))", path.read_text())
    ]
    assert sorted(set(readers) - allowed) == []
