// A Millstream plugin of world source: rows from elsewhere.
package main

import (
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	millstream "millstream.dev/sdk"
)

// Line is a row that the plugin returns.
type Line struct {
	Number int64
	Text   string
}

// Config is the source's `config`.
type Config struct {
	// Address is the server: `host:port`, as the job grants it.
	Address string `json:"address" millstream:"required"`
}

// timeout is how long the server may take to answer.
const timeout = 10 * time.Second

// lineBytesMax is the longest line; a longer one is none.
const lineBytesMax = 1 << 20

var config = millstream.Config(Config{})

func init() {
	millstream.Source(open)
}

// reader reads lines from a server, which is told `FROM n` and sends its lines from number n on.
type reader struct {
	lines *millstream.Lines
	// next is the number of the next line: the position of the partition.
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
			// The next poll hears of it again, and has no rows that would be lost.
			break
		}
		if err != nil {
			// Whatever it is, it passes: the host opens the partition again after a while.
			return millstream.Polled{}, err
		}
		if utf8.Valid(line) {
			rows.Push(Line{Number: r.next, Text: string(line)})
		} else {
			rows.Refuse(line, "it is no UTF-8")
		}
		r.next++
		// Only the first line is waited for.
		wait = 0
	}
	return millstream.Ready().At(strconv.AppendInt(nil, r.next, 10)), nil
}

func main() {}
