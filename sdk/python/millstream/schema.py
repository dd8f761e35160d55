"""Schemas, and the description of a plugin."""

from __future__ import annotations

from dataclasses import dataclass, field

from . import written
from .errors import InputError

#: Plain column types. Values of other supported types are encoded as text: ``date``, ``decimal(12,2)``, ``list<…>`` and
#: ``struct<…>``. Any other column has the type ``arrow NAME``.
TYPES = ("bool", "int64", "float64", "text", "binary", "timestamp")


def is_known(kind: str) -> bool:
    """Returns whether plugins can read and write columns of this type."""
    return kind in TYPES or written.is_written(kind)


def _split(columns: str) -> list[str]:
    """Splits at commas, except within the brackets of a type."""
    parts, depth = [""], 0
    for letter in columns:
        depth += (letter in "<(") - (letter in ">)")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part for part in parts if part.strip()]


@dataclass(frozen=True)
class Field:
    """A column of a schema: its name, its type as in job files, and whether it is nullable."""

    name: str
    type: str
    nullable: bool = True


@dataclass
class Schema:
    """The columns of a batch, in order."""

    fields: list[Field] = field(default_factory=list)

    @classmethod
    def parse(cls, columns: str) -> Schema:
        """Parses names and types, for example ``"user text, amount int64"``. Raises ValueError if the text is invalid."""
        fields = []
        for column in _split(columns):
            match column.split(maxsplit=1):
                case [name, kind] if is_known(kind.strip()):
                    fields.append(Field(name, kind.strip()))
                case [_, kind]:
                    raise ValueError(f"`{kind}` is not a type; types are {', '.join(TYPES)}, date, decimal(…), list<…> and struct<…>")
                case _:
                    raise ValueError(f"`{column}` is not a name and type; write it as `amount int64`")
        return cls(fields)

    def position(self, name: str) -> int | None:
        """Returns the index of a column, or None if there is no column of this name."""
        return next((i for i, own in enumerate(self.fields) if own.name == name), None)

    def field(self, name: str) -> Field:
        """Returns a column. Raises InputError, which lists the existing columns, if there is none of this name."""
        index = self.position(name)
        if index is None:
            raise InputError(f"the input has no column `{name}`; it has: {self}")
        return self.fields[index]

    def __str__(self) -> str:
        return ", ".join(f"{own.name} {own.type}" for own in self.fields) or "no columns"


@dataclass
class Description:
    """The description that a plugin returns for a given config and input.

    Empty names, versions and docs are filled in from the project. ``inputs`` is for world ``cogroup``, which has no ``input``,
    ``state`` and ``inverse``.
    """

    input: Schema = field(default_factory=Schema)
    output: Schema = field(default_factory=Schema)
    state: Schema = field(default_factory=Schema)
    inputs: list[Schema] = field(default_factory=list)
    key: Schema | None = None
    inverse: bool = False
    config_schema: str = ""
    name: str = ""
    version: str = ""
    doc: str = ""
