// Computes a number from two columns.
package main

import "millstream.dev/sdk"

type Pair struct {
	A, B float64
}

type Scaled struct {
	Out float64
}

func init() {
	millstream.Transform(scale)
}

func scale(ctx *millstream.Context, pair Pair, out *millstream.Out[Scaled]) error {
	out.Push(Scaled{Out: pair.A*2.5 + pair.B})
	return nil
}

func main() {}
