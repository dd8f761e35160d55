package millstream

import (
	"math"
	"time"
	"unsafe"
)

// bitmap has one bit per row, least significant bit first.
type bitmap struct {
	bits []byte
	rows int
}

func (b *bitmap) push(value bool) {
	if b.rows&7 == 0 {
		b.bits = append(b.bits, 0)
	}
	if value {
		b.bits[b.rows>>3] |= 1 << (b.rows & 7)
	}
	b.rows++
}

func (b *bitmap) truncate(rows int) {
	b.bits = b.bits[:(rows+7)/8]
	b.rows = rows
	// Bits are set with or: those after the last row must be clear.
	if used := rows & 7; used > 0 {
		b.bits[rows>>3] &= 1<<used - 1
	}
}

// builder appends values to the buffers of a column.
type builder struct {
	words   []uint64
	bools   bitmap
	offsets []uint32
	bytes   []byte
	valid   bitmap
	nulls   bool
}

// begin reserves space for rows and bytes of text. It reuses the buffers of the previous call, which the host has read.
func (f *column) begin(b *builder, rows, bytes int) {
	b.words, b.bools, b.valid, b.nulls = b.words[:0], bitmap{bits: b.bools.bits[:0]}, bitmap{bits: b.valid.bits[:0]}, false
	b.offsets, b.bytes = b.offsets[:0], b.bytes[:0]
	switch f.shape {
	case shapeText, shapeBinary:
		b.offsets = append(room(b.offsets, rows+1), 0)
		b.bytes = room(b.bytes, bytes)
	case shapeWord, shapeTime:
		b.words = room(b.words, rows)
	}
}

// room returns an empty slice with this capacity.
func room[T any](slice []T, count int) []T {
	if cap(slice) < count {
		return make([]T, 0, count)
	}
	return slice
}

func (b *builder) truncate(rows int) {
	if len(b.words) > rows {
		b.words = b.words[:rows]
	}
	if b.bools.rows > rows {
		b.bools.truncate(rows)
	}
	if b.valid.rows > rows {
		b.valid.truncate(rows)
	}
	if len(b.offsets) > rows {
		b.offsets = b.offsets[:rows+1]
		b.bytes = b.bytes[:b.offsets[rows]]
	}
}

// encode appends rows, from an array of structs.
func (l *layout) encode(builders []builder, rows unsafe.Pointer, count int) {
	for i := range l.columns {
		field, to := &l.columns[i], &builders[i]
		values := unsafe.Add(rows, field.offset)
		switch field.nulls {
		case nullsNever:
			field.encode(to, values, count, l.bytes)
		case nullsFlag:
			flags := unsafe.Add(rows, field.flag)
			for row := range count {
				valid := *(*bool)(slot(flags, row, l.bytes))
				field.encodeOne(to, slot(values, row, l.bytes), valid)
			}
		case nullsPointer:
			for row := range count {
				value := *(*unsafe.Pointer)(slot(values, row, l.bytes))
				field.encodeOne(to, value, value != nil)
			}
		}
	}
}

// zeros is the value of nulls of any type.
var zeros [4]uint64

func (f *column) encodeOne(to *builder, value unsafe.Pointer, valid bool) {
	to.valid.push(valid)
	to.nulls = to.nulls || !valid
	if valid {
		f.encode(to, value, 1, 0)
		return
	}
	switch f.shape {
	case shapeTime:
		to.words = append(to.words, 0)
	default:
		f.encode(to, unsafe.Pointer(&zeros), 1, 0)
	}
}

// encode appends values with this stride in bytes.
func (f *column) encode(to *builder, from unsafe.Pointer, count int, apart uintptr) {
	switch f.shape {
	case shapeWord:
		for range count {
			to.words = append(to.words, *(*uint64)(from))
			from = unsafe.Add(from, apart)
		}
	case shapeBool:
		for range count {
			to.bools.push(*(*bool)(from))
			from = unsafe.Add(from, apart)
		}
	case shapeText:
		offsets, bytes := to.offsets, to.bytes
		for range count {
			bytes = appendText(bytes, *(*string)(from))
			// May wrap for columns above 2 GiB, which finish rejects.
			offsets = append(offsets, uint32(len(bytes)))
			from = unsafe.Add(from, apart)
		}
		to.offsets, to.bytes = offsets, bytes
	case shapeBinary:
		for range count {
			to.bytes = append(to.bytes, *(*[]byte)(from)...)
			to.offsets = append(to.offsets, uint32(len(to.bytes)))
			from = unsafe.Add(from, apart)
		}
	case shapeTime:
		for range count {
			to.words = append(to.words, uint64((*time.Time)(from).UnixMicro()))
			from = unsafe.Add(from, apart)
		}
	}
}

// appendText appends a string. Copying a few bytes of unknown length is slow in a component: short strings
// are copied as two words that may overlap.
func appendText(to []byte, text string) []byte {
	length := len(text)
	if length == 0 {
		return to
	}
	if length > 16 || cap(to)-len(to) < length {
		return append(to, text...)
	}
	from := unsafe.Pointer(unsafe.StringData(text))
	end := len(to)
	to = to[:end+length]
	at := unsafe.Pointer(&to[end])
	switch {
	case length >= 8:
		last := length - 8
		*(*uint64)(at) = *(*uint64)(from)
		*(*uint64)(unsafe.Add(at, last)) = *(*uint64)(unsafe.Add(from, last))
	case length >= 4:
		last := length - 4
		*(*uint32)(at) = *(*uint32)(from)
		*(*uint32)(unsafe.Add(at, last)) = *(*uint32)(unsafe.Add(from, last))
	default:
		*(*byte)(at) = *(*byte)(from)
		*(*byte)(unsafe.Add(at, length/2)) = *(*byte)(unsafe.Add(from, length/2))
		*(*byte)(unsafe.Add(at, length-1)) = *(*byte)(unsafe.Add(from, length-1))
	}
	return to
}

// finish returns the column.
func (f *column) finish(b *builder) (Column, error) {
	if uint64(len(b.bytes)) > math.MaxInt32 {
		return Column{}, InternalError("a column of text or binary grew above 2 GiB in one call")
	}
	made := Column{}
	if b.nulls {
		made.Validity = b.valid.bits
	}
	switch f.shape {
	case shapeBool:
		made.Data = b.bools.bits
	case shapeText, shapeBinary:
		made.Offsets = bytesOf(b.offsets)
		made.Data = b.bytes
	default:
		made.Data = bytesOf(b.words)
	}
	return made, nil
}

// bytesOf returns numbers as bytes without a copy.
func bytesOf[T uint32 | uint64 | int64 | float64 | Timestamp](numbers []T) []byte {
	if len(numbers) == 0 {
		return []byte{}
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&numbers[0])), len(numbers)*int(unsafe.Sizeof(numbers[0])))
}
