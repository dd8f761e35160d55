package millstreamtest

import (
	"testing"

	"millstream.dev/sdk/internal/bridge"
)

// Sink is the sink of this program under test: sink `out` of a job `test`.
type Sink struct {
	t    *testing.T
	sink bridge.Sink
}

// Writing is what a sink under test writes with.
type Writing struct {
	t      *testing.T
	writer bridge.Writer
	// Last is the last batch that was there when it was opened; 0: none.
	Last uint64
}

// RefusedRow is a row that a sink rejects.
type RefusedRow struct {
	// Row is its index in the written rows.
	Row int
	// Reason is for a person to read.
	Reason string
}

// NewSink returns a test of the sink that this program registers, with a config, which is a JSON object;
// empty: none. It fails the test if the sink rejects it.
func NewSink(t *testing.T, config string) *Sink {
	t.Helper()
	sink, err := bridge.NewSink(config)
	if err != nil {
		t.Fatalf("the sink rejects its config: %v", err)
	}
	return &Sink{t, sink}
}

// SinkRefused returns the error with which the sink rejects a config; it fails the test if the sink accepts
// it.
func SinkRefused(t *testing.T, config string) error {
	t.Helper()
	_, err := bridge.NewSink(config)
	if err == nil {
		t.Fatal("the sink does not reject the config")
	}
	return err
}

// AtLeastOnce reports whether the sink guarantees no more than that.
func (sink *Sink) AtLeastOnce() bool {
	sink.t.Helper()
	promised, err := sink.sink.AtLeastOnce()
	if err != nil {
		sink.t.Fatalf("the call failed: %v", err)
	}
	return promised
}

// Committed returns the last stored batch of the job with this id; 0: none.
func (sink *Sink) Committed(jobID string) uint64 {
	sink.t.Helper()
	last, err := sink.sink.Committed(jobID)
	if err != nil {
		sink.t.Fatalf("the call failed: %v", err)
	}
	return last
}

// Open opens the sink for the job with this id, as the start with this number.
func (sink *Sink) Open(jobID string, generation uint64) *Writing {
	sink.t.Helper()
	writing, err := sink.TryOpen(jobID, generation)
	if err != nil {
		sink.t.Fatalf("the call failed: %v", err)
	}
	return writing
}

// TryOpen is Open, and gives the error with which it fails, if it does.
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

// Begun is Batch without the commit: the part of a batch that exists when something fails.
func (writing *Writing) Begun(batch uint64, rows string) ([]RefusedRow, error) {
	rejected, err := writing.writer.Begun(batch, rows)
	var refused []RefusedRow
	for _, own := range rejected {
		refused = append(refused, RefusedRow(own))
	}
	return refused, err
}
