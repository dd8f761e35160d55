// Reads lines from servers, and datagrams.
package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	millstream "millstream.dev/sdk"
)

const (
	timeout      = 2 * time.Second
	lineBytesMax = 1000
)

// Config has the addresses that lines come from.
type Config struct {
	Addresses []string `json:"addresses" millstream:"required"`
}

// Line is a line.
type Line struct {
	Seq  int64
	Text string
	Half *int64
}

func lineOf(seq int64, text string) Line {
	line := Line{Seq: seq, Text: text}
	if seq%2 == 0 {
		half := seq / 2
		line.Half = &half
	}
	return line
}

var config = millstream.Config(Config{})

func init() {
	millstream.Check(func() error {
		if len(config.Addresses) == 0 {
			return millstream.ConfigError("`addresses` is empty")
		}
		return nil
	})
	millstream.Partitions(func() ([]string, error) { return config.Addresses, nil })
	millstream.Source(open)
}

func open(partition string, position []byte) (millstream.Reader[Line], error) {
	if address, is := strings.CutPrefix(partition, "udp:"); is {
		datagrams, err := millstream.ListenDatagrams(address)
		return datagramReader{datagrams}, err
	}
	next := int64(0)
	if position != nil {
		var err error
		if next, err = strconv.ParseInt(string(position), 10, 64); err != nil {
			return nil, err
		}
	}
	conn, err := millstream.Dial(partition, timeout)
	if err != nil {
		return nil, err
	}
	if err := conn.Write(fmt.Appendf(nil, "FROM %d\n", next), timeout); err != nil {
		return nil, err
	}
	millstream.Logf(millstream.Info, "%s is opened at %d", partition, next)
	return &lineReader{millstream.NewLines(conn, lineBytesMax), next}, nil
}

type lineReader struct {
	lines *millstream.Lines
	next  int64
}

func (r *lineReader) Poll(rows *millstream.Arrivals[Line], wait time.Duration) (millstream.Polled, error) {
	for rows.Left() > 0 {
		line, err := r.lines.Next(wait)
		if errors.Is(err, millstream.ErrTimeout) || errors.Is(err, millstream.ErrClosed) && rows.Len() > 0 {
			break
		}
		if err != nil {
			return millstream.Polled{}, err
		}
		if string(line) == "END" {
			return millstream.Ended().At(r.position()), nil
		}
		if err := r.take(rows, line); err != nil {
			return millstream.Polled{}, err
		}
		r.next++
		wait = 0
	}
	if rows.Len() == 0 {
		return millstream.Ready(), nil
	}
	return millstream.Ready().At(r.position()), nil
}

func (r *lineReader) position() []byte { return strconv.AppendInt(nil, r.next, 10) }

func (r *lineReader) take(rows *millstream.Arrivals[Line], line []byte) error {
	number, text, _ := strings.Cut(string(line), " ")
	seq, err := strconv.ParseInt(number, 10, 64)
	if err != nil || !utf8.Valid(line) {
		rows.Refuse(line, "expected a number and a message")
		return nil
	}
	if seq != r.next {
		return fmt.Errorf("got line %d instead of line %d", seq, r.next)
	}
	switch text {
	case "wrong config":
		return millstream.ConfigError("the config does not fit")
	case "mistake":
		panic("cannot read `mistake`")
	}
	rows.Push(lineOf(seq, text))
	return nil
}

func (r *lineReader) Durable(position []byte) error   { return r.tell("ACK", position) }
func (r *lineReader) Published(position []byte) error { return r.tell("DONE", position) }

func (r *lineReader) tell(word string, position []byte) error {
	return r.lines.Conn.Write(fmt.Appendf(nil, "%s %s\n", word, position), timeout)
}

type datagramReader struct {
	datagrams *millstream.Datagrams
}

func (r datagramReader) Poll(rows *millstream.Arrivals[Line], wait time.Duration) (millstream.Polled, error) {
	datagram, err := r.datagrams.Receive(4, wait)
	if errors.Is(err, millstream.ErrTimeout) {
		return millstream.Pause(time.Millisecond), nil
	}
	if err != nil {
		return millstream.Polled{}, err
	}
	rows.Push(lineOf(int64(len(datagram.Data)), string(datagram.Data)))
	return millstream.Ready(), nil
}

func main() {}
