"""Requests over HTTP, as the job grants them: ``grant = { http = { hosts = ["api.example.com"] } }``. For plugins whose
``pyproject.toml`` wants that: ``[tool.millstream.grants]`` with ``http = { hosts = [...] }``.

An answer that redirects is an answer; following it is a request of its own. In tests requests are made by this machine, and
nothing is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from . import host

#: How long to wait for an answer, in milliseconds.
TIMEOUT_MS = 10_000
#: A longer body is a fault.
BODY_BYTES_MAX = 8 << 20


@dataclass(frozen=True)
class Response:
    """An answer."""

    #: 200, 404 and so on.
    status: int
    #: The fields of the head, names in small letters; of several of a name the last.
    headers: dict[str, str]
    body: bytes


def get(url: str, headers: Mapping[str, str] | None = None, timeout_ms: int = TIMEOUT_MS) -> Response:
    """Asks for what is at an address. Raises `millstream.net.Fault` where there is no answer."""
    return request("GET", url, headers, None, timeout_ms)


def request(
    method: str,
    url: str,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    timeout_ms: int = TIMEOUT_MS,
    body_bytes_max: int = BODY_BYTES_MAX,
) -> Response:
    """Makes a request, and waits for the whole answer. Raises `millstream.net.Fault` where there is none."""
    status, found, answer = host.current.ask(method, url, dict(headers or {}), body, timeout_ms, body_bytes_max)
    return Response(status, {name.lower(): value for name, value in found}, answer)
