// Splits lines into words.
package main

import (
	"strings"

	"millstream.dev/sdk"
)

type Line struct {
	Value string
}

type Word struct {
	Word string
}

func init() {
	millstream.Transform(split)
}

func split(ctx *millstream.Context, line Line, out *millstream.Out[Word]) error {
	for _, word := range strings.Fields(line.Value) {
		out.Push(Word{Word: word})
	}
	return nil
}

func main() {}
