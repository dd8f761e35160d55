// A Millstream plugin of world sink: rows that leave for elsewhere.
package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	millstream "millstream.dev/sdk"
)

// Entry is a row that the plugin reads.
type Entry struct {
	Name   string
	Amount float64
}

// Config is the sink's `config`.
type Config struct {
	// Address is the server: `host:port`, as the job grants it.
	Address string `json:"address" millstream:"required"`
}

const (
	// timeout is how long the server may take to answer.
	timeout = 5 * time.Second
	// lineBytesMax is the longest line of the server; a longer one is none.
	lineBytesMax = 1 << 10
	// sentBytesMax is how many bytes are sent at a time.
	sentBytesMax = 1 << 16
)

var config = millstream.Config(Config{})

func init() {
	millstream.Committed(committed)
	millstream.Sink(open)
}

// writer writes entries to a server that keeps them, and the id of the batch that they came with, together.
type writer struct {
	server *server
	// buffer is what is still to be sent.
	buffer []byte
}

func committed(of millstream.Identity) (uint64, error) {
	server, err := dial()
	if err != nil {
		return 0, err
	}
	return server.ask(fmt.Sprintf("LAST %s/%s", of.JobID, of.Sink))
}

func open(owner millstream.Owner) (millstream.Writer[Entry], uint64, error) {
	server, err := dial()
	if err != nil {
		return nil, 0, err
	}
	// From now on the server takes nothing from those who came with a smaller number.
	last, err := server.ask(fmt.Sprintf("OPEN %s/%s %d", owner.JobID, owner.Sink, owner.Generation))
	return &writer{server: server}, last, err
}

func (w *writer) Begin(batch uint64, _ millstream.Timestamp) error {
	w.buffer = fmt.Appendf(nil, "BEGIN %d\n", batch)
	return nil
}

func (w *writer) Write(rows *millstream.Departures[Entry]) error {
	for place, entry := range rows.All() {
		if len(strings.Fields(entry.Name)) != 1 {
			rows.Refuse(place, "a name is one word")
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
		// It passes, perhaps: the host asks again what is there, and tries again.
		err = errors.New("the server has not kept the batch")
	}
	return err
}

func (w *writer) send() error {
	err := w.server.lines.Conn.Write(w.buffer, timeout)
	w.buffer = w.buffer[:0]
	return err
}

// server is a connection to the server, which answers `LAST n`, or `LOST` to those who have lost the sink.
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

// ask says something, and hears of the last batch that is there; 0: none.
func (s *server) ask(line string) (uint64, error) {
	if err := s.lines.Conn.Write([]byte(line+"\n"), timeout); err != nil {
		return 0, err
	}
	answer, err := s.lines.Next(timeout)
	if err != nil {
		return 0, err
	}
	if string(answer) == "LOST" {
		// It would only take the sink back.
		return 0, millstream.ConfigError("a later start of the job has taken the sink over")
	}
	last, isLast := strings.CutPrefix(string(answer), "LAST ")
	batch, err := strconv.ParseUint(last, 10, 64)
	if !isLast || err != nil {
		return 0, fmt.Errorf("the server says %q", answer)
	}
	return batch, nil
}

func main() {}
