//go:build wasip1

package millstream

import "unsafe"

// The random numbers of Go's runtime, which math/rand and the order of maps use, are seeded once in the life
// of a program. A plugin's must be the same in each call of a batch, whatever the instance has done before.
// So in each call the runtime is made to seed them again, from the host's random numbers. It has no API for
// that: these names and this layout are internal (src/runtime/rand.go since Go 1.22; tested with go 1.26).

//go:linkname globalRand runtime.globalRand
var globalRand struct {
	lock  uintptr
	seed  [32]byte
	state struct {
		buf     [32]uint64
		seed    [4]uint64
		i, n, c uint32
	}
	init bool
}

//go:linkname randinit runtime.randinit
func randinit()

//go:linkname mrandinit runtime.mrandinit
func mrandinit(m unsafe.Pointer)

//go:linkname acquirem runtime.acquirem
func acquirem() unsafe.Pointer

//go:linkname releasem runtime.releasem
func releasem(m unsafe.Pointer)

func seedRandom() {
	// With another layout this is not set, and the runtime says "randinit twice".
	globalRand.init = false
	randinit()
	m := acquirem()
	mrandinit(m)
	releasem(m)
}
