// A Millstream plugin of world transform: rows in, rows out.
package main

import millstream "millstream.dev/sdk"

// Order is an input row: the columns `name` and `amount` of the stage's input.
type Order struct {
	Name   string
	Amount float64
}

// Bill is an output row.
type Bill struct {
	Name  string
	Total float64
}

// Config is the stage's `config`.
type Config struct {
	// Tax is the percentage that is added to each amount.
	Tax float64 `json:"tax"`
}

var config = millstream.Config(Config{Tax: 0})

func init() {
	millstream.Transform(bill)
}

// bill adds a tax to the amount of an order. It rejects orders with an amount below zero.
func bill(_ *millstream.Context, order Order, out *millstream.Out[Bill]) error {
	if order.Amount < 0 {
		return millstream.Reject("the amount %v is below zero", order.Amount)
	}
	out.Push(Bill{Name: order.Name, Total: order.Amount * (1 + config.Tax/100)})
	return nil
}

func main() {}
