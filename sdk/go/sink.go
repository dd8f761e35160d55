package millstream

import (
	"fmt"
	"iter"
	"slices"
)

// Writer writes the batches of a sink, in world sink. Its methods are called one after another: Begin, Write for each piece
// of the rows, Commit.
//
// A [ConfigError] of any method fails the job, and so does an [InputError], which concerns the rows, and a panic. Any other
// error is treated as transient: the host drops the writer. After a delay it opens another one and repeats the batch from its
// start, unless the function that opens it returns this batch as stored.
type Writer[R any] interface {
	// Begin starts a batch with its ID and the end of its interval. Batches without rows are skipped.
	Begin(batch uint64, time Timestamp) error
	// Write writes more rows of the batch, in order. It rejects rows that cannot be written; the job decides what happens to
	// them.
	Write(rows *Departures[R]) error
	// Commit makes the rows of the batch and its ID visible atomically, after all are written. They are durable when it returns.
	Commit(batch uint64) error
}

// Identity identifies a sink. It is the same at every start of a job that resumes from its checkpoints, and unique.
type Identity struct {
	// Job is the name of the job, for display.
	Job string
	// JobID is the unique ID of the job, 32 hexadecimal digits. It differs between jobs of the same name.
	JobID string
	// Sink is the name of the sink in the job.
	Sink string
}

// Owner is the start of a job that writes to the sink.
type Owner struct {
	// Identity identifies the sink.
	Identity
	// Generation is the number of the job's start; later starts have larger numbers. Once a larger one has opened the sink,
	// a smaller one has been replaced and must not commit.
	Generation uint64
}

// Promise is the guarantee for a batch if a failure occurs while it is written.
type Promise int

const (
	// ExactlyOnce: the rows of a batch and its ID are stored atomically. The function registered by [Committed], and the
	// one that opens the sink, return the last ID.
	ExactlyOnce Promise = iota
	// AtLeastOnce: a batch may be written again and its rows duplicated.
	AtLeastOnce
)

// Sink registers the function that opens a sink and takes it over from all owners of smaller generations. The function returns
// the last stored batch, or 0. See also [Committed], [Promises] and [Check].
func Sink[R any](open func(owner Owner) (writer Writer[R], last uint64, err error)) {
	rows := layoutOf[R]()
	register("sink", func(stage *Stage) (sinkOpener, error) {
		if err := readConfig(stage); err != nil {
			return nil, err
		}
		return &sinkOf[R]{open, rows}, nil
	})
}

// Committed registers the function that returns the last stored batch, or 0. The host calls it before a start of the job decides
// where to resume. It must change nothing, since an earlier start may still be writing. A sink with this function guarantees
// [ExactlyOnce], a sink without it [AtLeastOnce].
func Committed(last func(of Identity) (uint64, error)) { sinks.committed = last }

// Promises registers the function that returns the guarantee of a sink, if it depends on the config.
func Promises(promise func() Promise) { sinks.promise = promise }

// sinks has the functions registered by [Committed] and [Promises].
var sinks struct {
	committed func(of Identity) (uint64, error)
	promise   func() Promise
}

// Departures has the rows to write, in order, and collects the rejected ones.
type Departures[R any] struct {
	batch   *Batch
	rows    *block[R]
	refused map[int]string
}

// Len returns the number of rows, including rejected ones.
func (d *Departures[R]) Len() int { return d.batch.rows }

// All returns the rows with their indexes, which [Departures.Refuse] takes, except those rejected so far. The content of
// a row is valid until Write returns.
func (d *Departures[R]) All() iter.Seq2[int, R] {
	return func(yield func(int, R) bool) {
		for first := 0; first < d.batch.rows; first += blockRows {
			for i, row := range d.rows.span(first, min(first+blockRows, d.batch.rows)) {
				if _, refused := d.refused[first+i]; !refused && !yield(first+i, row) {
					return
				}
			}
		}
	}
}

// Refuse rejects the row with this index.
func (d *Departures[R]) Refuse(row int, reason string) {
	if row < 0 || row >= d.Len() {
		panic(fmt.Sprintf("row %d is rejected, but there are %d rows", row, d.Len()))
	}
	d.refused[row] = reason
}

// sinkOpener is a sink with any type of rows.
type sinkOpener interface {
	describer
	open(owner Owner) (batchWriter, uint64, error)
}

// batchWriter is a writer with any type of rows.
type batchWriter interface {
	begin(batch uint64, time Timestamp) error
	write(rows *Batch) ([]Rejected, error)
	commit(batch uint64) error
}

type sinkOf[R any] struct {
	opens func(owner Owner) (Writer[R], uint64, error)
	rows  *layout
}

func (s *sinkOf[R]) Describe(*Stage) (Description, error) {
	made := description()
	made.Input = s.rows.schema()
	if sources.check != nil {
		if err := sources.check(); err != nil {
			return made, err
		}
	}
	if promiseOf() == ExactlyOnce && sinks.committed == nil {
		return made, InternalError("a sink that promises ExactlyOnce calls millstream.Committed")
	}
	return made, nil
}

func (s *sinkOf[R]) open(owner Owner) (batchWriter, uint64, error) {
	writer, last, err := s.opens(owner)
	if err != nil {
		return nil, 0, err
	}
	return &writerOf[R]{writer, block[R]{layout: s.rows}}, last, nil
}

type writerOf[R any] struct {
	writer Writer[R]
	rows   block[R]
}

func (w *writerOf[R]) begin(batch uint64, time Timestamp) error { return w.writer.Begin(batch, time) }

func (w *writerOf[R]) write(batch *Batch) ([]Rejected, error) {
	if err := w.rows.begin(batch); err != nil {
		return nil, err
	}
	defer w.rows.end()
	rows := &Departures[R]{batch, &w.rows, map[int]string{}}
	for _, missing := range w.rows.layout.missing(batch) {
		rows.refused[int(missing.Row)] = missing.Reason
	}
	if err := w.writer.Write(rows); err != nil {
		return nil, err
	}
	rejected := make([]Rejected, 0, len(rows.refused))
	for row, reason := range rows.refused {
		rejected = append(rejected, Rejected{uint32(row), reason})
	}
	slices.SortFunc(rejected, func(a, b Rejected) int { return int(a.Row) - int(b.Row) })
	return rejected, nil
}

func (w *writerOf[R]) commit(batch uint64) error { return w.writer.Commit(batch) }

// promiseOf returns the guarantee of the sink for its config.
func promiseOf() Promise {
	switch {
	case sinks.promise != nil:
		return sinks.promise()
	case sinks.committed != nil:
		return ExactlyOnce
	default:
		return AtLeastOnce
	}
}

// committedOf returns the last stored batch.
func committedOf(stage *Stage, of Identity) (uint64, error) {
	if _, err := pluginOf[sinkOpener](stage); err != nil || sinks.committed == nil {
		return 0, err
	}
	return sinks.committed(of)
}
