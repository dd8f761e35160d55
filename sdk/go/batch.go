package millstream

import (
	"fmt"
	"unicode/utf8"
	"unsafe"
)

// Batch has rows as columns. [Stage.Input] and [Stage.Key] have their names and types.
//
// Its methods return views of the host's buffers without a copy. You must not change them. They stay valid as long as
// the plugin refers to them.
type Batch struct {
	rows    int
	columns []Column
}

// NewBatch returns a batch with this number of rows, without columns.
func NewBatch(rows int) *Batch { return &Batch{rows: rows} }

// Rows returns the number of rows.
func (b *Batch) Rows() int { return b.rows }

// Width returns the number of columns.
func (b *Batch) Width() int { return len(b.columns) }

// Column returns the buffers of a column.
func (b *Batch) Column(column int) Column { return b.columns[column] }

// Bytes returns the total size of the values, without offsets and validity.
func (b *Batch) Bytes() int {
	sum := 0
	for i := range b.columns {
		sum += len(b.columns[i].Data)
	}
	return sum
}

// IsNull reports whether a row of a column of any type is null.
func (b *Batch) IsNull(column, row int) bool {
	validity := b.columns[column].Validity
	return validity != nil && !bit(validity, row)
}

// Int64s returns a column of type int64.
func (b *Batch) Int64s(column int) []int64 { return words[int64](b, column) }

// Float64s returns a column of type float64.
func (b *Batch) Float64s(column int) []float64 { return words[float64](b, column) }

// Timestamps returns a column of type timestamp.
func (b *Batch) Timestamps(column int) []Timestamp { return words[Timestamp](b, column) }

// Bools returns a column of type bool.
func (b *Batch) Bools(column int) Bits { return Bits(b.columns[column].Data) }

// Texts returns a column of type text.
func (b *Batch) Texts(column int) Texts { return Texts(b.columns[column]) }

// Binaries returns a column of type binary.
func (b *Batch) Binaries(column int) Binaries { return Binaries(b.columns[column]) }

// words returns a buffer as numbers: a view, or a copy if the buffer is not aligned.
func words[T int64 | float64 | Timestamp](b *Batch, column int) []T {
	data := b.columns[column].Data
	if len(data) < b.rows*8 {
		panic(fmt.Sprintf("column %d has %d bytes, too few for %d rows of 8 bytes", column, len(data), b.rows))
	}
	if b.rows == 0 {
		return nil
	}
	if uintptr(unsafe.Pointer(&data[0]))%8 != 0 {
		copied := make([]T, b.rows)
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&copied[0])), b.rows*8), data)
		return copied
	}
	return unsafe.Slice((*T)(unsafe.Pointer(&data[0])), b.rows)
}

// Bits is a bitmap: one bit per row, least significant bit first.
type Bits []byte

// At returns the bit of a row.
func (b Bits) At(row int) bool { return bit(b, row) }

// BitsOf creates a bitmap.
func BitsOf(values []bool) Bits {
	made := bitmap{}
	for _, value := range values {
		made.push(value)
	}
	return made.bits
}

// Texts is a column of text.
type Texts Column

// At returns the string of a row.
func (t Texts) At(row int) string {
	bytes := Binaries(t).At(row)
	return unsafe.String(unsafe.SliceData(bytes), len(bytes))
}

// Binaries is a column of bytes.
type Binaries Column

// At returns the bytes of a row.
func (b Binaries) At(row int) []byte {
	start, end := offset(b.Offsets, row), offset(b.Offsets, row+1)
	return b.Data[start:end:end]
}

// AddInt64s adds a column of type int64. Like the other methods, it does not copy the values. The set bits of valid
// are the rows that are not null; nil means no nulls.
func (b *Batch) AddInt64s(values []int64, valid Bits) *Batch { return addWords(b, values, valid) }

// AddFloat64s adds a column of type float64.
func (b *Batch) AddFloat64s(values []float64, valid Bits) *Batch { return addWords(b, values, valid) }

// AddTimestamps adds a column of type timestamp.
func (b *Batch) AddTimestamps(values []Timestamp, valid Bits) *Batch {
	return addWords(b, values, valid)
}

// AddBools adds a column of type bool.
func (b *Batch) AddBools(values, valid Bits) *Batch {
	return b.AddColumn(Column{Validity: valid, Data: values})
}

// AddTexts adds a column of type text.
func (b *Batch) AddTexts(values []string, valid Bits) *Batch {
	b.count(len(values))
	offsets, data := make([]uint32, 1, len(values)+1), []byte{}
	for _, value := range values {
		data = append(data, value...)
		offsets = append(offsets, uint32(len(data)))
	}
	return b.AddColumn(Column{Validity: valid, Offsets: bytesOf(offsets), Data: data})
}

// AddColumn adds a column of any type.
func (b *Batch) AddColumn(column Column) *Batch {
	b.columns = append(b.columns, column)
	return b
}

func addWords[T int64 | float64 | Timestamp](b *Batch, values []T, valid Bits) *Batch {
	b.count(len(values))
	return b.AddColumn(Column{Validity: valid, Data: bytesOf(values)})
}

func (b *Batch) count(values int) {
	if values != b.rows {
		panic(fmt.Sprintf("a column of %d values in a batch of %d rows", values, b.rows))
	}
}

// Select returns a batch with these columns, in this order.
func (b *Batch) Select(columns ...int) *Batch {
	made := NewBatch(b.rows)
	for _, column := range columns {
		made.AddColumn(b.columns[column])
	}
	return made
}

// Beside returns the columns of both batches, which must have the same number of rows.
func (b *Batch) Beside(other *Batch) (*Batch, error) {
	if b.rows != other.rows {
		return nil, internalf("columns of %d and of %d rows", b.rows, other.rows)
	}
	columns := append(b.columns[:len(b.columns):len(b.columns)], other.columns...)
	return &Batch{rows: b.rows, columns: columns}, nil
}

// Take returns a batch of the rows with these indexes, in this order. An index may occur several times. The schema has the
// types of the columns.
func (b *Batch) Take(rows []uint32, schema Schema) (*Batch, error) {
	if len(schema) != len(b.columns) {
		return nil, internalf("%d types for %d columns", len(schema), len(b.columns))
	}
	made := NewBatch(len(rows))
	for _, row := range rows {
		if int(row) >= b.rows {
			return nil, InternalError("a row was taken that the batch does not have")
		}
	}
	for i := range b.columns {
		column, err := b.columns[i].take(rows, schema[i].Type)
		if err != nil {
			return nil, err
		}
		made.AddColumn(column)
	}
	return made, nil
}

func (c *Column) take(rows []uint32, kind Type) (Column, error) {
	made := Column{}
	if c.Validity != nil {
		made.Validity = takeBits(c.Validity, rows)
	}
	switch kind.layout() {
	case Bool:
		made.Data = takeBits(c.Data, rows)
	case Int64, Float64, TimestampType:
		made.Data = make([]byte, 0, len(rows)*8)
		for _, row := range rows {
			made.Data = append(made.Data, c.Data[row*8:row*8+8]...)
		}
	case Text, Binary:
		offsets := make([]uint32, 1, len(rows)+1)
		made.Data = []byte{}
		for _, row := range rows {
			made.Data = append(made.Data, Binaries(*c).At(int(row))...)
			offsets = append(offsets, uint32(len(made.Data)))
		}
		made.Offsets = bytesOf(offsets)
	default:
		return made, InputError("a column of type " + string(kind) +
			" cannot be taken apart by a plugin: cast or drop it before")
	}
	return made, nil
}

func takeBits(bits []byte, rows []uint32) []byte {
	made := bitmap{bits: make([]byte, 0, (len(rows)+7)/8)}
	for _, row := range rows {
		made.push(bit(bits, int(row)))
	}
	return made.bits
}

// checkText describes what is wrong with a text column that a plugin returns, or returns "".
func (c *Column) checkText(rows int) string {
	for row := range rows {
		if !utf8.Valid(Binaries(*c).At(row)) {
			return "it is not text"
		}
	}
	return ""
}
