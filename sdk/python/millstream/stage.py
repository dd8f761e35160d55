"""The stage that uses a plugin, and the context of a call."""

from __future__ import annotations

import json
from typing import Any

from .columns import Timestamp
from .errors import ConfigError
from .schema import Schema


class Context:
    """Context of a call. A replay of the batch has the same context."""

    __slots__ = ("batch", "time", "timed_out", "watermark")

    def __init__(
        self, batch: int = 1, time: int = 0, watermark: int | None = None, timed_out: bool = False
    ) -> None:
        #: ID of the batch: 1, 2, 3 … since the job's first start.
        self.batch = batch
        #: Time of the batch: the end of its interval.
        self.time = Timestamp(time)
        #: Event time up to which input is considered complete, or None.
        self.watermark = None if watermark is None else Timestamp(watermark)
        #: World ``update``: whether this is the last call for a key that was idle for the stage's ``timeout``. The key's state is removed
        #: afterwards, whatever the function returns.
        self.timed_out = timed_out


class Stage:
    """The stage that uses the plugin: its config, its inputs and its key."""

    def __init__(self, config: str, inputs: list[Schema], key: Schema) -> None:
        self._config = config
        #: The columns of each input. Only world ``cogroup`` has several inputs. In ``describe`` these are all columns of the stage's
        #: inputs, later only those that the description selects.
        self.inputs = inputs
        #: The stage's key columns; empty if it has no key.
        self.key = key

    @property
    def input(self) -> Schema:
        """The columns of the first input."""
        return self.inputs[0] if self.inputs else Schema()

    @property
    def config(self) -> Any:
        """The stage's ``config`` as JSON values; ``{}`` if the job has none."""
        if not self._config.strip():
            return {}
        try:
            return json.loads(self._config) or {}
        except ValueError as error:
            raise ConfigError(str(error)) from None

    def no_config(self) -> None:
        """Raises ConfigError unless the stage's ``config`` is absent or empty."""
        if self.config != {}:
            raise ConfigError("this plugin takes no config")
