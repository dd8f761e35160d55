package main

import (
	"testing"

	"millstream.dev/sdk/millstreamtest"
)

func TestIsTheMean(t *testing.T) {
	test := millstreamtest.New(t, millstreamtest.Stage{Key: "shop text"})
	run := test.Run(`[{"shop": "a", "price": 1.0}, {"shop": "b", "price": 7.0}, {"shop": "a", "price": 2.0}]`)
	run.WantRows(`[{"shop": "a", "mean": 1.5}, {"shop": "b", "mean": 7.0}]`)
}
