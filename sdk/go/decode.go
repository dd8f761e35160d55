package millstream

import (
	"fmt"
	"time"
	"unsafe"
)

// Column has the Arrow buffers of one column. Numbers are little-endian.
type Column struct {
	// Validity is a bitmap, one bit per row, least significant bit first. A set bit is a value. nil: no nulls.
	Validity []byte
	// Offsets has the start of each row, for text and binary: rows + 1 signed 32-bit numbers. nil otherwise.
	Offsets []byte
	// Data has the values.
	Data []byte
}

// blockRows is the number of rows that are read or written at a time, column by column.
const blockRows = 256

// bit reports whether a bit of a bitmap is set. It is false after the bitmap's end.
func bit(bits []byte, row int) bool {
	return row>>3 < len(bits) && bits[row>>3]>>(row&7)&1 == 1
}

// offset returns the start of a row.
func offset(offsets []byte, row int) int {
	return int(*(*uint32)(unsafe.Pointer(&offsets[row*4 : row*4+4][0])))
}

// slot returns the address of an element in an array of rows.
func slot(rows unsafe.Pointer, index int, bytes uintptr) unsafe.Pointer {
	return unsafe.Add(rows, uintptr(index)*bytes)
}

// check reports whether the columns of a batch are long enough for its rows.
func (l *layout) check(batch *Batch) error {
	for i := range l.columns {
		field := &l.columns[i]
		wrong := func(what string) error {
			return InputError(fmt.Sprintf("column `%s` (number %d): %s", field.Name, i, what))
		}
		if i >= len(batch.columns) {
			return wrong("it is missing")
		}
		if what := batch.columns[i].check(field.Type, batch.rows); what != "" {
			return wrong(what)
		}
	}
	return nil
}

// check describes what is wrong with a column of this type, or returns "".
func (c *Column) check(kind Type, rows int) string {
	if c.Validity != nil && len(c.Validity) < (rows+7)/8 {
		return "its validity is too short"
	}
	switch kind.layout() {
	case Bool:
		if len(c.Data) < (rows+7)/8 {
			return "its values are too short"
		}
	case Text, Binary:
		if c.Offsets == nil {
			return "it has no offsets"
		}
		// In Arrow, a column without rows may have no offsets.
		if rows > 0 && len(c.Offsets) < (rows+1)*4 {
			return "its offsets are too short"
		}
	default:
		if len(c.Data) < rows*8 {
			return "its values are too short"
		}
	}
	return ""
}

// decode reads rows of a checked batch into an array of structs.
func (l *layout) decode(batch *Batch, first, count int, rows unsafe.Pointer) {
	for i := range l.columns {
		field := &l.columns[i]
		column := &batch.columns[i]
		values := unsafe.Add(rows, field.offset)
		switch field.nulls {
		case nullsNever:
			field.decode(column, first, count, values, l.bytes)
		case nullsFlag:
			field.decode(column, first, count, values, l.bytes)
			flags := unsafe.Add(rows, field.flag)
			for row := range count {
				*(*bool)(slot(flags, row, l.bytes)) = column.Validity == nil || bit(column.Validity, first+row)
			}
		case nullsPointer:
			field.decodePointers(column, first, count, values, l.bytes)
		}
	}
}

// decode reads values into memory with this stride in bytes.
func (f *column) decode(column *Column, first, count int, to unsafe.Pointer, apart uintptr) {
	if count == 0 {
		return
	}
	switch f.shape {
	case shapeWord:
		from := unsafe.Pointer(&column.Data[first*8 : (first+count)*8][0])
		for range count {
			*(*uint64)(to) = *(*uint64)(from)
			from, to = unsafe.Add(from, 8), unsafe.Add(to, apart)
		}
	case shapeBool:
		for row := first; row < first+count; row++ {
			*(*bool)(to) = column.Data[row>>3]>>(row&7)&1 == 1
			to = unsafe.Add(to, apart)
		}
	case shapeText:
		offsets := unsafe.Pointer(&column.Offsets[first*4 : (first+count+1)*4][0])
		data := unsafe.String(unsafe.SliceData(column.Data), len(column.Data))
		start := *(*uint32)(offsets)
		for range count {
			offsets = unsafe.Add(offsets, 4)
			end := *(*uint32)(offsets)
			*(*string)(to) = data[start:end]
			start, to = end, unsafe.Add(to, apart)
		}
	case shapeBinary:
		start := offset(column.Offsets, first)
		for row := first; row < first+count; row++ {
			end := offset(column.Offsets, row+1)
			*(*[]byte)(to) = column.Data[start:end:end]
			start, to = end, unsafe.Add(to, apart)
		}
	case shapeTime:
		for row := first; row < first+count; row++ {
			micros := *(*int64)(unsafe.Pointer(&column.Data[row*8 : row*8+8][0]))
			*(*time.Time)(to) = time.UnixMicro(micros).UTC()
			to = unsafe.Add(to, apart)
		}
	}
}

// decodePointers reads nullable values. Those of a block are in a separate array, which lives as long as the plugin
// refers to one of them.
func (f *column) decodePointers(column *Column, first, count int, to unsafe.Pointer, apart uintptr) {
	values, bytes := f.array(count)
	f.decode(column, first, count, values, bytes)
	for row := range count {
		if column.Validity == nil || bit(column.Validity, first+row) {
			*(*unsafe.Pointer)(to) = slot(values, row, bytes)
		} else {
			*(*unsafe.Pointer)(to) = nil
		}
		to = unsafe.Add(to, apart)
	}
}

// array returns an array of values and the size of one in bytes.
func (f *column) array(count int) (unsafe.Pointer, uintptr) {
	switch f.shape {
	case shapeBool:
		return newArray[bool](count)
	case shapeText:
		return newArray[string](count)
	case shapeBinary:
		return newArray[[]byte](count)
	case shapeTime:
		return newArray[time.Time](count)
	default:
		return newArray[uint64](count)
	}
}

func newArray[T any](count int) (unsafe.Pointer, uintptr) {
	var one T
	return unsafe.Pointer(unsafe.SliceData(make([]T, count))), unsafe.Sizeof(one)
}

// missing returns the rows with a null in a field that is not nullable, in order.
func (l *layout) missing(batch *Batch) []Rejected {
	var missing []Rejected
	var reasons map[uint32]string
	for i := range l.columns {
		validity := batch.columns[i].Validity
		if validity == nil || l.columns[i].Nullable {
			continue
		}
		for row := range batch.rows {
			if bit(validity, row) {
				continue
			}
			if reasons == nil {
				reasons = map[uint32]string{}
			}
			if _, known := reasons[uint32(row)]; !known {
				reasons[uint32(row)] = "column `" + l.columns[i].Name + "` is null"
			}
		}
	}
	if len(reasons) == 0 {
		return nil
	}
	for row := range uint32(batch.rows) {
		if reason, is := reasons[row]; is {
			missing = append(missing, Rejected{row, reason})
		}
	}
	return missing
}

// block is some rows of a batch, read together.
type block[T any] struct {
	layout *layout
	batch  *Batch
	rows   []T
	// first is the index of the first row.
	first int
}

// begin sets the batch and checks its columns.
func (b *block[T]) begin(batch *Batch) error {
	b.batch, b.first, b.rows = batch, 0, b.rows[:0]
	return b.layout.check(batch)
}

// span returns the rows from start to end as one slice. They are valid until the next call of span or at.
func (b *block[T]) span(start, end int) []T {
	if start < b.first || end > b.first+len(b.rows) {
		b.read(start, min(max(end, start+blockRows), b.batch.rows))
	}
	return b.rows[start-b.first : end-b.first : end-b.first]
}

// at returns one row.
func (b *block[T]) at(row int) *T {
	if row < b.first || row >= b.first+len(b.rows) {
		b.read(row, min(row+blockRows, b.batch.rows))
	}
	return &b.rows[row-b.first]
}

func (b *block[T]) read(start, end int) {
	count := end - start
	if cap(b.rows) < count {
		b.rows = make([]T, count)
	}
	b.rows, b.first = b.rows[:count], start
	b.layout.decode(b.batch, start, count, unsafe.Pointer(unsafe.SliceData(b.rows)))
}

// end drops the rows, so that they keep no memory alive.
func (b *block[T]) end() {
	b.batch = nil
	clear(b.rows[:cap(b.rows)])
	if cap(b.rows) > 16*blockRows {
		b.rows = nil
	}
	b.rows = b.rows[:0]
}
