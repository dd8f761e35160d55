from typing import Any

class MillstreamError(Exception): ...
class UsageError(MillstreamError): ...
class PluginError(MillstreamError): ...
class EnvironmentError(MillstreamError): ...
class InternalError(MillstreamError): ...

class Rows:
    """Rows in Arrow's form, which any library that reads Arrow takes without a copy."""

    column_names: list[str]
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...
    def __arrow_c_schema__(self) -> object: ...
    def __len__(self) -> int: ...

class Plugin:
    world: str
    digest: str
    file: object
    signers: list[str] | None
    was_cached: bool
    costs: dict[str, int]
    def __init__(
        self,
        name: str,
        plugin: str,
        folder: str,
        pins: bool,
        registry: str | None,
        digest: str | None,
        keys: str,
    ) -> None: ...
    def process(self, table: Any, batch: int | None = None, time_us: int | None = None) -> tuple[Rows, Rows]: ...
    def aggregate(
        self, table: Any, key: list[str], batch: int | None = None, time_us: int | None = None
    ) -> tuple[Rows, Rows]: ...
    def cogroup(
        self, tables: list[Any], names: list[str], key: list[str], batch: int | None = None, time_us: int | None = None
    ) -> tuple[Rows, Rows]: ...
    def update(
        self,
        table: Any,
        key: list[str],
        states: Any | None,
        timers: Any | None,
        all: bool,
        batch: int | None = None,
        time_us: int | None = None,
    ) -> tuple[Rows, Rows, Rows, Rows]: ...

def use_program(file: str) -> None: ...
