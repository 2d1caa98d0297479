"""protocol.ts is generated from the contract and the committed file is current."""

import shutil
import subprocess
from pathlib import Path

import pytest

from signaling import protocol
from signaling.typescript import main, typescript, typescript_type

REPOSITORY = Path(__file__).resolve().parents[2]


def test_committed_protocol_ts_is_current(tmp_path: Path) -> None:
    out = tmp_path / "protocol.ts"
    assert main([str(out)]) == 0
    committed = REPOSITORY / "web" / "ui" / "src" / "protocol.ts"
    assert committed.read_text(encoding="utf-8") == out.read_text(encoding="utf-8"), (
        "run: python -m signaling.typescript web/ui/src/protocol.ts"
    )


def test_every_call_tell_and_code_is_in_the_text() -> None:
    text = typescript()
    for name in [*protocol.CALLS, *protocol.TELLS, *protocol.ErrorCode]:
        assert f'"{name}"' in text
    for payload in [*protocol.TELLS.values(), *(model for pair in protocol.CALLS.values() for model in pair)]:
        assert f" {payload.__name__} " in text


def test_fields_with_defaults_are_optional_only_in_what_the_page_sends() -> None:
    text = typescript()
    assert "since?: number | null;" in text
    assert "hand_raised: boolean;" in text


def test_a_type_without_counterpart_is_refused() -> None:
    with pytest.raises(TypeError):
        typescript_type(bytes)


def test_the_text_compiles(tmp_path: Path) -> None:
    compiler = REPOSITORY / "web" / "ui" / "node_modules" / ".bin" / "tsc"
    if not compiler.exists() or shutil.which("node") is None:
        pytest.skip("the page's packages are not installed")
    (tmp_path / "protocol.ts").write_text(typescript(), encoding="utf-8")
    (tmp_path / "use.ts").write_text(
        'import type { Answer, Envelope } from "./protocol";\n'
        'export const left: Answer<"leave"> = { ok: true };\n'
        'export const text = (e: Envelope): string => (e.type === "chat.posted" ? e.data.message.text : e.type);\n',
        encoding="utf-8",
    )
    done = subprocess.run(
        [str(compiler), "--noEmit", "--strict", str(tmp_path / "use.ts")], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout
