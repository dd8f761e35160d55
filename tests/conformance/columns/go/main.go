// Functions on batches: multiplies two columns and passes all others on, whatever their types.
package main

import (
	"fmt"

	millstream "millstream.dev/sdk"
)

func init() {
	millstream.TransformBatches(func(stage *millstream.Stage) (millstream.Transformer, error) {
		return columns{stage}, stage.NoConfig()
	})
}

type columns struct {
	stage *millstream.Stage
}

func (c columns) Describe(stage *millstream.Stage) (millstream.Description, error) {
	input := stage.Input()
	if err := check(input, "price", millstream.Float64); err != nil {
		return millstream.Description{}, err
	}
	if err := check(input, "quantity", millstream.Int64); err != nil {
		return millstream.Description{}, err
	}
	product := millstream.Field{Name: "product", Type: millstream.Float64, Nullable: true}
	return millstream.Description{Input: input, Output: append(input[:len(input):len(input)], product)}, nil
}

func (c columns) Process(
	_ *millstream.Context, rows *millstream.Batch,
) (*millstream.Batch, []millstream.Rejected, error) {
	input := c.stage.Input()
	price, quantity := input.Position("price"), input.Position("quantity")
	prices, quantities := rows.Float64s(price), rows.Int64s(quantity)
	products, valid := make([]float64, rows.Rows()), make([]bool, rows.Rows())
	for i := range products {
		products[i] = prices[i] * float64(quantities[i])
		valid[i] = !rows.IsNull(price, i) && !rows.IsNull(quantity, i)
	}
	made, err := rows.Beside(millstream.NewBatch(rows.Rows()).AddFloat64s(products, millstream.BitsOf(valid)))
	return made, nil, err
}

func check(schema millstream.Schema, name string, wanted millstream.Type) error {
	field, err := schema.Field(name)
	if err == nil && field.Type != wanted {
		err = millstream.InputError(fmt.Sprintf("column `%s` is %s, but must be %s", name, field.Type, wanted))
	}
	return err
}

func main() {}
