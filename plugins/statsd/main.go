// Listens for metrics of StatsD over UDP.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	millstream "millstream.dev/sdk"
)

// Metric is a row.
type Metric struct {
	Name string
	// Kind is counter, gauge, timer, histogram, distribution or set.
	Kind string
	// Value is null for a set.
	Value *float64
	// Member is what was added to a set.
	Member *string
	// IsChange says that a gauge goes up or down by the value.
	IsChange bool
	// Rate is the part of all events that was sent.
	Rate float64
	// Tags are those behind `#`, as they came.
	Tags *string
	// At is when it came.
	At millstream.Timestamp
	// Sender is who sent it.
	Sender string
}

// Config is the source's `config`.
type Config struct {
	// Listen is where senders send to, as the job grants it.
	Listen string `json:"listen" millstream:"required"`
}

// datagramBytesMax is the longest datagram: that of UDP over IP.
const datagramBytesMax = 65507

var kinds = map[string]string{
	"c": "counter", "g": "gauge", "ms": "timer", "h": "histogram", "d": "distribution", "s": "set",
}

var config = millstream.Config(Config{})

func init() {
	millstream.Source(open)
}

// reader reads datagrams. They cannot be read again, so it has no position.
type reader struct {
	datagrams *millstream.Datagrams
	// lines are those of the last datagram that did not fit into a poll.
	lines  [][]byte
	sender string
}

func open(string, []byte) (millstream.Reader[Metric], error) {
	datagrams, err := millstream.ListenDatagrams(config.Listen)
	if err != nil {
		return nil, err
	}
	return &reader{datagrams: datagrams}, nil
}

func (r *reader) Poll(rows *millstream.Arrivals[Metric], wait time.Duration) (millstream.Polled, error) {
	began := time.Now()
	now, longest := millstream.Timestamp(began.UnixMicro()), wait
	for first := true; ; first = false {
		for len(r.lines) > 0 && rows.Left() > 0 {
			line := bytes.TrimSuffix(r.lines[0], []byte{'\r'})
			r.lines = r.lines[1:]
			if len(line) == 0 {
				continue
			}
			metric, err := parse(line)
			if err != nil {
				rows.Refuse(line, err.Error())
				continue
			}
			metric.At, metric.Sender = now, r.sender
			rows.Push(metric)
		}
		// However fast they come, a call takes no longer than it may wait.
		if rows.Left() == 0 || !first && time.Since(began) >= longest {
			return millstream.Ready(), nil
		}
		came, err := r.datagrams.Receive(datagramBytesMax, wait)
		if errors.Is(err, millstream.ErrTimeout) {
			return millstream.Ready(), nil
		}
		if err != nil {
			return millstream.Polled{}, err
		}
		r.lines, r.sender = bytes.Split(came.Data, []byte{'\n'}), came.Sender
		// Only the first datagram is waited for.
		wait = 0
	}
}

// parse reads a line as `name:value|kind|@rate|#tags`.
func parse(line []byte) (Metric, error) {
	if !utf8.Valid(line) {
		return Metric{}, errors.New("not valid UTF-8")
	}
	head, rest, isMetric := strings.Cut(string(line), "|")
	parts := strings.Split(rest, "|")
	// Names may hold colons, values may not.
	colon := strings.LastIndexByte(head, ':')
	kind, isKind := kinds[parts[0]]
	if !isMetric || colon <= 0 || !isKind {
		return Metric{}, errors.New("not name:value|kind, with one of the kinds c, g, ms, h, d and s")
	}
	metric := Metric{Name: head[:colon], Kind: kind, Rate: 1}
	if err := metric.take(head[colon+1:]); err != nil {
		return Metric{}, err
	}
	for _, part := range parts[1:] {
		switch {
		case strings.HasPrefix(part, "@"):
			rate, err := strconv.ParseFloat(part[1:], 64)
			if err != nil || !(rate > 0 && rate <= 1) {
				return Metric{}, fmt.Errorf("the rate `%s` is not above 0 and at most 1", part[1:])
			}
			metric.Rate = rate
		case strings.HasPrefix(part, "#"):
			tags := part[1:]
			metric.Tags = &tags
		}
		// Other dialects have more, such as containers and times, which say nothing here.
	}
	return metric, nil
}

// take takes the value.
func (m *Metric) take(text string) error {
	if m.Kind == "set" {
		m.Member = &text
		return nil
	}
	value, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(value, 0) || math.IsNaN(value) {
		return fmt.Errorf("the value `%s` is not a number", text)
	}
	m.Value = &value
	m.IsChange = m.Kind == "gauge" && strings.ContainsAny(text[:1], "+-")
	return nil
}

func main() {}
