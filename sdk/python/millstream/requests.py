"""HTTP requests by this machine, for tests: the implementation of `http` outside of a component."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit

from . import net


def ask(
    method: str, url: str, headers: dict[str, str], body: bytes | None, timeout_ms: int, body_bytes_max: int
) -> tuple[int, list[tuple[str, str]], bytes]:
    """Sends a request. Raises `net.Fault`."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise net.Fault(f"`{url}` is not an address; write it as `https://example.com/feed`")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=timeout_ms / 1000)
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        content = response.read(body_bytes_max + 1)
    except (OSError, http.client.HTTPException) as error:
        raise net.Fault(f"{method} {url}: {error}") from error
    finally:
        connection.close()
    if len(content) > body_bytes_max:
        raise net.Fault(f"the response has more than {body_bytes_max} bytes")
    return response.status, response.getheaders(), content
