// Two inputs, grouped by a key of a required type.
package main

import (
	"strings"

	millstream "millstream.dev/sdk"
)

// Key is the key of the stage.
type Key struct {
	User string
}

// Order is a row of the first input.
type Order struct {
	Amount int64
	Item   *string
}

// Payment is a row of the second input.
type Payment struct {
	Paid int64
}

// Account is an output row.
type Account struct {
	User     string
	Orders   int64
	Payments int64
	Items    *string
	Balance  int64
}

func init() {
	millstream.Cogroup2(accounts)
}

// accounts returns the orders and payments of each user.
func accounts(
	_ *millstream.Context, key Key, orders []Order, payments []Payment, out *millstream.Out[Account],
) error {
	if key.User == "nobody" {
		return millstream.Reject("%d orders of nobody", len(orders))
	}
	account := Account{User: key.User, Orders: int64(len(orders)), Payments: int64(len(payments))}
	var items []string
	for _, order := range orders {
		account.Balance -= order.Amount
		if order.Item != nil {
			items = append(items, *order.Item)
		}
	}
	for _, payment := range payments {
		account.Balance += payment.Paid
	}
	if account.Balance == 0 {
		return nil
	}
	if len(items) > 0 {
		joined := strings.Join(items, "+")
		account.Items = &joined
	}
	out.Push(account)
	return nil
}

func main() {}
