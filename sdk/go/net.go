package millstream

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Connections over TCP, and datagrams over UDP, to the addresses that the job grants: `grant = { tcp =
// ["host:port"] }` and `udp = ["host:port"]`. They are for worlds source and sink only. Every wait has a time
// limit; data that has not arrived by then can be waited for again. In tests the sockets are those of the
// machine, and nothing is denied.

var (
	// ErrTimeout reports that nothing was received or sent within the time. Nothing is lost: it can be retried.
	ErrTimeout = errors.New("nothing came within the time")
	// ErrClosed says that the other side has closed the connection.
	ErrClosed = errors.New("the other side has closed the connection")
)

// Conn is a connection over TCP.
type Conn struct {
	socket uint32
}

// Dial connects to an address as example.com:514 or [::1]:514.
func Dial(address string, timeout time.Duration) (*Conn, error) {
	host, port, err := hostPort(address)
	if err != nil {
		return nil, err
	}
	socket, err := netConnect(host, port, millis(timeout))
	if err != nil {
		return nil, err
	}
	return &Conn{socket}, nil
}

// Read returns available data: at least one byte, and at most bytesMax. It waits for the first.
func (c *Conn) Read(bytesMax int, timeout time.Duration) ([]byte, error) {
	return netRead(c.socket, uint32(min(max(bytesMax, 1), 1<<30)), millis(timeout))
}

// Write writes all of these bytes. After [ErrTimeout] some of them may have been sent.
func (c *Conn) Write(data []byte, timeout time.Duration) error {
	return netWrite(c.socket, data, millis(timeout))
}

// Close closes the connection; again does nothing.
func (c *Conn) Close() { netClose(c.socket) }

// Lines reads complete lines from a connection, however they are sent.
type Lines struct {
	// Conn is the connection, to write to it.
	Conn         *Conn
	lineBytesMax int
	buffer       []byte
	// The start of the next line, and the position before which there is no line end.
	start, searched int
}

// NewLines reads lines of at most lineBytesMax bytes from a connection.
func NewLines(conn *Conn, lineBytesMax int) *Lines {
	return &Lines{Conn: conn, lineBytesMax: lineBytesMax}
}

// Next returns the next line without its end (\n or \r\n), and waits for it no longer than timeout. A part of
// a line that has arrived by then is kept for the next call; a part before the end of the connection is not a
// line. The line is valid until the next call.
func (l *Lines) Next(timeout time.Duration) ([]byte, error) {
	const readBytes = 1 << 16
	for {
		if at := bytes.IndexByte(l.buffer[l.searched:], '\n'); at >= 0 {
			line := l.buffer[l.start : l.searched+at]
			l.searched += at + 1
			l.start = l.searched
			return bytes.TrimSuffix(line, []byte{'\r'}), nil
		}
		l.searched = len(l.buffer)
		if l.searched-l.start > l.lineBytesMax {
			return nil, fmt.Errorf("a line of more than %d bytes", l.lineBytesMax)
		}
		more, err := l.Conn.Read(readBytes, timeout)
		if err != nil {
			return nil, err
		}
		l.buffer = append(l.buffer[:0], l.buffer[l.start:]...)
		l.searched -= l.start
		l.start = 0
		l.buffer = append(l.buffer, more...)
		// There is no clock here: only the first wait is a long one.
		timeout = 0
	}
}

// Datagrams is a socket for datagrams over UDP.
type Datagrams struct {
	socket uint32
}

// Datagram is a received datagram.
type Datagram struct {
	// Sender is who sent it, as 127.0.0.1:5514.
	Sender string
	// Data is what it holds.
	Data []byte
}

// ListenDatagrams listens at an address of this machine, as 0.0.0.0:514; port 0: any free one.
func ListenDatagrams(address string) (*Datagrams, error) {
	host, port, err := hostPort(address)
	if err != nil {
		return nil, err
	}
	socket, err := netBind(host, port)
	if err != nil {
		return nil, err
	}
	return &Datagrams{socket}, nil
}

// Receive returns the next datagram, truncated to bytesMax.
func (d *Datagrams) Receive(bytesMax int, timeout time.Duration) (Datagram, error) {
	return netReceive(d.socket, uint32(min(max(bytesMax, 1), 1<<16)), millis(timeout))
}

// Send sends a datagram to an address.
func (d *Datagrams) Send(address string, data []byte) error {
	host, port, err := hostPort(address)
	if err != nil {
		return err
	}
	return netSend(d.socket, host, port, data)
}

// Close closes the socket; again does nothing.
func (d *Datagrams) Close() { netClose(d.socket) }

func hostPort(address string) (string, uint16, error) {
	if at := strings.LastIndexByte(address, ':'); at > 0 {
		if port, err := strconv.ParseUint(address[at+1:], 10, 16); err == nil {
			return address[:at], uint16(port), nil
		}
	}
	return "", 0, fmt.Errorf("`%s` is not an address; write it as `example.com:514`", address)
}

func millis(wait time.Duration) uint32 { return uint32(min(max(wait.Milliseconds(), 0), 1<<32-1)) }
