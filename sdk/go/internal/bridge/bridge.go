// Package bridge lets package millstreamtest run the plugin that is registered in package millstream.
package bridge

import "time"

// Stage has the settings of the stage in a test.
type Stage struct {
	// Config is JSON, or empty for no config.
	Config string
	// Key and Inputs are columns, for example "user text, amount int64".
	Key    string
	Inputs []string
}

// Rejected is a rejected row.
type Rejected struct {
	Row    int
	Reason string
}

// Run is the result of a run: output rows as JSON, and the rejected rows.
type Run struct {
	Rows     string
	Rejected []Rejected
}

// Runner runs a plugin like a host.
type Runner interface {
	// Run processes one batch: an array of objects per input.
	Run(inputs []string) (Run, error)
	// TimeOut makes the last call for an idle key.
	TimeOut(key string) (Run, error)
	// Watermark sets the watermark of the following runs, in microseconds since 1970.
	Watermark(at int64)
	// States returns rows with the columns of key and state.
	States() (string, error)
}

// New creates a runner. Set by package millstream.
var New func(stage Stage) (Runner, error)

// Refused is received data that is not a row.
type Refused struct {
	Data   []byte
	Reason string
}

// Poll is the result of a poll: rows as JSON, rejected data, the next position, and when to poll again.
type Poll struct {
	Rows     string
	Refused  []Refused
	Position []byte
	Pause    time.Duration
	Ended    bool
}

// Source is a plugin of world source.
type Source interface {
	// Partitions returns the names of the partitions.
	Partitions() ([]string, error)
	// Open opens a partition.
	Open(partition string, position []byte) (Partition, error)
}

// Partition is an open partition.
type Partition interface {
	// Poll polls for the next rows.
	Poll(rowsMax int, wait time.Duration) (Poll, error)
	// Durable reports that rows are durable.
	Durable(position []byte) error
	// Published reports that a checkpoint is published.
	Published(position []byte) error
}

// NewSource creates a source with a config. Set by package millstream.
var NewSource func(config string) (Source, error)

// Sink is a plugin of world sink.
type Sink interface {
	// Committed returns the last stored batch, or 0.
	Committed(jobID string) (uint64, error)
	// Open opens the sink. It also returns the last stored batch.
	Open(jobID string, generation uint64) (Writer, uint64, error)
	// AtLeastOnce reports whether the sink only guarantees at-least-once.
	AtLeastOnce() (bool, error)
}

// Writer writes batches.
type Writer interface {
	// Begun writes the rows of a batch, an array of objects.
	Begun(batch uint64, rows string) ([]Rejected, error)
	// Commit makes the rows visible.
	Commit(batch uint64) error
}

// NewSink creates a sink with a config. Set by package millstream.
var NewSink func(config string) (Sink, error)
