//go:build !wasip1

package millstream

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"millstream.dev/sdk/internal/bridge"
)

type sale struct {
	Day   string          `millstream:",type=date"`
	Price *string         `millstream:"the price,type=decimal(12,2)"`
	Tags  json.RawMessage `millstream:",type=list<text>"`
	Item  Null[string]    `millstream:"item,type=struct<id: int64, sku: text>"`
}

func TestValuesEncodedAsText(t *testing.T) {
	runner := host(t, bridge.Stage{}, func() {
		Transform(func(_ *Context, row sale, out *Out[sale]) error {
			day, err := time.Parse(time.DateOnly, row.Day)
			if err != nil {
				return err
			}
			var tags []string
			if err := json.Unmarshal(row.Tags, &tags); err != nil {
				return err
			}
			row.Day = day.AddDate(0, 0, 1).Format(time.DateOnly)
			row.Tags, err = json.Marshal(append(tags, "é"))
			out.Push(row)
			return err
		})
	})
	ran(t, runner,
		`[{"day":"2027-01-01","item":{"id":12345678901234567,"sku":null},"tags":["a","é"],"the price":"1.50"},`+
			`{"day":"2027-01-01","item":null,"tags":["é"],"the price":null}]`, nil,
		`[{"day": "2026-12-31", "the price": "1.50", "tags": ["a"], "item": {"id": 12345678901234567, "sku": null}},
		  {"day": "2026-12-31", "the price": null, "tags": [], "item": null}]`)
}

func TestSchemasOfTypesWithCommas(t *testing.T) {
	columns := "a decimal(12,2), b struct<id: int64, x: list<text>>, c text"
	schema, err := schemaOf(columns)
	if err != nil {
		t.Fatal(err)
	}
	wants(t, "schema", columns, schema.String())
}

func TestTypesOfOtherFields(t *testing.T) {
	defer func() {
		if words, _ := recover().(string); !strings.Contains(words, "field Price") {
			t.Errorf("no word of the field: %q", words)
		}
	}()
	layoutOf[struct {
		Price int64 `millstream:",type=decimal(12,2)"`
	}]()
}
