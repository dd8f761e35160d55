//go:build !wasip1

package millstream

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"millstream.dev/sdk/internal/bridge"
)

type sold struct {
	Name   string
	Amount *int64
}

// ledger records its calls.
type ledger struct{ calls *[]string }

func (l ledger) note(format string, arguments ...any) {
	*l.calls = append(*l.calls, fmt.Sprintf(format, arguments...))
}

func (l ledger) Begin(batch uint64, time Timestamp) error {
	l.note("begin %d %d", batch, time)
	return nil
}

func (l ledger) Write(rows *Departures[sold]) error {
	for index, row := range rows.All() {
		switch {
		case row.Amount == nil:
			rows.Refuse(index, row.Name+" has no amount")
		case *row.Amount < 0:
			return InputError("it is owed")
		default:
			l.note("%s", row.Name)
		}
	}
	l.note("%d rows", rows.Len())
	return nil
}

func (l ledger) Commit(batch uint64) error {
	l.note("commit %d", batch)
	return nil
}

func TestASinkReceivesItsBatchesAndReportsRejectedRows(t *testing.T) {
	registered.make, made.plugin, configs, sources.check, sinks.committed, sinks.promise = nil, nil, nil, nil, nil, nil
	var calls []string
	last := uint64(0)
	Sink(func(owner Owner) (Writer[sold], uint64, error) {
		calls = append(calls, fmt.Sprint(owner))
		return ledger{&calls}, last, nil
	})
	if promiseOf() != AtLeastOnce {
		t.Error("the guarantee must be at-least-once")
	}
	Committed(func(of Identity) (uint64, error) { return 9, nil })
	if promiseOf() != ExactlyOnce {
		t.Error("the guarantee must be exactly-once")
	}
	last = 3
	sink, err := bridge.NewSink("")
	if err != nil {
		t.Fatal(err)
	}
	if batch, err := sink.Committed("id"); batch != 9 || err != nil {
		t.Errorf("%d is there: %v", batch, err)
	}
	writer, opened, err := sink.Open("id", 7)
	if opened != 3 || err != nil {
		t.Errorf("%d is there: %v", opened, err)
	}
	rows := `[{"name": "a", "amount": 1}, {"amount": 2}, {"name": "c"}, {"name": "d", "amount": 0}]`
	refused, err := writer.Begun(4, rows)
	want := []bridge.Rejected{{Row: 1, Reason: "column `name` is null"}, {Row: 2, Reason: "c has no amount"}}
	if err != nil || !reflect.DeepEqual(refused, want) {
		t.Errorf("refused %v: %v", refused, err)
	}
	if err := writer.Commit(4); err != nil {
		t.Error(err)
	}
	if want := []string{"{{test id out} 7}", "begin 4 4000000", "a", "d", "4 rows", "commit 4"}; !reflect.DeepEqual(calls, want) {
		t.Errorf("calls %q", calls)
	}
	if _, err := writer.Begun(5, `[{"name": "a", "amount": -1}]`); err == nil || !strings.Contains(err.Error(), "it is owed") {
		t.Errorf("it says %v", err)
	}
	Promises(func() Promise { return ExactlyOnce })
	sinks.committed = nil
	if _, err := bridge.NewSink(""); err == nil || !strings.Contains(err.Error(), "calls millstream.Committed") {
		t.Errorf("it says %v", err)
	}
}
