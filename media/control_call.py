"""One call of a media node's control interface over HTTP: by the lesson's side, and between nodes."""

from __future__ import annotations

from typing import Any

import httpx

from media.errors import WORDINGS, MediaError


async def call(
    http: httpx.AsyncClient,
    secret: str,
    control_url: str,
    method: str,
    path: str,
    body: dict[str, Any] | None,
    timeout_s: float,
) -> dict[str, Any]:
    """The answer's object. MediaError with the node's code, `no_node` when it cannot be reached, `control_refused` for
    an answer that is none."""
    try:
        response = await http.request(
            method,
            f"{control_url}/control/{path}",
            json=body,
            headers={"Authorization": f"Bearer {secret}"},
            timeout=timeout_s,
        )
    except httpx.HTTPError as error:
        raise MediaError("no_node", f"{control_url}: {type(error).__name__}") from error
    return _answer(response)


def _answer(response: httpx.Response) -> dict[str, Any]:
    try:
        answer = response.json()
    except ValueError:
        raise MediaError("control_refused", f"HTTP {response.status_code}, not JSON") from None
    if response.is_success and isinstance(answer, dict):
        return answer
    error = answer.get("error", {}) if isinstance(answer, dict) else {}
    code = str(error.get("code"))
    if code in WORDINGS:
        raise MediaError(code, str(error.get("detail", "")))
    raise MediaError("control_refused", f"HTTP {response.status_code} {code}")
