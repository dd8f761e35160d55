"""Schemas, and what a plugin says of itself."""

from __future__ import annotations

from dataclasses import dataclass, field

from . import written
from .errors import InputError

#: The plain types of columns. Others that plugins read and write are written out: ``date``, ``decimal(12,2)``, ``list<…>`` and
#: ``struct<…>``. Any other column is of the type ``arrow NAME``.
TYPES = ("bool", "int64", "float64", "text", "binary", "timestamp")


def is_known(kind: str) -> bool:
    """Whether plugins read and write columns of this type."""
    return kind in TYPES or written.is_written(kind)


def _split(columns: str) -> list[str]:
    """The parts between commas, but for those within the brackets of a type."""
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
    """One column of a schema: its name, its type as job files write it, and whether rows may be null."""

    name: str
    type: str
    nullable: bool = True


@dataclass
class Schema:
    """The columns of a batch, in order."""

    fields: list[Field] = field(default_factory=list)

    @classmethod
    def parse(cls, columns: str) -> Schema:
        """A schema from names and types, as in ``"user text, amount int64"``. Raises ValueError for anything else."""
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
        """Where the column of this name stands."""
        return next((i for i, own in enumerate(self.fields) if own.name == name), None)

    def field(self, name: str) -> Field:
        """The column of this name. Raises InputError, which lists the columns there are."""
        place = self.position(name)
        if place is None:
            raise InputError(f"the input has no column `{name}`; it has: {self}")
        return self.fields[place]

    def __str__(self) -> str:
        return ", ".join(f"{own.name} {own.type}" for own in self.fields) or "no columns"


@dataclass
class Description:
    """What a plugin says of itself for a given config and input.

    Name, version and doc are filled in from the project where they are empty. ``inputs`` is for world ``cogroup``, which
    has no ``input``, ``state`` and ``inverse``.
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
