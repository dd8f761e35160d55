package millstream

import "strings"

// Type is the type of a column, as job files write it. Columns of other Arrow types are "arrow " and Arrow's name.
type Type string

// isWritten reports whether values are formatted: dates, decimals, structs and lists, whose columns have the
// layout of text.
func (t Type) isWritten() bool {
	return t == "date" || strings.HasPrefix(string(t), "decimal(") || t.isNested()
}

// isNested reports whether values are JSON: whether it is a struct or a list.
func (t Type) isNested() bool {
	return strings.HasPrefix(string(t), "list<") || strings.HasPrefix(string(t), "struct<")
}

// layout is the plain type whose columns are laid out as those of this one.
func (t Type) layout() Type {
	if t.isWritten() {
		return Text
	}
	return t
}

// The types of columns that Go values represent.
const (
	Bool          Type = "bool"
	Int64         Type = "int64"
	Float64       Type = "float64"
	Text          Type = "text"
	Binary        Type = "binary"
	TimestampType Type = "timestamp"
)

// Field is one column of a schema.
type Field struct {
	Name string
	Type Type
	// Nullable says whether rows may be null.
	Nullable bool
}

// Schema is the columns of rows, in order.
type Schema []Field

// Position returns the index of the column of a name; -1 if there is none.
func (s Schema) Position(name string) int {
	for i, field := range s {
		if field.Name == name {
			return i
		}
	}
	return -1
}

// Field gives the column of a name. The error lists the columns that there are.
func (s Schema) Field(name string) (Field, error) {
	if i := s.Position(name); i >= 0 {
		return s[i], nil
	}
	return Field{}, InputError("the input has no column `" + name + "`; it has: " + s.String())
}

// String returns names and types, for example "user text, amount int64".
func (s Schema) String() string {
	if len(s) == 0 {
		return "no columns"
	}
	columns := make([]string, len(s))
	for i, field := range s {
		columns[i] = field.Name + " " + string(field.Type)
	}
	return strings.Join(columns, ", ")
}

// Description is what a plugin says of itself for a given config and input.
type Description struct {
	// Name, Version and Doc are those of plugin.toml if they are empty.
	Name, Version, Doc string
	// Input has the columns that are read, in the order in which calls pass them.
	Input Schema
	// Inputs is that of each input, in world cogroup.
	Inputs []Schema
	// Output has the columns of the rows returned; in world aggregate without the key columns.
	Output Schema
	// State has the columns of a state (world update) or of an accumulator (world aggregate).
	State Schema
	// Key has the types that the key columns must have; nil: any key.
	Key Schema
	// Inverse says whether Inverse works (world aggregate).
	Inverse bool
	// ConfigSchema is a JSON Schema of the config; empty: any config.
	ConfigSchema string
}
