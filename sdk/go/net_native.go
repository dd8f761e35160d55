//go:build !wasip1

package millstream

import (
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Outside of a component, in tests, the sockets are the machine's.

var sockets struct {
	sync.Mutex
	open map[uint32]net.Conn
	last uint32
}

func keepSocket(own net.Conn) uint32 {
	sockets.Lock()
	defer sockets.Unlock()
	if sockets.open == nil {
		sockets.open = map[uint32]net.Conn{}
	}
	sockets.last++
	sockets.open[sockets.last] = own
	return sockets.last
}

func socketOf(socket uint32, timeoutMs uint32) (net.Conn, error) {
	sockets.Lock()
	defer sockets.Unlock()
	own, is := sockets.open[socket]
	if !is {
		return nil, ErrClosed
	}
	// A timeout of at least 1 ms also returns data that is already available.
	return own, own.SetDeadline(time.Now().Add(time.Duration(max(timeoutMs, 1)) * time.Millisecond))
}

func faultOf(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return ErrTimeout
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return ErrClosed
	}
	return err
}

func joined(host string, port uint16) string {
	return net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(int(port)))
}

func netConnect(host string, port uint16, timeoutMs uint32) (uint32, error) {
	own, err := net.DialTimeout("tcp", joined(host, port), time.Duration(max(timeoutMs, 1))*time.Millisecond)
	if err != nil {
		return 0, faultOf(err)
	}
	return keepSocket(own), nil
}

func netRead(socket, bytesMax, timeoutMs uint32) ([]byte, error) {
	own, err := socketOf(socket, timeoutMs)
	if err != nil {
		return nil, err
	}
	data := make([]byte, min(bytesMax, 1<<20))
	count, err := own.Read(data)
	return data[:count], faultOf(err)
}

func netWrite(socket uint32, data []byte, timeoutMs uint32) error {
	own, err := socketOf(socket, timeoutMs)
	if err != nil {
		return err
	}
	_, err = own.Write(data)
	return faultOf(err)
}

func netBind(host string, port uint16) (uint32, error) {
	address, err := net.ResolveUDPAddr("udp", joined(host, port))
	if err != nil {
		return 0, err
	}
	own, err := net.ListenUDP("udp", address)
	if err != nil {
		return 0, err
	}
	return keepSocket(own), nil
}

func datagramsOf(socket, timeoutMs uint32) (*net.UDPConn, error) {
	own, err := socketOf(socket, timeoutMs)
	if err != nil {
		return nil, err
	}
	if udp, is := own.(*net.UDPConn); is {
		return udp, nil
	}
	return nil, errors.New("this socket is a connection")
}

func netReceive(socket, bytesMax, timeoutMs uint32) (Datagram, error) {
	own, err := datagramsOf(socket, timeoutMs)
	if err != nil {
		return Datagram{}, err
	}
	data := make([]byte, bytesMax)
	count, sender, err := own.ReadFromUDP(data)
	if err != nil {
		return Datagram{}, faultOf(err)
	}
	return Datagram{Sender: sender.String(), Data: data[:count]}, nil
}

func netSend(socket uint32, host string, port uint16, data []byte) error {
	own, err := datagramsOf(socket, 1000)
	if err != nil {
		return err
	}
	address, err := net.ResolveUDPAddr("udp", joined(host, port))
	if err != nil {
		return err
	}
	_, err = own.WriteToUDP(data, address)
	return err
}

func netClose(socket uint32) {
	sockets.Lock()
	defer sockets.Unlock()
	if own, is := sockets.open[socket]; is {
		_ = own.Close()
		delete(sockets.open, socket)
	}
}
