package millstream

import "time"

// Reader reads one partition of a source, in world source. It may also be an [Acknowledger], a [Forgetter], or both.
//
// An error of any of its methods is taken for something that passes: the reader is thrown away, and after a while another one
// is opened where the last poll left off. A [ConfigError] ends the job, and so does a panic.
type Reader[R any] interface {
	// Poll takes the next rows; it waits for them, but no longer than this. Calls come one after the other, and none while
	// there is nothing to be done with more rows.
	Poll(rows *Arrivals[R], wait time.Duration) (Polled, error)
}

// Acknowledger is a [Reader] that hears what is safe.
type Acknowledger interface {
	// Durable tells that the rows up to this position are safe: whoever sent them may be told. Later positions include earlier
	// ones. After a reader is opened the last one comes again, as it may not have been heard.
	Durable(position []byte) error
}

// Forgetter is a [Reader] that hears what can be forgotten.
type Forgetter interface {
	// Published tells that a checkpoint with this position is published: no earlier one is ever opened again.
	Published(position []byte) error
}

// Source registers what reads the partitions of a source: a function that begins to read one, where an earlier poll left
// off; the position is nil for its beginning. See also [Partitions] and [Check].
//
// The host keeps the rows of a poll and the position behind them together, so that each row comes exactly once where the
// source can go on at a position.
func Source[R any](open func(partition string, position []byte) (Reader[R], error)) {
	rows := newOut[R](layoutOf[R]())
	register("source", func(stage *Stage) (opener, error) {
		if err := readConfig(stage); err != nil {
			return nil, err
		}
		return &sourceOf[R]{open, rows}, nil
	})
}

// Partitions registers the function that tells which partitions there are, by names that stay the same. It is asked when the
// job starts, and now and then. Each is read in order, by itself, and keeps its own position. Without it there is one,
// without a name.
func Partitions(list func() ([]string, error)) { sources.partitions = list }

// Check registers a function that says what is wrong with a config that can be read. There is no network yet.
func Check(check func() error) { sources.check = check }

// sources is what [Partitions] and [Check] were called with.
var sources struct {
	partitions func() ([]string, error)
	check      func() error
}

// Arrivals is where a poll puts what came: rows, and what is none.
type Arrivals[R any] struct {
	rows    *Out[R]
	refused []Refused
	max     int
}

// Refused is what came and is no row. It goes to the source's rejected rows.
type Refused struct {
	// Data is what came, or the beginning of it.
	Data []byte
	// Reason is for a person to read.
	Reason string
}

// Push appends a row. One more than asked for fails the poll, so look at [Arrivals.Left] before.
func (a *Arrivals[R]) Push(row R) { a.rows.Push(row) }

// Refuse refuses what came and is no row. It counts as rows do.
func (a *Arrivals[R]) Refuse(data []byte, reason string) {
	a.refused = append(a.refused, Refused{append([]byte(nil), data...), reason})
}

// Len tells how many came so far.
func (a *Arrivals[R]) Len() int { return a.rows.Len() + len(a.refused) }

// Left tells how many more may come in this poll.
func (a *Arrivals[R]) Left() int { return max(a.max-a.Len(), 0) }

// Polled is what a poll says beside its rows: [Ready], [Pause] or [Ended], and [Polled.At].
type Polled struct {
	// Position is where to go on behind all of its rows, in words of your own; nil: where the partition stood before.
	Position []byte
	// Pause is when there may be more, or sooner.
	Pause time.Duration
	// Ended says that there never will be.
	Ended bool
}

// Ready says that there may be more at once. So say also after a poll that waited for rows and had none: the next one waits
// again.
func Ready() Polled { return Polled{} }

// Pause says that there is nothing for now: the host asks again after this time, or sooner.
func Pause(wait time.Duration) Polled { return Polled{Pause: wait} }

// Ended says that the partition has come to its end.
func Ended() Polled { return Polled{Ended: true} }

// At says where to go on behind all rows of the poll.
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

// partitionsOf tells which partitions there are.
func partitionsOf(stage *Stage) ([]string, error) {
	if _, err := pluginOf[opener](stage); err != nil {
		return nil, err
	}
	if sources.partitions == nil {
		return []string{""}, nil
	}
	return sources.partitions()
}
