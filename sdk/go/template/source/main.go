// A Millstream plugin of world source: reads rows from an external system.
package main

import (
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	millstream "millstream.dev/sdk"
)

// Line is an output row.
type Line struct {
	Number int64
	Text   string
}

// Config is the source's `config`.
type Config struct {
	// Address is `host:port` of the server. The job must grant the same address.
	Address string `json:"address" millstream:"required"`
}

// timeout is the maximum time to wait for a reply of the server.
const timeout = 10 * time.Second

// lineBytesMax is the maximum length of a line. A longer line is an error.
const lineBytesMax = 1 << 20

var config = millstream.Config(Config{})

func init() {
	millstream.Source(open)
}

// reader reads lines from a server. After `FROM n`, the server sends its lines from number n on.
type reader struct {
	lines *millstream.Lines
	// next is the number of the next line, which is the position of the partition.
	next int64
}

func open(_ string, position []byte) (millstream.Reader[Line], error) {
	next := int64(0)
	if position != nil {
		var err error
		if next, err = strconv.ParseInt(string(position), 10, 64); err != nil {
			return nil, err
		}
	}
	conn, err := millstream.Dial(config.Address, timeout)
	if err != nil {
		return nil, err
	}
	if err := conn.Write(fmt.Appendf(nil, "FROM %d\n", next), timeout); err != nil {
		return nil, err
	}
	return &reader{millstream.NewLines(conn, lineBytesMax), next}, nil
}

func (r *reader) Poll(rows *millstream.Arrivals[Line], wait time.Duration) (millstream.Polled, error) {
	for rows.Left() > 0 {
		line, err := r.lines.Next(wait)
		if errors.Is(err, millstream.ErrTimeout) {
			break
		}
		if errors.Is(err, millstream.ErrClosed) && rows.Len() > 0 {
			// Return the rows first. The next poll receives the same error and has no rows to lose.
			break
		}
		if err != nil {
			// The error is transient: the host opens the partition again after a delay.
			return millstream.Polled{}, err
		}
		if utf8.Valid(line) {
			rows.Push(Line{Number: r.next, Text: string(line)})
		} else {
			rows.Refuse(line, "it is not valid UTF-8")
		}
		r.next++
		// Wait only for the first line.
		wait = 0
	}
	return millstream.Ready().At(strconv.AppendInt(nil, r.next, 10)), nil
}

func main() {}
