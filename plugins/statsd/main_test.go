package main

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"millstream.dev/sdk/millstreamtest"
)

func TestLinesAreMetrics(t *testing.T) {
	for line, want := range map[string]string{
		"a.b:3|c|@0.5":     "a.b counter 3 rate 0.5",
		"x:y:1.5|ms":       "x:y timer 1.5 rate 1",
		"t:-2|g|#env:a,b":  "t gauge -2 rate 1 change tags env:a,b",
		"t:7|g":            "t gauge 7 rate 1",
		"u:ann|s":          "u set member ann rate 1",
		"d:1e3|d|c:abc|T1": "d distribution 1000 rate 1",
		"n|c":              "not name:value",
		":1|c":             "not name:value",
		"n:1|x":            "not name:value",
		"n:1":              "not name:value",
		"n:one|c":          "the value `one` is not a number",
		"n:|c":             "the value `` is not a number",
		"n:NaN|g":          "the value `NaN` is not a number",
		"n:1|c|@0":         "the rate `0`",
		"n:1|c|@2":         "the rate `2`",
		"n:\xff|s":         "not valid UTF-8",
	} {
		metric, err := parse([]byte(line))
		got := fmt.Sprint(err)
		if err == nil {
			got = metric.Name + " " + metric.Kind
			if metric.Value != nil {
				got += fmt.Sprintf(" %v", *metric.Value)
			}
			if metric.Member != nil {
				got += " member " + *metric.Member
			}
			got += fmt.Sprintf(" rate %v", metric.Rate)
			if metric.IsChange {
				got += " change"
			}
			if metric.Tags != nil {
				got += " tags " + *metric.Tags
			}
		}
		if !strings.HasPrefix(got, want) || err == nil && got != want {
			t.Errorf("%q is %q, not %q", line, got, want)
		}
	}
}

func TestADatagramIsReadPieceByPiece(t *testing.T) {
	free, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.LocalAddr().String()
	_ = free.Close()
	source := millstreamtest.NewSource(t, fmt.Sprintf(`{"listen": "%s"}`, address))
	partition := source.Open("", nil)
	sender, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	if _, err := sender.Write([]byte("a:1|c\nb:2|c\r\n\nwrong\nc:3|c\n")); err != nil {
		t.Fatal(err)
	}
	names := func(poll *millstreamtest.Poll) string {
		var found []string
		for _, part := range strings.Split(poll.Rows, `"name":"`)[1:] {
			found = append(found, part[:1])
		}
		return strings.Join(found, "") + fmt.Sprint(len(poll.Refused))
	}
	for i, want := range []string{"ab0", "c1", "0"} {
		if got := names(partition.Poll(2, 100*time.Millisecond)); got != want {
			t.Errorf("poll %d gave %s, not %s", i, got, want)
		}
	}
	if err := millstreamtest.SourceRefused(t, "{}"); !strings.Contains(err.Error(), "missing field `listen`") {
		t.Error(err)
	}
}
