//go:build wasip1 && (millstream_source || millstream_sink)

package millstream

import (
	"fmt"
	"os"
	_ "unsafe" // For go:linkname.

	"millstream.dev/sdk/internal/abi"
)

//go:linkname abort runtime.abort
func abort()

// callOrTrap is call, but for panics: an error passes, and the host tries again for ever, and a mistake of the plugin does
// not pass. So the instance dies of it, with its last words, and that ends the job.
func callOrTrap(function func(to *abi.Area) error) uint32 { return call(orTrap(function)) }

func orTrap(function func(to *abi.Area) error) func(to *abi.Area) error {
	return func(to *abi.Area) error {
		defer func() {
			if cause := recover(); cause != nil {
				fmt.Fprintf(os.Stderr, "panic: %v\n%s", cause, calls())
				abort()
			}
		}()
		return function(to)
	}
}
