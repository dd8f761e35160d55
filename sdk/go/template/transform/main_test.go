package main

import (
	"testing"

	"millstream.dev/sdk/millstreamtest"
)

func TestAddsTheTax(t *testing.T) {
	test := millstreamtest.New(t, millstreamtest.Stage{Config: `{"tax": 25}`})
	run := test.Run(`[{"name": "ann", "amount": 100.0}, {"name": "bob", "amount": -1.0}]`)
	run.WantRows(`[{"name": "ann", "total": 125.0}]`)
	run.WantRejected(millstreamtest.Rejected{Row: 1, Reason: "the amount -1 is below zero"})
}
