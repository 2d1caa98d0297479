"""Serves the built page: hashed assets for ever, `index.html` always fresh, a clear answer when it was not built."""

from __future__ import annotations

import mimetypes
import re
from pathlib import Path
from urllib.parse import urlsplit

from quart import Quart, Response, send_file
from quart_schema import hide

from web.refusals import refusal_response

# Vite names assets by content hash: name-BASE64HASH.ext; those never change under one name.
HASHED_NAME = re.compile(r"-[A-Za-z0-9_-]{8,}\.[a-z0-9]+$")
FOREVER = "public, max-age=31536000, immutable"
REVALIDATE = "no-cache"

NOT_BUILT = """<!doctype html><html lang="zh-CN"><meta charset="utf-8"><title>安课 Anke</title>
<h1>页面尚未构建</h1><p>服务器已经在运行，但前端页面还没有构建。
请在仓库目录执行 <code>make setup</code>，然后刷新本页。</p>
<h2 lang="en">The page has not been built</h2><p lang="en">The server runs, but its page was not built yet.
Run <code>make setup</code> in the repository, then reload.</p></html>"""


def install_page(app: Quart, dist: Path) -> None:
    """Every path that no endpoint took: a file of `dist`, else the single page itself (its router knows the rest)."""
    mimetypes.add_type("text/javascript", ".js")
    root = dist.resolve()

    @app.get("/")
    @app.get("/<path:path>")
    @hide
    async def page(path: str = "") -> Response:
        if path.startswith(("api/", "socket.io/")):
            return refusal_response("not_found")
        asked = (root / path).resolve()
        if path and asked.is_relative_to(root) and asked.is_file():
            return await _file(asked, FOREVER if HASHED_NAME.search(asked.name) else REVALIDATE)
        if path and Path(path).suffix:
            # A missing asset must not answer with the page: the browser would run HTML as a script.
            return refusal_response("not_found")
        index = root / "index.html"
        if not index.is_file():
            return Response(NOT_BUILT, status=503, mimetype="text/html", headers={"Retry-After": "30"})
        return await _file(index, REVALIDATE)


async def _file(path: Path, caching: str) -> Response:
    response: Response = await send_file(path, conditional=True)
    response.headers["Cache-Control"] = caching
    # Quart adds its own default here, which would contradict the line above.
    response.headers.pop("Expires", None)
    return response


def content_security_policy(origins: list[str], media_url: str) -> str:
    """Nothing from third parties; requests only to ourselves, our socket and the media node's HTTP address."""
    connect = ["'self'", _source(media_url)]
    for origin in origins:
        if "[" in origin:
            continue  # what a policy cannot name; a page opened there is 'self'
        scheme, host = urlsplit(origin).scheme, urlsplit(origin).netloc
        connect += [origin, f"{'wss' if scheme == 'https' else 'ws'}://{host}"]
    parts = {
        "default-src": ["'self'"],
        "script-src": ["'self'"],
        # Component libraries set element styles at run time; scripts stay strict.
        "style-src": ["'self'", "'unsafe-inline'"],
        "img-src": ["'self'", "data:", "blob:"],
        "font-src": ["'self'", "data:"],
        "media-src": ["'self'", "blob:", "mediastream:"],
        "connect-src": list(dict.fromkeys(connect)),
        "worker-src": ["'self'", "blob:"],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    }
    return "; ".join(f"{name} {' '.join(values)}" for name, values in parts.items())


def _source(url: str) -> str:
    """The origin; for an IPv6 address its scheme alone, since a policy's grammar has no brackets (CSP 3, 2.3.1)."""
    split = urlsplit(url)
    return f"{split.scheme}:" if "[" in split.netloc else f"{split.scheme}://{split.netloc}"


def install_headers(app: Quart, policy: str, *, https: bool) -> None:
    """Security headers on every answer, errors included."""

    @app.after_request
    async def harden(response: Response) -> Response:
        response.headers.setdefault("Content-Security-Policy", policy)
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("Referrer-Policy", "same-origin")
        response.headers.setdefault("X-Frame-Options", "DENY")
        response.headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
        response.headers.setdefault(
            "Permissions-Policy", "camera=(self), microphone=(self), display-capture=(self), geolocation=()"
        )
        response.headers.setdefault("Cache-Control", "no-store")
        if https:
            response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
        return response
