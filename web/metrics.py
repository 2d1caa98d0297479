"""Counters of the web process that `/metrics` shows to Prometheus."""

from __future__ import annotations

import time

from prometheus_client import Counter, Histogram
from quart import Quart, Response, g, request

REQUESTS = Counter("anke_http_requests_total", "HTTP requests answered", ["method", "endpoint", "status"])
SECONDS = Histogram(
    "anke_http_request_seconds",
    "Time from request to answer",
    ["endpoint"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20),
)


def install_metrics(app: Quart) -> None:
    """Labels are endpoint names, never paths: a scanner's thousand addresses stay one series."""

    @app.before_request
    async def begin() -> None:
        g.started_s = time.perf_counter()

    @app.after_request
    async def count(response: Response) -> Response:
        endpoint = request.endpoint or "none"
        REQUESTS.labels(request.method, endpoint, str(response.status_code)).inc()
        SECONDS.labels(endpoint).observe(time.perf_counter() - g.started_s)
        return response
