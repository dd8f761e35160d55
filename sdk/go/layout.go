package millstream

import (
	"fmt"
	"reflect"
	"strings"
	"time"
	"unicode"
)

// Timestamp is a point in time: microseconds since 1970-01-01 00:00 UTC.
type Timestamp int64

// Time converts the timestamp to a time.Time in UTC.
func (t Timestamp) Time() time.Time { return time.UnixMicro(int64(t)).UTC() }

// Null is a nullable value.
type Null[T any] struct {
	Value T
	// Valid is true if the value is not null.
	Valid bool
}

// Some returns a value that is not null.
func Some[T any](value T) Null[T] { return Null[T]{Value: value, Valid: true} }

func (Null[T]) nullable() {}

// AnyKey stands for the key in functions that accept any key, and for rows that are only counted.
type AnyKey struct{}

// shape is the memory representation of a value.
type shape uint8

const (
	shapeBool shape = iota
	// Eight bytes, as in the column.
	shapeWord
	shapeText
	shapeBinary
	shapeTime
)

// nulls is how a field represents null.
type nulls uint8

const (
	nullsNever nulls = iota
	nullsPointer
	nullsFlag
)

// column is the memory layout of a field of a row.
type column struct {
	Field
	shape  shape
	nulls  nulls
	offset uintptr
	// flag is the offset of [Null.Valid].
	flag uintptr
}

// layout has the columns of a row type. It is computed once, so that rows need no reflection.
type layout struct {
	columns []column
	// bytes is the size of a row.
	bytes uintptr
}

var (
	typeTime      = reflect.TypeFor[time.Time]()
	typeTimestamp = reflect.TypeFor[Timestamp]()
	typeNullable  = reflect.TypeFor[interface{ nullable() }]()
)

// layoutOf returns the columns of a struct type. It panics, naming the field, for a type that is not a row.
func layoutOf[T any]() *layout {
	row := reflect.TypeFor[T]()
	if row.Kind() != reflect.Struct {
		panic(fmt.Sprintf("millstream: %v is not a row: a row is a struct", row))
	}
	made := &layout{bytes: row.Size()}
	for i := range row.NumField() {
		field := row.Field(i)
		name, tagged := field.Tag.Lookup("millstream")
		if name == "-" || !field.IsExported() && !tagged {
			continue
		}
		name, kind, isTyped := strings.Cut(name, ",type=")
		if name == "" {
			name = snake(field.Name)
		}
		column, ok := columnOf(field.Type)
		if ok && isTyped {
			isText := column.shape == shapeText || column.shape == shapeBinary
			if !isText || !Type(kind).isWritten() {
				panic(fmt.Sprintf("millstream: field %s of %v has type %v and is said to be a column of type %s; "+
					"date, decimal(…), list<…> and struct<…> are columns of strings or []byte", field.Name, row, field.Type, kind))
			}
			column.Type = Type(kind)
		}
		if !ok {
			panic(fmt.Sprintf("millstream: field %s of %v has type %v; write bool, int64, int, float64, string, []byte, "+
				"millstream.Timestamp or time.Time, and a pointer to it or millstream.Null of it where it may be null",
				field.Name, row, field.Type))
		}
		column.Name = name
		column.offset = field.Offset
		column.flag += field.Offset
		made.columns = append(made.columns, column)
	}
	return made
}

func columnOf(field reflect.Type) (column, bool) {
	made := column{}
	switch {
	case field.Kind() == reflect.Pointer:
		field = field.Elem()
		made.nulls, made.Nullable = nullsPointer, true
	case field.Implements(typeNullable):
		made.nulls, made.Nullable = nullsFlag, true
		made.flag = field.Field(1).Offset
		field = field.Field(0).Type
	}
	switch kind := field.Kind(); {
	case field == typeTime:
		made.shape, made.Type = shapeTime, TimestampType
	case field == typeTimestamp:
		made.shape, made.Type = shapeWord, TimestampType
	case kind == reflect.Bool:
		made.shape, made.Type = shapeBool, Bool
	case kind == reflect.Int64, kind == reflect.Int && field.Size() == 8:
		made.shape, made.Type = shapeWord, Int64
	case kind == reflect.Float64:
		made.shape, made.Type = shapeWord, Float64
	case kind == reflect.String:
		made.shape, made.Type = shapeText, Text
	case kind == reflect.Slice && field.Elem().Kind() == reflect.Uint8:
		made.shape, made.Type = shapeBinary, Binary
	default:
		return made, false
	}
	return made, true
}

// schema returns the names and types of the columns.
func (l *layout) schema() Schema {
	schema := make(Schema, len(l.columns))
	for i := range l.columns {
		schema[i] = l.columns[i].Field
	}
	return schema
}

// snake converts a Go name to a column name: UserID becomes user_id.
func snake(name string) string {
	var text strings.Builder
	runes := []rune(name)
	for i, r := range runes {
		isUpper := unicode.IsUpper(r)
		afterLower := i > 0 && !unicode.IsUpper(runes[i-1]) && runes[i-1] != '_'
		beforeLower := i > 0 && i+1 < len(runes) && unicode.IsLower(runes[i+1]) && runes[i-1] != '_'
		if isUpper && (afterLower || beforeLower) {
			text.WriteByte('_')
		}
		text.WriteRune(unicode.ToLower(r))
	}
	return text.String()
}
