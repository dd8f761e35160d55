package millstream

import "strings"

// Type is a column type as in job files. Columns of other Arrow types have the type "arrow " followed by Arrow's name.
type Type string

// isWritten reports whether values are encoded as text: dates, decimals, structs and lists. Their columns have the layout
// of text.
func (t Type) isWritten() bool {
	return t == "date" || strings.HasPrefix(string(t), "decimal(") || t.isNested()
}

// isNested reports whether values are encoded as JSON: structs and lists.
func (t Type) isNested() bool {
	return strings.HasPrefix(string(t), "list<") || strings.HasPrefix(string(t), "struct<")
}

// layout returns the plain type with the same column layout.
func (t Type) layout() Type {
	if t.isWritten() {
		return Text
	}
	return t
}

// Column types that Go values represent.
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
	// Nullable is true if the column may have nulls.
	Nullable bool
}

// Schema is the columns of rows, in order.
type Schema []Field

// Position returns the index of a column, or -1 if there is no column of this name.
func (s Schema) Position(name string) int {
	for i, field := range s {
		if field.Name == name {
			return i
		}
	}
	return -1
}

// Field returns a column. The error lists the existing columns.
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

// Description is the description that a plugin returns for a given config and input.
type Description struct {
	// Name, Version and Doc are filled in from plugin.toml if they are empty.
	Name, Version, Doc string
	// Input has the columns that the plugin reads, in the order in which calls pass them.
	Input Schema
	// Inputs has these columns for each input, in world cogroup.
	Inputs []Schema
	// Output has the columns of the output rows. In world aggregate, without the key columns.
	Output Schema
	// State has the columns of a state (world update) or of an accumulator (world aggregate).
	State Schema
	// Key has the required types of the key columns; nil: any key.
	Key Schema
	// Inverse reports whether the plugin supports Inverse (world aggregate).
	Inverse bool
	// ConfigSchema is a JSON Schema of the config; empty: any config.
	ConfigSchema string
}
