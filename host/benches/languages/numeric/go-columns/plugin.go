// Computes a number from two columns.
package main

import "millstream.dev/sdk"

type numeric struct{}

func init() {
	millstream.TransformBatches(func(*millstream.Stage) (millstream.Transformer, error) { return numeric{}, nil })
}

func (numeric) Describe(*millstream.Stage) (millstream.Description, error) {
	number := func(name string) millstream.Field { return millstream.Field{Name: name, Type: millstream.Float64} }
	return millstream.Description{
		Input:  millstream.Schema{number("a"), number("b")},
		Output: millstream.Schema{number("out")},
	}, nil
}

func (numeric) Process(_ *millstream.Context, rows *millstream.Batch) (*millstream.Batch, []millstream.Rejected, error) {
	a, b, out := rows.Float64s(0), rows.Float64s(1), make([]float64, rows.Rows())
	for i := range out {
		out[i] = a[i]*2.5 + b[i]
	}
	return millstream.NewBatch(len(out)).AddFloat64s(out, nil), nil, nil
}

func main() {}
