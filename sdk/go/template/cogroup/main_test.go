package main

import (
	"testing"

	"millstream.dev/sdk/millstreamtest"
)

func TestReturnsTheOpenAmounts(t *testing.T) {
	test := millstreamtest.New(t, millstreamtest.Stage{Key: "user text"})
	orders := `[{"user": "ann", "amount": 3.0}, {"user": "bob", "amount": 1.0}, {"user": "ann", "amount": 4.0}]`
	payments := `[{"user": "ann", "paid": 5.0}, {"user": "bob", "paid": 1.0}]`
	test.Run(orders, payments).WantRows(`[{"user": "ann", "orders": 2, "open": 2.0}]`)
}
