// An aggregate without an inverse, whose combination is not commutative, and which may reject rows.
package main

import millstream "millstream.dev/sdk"

// Sale is an input row.
type Sale struct {
	Price float64
	Item  string
}

// Prices is the accumulator.
type Prices struct {
	Low   float64
	High  float64
	First string
	Last  string
	Count int64
}

// Spread is an output row.
type Spread struct {
	Low    float64
	High   float64
	Spread float64
	First  string
	Last   string
	Count  int64
}

// Config scales prices.
type Config struct {
	Factor float64 `json:"factor"`
}

var config = millstream.Config(Config{Factor: 1})

func init() {
	millstream.Aggregate(millstream.Aggregator[Sale, Prices, Spread]{Lift: lift, Combine: combine, Lower: lower})
}

func lift(_ *millstream.Context, sale Sale) (Prices, error) {
	if sale.Price < 0 {
		return Prices{}, millstream.Reject("a price below zero")
	}
	price := sale.Price * config.Factor
	return Prices{Low: price, High: price, First: sale.Item, Last: sale.Item, Count: 1}, nil
}

func combine(_ *millstream.Context, left, right Prices) (Prices, error) {
	return Prices{
		Low:   min(left.Low, right.Low),
		High:  max(left.High, right.High),
		First: left.First,
		Last:  right.Last,
		Count: left.Count + right.Count,
	}, nil
}

func lower(_ *millstream.Context, prices Prices) (Spread, error) {
	return Spread{prices.Low, prices.High, prices.High - prices.Low, prices.First, prices.Last, prices.Count}, nil
}

func main() {}
