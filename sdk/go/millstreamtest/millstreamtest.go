// Package millstreamtest runs a plugin in a plain go test, without a host. Rows are JSON.
//
// Timestamps are numbers of microseconds, binaries are hexadecimal strings. The log goes to standard error, counters do
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

// Stage has the settings of the stage in a test.
type Stage struct {
	// Config is the stage's config, a JSON object, or empty for none.
	Config string
	// Key is the stage's key columns, for example "user text, day int64".
	Key string
	// Inputs has the columns of each input, for example "user text, amount int64". Only plugins that accept any columns
	// need it.
	Inputs []string
}

// Rejected is a rejected row.
type Rejected struct {
	// Row is the index of the row in the input. In worlds update and cogroup, the input is sorted by key. In cogroup,
	// the rows of the second input are counted after those of the first.
	Row int
	// Reason is the reason as text.
	Reason string
}

// Test is a test of the plugin of this program.
type Test struct {
	t      *testing.T
	runner bridge.Runner
}

// Run is the result of a run.
type Run struct {
	t *testing.T
	// Rows is an array of objects.
	Rows string
	// Rejected has the rejected rows.
	Rejected []Rejected
}

// New returns a test of the plugin that this program registers. It fails the test if the plugin rejects the stage.
func New(t *testing.T, stage Stage) *Test {
	t.Helper()
	runner, err := bridge.New(bridge.Stage(stage))
	if err != nil {
		t.Fatalf("the plugin rejects the stage: %v", err)
	}
	return &Test{t, runner}
}

// Refused returns the error with which the plugin rejects a stage. It fails the test if the plugin accepts it.
func Refused(t *testing.T, stage Stage) error {
	t.Helper()
	_, err := bridge.New(bridge.Stage(stage))
	if err == nil {
		t.Fatal("the plugin does not reject the stage")
	}
	return err
}

// Run processes one batch, an array of objects for each input. It fails the test if the call fails. In world update, it
// keeps states and timers for the next run. The time of the first run is second 1, of the next one second 2, and so on. Keys
// are in the order of their first rows, followed by keys without rows whose timers are due.
func (test *Test) Run(inputs ...string) *Run {
	test.t.Helper()
	return test.made(test.runner.Run(inputs))
}

// Try processes one batch and returns the error if the call fails.
func (test *Test) Try(inputs ...string) (*Run, error) {
	run, err := test.runner.Run(inputs)
	if err != nil {
		return nil, err
	}
	return test.made(run, nil), nil
}

// TimeOut makes the last call for a key, an object, that was idle for the stage's timeout.
func (test *Test) TimeOut(key string) *Run {
	test.t.Helper()
	return test.made(test.runner.TimeOut(key))
}

// Watermark sets the watermark of the following runs, as in a stage with event time. Timers then use it.
func (test *Test) Watermark(at millstream.Timestamp) { test.runner.Watermark(int64(at)) }

// WantStates compares the states in world update: objects with the columns of key and state.
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

// same compares JSON. 1 and 1.0 are equal.
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
