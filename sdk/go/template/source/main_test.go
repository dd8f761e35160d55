package main

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"

	"millstream.dev/sdk/millstreamtest"
)

func TestResumesAtItsPosition(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	lines := []string{"to\n", "be\n", "\xff\n", "or\n"}
	go func() {
		for {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			request, _ := bufio.NewReader(conn).ReadString('\n')
			var from int
			if _, err := fmt.Sscanf(request, "FROM %d", &from); err == nil {
				_, _ = conn.Write([]byte(strings.Join(lines[from:], "")))
			}
			_ = conn.Close()
		}
	}()
	source := millstreamtest.NewSource(t, fmt.Sprintf(`{"address": "%v"}`, server.Addr()))
	first := source.Open("", nil).Poll(2, timeout)
	first.WantRows(`[{"number": 0, "text": "to"}, {"number": 1, "text": "be"}]`)
	rest := source.Open("", first.Position).Poll(9, timeout)
	rest.WantRows(`[{"number": 3, "text": "or"}]`)
	if len(rest.Refused) != 1 || rest.Refused[0].Data != "\xff" {
		t.Errorf("refused %q", rest.Refused)
	}
}
