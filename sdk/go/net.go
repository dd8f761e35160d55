package millstream

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// TCP connections and UDP datagrams to addresses that the job grants: `grant = { tcp = ["host:port"] }` and `udp =
// ["host:port"]`. Worlds source and sink only. Each call waits at most for its timeout and can then be repeated. In tests,
// the sockets are the machine's, and all are allowed.

var (
	// ErrTimeout reports that the operation did not finish within the timeout. No data is lost: repeat the call.
	ErrTimeout = errors.New("timed out")
	// ErrClosed reports that the peer has closed the connection.
	ErrClosed = errors.New("the other side has closed the connection")
)

// Conn is a TCP connection.
type Conn struct {
	socket uint32
}

// Dial connects to an address, for example example.com:514 or [::1]:514.
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

// Read returns the available bytes: at least one, at most bytesMax. It waits for the first one.
func (c *Conn) Read(bytesMax int, timeout time.Duration) ([]byte, error) {
	return netRead(c.socket, uint32(min(max(bytesMax, 1), 1<<30)), millis(timeout))
}

// Write writes all bytes. After [ErrTimeout], some of them may have been sent.
func (c *Conn) Write(data []byte, timeout time.Duration) error {
	return netWrite(c.socket, data, millis(timeout))
}

// Close closes the connection. It does nothing if it is closed.
func (c *Conn) Close() { netClose(c.socket) }

// Lines reads complete lines from a connection, however they are sent.
type Lines struct {
	// Conn is the connection, for writing.
	Conn         *Conn
	lineBytesMax int
	buffer       []byte
	// Start of the next line, and the index up to which it is searched for its end.
	start, searched int
}

// NewLines returns a reader of lines. A line of more than lineBytesMax bytes is an error.
func NewLines(conn *Conn, lineBytesMax int) *Lines {
	return &Lines{Conn: conn, lineBytesMax: lineBytesMax}
}

// Next returns the next line without its end (\n or \r\n). It waits at most timeout for more bytes. A partial line is kept for
// the next call. If the connection ends within a line, that line is dropped. The line is valid until the next call.
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
		// There is no clock here, so only the first wait uses the timeout.
		timeout = 0
	}
}

// Datagrams is a UDP socket.
type Datagrams struct {
	socket uint32
}

// Datagram is a received datagram.
type Datagram struct {
	// Sender is the address of the sender, for example 127.0.0.1:5514.
	Sender string
	// Data is the payload.
	Data []byte
}

// ListenDatagrams listens on an address of this machine, for example 0.0.0.0:514. Port 0 is any free port.
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

// Close closes the socket. It does nothing if it is closed.
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
