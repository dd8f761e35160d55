//go:build wasip1

package millstream

import (
	"errors"
	"unsafe"

	"millstream.dev/sdk/internal/abi"
)

//go:wasmimport millstream:plugin/net@0.1.3 connect
func importConnect(host string, port, timeoutMs uint32, to *[4]uint32)

//go:wasmimport millstream:plugin/net@0.1.3 read
func importNetRead(socket, bytesMax, timeoutMs uint32, to *[4]uint32)

//go:wasmimport millstream:plugin/net@0.1.3 write
func importNetWrite(socket uint32, data unsafe.Pointer, length, timeoutMs uint32, to *[4]uint32)

//go:wasmimport millstream:plugin/net@0.1.3 bind
func importBind(host string, port uint32, to *[4]uint32)

//go:wasmimport millstream:plugin/net@0.1.3 receive
func importReceive(socket, bytesMax, timeoutMs uint32, to *[5]uint32)

//go:wasmimport millstream:plugin/net@0.1.3 send
func importSend(socket uint32, host string, port uint32, data unsafe.Pointer, length uint32, to *[4]uint32)

//go:wasmimport millstream:plugin/net@0.1.3 close
func importClose(socket uint32)

// faultOf reads a result, whose first byte is 1 if it is a fault.
func faultOf(result []uint32) error {
	if result[0]&0xff == 0 {
		return nil
	}
	switch result[1] & 0xff {
	case 0:
		return ErrTimeout
	case 1:
		return ErrClosed
	}
	return errors.New(abi.String(result[2], result[3]))
}

func netConnect(host string, port uint16, timeoutMs uint32) (uint32, error) {
	var to [4]uint32
	importConnect(host, uint32(port), timeoutMs, &to)
	return to[1], faultOf(to[:])
}

func netRead(socket, bytesMax, timeoutMs uint32) ([]byte, error) {
	var to [4]uint32
	importNetRead(socket, bytesMax, timeoutMs, &to)
	if err := faultOf(to[:]); err != nil {
		return nil, err
	}
	return abi.Bytes(to[1], to[2]), nil
}

func netWrite(socket uint32, data []byte, timeoutMs uint32) error {
	var to [4]uint32
	importNetWrite(socket, unsafe.Pointer(unsafe.SliceData(data)), uint32(len(data)), timeoutMs, &to)
	return faultOf(to[:])
}

func netBind(host string, port uint16) (uint32, error) {
	var to [4]uint32
	importBind(host, uint32(port), &to)
	return to[1], faultOf(to[:])
}

func netReceive(socket, bytesMax, timeoutMs uint32) (Datagram, error) {
	var to [5]uint32
	importReceive(socket, bytesMax, timeoutMs, &to)
	if err := faultOf(to[:]); err != nil {
		return Datagram{}, err
	}
	return Datagram{Sender: abi.String(to[1], to[2]), Data: abi.Bytes(to[3], to[4])}, nil
}

func netSend(socket uint32, host string, port uint16, data []byte) error {
	var to [4]uint32
	importSend(socket, host, uint32(port), unsafe.Pointer(unsafe.SliceData(data)), uint32(len(data)), &to)
	return faultOf(to[:])
}

func netClose(socket uint32) { importClose(socket) }
