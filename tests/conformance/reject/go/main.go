// A typed config, the context of a call, and rejected rows.
package main

import (
	"slices"
	"strings"

	millstream "millstream.dev/sdk"
)

// Payment is an input row.
type Payment struct {
	Amount int64
	Kind   *string
}

// Accepted is an output row.
type Accepted struct {
	Amount    int64
	Scaled    float64
	Label     string
	Batch     int64
	Time      millstream.Timestamp
	Watermark millstream.Null[millstream.Timestamp]
}

// Config selects the rejected rows.
type Config struct {
	AtLeast int64    `json:"at_least" millstream:"required"`
	Rate    float64  `json:"rate"`
	Label   string   `json:"label"`
	Strict  bool     `json:"strict"`
	Kinds   []string `json:"kinds"`
}

var config = millstream.Config(Config{Rate: 1, Label: "ok"})

func init() {
	millstream.Transform(reject)
}

// reject rejects rows according to its config.
func reject(ctx *millstream.Context, payment Payment, out *millstream.Out[Accepted]) error {
	millstream.Count("seen", 1)
	millstream.Logf(millstream.Debug, "amount %d", payment.Amount)
	switch {
	case payment.Amount < config.AtLeast:
		return millstream.Reject("%d is below %d", payment.Amount, config.AtLeast)
	case payment.Kind == nil && config.Strict:
		return millstream.Reject("it has no kind")
	case payment.Kind != nil && len(config.Kinds) > 0 && !slices.Contains(config.Kinds, *payment.Kind):
		return millstream.Reject("`%s` is not one of %s", *payment.Kind, strings.Join(config.Kinds, ", "))
	case payment.Amount == 0:
		return nil
	}
	out.Push(Accepted{
		Amount:    payment.Amount,
		Scaled:    float64(payment.Amount) * config.Rate,
		Label:     config.Label,
		Batch:     int64(ctx.Batch),
		Time:      ctx.Time,
		Watermark: ctx.Watermark,
	})
	return nil
}

func main() {}
