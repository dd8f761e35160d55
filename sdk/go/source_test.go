//go:build !wasip1

package millstream

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"millstream.dev/sdk/internal/bridge"
)

type number struct {
	N  int64
	Of string
}

// numbers returns numbers except sevens, and records which are durable.
type numbers struct {
	of         string
	next, upTo int64
	durable    *[]string
}

func (n *numbers) Poll(rows *Arrivals[number], wait time.Duration) (Polled, error) {
	for ; n.next < n.upTo && rows.Left() > 0; n.next++ {
		if n.next%10 == 7 {
			rows.Refuse([]byte("7"), "a seven")
		} else {
			rows.Push(number{n.next, n.of})
		}
	}
	position := strconv.AppendInt(nil, n.next, 10)
	if n.next == n.upTo {
		return Ended().At(position), nil
	}
	return Ready().At(position), nil
}

func (n *numbers) Durable(position []byte) error {
	*n.durable = append(*n.durable, string(position))
	return nil
}

func sourceOfNumbers(durable *[]string) func() {
	return func() {
		config := Config(struct {
			UpTo int64 `json:"up_to" millstream:"required"`
		}{})
		Check(func() error {
			if config.UpTo < 0 {
				return ConfigError("there are no such numbers")
			}
			return nil
		})
		Partitions(func() ([]string, error) { return []string{"a", "b"}, nil })
		Source(func(partition string, position []byte) (Reader[number], error) {
			next, _ := strconv.ParseInt(string(position), 10, 64)
			return &numbers{partition, next, config.UpTo, durable}, nil
		})
	}
}

func source(config string, register func()) (bridge.Source, error) {
	registered.make, made.plugin, configs, sources.check, sources.partitions = nil, nil, nil, nil, nil
	register()
	return bridge.NewSource(config)
}

func polled(t *testing.T, partition bridge.Partition, rowsMax int) bridge.Poll {
	t.Helper()
	poll, err := partition.Poll(rowsMax, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return poll
}

func TestASourceResumesAtItsPosition(t *testing.T) {
	var durable []string
	numbers, err := source(`{"up_to": 9}`, sourceOfNumbers(&durable))
	if err != nil {
		t.Fatal(err)
	}
	names, err := numbers.Partitions()
	wants(t, "partitions", "[a b] <nil>", fmt.Sprint(names, err))
	opened, err := numbers.Open("a", nil)
	if err != nil {
		t.Fatal(err)
	}
	first := polled(t, opened, 6)
	again, err := numbers.Open("b", first.Position)
	if err != nil {
		t.Fatal(err)
	}
	rest := polled(t, again, 6)
	wants(t, "rows", `[{"n":6,"of":"b"},{"n":8,"of":"b"}]`, rest.Rows)
	wants(t, "refused", "[{[55] a seven}]", fmt.Sprint(rest.Refused))
	wants(t, "how it goes on", "9 true", fmt.Sprint(string(rest.Position), " ", rest.Ended))
	wants(t, "durable", "<nil> <nil> [x]", fmt.Sprint(again.Durable([]byte("x")), again.Published([]byte("y")), durable))
	for config, words := range map[string]string{
		`{"up_to": -1}`: "there are no such numbers", `{}`: "missing field `up_to`", `{"up_to": 1, "upto": 1}`: "unknown field `upto`",
	} {
		if _, err := source(config, sourceOfNumbers(&durable)); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", config, err)
		}
	}
}

type tooMany struct{}

func (tooMany) Poll(rows *Arrivals[number], _ time.Duration) (Polled, error) {
	for range 3 {
		rows.Push(number{})
	}
	return Pause(time.Minute), nil
}

func TestASourceReturnsNoMoreRowsThanRequested(t *testing.T) {
	register := func() { Source(func(string, []byte) (Reader[number], error) { return tooMany{}, nil }) }
	source, err := source("", register)
	if err != nil {
		t.Fatal(err)
	}
	names, err := source.Partitions()
	wants(t, "partitions", `[""] <nil>`, fmt.Sprintf("%q %v", names, err))
	opened, err := source.Open("", nil)
	if err != nil {
		t.Fatal(err)
	}
	wants(t, "pause", time.Minute.String(), polled(t, opened, 3).Pause.String())
	if _, err := opened.Poll(2, 0); err == nil || !strings.Contains(err.Error(), "at most 2 were requested") {
		t.Error(err)
	}
}

func TestLinesAreCompleteHoweverTheyAreSent(t *testing.T) {
	const short, long = 20 * time.Millisecond, 10 * time.Second
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	conn, err := Dial(server.Addr().String(), long)
	if err != nil {
		t.Fatal(err)
	}
	other, err := server.Accept()
	if err != nil {
		t.Fatal(err)
	}
	lines := NewLines(conn, 10)
	sends := func(text string) {
		if _, err := other.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	next := func(wait time.Duration, want string) {
		t.Helper()
		line, err := lines.Next(wait)
		wants(t, "line", want, fmt.Sprintf("%s %v", line, err))
	}
	next(short, " timed out")
	sends("one\r\n\ntw")
	next(long, "one <nil>")
	next(long, " <nil>")
	next(short, " timed out")
	sends("o\nthree and more")
	next(long, "two <nil>")
	for err = ErrTimeout; errors.Is(err, ErrTimeout); {
		_, err = lines.Next(short)
	}
	wants(t, "a long line", "a line of more than 10 bytes", fmt.Sprint(err))
	if err := conn.Write([]byte("thanks"), long); err != nil {
		t.Fatal(err)
	}
	received := make([]byte, 6)
	if _, err := other.Read(received); err != nil || string(received) != "thanks" {
		t.Errorf("%s, %v", received, err)
	}
	_ = other.Close()
	if _, err := conn.Read(9, long); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	conn.Close()
	if err := conn.Write(nil, long); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	for _, address := range []string{"nowhere", ":1", "host:", "host:x", "host:65536"} {
		if _, err := Dial(address, short); err == nil || !strings.Contains(err.Error(), "is not an address") {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestDatagramsAreSentAndReceived(t *testing.T) {
	own, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	datagrams, err := ListenDatagrams("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer datagrams.Close()
	if _, err := datagrams.Receive(9, 20*time.Millisecond); !errors.Is(err, ErrTimeout) {
		t.Error(err)
	}
	if err := datagrams.Send(own.LocalAddr().String(), []byte("ping")); err != nil {
		t.Fatal(err)
	}
	received := make([]byte, 9)
	count, from, err := own.ReadFrom(received)
	wants(t, "received", "ping <nil>", fmt.Sprintf("%s %v", received[:count], err))
	if _, err := own.WriteTo([]byte("a long answer"), from); err != nil {
		t.Fatal(err)
	}
	came, err := datagrams.Receive(6, 10*time.Second)
	wants(t, "came", fmt.Sprintf("a long %s <nil>", own.LocalAddr()), fmt.Sprintf("%s %s %v", came.Data, came.Sender, err))
}
