//go:build !wasip1

package millstream

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
)

// row is a row of a test: values of encoding/json by column name.
type row = map[string]any

// schemaOf parses columns, for example "user text, amount int64, tags list<text>".
func schemaOf(columns string) (Schema, error) {
	var schema Schema
	// Types may contain commas.
	depth := 0
	split := strings.FieldsFunc(columns, func(letter rune) bool {
		switch letter {
		case '<', '(':
			depth++
		case '>', ')':
			depth--
		}
		return letter == ',' && depth == 0
	})
	for _, column := range split {
		column = strings.TrimSpace(column)
		if column == "" {
			continue
		}
		name, rest, _ := strings.Cut(column, " ")
		rest = strings.TrimSpace(rest)
		if rest == "" {
			return nil, fmt.Errorf("`%s` is not a name and type; write it as `amount int64`", column)
		}
		switch kind := Type(rest); kind.layout() {
		case Bool, Int64, Float64, Text, Binary, TimestampType:
			schema = append(schema, Field{Name: name, Type: kind, Nullable: true})
		default:
			return nil, fmt.Errorf("`%s` is not a type; types are bool, int64, float64, text, binary, timestamp, date, "+
				"decimal(…), list<…> and struct<…>", kind)
		}
	}
	return schema, nil
}

// rowsOf parses an array of objects. Numbers keep their text, so that none is rounded.
func rowsOf(text string) ([]row, error) {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var rows []row
	if err := decoder.Decode(&rows); err != nil {
		return nil, fmt.Errorf("rows are an array of objects: %w", err)
	}
	return rows, nil
}

// batchOf converts rows to columns.
func batchOf(schema Schema, rows []row) (*Batch, error) {
	batch := NewBatch(len(rows))
	for _, field := range schema {
		column, err := columnOfRows(field, rows)
		if err != nil {
			return nil, err
		}
		batch.AddColumn(column)
	}
	return batch, nil
}

func columnOfRows(field Field, rows []row) (Column, error) {
	as := column{Field: field}
	switch field.Type.layout() {
	case Bool:
		as.shape = shapeBool
	case Text:
		as.shape = shapeText
	case Binary:
		as.shape = shapeBinary
	default:
		as.shape = shapeWord
	}
	var to builder
	as.begin(&to, len(rows), 0)
	for _, row := range rows {
		if err := push(&as, &to, row[field.Name]); err != nil {
			return Column{}, err
		}
	}
	return as.finish(&to)
}

func push(as *column, to *builder, value any) error {
	wrong := fmt.Errorf("column `%s` is %s, not %v", as.Name, as.Type, value)
	to.valid.push(value != nil)
	to.nulls = to.nulls || value == nil
	if as.Type.isNested() && value != nil {
		// Marshaling decoded JSON cannot fail.
		text, err := json.Marshal(value)
		if err != nil {
			return wrong
		}
		value = string(text)
	}
	switch as.Type.layout() {
	case Bool:
		flag, ok := value.(bool)
		if !ok && value != nil {
			return wrong
		}
		to.bools.push(flag)
	case Text:
		text, ok := value.(string)
		if !ok && value != nil {
			return wrong
		}
		to.bytes = append(to.bytes, text...)
		to.offsets = append(to.offsets, uint32(len(to.bytes)))
	case Binary:
		text, ok := value.(string)
		bytes, err := hex.DecodeString(text)
		if !ok && value != nil || err != nil {
			return wrong
		}
		to.bytes = append(to.bytes, bytes...)
		to.offsets = append(to.offsets, uint32(len(to.bytes)))
	default:
		number, ok := value.(json.Number)
		if !ok && value != nil {
			return wrong
		}
		word, err := wordOf(as.Type, number)
		if err != nil {
			return wrong
		}
		to.words = append(to.words, word)
	}
	return nil
}

// jsonOf converts a batch to rows, with columns in the order of the schema. It checks the batch like a host.
func jsonOf(schema Schema, batch *Batch) ([]row, error) {
	if len(schema) != len(batch.columns) {
		return nil, fmt.Errorf("%d columns were described, %d returned", len(schema), len(batch.columns))
	}
	rows := make([]row, batch.rows)
	for i := range rows {
		rows[i] = row{}
	}
	for i, field := range schema {
		column := &batch.columns[i]
		what := column.check(field.Type, batch.rows)
		if what == "" && field.Type.layout() == Text {
			what = column.checkText(batch.rows)
		}
		if what != "" {
			return nil, fmt.Errorf("column `%s`: %s", field.Name, what)
		}
		for at := range rows {
			rows[at][field.Name] = valueOf(field.Type, batch, i, at)
		}
	}
	return rows, nil
}

func valueOf(kind Type, batch *Batch, column, row int) any {
	if batch.IsNull(column, row) {
		return nil
	}
	if kind.isNested() {
		return nested(batch.Texts(column).At(row))
	}
	switch kind.layout() {
	case Bool:
		return batch.Bools(column).At(row)
	case Text:
		return strings.Clone(batch.Texts(column).At(row))
	case Binary:
		return hex.EncodeToString(batch.Binaries(column).At(row))
	case Float64:
		return json.Number(floatText(batch.Float64s(column)[row]))
	default:
		return json.Number(fmt.Sprint(batch.Int64s(column)[row]))
	}
}

// nested parses the value of a struct or list. If it is not JSON, it returns the text itself, so that a test shows it.
func nested(text string) any {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return text
	}
	return value
}
