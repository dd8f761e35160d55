// Package bridge lets package millstreamtest run the plugin that package millstream has registered.
package bridge

import "time"

// Stage is how the stage of a test uses the plugin.
type Stage struct {
	// Config is JSON; empty: none.
	Config string
	// Key and Inputs are columns as in "user text, amount int64".
	Key    string
	Inputs []string
}

// Rejected is a rejected row.
type Rejected struct {
	Row    int
	Reason string
}

// Run is the result of a call: rows as JSON, and the rejected ones.
type Run struct {
	Rows     string
	Rejected []Rejected
}

// Runner runs a plugin as a host would.
type Runner interface {
	// Run runs one batch: for each input an array of objects.
	Run(inputs []string) (Run, error)
	// TimeOut runs the last call of an idle key.
	TimeOut(key string) (Run, error)
	// Watermark sets the watermark of the runs that follow, in microseconds since 1970.
	Watermark(at int64)
	// States gives the columns of key and state.
	States() (string, error)
}

// New makes a runner; set by package millstream.
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
	// Open begins to read one.
	Open(partition string, position []byte) (Partition, error)
}

// Partition is an open partition.
type Partition interface {
	// Poll takes the next rows.
	Poll(rowsMax int, wait time.Duration) (Poll, error)
	// Durable reports that rows are durable.
	Durable(position []byte) error
	// Published reports that a checkpoint is published.
	Published(position []byte) error
}

// NewSource makes a source of a stage's config; set by package millstream.
var NewSource func(config string) (Source, error)

// Sink is a plugin of world sink.
type Sink interface {
	// Committed returns the last stored batch; 0: none.
	Committed(jobID string) (uint64, error)
	// Open opens the sink, and returns the same.
	Open(jobID string, generation uint64) (Writer, uint64, error)
	// AtLeastOnce reports whether this is the guarantee.
	AtLeastOnce() (bool, error)
}

// Writer is what writes batches.
type Writer interface {
	// Begun writes the rows of a batch, an array of objects.
	Begun(batch uint64, rows string) ([]Rejected, error)
	// Commit makes them visible.
	Commit(batch uint64) error
}

// NewSink makes a sink of a stage's config; set by package millstream.
var NewSink func(config string) (Sink, error)
