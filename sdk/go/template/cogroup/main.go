// A Millstream plugin of world cogroup: called for each key with its rows from several inputs.
package main

import millstream "millstream.dev/sdk"

// Order is a row of the first input: the column `amount`.
type Order struct {
	Amount float64
}

// Payment is a row of the second input.
type Payment struct {
	Paid float64
}

// Open is an output row. The key columns come before its columns.
type Open struct {
	Orders int64
	Open   float64
}

func init() {
	millstream.Cogroup2(open)
}

// open returns the open amount of each key. Keys that have paid everything return no row.
func open(
	_ *millstream.Context, _ millstream.AnyKey, orders []Order, payments []Payment, out *millstream.KeyedOut[Open],
) error {
	var left float64
	for _, order := range orders {
		left += order.Amount
	}
	for _, payment := range payments {
		left -= payment.Paid
	}
	if left > 0 {
		out.Push(Open{Orders: int64(len(orders)), Open: left})
	}
	return nil
}

func main() {}
