// A Millstream plugin of world aggregate: reduces rows to one row per key, or to one in total.
package main

import millstream "millstream.dev/sdk"

// Sale is an input row: the column `price` of the stage's input.
type Sale struct {
	Price float64
}

// Sum is the accumulator.
type Sum struct {
	Sum   float64
	Count int64
}

// Mean is the output row. The key columns come before its columns.
type Mean struct {
	Mean float64
}

func init() {
	millstream.Aggregate(millstream.Aggregator[Sale, Sum, Mean]{
		Lift: func(_ *millstream.Context, sale Sale) (Sum, error) {
			return Sum{Sum: sale.Price, Count: 1}, nil
		},
		// Combine must be associative.
		Combine: func(_ *millstream.Context, left, right Sum) (Sum, error) {
			return Sum{Sum: left.Sum + right.Sum, Count: left.Count + right.Count}, nil
		},
		Lower: func(_ *millstream.Context, sum Sum) (Mean, error) {
			return Mean{Mean: sum.Sum / float64(sum.Count)}, nil
		},
		// Optional: makes sliding windows cheaper. Inverse(Combine(a, b), a) is b.
		Inverse: func(_ *millstream.Context, whole, part Sum) (Sum, error) {
			return Sum{Sum: whole.Sum - part.Sum, Count: whole.Count - part.Count}, nil
		},
	})
}

func main() {}
