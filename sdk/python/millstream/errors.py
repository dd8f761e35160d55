"""Why a call fails, and why a row is refused."""

from __future__ import annotations


class Rejection(Exception):
    """Refuses a row, or the rows of the key: raise it, or return it. Whatever it is made of becomes the reason.

    The row goes to the stage's rejected rows, and the job goes on.
    """

    @property
    def reason(self) -> str:
        """The reason, for a person to read."""
        return str(self)


class Remove:
    """What a function of world ``update`` returns to remove its key: ``return Remove()``. Nothing else does."""

    __slots__ = ()


class PluginError(Exception):
    """A call that fails, with a message for a person to read. Raise one of the three kinds below."""


class ConfigError(PluginError):
    """The stage's config is wrong: the author of the job can mend it."""


class InputError(PluginError):
    """The input's columns or the key do not fit: the author of the job can mend it."""


class InternalError(PluginError):
    """Anything else: the plugin itself is wrong, or meets what it cannot go on with."""
