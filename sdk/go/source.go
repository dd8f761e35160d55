package millstream

import "time"

// Reader reads one partition of a source, in world source. It may also be an [Acknowledger], a [Forgetter], or both.
//
// An error of any method is treated as transient: the host drops the reader and after a delay opens another one at the
// position of the last poll. A [ConfigError] fails the job, and so does a panic.
type Reader[R any] interface {
	// Poll reads the next rows. It waits for them at most for the given time. Calls come one after another, and only when the
	// job can process more rows.
	Poll(rows *Arrivals[R], wait time.Duration) (Polled, error)
}

// Acknowledger is a [Reader] that is notified of durable rows.
type Acknowledger interface {
	// Durable reports that the rows up to this position are durable and may be acknowledged. Later positions include
	// earlier ones. After a reader is opened, the host repeats the last call, which may have been lost.
	Durable(position []byte) error
}

// Forgetter is a [Reader] that is notified of positions that are no longer needed.
type Forgetter interface {
	// Published reports that a checkpoint with this position is published. No earlier one is ever opened again.
	Published(position []byte) error
}

// Source registers the function that opens a partition at the position of an earlier poll, or with nil at its start. See also
// [Partitions] and [Check].
//
// The host stores the rows of a poll and the position after them atomically. So each row arrives exactly once if the source
// can resume at a position.
func Source[R any](open func(partition string, position []byte) (Reader[R], error)) {
	rows := newOut[R](layoutOf[R]())
	register("source", func(stage *Stage) (opener, error) {
		if err := readConfig(stage); err != nil {
			return nil, err
		}
		return &sourceOf[R]{open, rows}, nil
	})
}

// Partitions registers the function that returns the names of the partitions, which must be stable. The host calls it when the
// job starts, and periodically. Each partition is read in order, independently, and has its own position. Without this
// function, there is one partition without a name.
func Partitions(list func() ([]string, error)) { sources.partitions = list }

// Check registers a function that reports errors in a config that could be read. It has no network access.
func Check(check func() error) { sources.check = check }

// sources has the functions registered by [Partitions] and [Check].
var sources struct {
	partitions func() ([]string, error)
	check      func() error
}

// Arrivals collects what a poll received: rows and rejected data.
type Arrivals[R any] struct {
	rows    *Out[R]
	refused []Refused
	max     int
}

// Refused is received data that is not a row. It goes to the source's rejected rows.
type Refused struct {
	// Data is the received data, or its start.
	Data []byte
	// Reason is the reason as text.
	Reason string
}

// Push appends a row. More rows than the host requested fail the poll, so check [Arrivals.Left] first.
func (a *Arrivals[R]) Push(row R) { a.rows.Push(row) }

// Refuse rejects received data that is not a row. It counts as a row.
func (a *Arrivals[R]) Refuse(data []byte, reason string) {
	a.refused = append(a.refused, Refused{append([]byte(nil), data...), reason})
}

// Len returns the number of rows and rejected data so far.
func (a *Arrivals[R]) Len() int { return a.rows.Len() + len(a.refused) }

// Left returns the number of rows that this poll may still add.
func (a *Arrivals[R]) Left() int { return max(a.max-a.Len(), 0) }

// Polled is the result of a poll besides its rows, created by [Ready], [Pause] or [Ended], and [Polled.At].
type Polled struct {
	// Position is the position after all rows of the poll, in a format of the plugin; nil: unchanged.
	Position []byte
	// Pause is the time after which the host polls again, or earlier.
	Pause time.Duration
	// Ended is true if the partition has ended.
	Ended bool
}

// Ready makes the host poll again immediately. Return it also after a poll that waited and had no rows: the next one waits
// again.
func Ready() Polled { return Polled{} }

// Pause reports that there are no rows now. The host polls again after this time or earlier.
func Pause(wait time.Duration) Polled { return Polled{Pause: wait} }

// Ended reports that the partition has ended.
func Ended() Polled { return Polled{Ended: true} }

// At sets the position after all rows of the poll.
func (p Polled) At(position []byte) Polled {
	p.Position = append([]byte{}, position...)
	return p
}

// opener is a source with any type of rows.
type opener interface {
	describer
	open(partition string, position []byte) (partitionReader, error)
}

// partitionReader is a reader with any type of rows.
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
