// A Millstream plugin of world sink: writes rows to an external system.
package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	millstream "millstream.dev/sdk"
)

// Entry is an input row.
type Entry struct {
	Name   string
	Amount float64
}

// Config is the sink's `config`.
type Config struct {
	// Address is `host:port` of the server. The job must grant the same address.
	Address string `json:"address" millstream:"required"`
}

const (
	// timeout is the maximum time to wait for a reply of the server.
	timeout = 5 * time.Second
	// lineBytesMax is the maximum length of a line from the server. A longer line is an error.
	lineBytesMax = 1 << 10
	// sentBytesMax is the size at which buffered rows are sent.
	sentBytesMax = 1 << 16
)

var config = millstream.Config(Config{})

func init() {
	millstream.Committed(committed)
	millstream.Sink(open)
}

// writer writes entries to a server. The server stores the entries of a batch and the batch ID atomically.
type writer struct {
	server *server
	// buffer has the rows that are not yet sent.
	buffer []byte
}

func committed(identity millstream.Identity) (uint64, error) {
	server, err := dial()
	if err != nil {
		return 0, err
	}
	return server.ask(fmt.Sprintf("LAST %s/%s", identity.JobID, identity.Sink))
}

func open(owner millstream.Owner) (millstream.Writer[Entry], uint64, error) {
	server, err := dial()
	if err != nil {
		return nil, 0, err
	}
	// From now on, the server rejects writers with a smaller generation.
	last, err := server.ask(fmt.Sprintf("OPEN %s/%s %d", owner.JobID, owner.Sink, owner.Generation))
	return &writer{server: server}, last, err
}

func (w *writer) Begin(batch uint64, _ millstream.Timestamp) error {
	w.buffer = fmt.Appendf(nil, "BEGIN %d\n", batch)
	return nil
}

func (w *writer) Write(rows *millstream.Departures[Entry]) error {
	for index, entry := range rows.All() {
		if len(strings.Fields(entry.Name)) != 1 {
			rows.Refuse(index, "a name is one word")
			continue
		}
		w.buffer = fmt.Appendf(w.buffer, "ROW %s %v\n", entry.Name, entry.Amount)
		if len(w.buffer) >= sentBytesMax {
			if err := w.send(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *writer) Commit(batch uint64) error {
	if err := w.send(); err != nil {
		return err
	}
	last, err := w.server.ask(fmt.Sprintf("COMMIT %d", batch))
	if err == nil && last != batch {
		// The error may be transient: the host calls `committed` again and then retries.
		err = errors.New("the server has not kept the batch")
	}
	return err
}

func (w *writer) send() error {
	err := w.server.lines.Conn.Write(w.buffer, timeout)
	w.buffer = w.buffer[:0]
	return err
}

// server is a connection to the server. The server replies `LAST n`, or `LOST` if a later start has taken over the sink.
type server struct {
	lines *millstream.Lines
}

func dial() (*server, error) {
	conn, err := millstream.Dial(config.Address, timeout)
	if err != nil {
		return nil, err
	}
	return &server{millstream.NewLines(conn, lineBytesMax)}, nil
}

// ask sends a line. It returns the last batch that the server has stored, or 0 if none.
func (s *server) ask(line string) (uint64, error) {
	if err := s.lines.Conn.Write([]byte(line+"\n"), timeout); err != nil {
		return 0, err
	}
	reply, err := s.lines.Next(timeout)
	if err != nil {
		return 0, err
	}
	if string(reply) == "LOST" {
		// A retry would take over the sink again, so this error must stop the job.
		return 0, millstream.ConfigError("a later start of the job has taken over the sink")
	}
	last, isLast := strings.CutPrefix(string(reply), "LAST ")
	batch, err := strconv.ParseUint(last, 10, 64)
	if !isLast || err != nil {
		return 0, fmt.Errorf("the server replied %q", reply)
	}
	return batch, nil
}

func main() {}
