package millstreamtest

import (
	"testing"
	"time"

	"millstream.dev/sdk/internal/bridge"
)

// Source is the source of this program under test.
type Source struct {
	t      *testing.T
	source bridge.Source
}

// Partition is an open partition.
type Partition struct {
	t         *testing.T
	partition bridge.Partition
}

// Poll is what a poll gave.
type Poll struct {
	t *testing.T
	// Rows is an array of objects.
	Rows string
	// Refused is received data that is not a row.
	Refused []Refusal
	// Position is where to resume; nil: unchanged.
	Position []byte
	// Pause is when there may be more.
	Pause time.Duration
	// Ended says that there never will be.
	Ended bool
}

// Refusal is received data that is not a row.
type Refusal struct {
	// Data is what came.
	Data string
	// Reason is for a person to read.
	Reason string
}

// NewSource returns a test of the source that this program registers, with a config, which is a JSON object;
// empty: none. It fails the test if the source rejects it.
func NewSource(t *testing.T, config string) *Source {
	t.Helper()
	source, err := bridge.NewSource(config)
	if err != nil {
		t.Fatalf("the source rejects its config: %v", err)
	}
	return &Source{t, source}
}

// SourceRefused returns the error with which the source rejects a config; it fails the test if the source
// accepts it.
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

// Open begins to read a partition at a position of an earlier poll; nil: at its beginning.
func (source *Source) Open(partition string, position []byte) *Partition {
	source.t.Helper()
	opened, err := source.source.Open(partition, position)
	if err != nil {
		source.t.Fatalf("the call failed: %v", err)
	}
	return &Partition{source.t, opened}
}

// Poll reads the next rows, and fails the test if the call fails.
func (partition *Partition) Poll(rowsMax int, wait time.Duration) *Poll {
	partition.t.Helper()
	poll, err := partition.Try(rowsMax, wait)
	if err != nil {
		partition.t.Fatalf("the call failed: %v", err)
	}
	return poll
}

// Try takes the next rows, and gives the error with which the call fails, if it does.
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

// Durable reports to the source that the rows up to a position are durable.
func (partition *Partition) Durable(position []byte) error {
	return partition.partition.Durable(position)
}

// Published reports to the source that a checkpoint with a position is published.
func (partition *Partition) Published(position []byte) error {
	return partition.partition.Published(position)
}

// WantRows compares the rows, in their order.
func (poll *Poll) WantRows(want string) *Poll {
	poll.t.Helper()
	same(poll.t, "rows", want, poll.Rows)
	return poll
}
