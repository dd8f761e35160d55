"""Common code for classes of worlds ``source`` and ``sink``. Each method takes only the parameters that it declares."""

from __future__ import annotations

import inspect
import typing
from typing import Any

from . import config as of_config
from .schema import Schema
from .stage import Stage


class Connector:
    """Runs a class with a decorator."""

    #: Name of the decorator.
    world: str
    #: The parameters that each method may declare, in addition to ``self``.
    parameters: dict[str, tuple[str, ...]]
    #: The required methods.
    needed: tuple[str, ...]

    def __init__(self, cls: Any) -> None:
        if not isinstance(cls, type):
            raise TypeError(f"{cls.__name__}: @{self.world} belongs on a class")
        self._class = cls
        self._takes = {name: self._parameters(name) for name in self.parameters if callable(getattr(cls, name, None))}
        for name in self.needed:
            if name not in self._takes:
                raise TypeError(f"{cls.__name__}: a class with @{self.world} has the method `{name}`")
        self._config = self._config_type()

    def _hints(self, method: str) -> dict[str, Any]:
        return typing.get_type_hints(getattr(self._class, method))

    def _parameters(self, method: str) -> list[str]:
        attribute = inspect.getattr_static(self._class, method)
        is_bound = isinstance(attribute, (staticmethod, classmethod))
        names = list(inspect.signature(getattr(self._class, method)).parameters)[0 if is_bound else 1 :]
        for name in names:
            if name not in self.parameters[method]:
                known = ", ".join(self.parameters[method])
                raise TypeError(f"{self._class.__name__}.{method}(): unknown parameter `{name}`; it may take: {known}")
        return names

    def _config_type(self) -> Any:
        found = None
        for method in reversed(self.parameters):
            if "config" in self._takes.get(method, []):
                own = self._hints(method).get("config")
                if own is None or (found is not None and own != found):
                    problem = "of another type elsewhere" if found else "without a type; write one, as in `config: Config`"
                    raise TypeError(f"{self._class.__name__}.{method}(): `config` is {problem}")
                found = own
        return found

    def _call(self, subject: Any, method: str, **given: Any) -> Any:
        if method not in self._takes:
            return None
        return getattr(subject, method)(*[given[name] for name in self._takes[method]])

    def _read(self, config: str) -> Any:
        stage = Stage(config, [], Schema())
        return stage.no_config() if self._config is None else of_config.read(self._config, stage.config)

    @property
    def _config_schema(self) -> str:
        return of_config.schema(self._config) if self._config else ""
