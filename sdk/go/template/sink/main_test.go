package main

import (
	"bufio"
	"fmt"
	"net"
	"reflect"
	"strings"
	"sync"
	"testing"

	"millstream.dev/sdk/millstreamtest"
)

// ledger is a server that stores each batch with its ID.
type ledger struct {
	sync.Mutex
	owner uint64
	last  uint64
	kept  []string
}

func (l *ledger) serve(conn net.Conn) {
	defer conn.Close()
	own, rows := ^uint64(0), ""
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		l.Lock()
		word, rest, _ := strings.Cut(lines.Text(), " ")
		switch word {
		case "OPEN":
			_, _ = fmt.Sscanf(rest[strings.LastIndex(rest, " "):], "%d", &own)
			l.owner = max(l.owner, own)
		case "BEGIN":
			rows = rest + ":"
		case "ROW":
			rows += " " + rest
		case "COMMIT":
			if own == l.owner {
				_, _ = fmt.Sscan(rest, &l.last)
				l.kept = append(l.kept, rows)
			}
		}
		switch {
		case word == "BEGIN" || word == "ROW":
		case own < l.owner:
			_, _ = fmt.Fprintln(conn, "LOST")
		default:
			_, _ = fmt.Fprintln(conn, "LAST", l.last)
		}
		l.Unlock()
	}
}

func TestABatchAndItsIDAreStoredAtomically(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	server := &ledger{}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go server.serve(conn)
		}
	}()
	sink := millstreamtest.NewSink(t, fmt.Sprintf(`{"address": "%v"}`, listener.Addr()))
	first := sink.Open("job", 1)
	if first.Last != 0 || sink.AtLeastOnce() {
		t.Error("the sink must be empty and guarantee exactly-once")
	}
	refused := first.Batch(3, `[{"name": "a", "amount": 1.5}, {"name": "b c", "amount": 2}]`)
	if want := []millstreamtest.RefusedRow{{Row: 1, Reason: "a name is one word"}}; !reflect.DeepEqual(refused, want) {
		t.Errorf("refused %v", refused)
	}
	// The connection is lost in the middle of a batch.
	if _, err := first.Begun(4, `[{"name": "d", "amount": 4}]`); err != nil {
		t.Error(err)
	}
	if last := sink.Committed("job"); last != 3 {
		t.Errorf("the last batch is %d", last)
	}
	second := sink.Open("job", 2)
	if second.Last != 3 {
		t.Errorf("the last batch is %d", second.Last)
	}
	second.Batch(4, `[{"name": "e", "amount": 5}]`)
	if _, err := sink.TryOpen("job", 1); err == nil {
		t.Error("it has lost the sink")
	}
	if want := []string{"3: a 1.5", "4: e 5"}; !reflect.DeepEqual(server.kept, want) {
		t.Errorf("kept %q", server.kept)
	}
}
