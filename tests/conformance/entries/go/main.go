// Writes entries to a server that stores each batch once.
package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	millstream "millstream.dev/sdk"
)

const (
	timeout      = 2 * time.Second
	lineBytesMax = 1000
	sentBytesMax = 1 << 16
)

// Config has the address of the server for entries.
type Config struct {
	Address string `json:"address" millstream:"required"`
	Loose   bool   `json:"loose"`
}

// Entry is an entry.
type Entry struct {
	Seq  int64
	Text string
	Half *int64
}

var config = millstream.Config(Config{})

func init() {
	millstream.Check(func() error {
		if config.Address == "" {
			return millstream.ConfigError("`address` is empty")
		}
		return nil
	})
	millstream.Promises(func() millstream.Promise {
		if config.Loose {
			return millstream.AtLeastOnce
		}
		return millstream.ExactlyOnce
	})
	millstream.Committed(committed)
	millstream.Sink(open)
}

func connect() (*millstream.Lines, error) {
	conn, err := millstream.Dial(config.Address, timeout)
	if err != nil {
		return nil, err
	}
	return millstream.NewLines(conn, lineBytesMax), nil
}

func committed(of millstream.Identity) (uint64, error) {
	if config.Loose {
		return 0, nil
	}
	lines, err := connect()
	if err != nil {
		return 0, err
	}
	return held(lines, fmt.Sprintf("ASK %s/%s\n", of.JobID, of.Sink))
}

func open(owner millstream.Owner) (millstream.Writer[Entry], uint64, error) {
	lines, err := connect()
	if err != nil {
		return nil, 0, err
	}
	last := uint64(0)
	if config.Loose {
		err = lines.Conn.Write([]byte("LOOSE\n"), timeout)
	} else {
		last, err = held(lines, fmt.Sprintf("OPEN %s/%s %d\n", owner.JobID, owner.Sink, owner.Generation))
	}
	if err != nil {
		return nil, 0, err
	}
	millstream.Logf(millstream.Info, "%s/%s is opened at %d", owner.Job, owner.Sink, last)
	return &entries{lines: lines}, last, nil
}

type entries struct {
	lines  *millstream.Lines
	buffer []byte
}

func (e *entries) Begin(batch uint64, time millstream.Timestamp) error {
	e.buffer = fmt.Appendf(nil, "BEGIN %d %d\n", batch, time)
	return nil
}

func (e *entries) Write(rows *millstream.Departures[Entry]) error {
	for index, entry := range rows.All() {
		switch entry.Text {
		case "wrong":
			rows.Refuse(index, fmt.Sprintf("entry %d is wrong", entry.Seq))
		case "wrong config":
			return millstream.ConfigError("the config does not fit")
		case "wrong input":
			return millstream.InputError("the rows do not fit")
		case "mistake":
			panic("cannot write `mistake`")
		default:
			half := "-"
			if entry.Half != nil {
				half = strconv.FormatInt(*entry.Half, 10)
			}
			e.buffer = fmt.Appendf(e.buffer, "ROW %d %s %s\n", entry.Seq, half, entry.Text)
		}
		if len(e.buffer) > sentBytesMax {
			if err := e.send(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (e *entries) Commit(batch uint64) error {
	e.buffer = fmt.Appendf(e.buffer, "COMMIT %d\n", batch)
	if err := e.send(); err != nil {
		return err
	}
	answer, err := e.lines.Next(timeout)
	if err == nil && string(answer) != "DONE" {
		err = said(answer)
	}
	return err
}

func (e *entries) send() error {
	err := e.lines.Conn.Write(e.buffer, timeout)
	e.buffer = e.buffer[:0]
	return err
}

// held returns the last stored batch, from the server's reply.
func held(lines *millstream.Lines, question string) (uint64, error) {
	if err := lines.Conn.Write([]byte(question), timeout); err != nil {
		return 0, err
	}
	answer, err := lines.Next(timeout)
	if err != nil {
		return 0, err
	}
	last, isHeld := strings.CutPrefix(string(answer), "HELD ")
	batch, err := strconv.ParseUint(last, 10, 64)
	if !isHeld || err != nil {
		return 0, said(answer)
	}
	return batch, nil
}

func said(answer []byte) error {
	if string(answer) == "LOST" {
		return millstream.ConfigError("a later start of the job has taken over the sink")
	}
	return fmt.Errorf("the server replied %q", answer)
}

func main() {}
