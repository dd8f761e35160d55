// Calls that fail in every way, and requests to the runtime.
package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	millstream "millstream.dev/sdk"
)

// Value is an input and an output row.
type Value struct {
	Value string
}

func init() {
	millstream.Transform(failing)
}

// failing runs the actions of its rows, most of which fail the call.
func failing(_ *millstream.Context, row Value, out *millstream.Out[Value]) error {
	done := row.Value
	switch row.Value {
	case "fail":
		fmt.Println("about to fail")
		panic("cannot go on with `fail`")
	case "divide":
		done = strconv.Itoa(1 / len(os.Args))
	case "loop":
		for {
		}
	case "recurse":
		done = strconv.Itoa(deeper(1))
	case "memory":
		var kept [][]byte
		for {
			filled := make([]byte, 1<<20)
			for i := range filled {
				filled[i] = 'x'
			}
			kept = append(kept, filled)
		}
	case "print":
		fmt.Println("printed: äöü €")
		fmt.Println("the second line")
		fmt.Fprintln(os.Stderr, "whispered: 日本")
		done = "printed"
	case "refuse":
		return millstream.Reject("rejected on demand")
	case "file":
		notes, err := millstream.ReadFile("notes")
		if err != nil {
			panic(err)
		}
		done = string(notes)
	case "clock":
		done = strconv.FormatInt(time.Now().Unix(), 10)
	case "random":
		done = strconv.FormatUint(rand.Uint64(), 10)
	case "order":
		keys := make(map[string]bool)
		for n := range 64 {
			keys[fmt.Sprint("key ", n)] = true
		}
		done = strings.Join(slices.Collect(maps.Keys(keys)), " ")
	}
	out.Push(Value{done})
	return nil
}

func deeper(n int) int {
	return deeper(n+1) + 1
}

func main() {}
