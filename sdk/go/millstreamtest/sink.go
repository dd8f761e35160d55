package millstreamtest

import (
	"testing"

	"millstream.dev/sdk/internal/bridge"
)

// Sink is a test of the sink of this program: sink `out` of a job `test`.
type Sink struct {
	t    *testing.T
	sink bridge.Sink
}

// Writing is an open sink.
type Writing struct {
	t      *testing.T
	writer bridge.Writer
	// Last is the last stored batch when it was opened, or 0.
	Last uint64
}

// RefusedRow is a row that a sink rejects.
type RefusedRow struct {
	// Row is the index of the row in the written rows.
	Row int
	// Reason is the reason as text.
	Reason string
}

// NewSink returns a test of the sink that this program registers, with a config: a JSON object, or empty for none. It fails the
// test if the sink rejects the config.
func NewSink(t *testing.T, config string) *Sink {
	t.Helper()
	sink, err := bridge.NewSink(config)
	if err != nil {
		t.Fatalf("the sink rejects its config: %v", err)
	}
	return &Sink{t, sink}
}

// SinkRefused returns the error with which the sink rejects a config. It fails the test if the sink accepts it.
func SinkRefused(t *testing.T, config string) error {
	t.Helper()
	_, err := bridge.NewSink(config)
	if err == nil {
		t.Fatal("the sink does not reject the config")
	}
	return err
}

// AtLeastOnce reports whether the sink only guarantees at-least-once.
func (sink *Sink) AtLeastOnce() bool {
	sink.t.Helper()
	promised, err := sink.sink.AtLeastOnce()
	if err != nil {
		sink.t.Fatalf("the call failed: %v", err)
	}
	return promised
}

// Committed returns the last stored batch of the job with this ID, or 0.
func (sink *Sink) Committed(jobID string) uint64 {
	sink.t.Helper()
	last, err := sink.sink.Committed(jobID)
	if err != nil {
		sink.t.Fatalf("the call failed: %v", err)
	}
	return last
}

// Open opens the sink for the job with this ID and this start number.
func (sink *Sink) Open(jobID string, generation uint64) *Writing {
	sink.t.Helper()
	writing, err := sink.TryOpen(jobID, generation)
	if err != nil {
		sink.t.Fatalf("the call failed: %v", err)
	}
	return writing
}

// TryOpen is Open. It returns the error if it fails.
func (sink *Sink) TryOpen(jobID string, generation uint64) (*Writing, error) {
	writer, last, err := sink.sink.Open(jobID, generation)
	if err != nil {
		return nil, err
	}
	return &Writing{sink.t, writer, last}, nil
}

// Batch writes a batch, an array of objects, and commits it. It returns the rejected rows.
func (writing *Writing) Batch(batch uint64, rows string) []RefusedRow {
	writing.t.Helper()
	refused, err := writing.Begun(batch, rows)
	if err == nil {
		err = writing.writer.Commit(batch)
	}
	if err != nil {
		writing.t.Fatalf("the call failed: %v", err)
	}
	return refused
}

// Begun is Batch without the commit, as before a failure.
func (writing *Writing) Begun(batch uint64, rows string) ([]RefusedRow, error) {
	rejected, err := writing.writer.Begun(batch, rows)
	var refused []RefusedRow
	for _, own := range rejected {
		refused = append(refused, RefusedRow(own))
	}
	return refused, err
}
