// A state for each key: kept, removed, timed out, with timers; and rejected rows of a key.
package main

import millstream "millstream.dev/sdk"

const second = 1_000_000

// Payment is an input row.
type Payment struct {
	Amount int64
	Note   *string
}

// Total is the state of a key.
type Total struct {
	Total int64
	Count int64
	Note  *string
	Since millstream.Timestamp
}

// Told is an output row.
type Told struct {
	Why   string
	Total int64
	Count int64
	Note  *string
	Since millstream.Timestamp
	Alarm *millstream.Timestamp
}

func init() {
	millstream.Update(totals)
}

// totals keeps a total of each key.
func totals(
	ctx *millstream.Context, _ millstream.AnyKey, payments []Payment, total *Total, out *millstream.KeyedOut[Told],
) (*Total, error) {
	if total == nil {
		total = &Total{Since: ctx.Time}
	}
	had, closed := total.Count, false
	tell := func(why string, alarm *millstream.Timestamp) {
		out.Push(Told{why, total.Total, total.Count, total.Note, total.Since, alarm})
	}
	for _, payment := range payments {
		total.Total += payment.Amount
		total.Count++
		if payment.Note != nil {
			total.Note = payment.Note
		}
		tell("row", nil)
		if payment.Note == nil {
			continue
		}
		switch *payment.Note {
		case "bad":
			return nil, millstream.Reject("a bad note after %d payments", had)
		case "close":
			closed = true
		case "alarm":
			ctx.Timers.Set(ctx.Time + 2*second)
		case "calm":
			ctx.Timers.Cancel(ctx.Time + second)
		}
	}
	due := ctx.Timers.Due()
	for _, at := range due {
		tell("alarm", &at)
	}
	switch {
	case ctx.TimedOut:
		tell("timeout", nil)
	case len(payments) == 0 && len(due) == 0:
		tell("call", nil)
	}
	if closed {
		return nil, nil
	}
	return total, nil
}

func main() {}
