// Package millstreamtest runs a plugin in a plain go test, without a host: rows go in and come out as JSON.
//
// Timestamps are numbers of microseconds, binary is text of hexadecimal digits. The log goes to standard error, counters do
// nothing, and files are read from testdata.
package millstreamtest

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	millstream "millstream.dev/sdk"
	"millstream.dev/sdk/internal/bridge"
)

// Stage is how the stage of a test uses the plugin.
type Stage struct {
	// Config is the stage's config, a JSON object; empty: none.
	Config string
	// Key is the stage's key columns, for example "user text, day int64".
	Key string
	// Inputs is the columns of each input, for example "user text, amount int64". Only plugins that work on any
	// input need it.
	Inputs []string
}

// Rejected is a rejected row.
type Rejected struct {
	// Row is its index in the passed rows. In worlds update and cogroup these are sorted by key, with the rows
	// of the second input after those of the first.
	Row int
	// Reason is for a person to read.
	Reason string
}

// Test is the plugin of this program under test.
type Test struct {
	t      *testing.T
	runner bridge.Runner
}

// Run is what a batch gave.
type Run struct {
	t *testing.T
	// Rows is an array of objects.
	Rows string
	// Rejected is the rejected rows.
	Rejected []Rejected
}

// New returns a test of the plugin that this program registers. It fails the test if the plugin rejects the
// stage.
func New(t *testing.T, stage Stage) *Test {
	t.Helper()
	runner, err := bridge.New(bridge.Stage(stage))
	if err != nil {
		t.Fatalf("the plugin rejects the stage: %v", err)
	}
	return &Test{t, runner}
}

// Refused returns the error with which the plugin rejects a stage; it fails the test if the plugin accepts
// it.
func Refused(t *testing.T, stage Stage) error {
	t.Helper()
	_, err := bridge.New(bridge.Stage(stage))
	if err == nil {
		t.Fatal("the plugin does not reject the stage")
	}
	return err
}

// Run runs one batch, an array of objects for each input, and fails the test if the call fails. In world
// update, states and timers are kept for the next run. The time of the first run is second 1, that of the
// next second 2, and so on. Keys are in the order of their first rows, followed by those without rows whose
// timers are due.
func (test *Test) Run(inputs ...string) *Run {
	test.t.Helper()
	return test.made(test.runner.Run(inputs))
}

// Try runs one batch and gives the error with which the call fails, if it does.
func (test *Test) Try(inputs ...string) (*Run, error) {
	run, err := test.runner.Run(inputs)
	if err != nil {
		return nil, err
	}
	return test.made(run, nil), nil
}

// TimeOut runs the last call of a key, an object, that was idle for too long.
func (test *Test) TimeOut(key string) *Run {
	test.t.Helper()
	return test.made(test.runner.TimeOut(key))
}

// Watermark sets the watermark of the following runs, as in a stage with event time: it drives timers.
func (test *Test) Watermark(at millstream.Timestamp) { test.runner.Watermark(int64(at)) }

// WantStates compares the states, in world update: objects with the columns of key and state.
func (test *Test) WantStates(want string) {
	test.t.Helper()
	got, err := test.runner.States()
	if err != nil {
		test.t.Fatal(err)
	}
	same(test.t, "states", want, got)
}

func (test *Test) made(run bridge.Run, err error) *Run {
	test.t.Helper()
	if err != nil {
		test.t.Fatalf("the call failed: %v", err)
	}
	made := &Run{t: test.t, Rows: run.Rows}
	for _, rejected := range run.Rejected {
		made.Rejected = append(made.Rejected, Rejected(rejected))
	}
	return made
}

// WantRows compares the rows, in their order.
func (run *Run) WantRows(want string) *Run {
	run.t.Helper()
	same(run.t, "rows", want, run.Rows)
	return run
}

// WantRejected compares the rejected rows.
func (run *Run) WantRejected(want ...Rejected) *Run {
	run.t.Helper()
	if !slices.Equal(run.Rejected, want) {
		run.t.Errorf("rejected\n got %v\nwant %v", run.Rejected, want)
	}
	return run
}

// same compares JSON; 1 and 1.0 are the same number.
func same(t *testing.T, what, want, got string) {
	t.Helper()
	if !reflect.DeepEqual(parsed(t, want), parsed(t, got)) {
		t.Errorf("%s\n got %s\nwant %s", what, got, strings.TrimSpace(want))
	}
}

func parsed(t *testing.T, text string) any {
	t.Helper()
	var value any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return value
}
