// The plugin ledger-2 in Go.
package main

import (
	"fmt"

	millstream "millstream.dev/sdk"
)

type Line struct {
	N int64
}

// Account is the account of a key in version 0.1.
type Account struct {
	Rows   int64
	Digest int64
}

type Book struct {
	Digest    int64
	Place     int64
	TakenOver millstream.Null[int64]
	Note      string
}

type Entry struct {
	N      int64
	Place  int64
	Digest int64
}

const closes = 17

func init() {
	millstream.Update(ledger)
	millstream.Migrate(func(old Account) (Book, error) {
		note := fmt.Sprintf("%d rows before", old.Rows)
		return Book{Digest: old.Digest, Place: old.Rows, TakenOver: millstream.Some(old.Rows), Note: note}, nil
	})
}

func ledger(
	ctx *millstream.Context, _ millstream.AnyKey, lines []Line, book *Book, out *millstream.KeyedOut[Entry],
) (*Book, error) {
	for _, line := range lines {
		if book == nil {
			book = &Book{}
		}
		book.Place++
		book.Digest = book.Digest*1_000_003 + line.N
		out.Push(Entry{N: line.N, Place: book.Place, Digest: book.Digest})
		if line.N%closes == 0 {
			book = nil
		}
	}
	if book != nil && ctx.TimedOut {
		out.Push(Entry{N: -1, Place: book.Place, Digest: book.Digest})
	}
	return book, nil
}

func main() {}
