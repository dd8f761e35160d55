"""HTTP requests, if the job grants them: ``grant = { http = { hosts = ["api.example.com"] } }``. The plugin's ``pyproject.toml`` must
request them: ``[tool.millstream.grants]`` with ``http = { hosts = [...] }``.

Redirects are returned as responses and not followed. In tests, this machine sends the requests, and all are allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from . import host

#: Default timeout of a request, in milliseconds.
TIMEOUT_MS = 10_000
#: Maximum size of a response body. A longer body is an error.
BODY_BYTES_MAX = 8 << 20


@dataclass(frozen=True)
class Response:
    """An HTTP response."""

    #: Status code, for example 200 or 404.
    status: int
    #: Headers, with names in lower case. If a name is repeated, the last value wins.
    headers: dict[str, str]
    body: bytes


def get(url: str, headers: Mapping[str, str] | None = None, timeout_ms: int = TIMEOUT_MS) -> Response:
    """Sends a GET request and returns the response. Raises `millstream.net.Fault` if there is no response."""
    return request("GET", url, headers, None, timeout_ms)


def request(
    method: str,
    url: str,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    timeout_ms: int = TIMEOUT_MS,
    body_bytes_max: int = BODY_BYTES_MAX,
) -> Response:
    """Sends a request and returns the complete response. Raises `millstream.net.Fault` if there is no response."""
    status, fields, content = host.current.ask(method, url, dict(headers or {}), body, timeout_ms, body_bytes_max)
    return Response(status, {name.lower(): value for name, value in fields}, content)
