package millstream

import "unsafe"

// Out collects the rows that a plugin function returns.
type Out[T any] struct {
	layout *layout
	// rows are the rows that are not yet in columns.
	rows []T
	// before is the number of rows in columns.
	before  int
	columns []builder
}

// Push appends a row.
func (o *Out[T]) Push(row T) {
	if len(o.rows) == cap(o.rows) {
		o.flush()
	}
	o.rows = append(o.rows, row)
}

// Len returns the number of rows so far in this call.
func (o *Out[T]) Len() int { return o.before + len(o.rows) }

func newOut[T any](layout *layout) *Out[T] {
	return &Out[T]{layout: layout, columns: make([]builder, len(layout.columns)), rows: make([]T, 0, blockRows)}
}

func (o *Out[T]) begin(rows, bytes int) {
	o.rows, o.before = o.rows[:0], 0
	for i := range o.columns {
		o.layout.columns[i].begin(&o.columns[i], rows, bytes)
	}
}

func (o *Out[T]) flush() {
	o.layout.encode(o.columns, unsafe.Pointer(unsafe.SliceData(o.rows)), len(o.rows))
	o.before += len(o.rows)
	o.rows = o.rows[:0]
}

// truncate removes all rows from an index on.
func (o *Out[T]) truncate(rows int) {
	if rows >= o.before {
		o.rows = o.rows[:rows-o.before]
		return
	}
	o.rows, o.before = o.rows[:0], rows
	for i := range o.columns {
		o.columns[i].truncate(rows)
	}
}

func (o *Out[T]) batch() (*Batch, error) {
	o.flush()
	clear(o.rows[:cap(o.rows)])
	batch := &Batch{rows: o.before, columns: make([]Column, len(o.columns))}
	for i := range o.columns {
		var err error
		if batch.columns[i], err = o.layout.columns[i].finish(&o.columns[i]); err != nil {
			return nil, err
		}
	}
	return batch, nil
}

// KeyedOut collects the rows that a plugin function returns, with the key columns before each row's columns.
type KeyedOut[T any] struct {
	out Out[T]
	// groups has the group of each row.
	groups []uint32
	now    uint32
}

// Push appends a row for the key of this call.
func (o *KeyedOut[T]) Push(row T) {
	o.out.Push(row)
	o.groups = append(o.groups, o.now)
}

// Len returns the number of rows so far in this call.
func (o *KeyedOut[T]) Len() int { return o.out.Len() }

// output is the common interface of Out and KeyedOut.
type output[O any] interface {
	Len() int
	// make creates one for rows of its type. The receiver may be nil.
	make() O
	begin(rows, bytes int)
	truncate(rows int)
	// group sets the group of the following rows.
	group(group uint32)
	// finish returns the columns. keys are the keys of the groups.
	finish(stage *Stage, keys *Batch) (*Batch, error)
	schema(stage *Stage) Schema
}

func (*Out[T]) make() *Out[T]          { return newOut[T](layoutOf[T]()) }
func (*Out[T]) group(uint32)           {}
func (o *Out[T]) schema(*Stage) Schema { return o.layout.schema() }

func (o *Out[T]) finish(*Stage, *Batch) (*Batch, error) { return o.batch() }

func (*KeyedOut[T]) make() *KeyedOut[T] { return &KeyedOut[T]{out: *newOut[T](layoutOf[T]())} }

func (o *KeyedOut[T]) begin(rows, bytes int) {
	o.out.begin(rows, bytes)
	o.groups = o.groups[:0]
}

func (o *KeyedOut[T]) truncate(rows int) {
	o.out.truncate(rows)
	o.groups = o.groups[:rows]
}

func (o *KeyedOut[T]) group(group uint32) { o.now = group }

func (o *KeyedOut[T]) finish(stage *Stage, keys *Batch) (*Batch, error) {
	rows, err := o.out.batch()
	if err != nil {
		return nil, err
	}
	// Usually each group has one row. Then the key columns are returned unchanged.
	eachOnce := len(o.groups) == keys.rows
	for i := 0; eachOnce && i < len(o.groups); i++ {
		eachOnce = int(o.groups[i]) == i
	}
	if !eachOnce {
		if keys, err = keys.Take(o.groups, stage.Key()); err != nil {
			return nil, err
		}
	}
	return keys.Beside(rows)
}

func (o *KeyedOut[T]) schema(stage *Stage) Schema {
	key := stage.Key()
	return append(key[:len(key):len(key)], o.out.layout.schema()...)
}
