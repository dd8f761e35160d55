"""HTTP requests in a component. Only `glue` imports this, in worlds that import WASI HTTP."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from componentize_py_types import Err, Ok
from wit_world.imports import outgoing_handler, streams
from wit_world.imports import wasi_http_types as http

from . import net

_METHODS = {name.removeprefix("Method_").upper(): own for name, own in vars(http).items() if name.startswith("Method_")}
#: Maximum bytes per write in WASI.
_WRITE_BYTES = 4096
_READ_BYTES = 1 << 16


def ask(
    method: str, url: str, headers: dict[str, str], body: bytes | None, timeout_ms: int, body_bytes_max: int
) -> tuple[int, list[tuple[str, str]], bytes]:
    """Sends a request. Raises `net.Fault`."""
    try:
        future = _send(method, url, headers, body, timeout_ms)
        with future:
            with future.subscribe() as ready:
                ready.block()
            return _response(future.get(), body_bytes_max)
    except Err as error:
        message = _describe(error.value)
    raise net.Fault(f"{method} {url}: {message}")


def _send(method: str, url: str, headers: dict[str, str], body: bytes | None, timeout_ms: int) -> Any:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise net.Fault(f"`{url}` is not an address; write it as `https://example.com/feed`")
    fields = [(name, value.encode("latin-1", "replace")) for name, value in headers.items()]
    request = http.OutgoingRequest(http.Fields.from_list(fields))
    request.set_method(_METHODS[method]() if method in _METHODS else http.Method_Other(method))
    request.set_scheme(http.Scheme_Https() if parts.scheme == "https" else http.Scheme_Http())
    request.set_authority(parts.netloc)
    request.set_path_with_query((parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
    options = http.RequestOptions()
    for limit in (options.set_connect_timeout, options.set_first_byte_timeout, options.set_between_bytes_timeout):
        limit(timeout_ms * 1_000_000)
    if body is None:
        return outgoing_handler.handle(request, options)
    outgoing = request.body()
    future = outgoing_handler.handle(request, options)
    with outgoing.write() as stream:
        for at in range(0, len(body), _WRITE_BYTES):
            stream.blocking_write_and_flush(body[at : at + _WRITE_BYTES])
    http.OutgoingBody.finish(outgoing, None)
    return future


def _response(result: Any, body_bytes_max: int) -> tuple[int, list[tuple[str, str]], bytes]:
    # A result in a result: the outer one is an error if the response was already taken.
    inner = result.value if isinstance(result, Ok) else result
    if not isinstance(inner, Ok):
        raise Err(inner.value if isinstance(inner, Err) else None)
    with inner.value as response:
        with response.headers() as fields:
            headers = [(name, value.decode("latin-1")) for name, value in fields.entries()]
        with response.consume() as body:
            return response.status(), headers, _read(body, body_bytes_max)


def _read(body: Any, body_bytes_max: int) -> bytes:
    pieces: list[bytes] = []
    length = 0
    with body.stream() as stream:
        while True:
            try:
                piece = stream.blocking_read(_READ_BYTES)
            except Err as error:
                if isinstance(error.value, streams.StreamError_Closed):
                    return b"".join(pieces)
                raise net.Fault("the response was cut off") from None
            length += len(piece)
            if length > body_bytes_max:
                raise net.Fault(f"the response has more than {body_bytes_max} bytes")
            pieces.append(piece)


def _describe(code: Any) -> str:
    """Turns a WASI error name into message: `HttpRequestDenied` becomes `http request denied`."""
    name = type(code).__name__.removeprefix("ErrorCode_")
    message = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip()
    value = getattr(code, "value", None)
    return f"{message} ({value})" if isinstance(value, str) else message
