// Dates, decimals, structs and lists: in a key, in rows, in a state and in the output.
package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	millstream "millstream.dev/sdk"
)

// Day is the key.
type Day struct {
	Day string `millstream:",type=date"`
}

// Sale is an input row.
type Sale struct {
	Price *string                 `millstream:",type=decimal(12,2)"`
	Tags  json.RawMessage         `millstream:",type=list<text>"`
	Item  millstream.Null[string] `millstream:",type=struct<id: int64, sku: text>"`
}

// Total is the state of a day.
type Total struct {
	Total string                  `millstream:",type=decimal(12,2)"`
	Seen  json.RawMessage         `millstream:",type=list<text>"`
	Last  millstream.Null[string] `millstream:"last item,type=struct<id: int64, sku: text>"`
	Since string                  `millstream:",type=date"`
}

// Told is an output row.
type Told struct {
	Total string                  `millstream:",type=decimal(20,2)"`
	Seen  []byte                  `millstream:",type=list<text>"`
	Last  millstream.Null[string] `millstream:",type=struct<id: int64, sku: text>"`
	Since *string                 `millstream:",type=date"`
}

func init() {
	millstream.Update(written)
}

// written keeps a total of each day.
func written(
	_ *millstream.Context, key Day, sales []Sale, old *Total, out *millstream.KeyedOut[Told],
) (*Total, error) {
	total := &Total{Total: "0.00", Seen: json.RawMessage("[]"), Since: key.Day}
	if old != nil {
		total = old
	}
	cents, err := centsOf(total.Total)
	if err != nil {
		return nil, err
	}
	// An empty list is not null.
	seen, closed := []*string{}, false
	if err := json.Unmarshal(total.Seen, &seen); err != nil {
		return nil, err
	}
	for _, sale := range sales {
		price := "0.00"
		if sale.Price != nil {
			price = *sale.Price
		}
		switch price {
		case "13.00":
			closed = true
		case "14.00":
			return nil, millstream.Reject("%s on %s", price, key.Day)
		}
		more, err := centsOf(price)
		if err != nil {
			return nil, err
		}
		cents += more
		var tags []*string
		if err := json.Unmarshal(sale.Tags, &tags); err != nil {
			return nil, err
		}
		seen = append(seen, tags...)
		if sale.Item.Valid {
			total.Last = sale.Item
		}
	}
	if total.Seen, err = json.Marshal(seen); err != nil {
		return nil, err
	}
	total.Total = textOf(cents)
	told := Told{Total: total.Total, Seen: total.Seen, Last: total.Last}
	if cents != 0 {
		told.Since = &key.Day
	}
	out.Push(told)
	if closed {
		return nil, nil
	}
	return total, nil
}

func centsOf(price string) (int64, error) {
	return strconv.ParseInt(strings.Replace(price, ".", "", 1), 10, 64)
}

func textOf(cents int64) string {
	sign := ""
	if cents < 0 {
		sign, cents = "-", -cents
	}
	return fmt.Sprintf("%s%d.%02d", sign, cents/100, cents%100)
}

func main() {}
