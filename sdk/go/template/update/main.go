// A Millstream plugin of world update: called for each key with its new rows and its state.
package main

import millstream "millstream.dev/sdk"

// Payment is an input row: the column `amount` of the stage's input.
type Payment struct {
	Amount float64
}

// Account is the state of each key, kept between batches.
type Account struct {
	Balance  float64
	Payments int64
}

// Statement is an output row. The key columns come before its columns.
type Statement struct {
	Balance float64
	// Closed is true if the key was idle for the stage's `timeout` and is removed.
	Closed bool
}

func init() {
	millstream.Update(balance)
}

// balance keeps the balance of each key.
func balance(
	ctx *millstream.Context, _ millstream.AnyKey, payments []Payment, account *Account, out *millstream.KeyedOut[Statement],
) (*Account, error) {
	if account == nil {
		account = &Account{}
	}
	for _, payment := range payments {
		account.Balance += payment.Amount
		account.Payments++
	}
	out.Push(Statement{Balance: account.Balance, Closed: ctx.TimedOut})
	return account, nil
}

func main() {}
