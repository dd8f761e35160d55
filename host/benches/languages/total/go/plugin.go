// Adds up the amounts of each key.
package main

import "millstream.dev/sdk"

type Payment struct {
	Amount int64
}

type Total struct {
	Total int64
}

func init() {
	millstream.Update(addUp)
}

func addUp(
	ctx *millstream.Context, key millstream.AnyKey, payments []Payment, total *Total, out *millstream.KeyedOut[Total],
) (*Total, error) {
	if total == nil {
		total = &Total{}
	}
	for _, payment := range payments {
		total.Total += payment.Amount
	}
	out.Push(*total)
	return total, nil
}

func main() {}
