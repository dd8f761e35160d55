// Sends events like Filebeat, with the same client library: it keeps several windows in flight, reconnects, and sends windows
// that were not acknowledged again.
//
//	beats ADDRESS FIRST COUNT WINDOW LEVEL [CA [CERTIFICATE KEY]]
//
// Events FIRST to FIRST+COUNT-1 in windows of WINDOW events, compressed if LEVEL is not 0. It prints `acknowledged N` for each
// window, N being its last event, and ends when all are.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	lumber "github.com/elastic/go-lumber/client/v2"
)

const (
	// The default of Filebeat.
	inFlight = 2
	timeout  = 30 * time.Second
	again    = 50 * time.Millisecond
)

// outcome is the result of a window that a client sent.
type outcome struct {
	window       [2]int
	client       *lumber.AsyncClient
	acknowledged bool
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func number(text string) int {
	value, err := strconv.Atoi(text)
	must(err)
	return value
}

func dialer(files []string) func(network, address string) (net.Conn, error) {
	plain := &net.Dialer{Timeout: timeout}
	if len(files) == 0 {
		return plain.Dial
	}
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	pem, err := os.ReadFile(files[0])
	must(err)
	config.RootCAs.AppendCertsFromPEM(pem)
	if len(files) == 3 {
		pair, err := tls.LoadX509KeyPair(files[1], files[2])
		must(err)
		config.Certificates = []tls.Certificate{pair}
	}
	return func(network, address string) (net.Conn, error) {
		return tls.DialWithDialer(plain, network, address, config)
	}
}

func events(first, count int) []interface{} {
	all := make([]interface{}, count)
	for i := range all {
		n := first + i
		all[i] = map[string]interface{}{
			"@timestamp": time.UnixMilli(1700000000000 + int64(n)).UTC().Format("2006-01-02T15:04:05.000Z"),
			"@metadata":  map[string]interface{}{"beat": "filebeat", "type": "_doc", "version": "9.2.0"},
			"message":    fmt.Sprintf("line %d", n),
			"number":     n,
			"host":       map[string]interface{}{"name": "web-1"},
			"log":        map[string]interface{}{"offset": 10 * n, "file": map[string]interface{}{"path": "/var/log/app.log"}},
		}
	}
	return all
}

func main() {
	address, window, level := os.Args[1], number(os.Args[4]), number(os.Args[5])
	from, until := number(os.Args[2]), number(os.Args[2])+number(os.Args[3])
	dial := dialer(os.Args[6:])
	waiting := make([][2]int, 0)
	for first := from; first < until; first += window {
		waiting = append(waiting, [2]int{first, min(window, until-first)})
	}
	// Each sent window has one outcome, acknowledged or not.
	ended := make(chan outcome, 2*inFlight+2)
	var client *lumber.AsyncClient
	for left, sent := len(waiting), 0; left > 0; {
		if len(waiting) > 0 && sent <= inFlight {
			if client == nil {
				made, err := lumber.AsyncDialWith(dial, address, inFlight, lumber.Timeout(timeout), lumber.CompressionLevel(level))
				if err != nil {
					fmt.Fprintln(os.Stderr, err)
					time.Sleep(again)
					continue
				}
				client = made
			}
			next, with := waiting[0], client
			waiting = waiting[1:]
			sent++
			report := func(_ uint32, err error) { ended <- outcome{next, with, err == nil} }
			if err := client.Send(report, events(next[0], next[1])); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
			continue
		}
		one := <-ended
		sent--
		if one.acknowledged {
			left--
			fmt.Println("acknowledged", one.window[0]+one.window[1]-1)
			continue
		}
		waiting = append([][2]int{one.window}, waiting...)
		if one.client == client {
			_ = client.Close()
			client = nil
			time.Sleep(again)
		}
	}
}
