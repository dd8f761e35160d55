// Several rows or none from one row, and rows that are removed again.
package main

import (
	"strings"

	millstream "millstream.dev/sdk"
)

// Line is an input row.
type Line struct {
	Line string
}

// Word is an output row.
type Word struct {
	Word  string
	Place int64
}

func init() {
	millstream.Transform(split)
}

// split splits lines into words.
func split(_ *millstream.Context, line Line, out *millstream.Out[Word]) error {
	place := int64(0)
	for word := range strings.SplitSeq(line.Line, " ") {
		switch {
		case word == "":
			continue
		case word[0] == '#':
			return nil
		case word == "!":
			return millstream.Reject("word %d is not valid", place)
		}
		out.Push(Word{Word: word, Place: place})
		place++
	}
	return nil
}

func main() {}
