package main

import (
	"testing"

	"millstream.dev/sdk/millstreamtest"
)

func TestKeepsTheBalance(t *testing.T) {
	test := millstreamtest.New(t, millstreamtest.Stage{Key: "user text"})
	test.Run(`[{"user": "ann", "amount": 3.0}, {"user": "ann", "amount": 4.0}]`)
	run := test.Run(`[{"user": "ann", "amount": -2.0}]`)
	run.WantRows(`[{"user": "ann", "balance": 5.0, "closed": false}]`)
	test.WantStates(`[{"user": "ann", "balance": 5.0, "payments": 3}]`)

	run = test.TimeOut(`{"user": "ann"}`)
	run.WantRows(`[{"user": "ann", "balance": 5.0, "closed": true}]`)
	test.WantStates(`[]`)
}
