// An aggregate with an inverse, which receives its key.
package main

import millstream "millstream.dev/sdk"

// Key is the key of the stage.
type Key struct {
	Shop string
}

// Sale is an input row.
type Sale struct {
	Amount int64
}

// Sum is the accumulator.
type Sum struct {
	Sum   int64
	Count int64
}

// Mean is an output row.
type Mean struct {
	Title string
	Mean  *float64
	Count int64
}

func init() {
	millstream.AggregateByKey(millstream.KeyedAggregator[Key, Sale, Sum, Mean]{
		Lift: func(_ *millstream.Context, sale Sale) (Sum, error) {
			return Sum{sale.Amount, 1}, nil
		},
		Combine: func(_ *millstream.Context, left, right Sum) (Sum, error) {
			return Sum{left.Sum + right.Sum, left.Count + right.Count}, nil
		},
		Lower: lower,
		Inverse: func(_ *millstream.Context, whole, part Sum) (Sum, error) {
			return Sum{whole.Sum - part.Sum, whole.Count - part.Count}, nil
		},
	})
}

func lower(_ *millstream.Context, key Key, sum Sum) (Mean, error) {
	mean := Mean{Title: "mean of " + key.Shop, Count: sum.Count}
	if sum.Count != 0 {
		quotient := float64(sum.Sum) / float64(sum.Count)
		mean.Mean = &quotient
	}
	return mean, nil
}

func main() {}
