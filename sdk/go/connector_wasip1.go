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

// callOrTrap is call, except for panics. The host treats an error as transient and retries indefinitely, but a bug of
// the plugin is permanent. So a panic traps after the last log lines, and that fails the job.
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
