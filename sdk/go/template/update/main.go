// A Millstream plugin of world update: called for each key with its new rows and its state.
package main

import millstream "millstream.dev/sdk"

// Payment is a row that the plugin reads: the column `amount` of the stage's input.
type Payment struct {
	Amount float64
}

// Account is what is kept of each key from batch to batch.
type Account struct {
	Balance  float64
	Payments int64
}

// Statement is a row that it returns; the key columns come before it.
type Statement struct {
	Balance float64
	// Closed tells that the key was idle for the stage's `timeout` and is removed.
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
