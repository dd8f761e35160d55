//go:build wasip1

package millstream

import "unsafe"

// Go's runtime seeds the random numbers for math/rand and the order of maps once per process. In a plugin, they must be the
// same in each call of a batch, whatever the instance has done before. So each call makes the runtime seed them again from the
// host's random numbers. There is no API for that: these names and this layout are internal (src/runtime/rand.go since Go 1.22;
// tested with Go 1.26).

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
	// If the layout differs, this is not set, and the runtime fails with "randinit twice".
	globalRand.init = false
	randinit()
	m := acquirem()
	mrandinit(m)
	releasem(m)
}
