//go:build wasip1

package millstream

import (
	"strings"

	"millstream.dev/sdk/internal/abi"
)

// Column types, by their numbers in the plugin interface.
var wireTypes = [...]Type{Bool, Int64, Float64, Text, Binary, TimestampType}

// arrowPrefix is the prefix of all other types.
const arrowPrefix = "arrow "

func liftSchema(address, length uint32) Schema {
	const bytes = 24
	schema := make(Schema, length)
	for i := range schema {
		at := address + uint32(i)*bytes
		field := Field{Name: abi.String(abi.Load(at, 0), abi.Load(at, 4)), Nullable: abi.LoadTag(at, 20) != 0}
		if tag := int(abi.LoadTag(at, 8)); tag < len(wireTypes) {
			field.Type = wireTypes[tag]
		} else {
			field.Type = Type(abi.String(abi.Load(at, 12), abi.Load(at, 16)))
			if !field.Type.isWritten() {
				field.Type = arrowPrefix + field.Type
			}
		}
		schema[i] = field
	}
	return schema
}

func liftBatch(rows, address, length uint32) *Batch {
	const bytes = 32
	batch := &Batch{rows: int(rows), columns: make([]Column, length)}
	for i := range batch.columns {
		at := address + uint32(i)*bytes
		column := Column{Data: abi.Bytes(abi.Load(at, 24), abi.Load(at, 28))}
		if abi.LoadTag(at, 0) != 0 {
			column.Validity = abi.Bytes(abi.Load(at, 4), abi.Load(at, 8))
		}
		if abi.LoadTag(at, 12) != 0 {
			column.Offsets = abi.Bytes(abi.Load(at, 16), abi.Load(at, 20))
		}
		batch.columns[i] = column
	}
	return batch
}

func lowerSchema(to *abi.Area, schema Schema) {
	list := &abi.Area{}
	for _, field := range schema {
		list.PutString(field.Name)
		tag := 0
		for tag < len(wireTypes) && wireTypes[tag] != field.Type {
			tag++
		}
		list.Put(uint32(tag))
		arrow := ""
		if tag == len(wireTypes) {
			arrow = strings.TrimPrefix(string(field.Type), arrowPrefix)
		}
		list.PutString(arrow)
		list.PutBool(field.Nullable)
	}
	to.PutArea(list, len(schema))
}

func lowerBatch(to *abi.Area, batch *Batch) {
	list := &abi.Area{}
	for _, column := range batch.columns {
		for _, buffer := range [][]byte{column.Validity, column.Offsets} {
			list.PutBool(buffer != nil)
			list.PutBytes(buffer)
		}
		list.PutBytes(column.Data)
	}
	to.Put(uint32(batch.rows))
	to.PutArea(list, len(batch.columns))
}

func lowerRejections(to *abi.Area, rejected []Rejected) {
	list := &abi.Area{}
	for _, rejection := range rejected {
		list.Put(rejection.Row)
		list.PutString(rejection.Reason)
	}
	to.PutArea(list, len(rejected))
}

// lowerKey writes an optional schema.
func lowerKey(to *abi.Area, key Schema) {
	to.PutBool(key != nil)
	lowerSchema(to, key)
}

func lowerDescription(to *abi.Area, d *Description) {
	for _, text := range []string{d.Name, d.Version, d.Doc} {
		to.PutString(text)
	}
	for _, schema := range []Schema{d.Input, d.Output, d.State} {
		lowerSchema(to, schema)
	}
	lowerKey(to, d.Key)
	to.PutBool(d.Inverse)
	to.PutString(d.ConfigSchema)
}
