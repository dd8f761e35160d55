"""Errors that fail a call, and rejections of rows."""

from __future__ import annotations


class Rejection(Exception):
    """Rejects a row, or the rows of a key. Raise it or return it. Its arguments become the reason.

    The row goes to the stage's rejected rows, and the job continues.
    """

    @property
    def reason(self) -> str:
        """The reason as text."""
        return str(self)


class Remove:
    """Return value that removes a key in world ``update``: ``return Remove()``."""

    __slots__ = ()


class PluginError(Exception):
    """An error that fails the call. Raise one of the three subclasses below, with a message."""


class ConfigError(PluginError):
    """The stage's config is wrong. The author of the job can fix it."""


class InputError(PluginError):
    """The input's columns or the key are wrong. The author of the job can fix it."""


class InternalError(PluginError):
    """Any other error: a bug in the plugin, or a condition that it cannot handle."""
