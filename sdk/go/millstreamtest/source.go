package millstreamtest

import (
	"testing"
	"time"

	"millstream.dev/sdk/internal/bridge"
)

// Source is a test of the source of this program.
type Source struct {
	t      *testing.T
	source bridge.Source
}

// Partition is an open partition.
type Partition struct {
	t         *testing.T
	partition bridge.Partition
}

// Poll is the result of a poll.
type Poll struct {
	t *testing.T
	// Rows is an array of objects.
	Rows string
	// Refused is the rejected data.
	Refused []Refusal
	// Position is the position to resume at; nil: unchanged.
	Position []byte
	// Pause is the time after which the host polls again.
	Pause time.Duration
	// Ended is true if the partition has ended.
	Ended bool
}

// Refusal is received data that is not a row.
type Refusal struct {
	// Data is the received data.
	Data string
	// Reason is the reason as text.
	Reason string
}

// NewSource returns a test of the source that this program registers, with a config: a JSON object, or empty for none. It fails
// the test if the source rejects the config.
func NewSource(t *testing.T, config string) *Source {
	t.Helper()
	source, err := bridge.NewSource(config)
	if err != nil {
		t.Fatalf("the source rejects its config: %v", err)
	}
	return &Source{t, source}
}

// SourceRefused returns the error with which the source rejects a config. It fails the test if the source accepts it.
func SourceRefused(t *testing.T, config string) error {
	t.Helper()
	_, err := bridge.NewSource(config)
	if err == nil {
		t.Fatal("the source does not reject the config")
	}
	return err
}

// Partitions returns the names of the partitions.
func (source *Source) Partitions() []string {
	source.t.Helper()
	names, err := source.source.Partitions()
	if err != nil {
		source.t.Fatalf("the call failed: %v", err)
	}
	return names
}

// Open opens a partition at a position of an earlier poll, or with nil at its start.
func (source *Source) Open(partition string, position []byte) *Partition {
	source.t.Helper()
	opened, err := source.source.Open(partition, position)
	if err != nil {
		source.t.Fatalf("the call failed: %v", err)
	}
	return &Partition{source.t, opened}
}

// Poll polls for rows. It fails the test if the call fails.
func (partition *Partition) Poll(rowsMax int, wait time.Duration) *Poll {
	partition.t.Helper()
	poll, err := partition.Try(rowsMax, wait)
	if err != nil {
		partition.t.Fatalf("the call failed: %v", err)
	}
	return poll
}

// Try polls for rows and returns the error if the call fails.
func (partition *Partition) Try(rowsMax int, wait time.Duration) (*Poll, error) {
	poll, err := partition.partition.Poll(rowsMax, wait)
	if err != nil {
		return nil, err
	}
	made := &Poll{
		t: partition.t, Rows: poll.Rows, Position: poll.Position, Pause: poll.Pause, Ended: poll.Ended,
	}
	for _, refused := range poll.Refused {
		made.Refused = append(made.Refused, Refusal{string(refused.Data), refused.Reason})
	}
	return made, nil
}

// Durable notifies the source that the rows up to a position are durable.
func (partition *Partition) Durable(position []byte) error {
	return partition.partition.Durable(position)
}

// Published notifies the source that a checkpoint with a position is published.
func (partition *Partition) Published(position []byte) error {
	return partition.partition.Published(position)
}

// WantRows compares the rows, in their order.
func (poll *Poll) WantRows(want string) *Poll {
	poll.t.Helper()
	same(poll.t, "rows", want, poll.Rows)
	return poll
}
