//go:build wasip1

// Package abi passes values between a component and its host in the canonical ABI of WebAssembly components. Addresses have
// 32 bits in the ABI and 64 bits in Go.
package abi

import "unsafe"

// passed keeps the memory of the host's arguments alive until the next call.
var passed []unsafe.Pointer

// setPaused tells the WASI 0.1 adapter that no import may be called.
//
//go:wasmimport wasi_snapshot_preview1 adapter_monotonic_clock_set_paused
func setPaused(paused bool)

// realloc allocates memory for data from the host. The collector may run here and read the clock while no
// import may be called.
//
//go:wasmexport cabi_realloc
func realloc(old, oldBytes, align, newBytes uint32) uint32 {
	if newBytes == 0 {
		return align
	}
	setPaused(true)
	// An array of words is aligned for all passed data.
	memory := make([]uint64, (int(newBytes)+7)/8)
	pointer := unsafe.Pointer(&memory[0])
	if oldBytes > 0 {
		copy(Bytes(uint32(uintptr(pointer)), newBytes), Bytes(old, oldBytes))
	}
	passed = append(passed, pointer)
	setPaused(false)
	return uint32(uintptr(pointer))
}

// Begin takes over the arguments of a call. Arguments that are still referenced stay, the others are freed.
func Begin() {
	clear(passed)
	passed = passed[:0]
}

// At converts an address to a pointer.
func At(address uint32) unsafe.Pointer {
	wide := uintptr(address)
	// The host guarantees that this is an address from realloc, or within its allocation.
	return *(*unsafe.Pointer)(unsafe.Pointer(&wide))
}

// Load reads a number at an address.
func Load(address, offset uint32) uint32 { return *(*uint32)(At(address + offset)) }

// LoadTag reads the byte with the case of a variant.
func LoadTag(address, offset uint32) uint8 { return *(*uint8)(At(address + offset)) }

// LoadWide reads a number of eight bytes.
func LoadWide(address, offset uint32) int64 { return *(*int64)(At(address + offset)) }

// Bytes returns a list of bytes without a copy.
func Bytes(address, length uint32) []byte {
	if length == 0 {
		return []byte{}
	}
	return unsafe.Slice((*byte)(At(address)), length)
}

// String returns a string without a copy.
func String(address, length uint32) string {
	if length == 0 {
		return ""
	}
	return unsafe.String((*byte)(At(address)), length)
}

// Area is memory that the host reads after a call: words of four bytes, and the data that they point to.
type Area struct {
	words []uint32
	kept  []unsafe.Pointer
}

// Address returns the address of the area.
func (a *Area) Address() uint32 { return address(unsafe.Pointer(&a.words[0])) }

// Reset removes all words.
func (a *Area) Reset() {
	clear(a.kept)
	a.words, a.kept = a.words[:0], a.kept[:0]
}

// Put appends a word.
func (a *Area) Put(word uint32) { a.words = append(a.words, word) }

// PutBool appends a boolean, or the case of a variant.
func (a *Area) PutBool(value bool) {
	if value {
		a.Put(1)
	} else {
		a.Put(0)
	}
}

// PutString appends a string.
func (a *Area) PutString(text string) {
	a.putList(unsafe.Pointer(unsafe.StringData(text)), len(text))
}

// PutBytes appends a list of bytes.
func (a *Area) PutBytes(bytes []byte) {
	a.putList(unsafe.Pointer(unsafe.SliceData(bytes)), len(bytes))
}

// PutArea appends a list of records, which are in another area.
func (a *Area) PutArea(list *Area, records int) {
	if records == 0 {
		a.putList(nil, 0)
		return
	}
	a.putList(unsafe.Pointer(&list.words[0]), records)
	a.kept = append(a.kept, list.kept...)
}

func (a *Area) putList(data unsafe.Pointer, length int) {
	if length == 0 {
		a.Put(8)
		a.Put(0)
		return
	}
	a.kept = append(a.kept, data)
	a.Put(address(data))
	a.Put(uint32(length))
}

func address(pointer unsafe.Pointer) uint32 { return uint32(uintptr(pointer)) }
