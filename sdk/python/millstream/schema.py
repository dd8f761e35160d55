"""Schemas, and what a plugin says of itself."""

from __future__ import annotations

from dataclasses import dataclass, field

from .errors import InputError

#: The types of columns that plugins read and write. Any other column is of the type ``arrow NAME``.
TYPES = ("bool", "int64", "float64", "text", "binary", "timestamp")


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
        for column in filter(str.strip, columns.split(",")):
            match column.split():
                case [name, kind] if kind in TYPES:
                    fields.append(Field(name, kind))
                case [_, kind]:
                    raise ValueError(f"`{kind}` is no type; types are {', '.join(TYPES)}")
                case _:
                    raise ValueError(f"`{column}` is no name and type, as in `amount int64`")
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
