package millstream

import "time"

// Reader reads one partition of a source, in world source. It may also be an [Acknowledger], a [Forgetter],
// or both.
//
// An error of any of its methods is treated as transient: the reader is dropped, and after a while another
// one is opened at the position of the last poll. A [ConfigError] ends the job, and so does a panic.
type Reader[R any] interface {
	// Poll takes the next rows; it waits for them, but no longer than this. Calls come one after the other, and none while
	// there is nothing to be done with more rows.
	Poll(rows *Arrivals[R], wait time.Duration) (Polled, error)
}

// Acknowledger is a [Reader] that is notified of durable rows.
type Acknowledger interface {
	// Durable reports that the rows up to this position are durable and may be acknowledged. Later positions
	// include earlier ones. After a reader is opened the last call is repeated, as it may not have been
	// received.
	Durable(position []byte) error
}

// Forgetter is a [Reader] that is notified of positions that are no longer needed.
type Forgetter interface {
	// Published reports that a checkpoint with this position is published: no earlier one is ever opened again.
	Published(position []byte) error
}

// Source registers a source: a function that opens a partition at the position of an earlier poll; the
// position is nil for its beginning. See also [Partitions] and [Check].
//
// The host keeps the rows of a poll and the position after them together, so that each row arrives exactly
// once if the source can resume at a position.
func Source[R any](open func(partition string, position []byte) (Reader[R], error)) {
	rows := newOut[R](layoutOf[R]())
	register("source", func(stage *Stage) (opener, error) {
		if err := readConfig(stage); err != nil {
			return nil, err
		}
		return &sourceOf[R]{open, rows}, nil
	})
}

// Partitions registers the function that returns the partitions, by stable names. It is called when the job
// starts, and periodically. Each is read in order, independently, and keeps its own position. Without it
// there is one, without a name.
func Partitions(list func() ([]string, error)) { sources.partitions = list }

// Check registers a function that reports errors of a config that can be read. There is no network yet.
func Check(check func() error) { sources.check = check }

// sources is what [Partitions] and [Check] were called with.
var sources struct {
	partitions func() ([]string, error)
	check      func() error
}

// Arrivals is the result of a poll: rows, and data that is not a row.
type Arrivals[R any] struct {
	rows    *Out[R]
	refused []Refused
	max     int
}

// Refused is received data that is not a row. It goes to the source's rejected rows.
type Refused struct {
	// Data is what came, or the beginning of it.
	Data []byte
	// Reason is for a person to read.
	Reason string
}

// Push appends a row. One more than requested fails the poll, so check [Arrivals.Left] first.
func (a *Arrivals[R]) Push(row R) { a.rows.Push(row) }

// Refuse rejects data that is not a row. It counts like a row.
func (a *Arrivals[R]) Refuse(data []byte, reason string) {
	a.refused = append(a.refused, Refused{append([]byte(nil), data...), reason})
}

// Len returns the number of rows so far.
func (a *Arrivals[R]) Len() int { return a.rows.Len() + len(a.refused) }

// Left returns how many more rows this poll may return.
func (a *Arrivals[R]) Left() int { return max(a.max-a.Len(), 0) }

// Polled is the result of a poll besides its rows: [Ready], [Pause] or [Ended], and [Polled.At].
type Polled struct {
	// Position is the position after all of its rows, in a format of your own; nil: unchanged.
	Position []byte
	// Pause is when there may be more, or sooner.
	Pause time.Duration
	// Ended says that there never will be.
	Ended bool
}

// Ready reports that there may be more immediately. Also return it after a poll that waited without a row:
// the next one waits again.
func Ready() Polled { return Polled{} }

// Pause reports that there is nothing for now: the host polls again after this time, or sooner.
func Pause(wait time.Duration) Polled { return Polled{Pause: wait} }

// Ended says that the partition has come to its end.
func Ended() Polled { return Polled{Ended: true} }

// At sets the position after all rows of the poll.
func (p Polled) At(position []byte) Polled {
	p.Position = append([]byte{}, position...)
	return p
}

// opener is a source, whatever its rows are.
type opener interface {
	describer
	open(partition string, position []byte) (partitionReader, error)
}

// partitionReader reads a partition, whatever its rows are.
type partitionReader interface {
	poll(rowsMax int, wait time.Duration) (*Batch, []Refused, Polled, error)
	durable(position []byte) error
	published(position []byte) error
}

type sourceOf[R any] struct {
	opens func(partition string, position []byte) (Reader[R], error)
	rows  *Out[R]
}

func (s *sourceOf[R]) Describe(*Stage) (Description, error) {
	made := description()
	made.Output = s.rows.layout.schema()
	if sources.check != nil {
		if err := sources.check(); err != nil {
			return made, err
		}
	}
	return made, nil
}

func (s *sourceOf[R]) open(partition string, position []byte) (partitionReader, error) {
	reader, err := s.opens(partition, position)
	if err != nil {
		return nil, err
	}
	return &readerOf[R]{reader, s.rows}, nil
}

type readerOf[R any] struct {
	reader Reader[R]
	rows   *Out[R]
}

func (r *readerOf[R]) poll(rowsMax int, wait time.Duration) (*Batch, []Refused, Polled, error) {
	r.rows.begin(0, 0)
	rows := &Arrivals[R]{rows: r.rows, max: rowsMax}
	polled, err := r.reader.Poll(rows, wait)
	if err != nil {
		return nil, nil, polled, err
	}
	batch, err := r.rows.batch()
	return batch, rows.refused, polled, err
}

func (r *readerOf[R]) durable(position []byte) error {
	if own, is := r.reader.(Acknowledger); is {
		return own.Durable(position)
	}
	return nil
}

func (r *readerOf[R]) published(position []byte) error {
	if own, is := r.reader.(Forgetter); is {
		return own.Published(position)
	}
	return nil
}

// partitionsOf returns the partitions.
func partitionsOf(stage *Stage) ([]string, error) {
	if _, err := pluginOf[opener](stage); err != nil {
		return nil, err
	}
	if sources.partitions == nil {
		return []string{""}, nil
	}
	return sources.partitions()
}
