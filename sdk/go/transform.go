package millstream

import "slices"

// Transformer is a plugin of world transform that processes batches. [Transform] creates one from a function on rows.
type Transformer interface {
	// Describe is called when a job is loaded. It describes input and output, or returns an error if config or input are
	// unsuitable.
	Describe(stage *Stage) (Description, error)
	// Process is called with the rows of a batch in one worker, or with a part of them.
	Process(ctx *Context, rows *Batch) (*Batch, []Rejected, error)
}

// TransformBatches registers a plugin that processes batches, if it accepts any columns or needs no structs. It is created for
// each config.
func TransformBatches(make func(stage *Stage) (Transformer, error)) {
	register("transform", make)
}

// Transform registers a function that is called for each row and pushes any number of output rows. An error rejects the row
// and removes the rows pushed for it.
func Transform[I, O any](function func(ctx *Context, row I, out *Out[O]) error) {
	input, output := layoutOf[I](), layoutOf[O]()
	register("transform", func(stage *Stage) (Transformer, error) {
		if err := readConfig(stage); err != nil {
			return nil, err
		}
		return &transformRows[I, O]{function, block[I]{layout: input}, newOut[O](output)}, nil
	})
}

type transformRows[I, O any] struct {
	function func(ctx *Context, row I, out *Out[O]) error
	rows     block[I]
	out      *Out[O]
}

func (t *transformRows[I, O]) Describe(*Stage) (Description, error) {
	made := description()
	made.Input, made.Output = t.rows.layout.schema(), t.out.layout.schema()
	return made, nil
}

func (t *transformRows[I, O]) Process(ctx *Context, rows *Batch) (*Batch, []Rejected, error) {
	if err := t.rows.begin(rows); err != nil {
		return nil, nil, err
	}
	defer t.rows.end()
	t.out.begin(rows.rows, rows.Bytes())
	rejected := t.rows.layout.missing(rows)
	missing := rejected
	for first := 0; first < rows.rows; first += blockRows {
		for i, row := range t.rows.span(first, min(first+blockRows, rows.rows)) {
			if len(missing) > 0 && int(missing[0].Row) == first+i {
				missing = missing[1:]
				continue
			}
			before := t.out.Len()
			if err := t.function(ctx, row, t.out); err != nil {
				t.out.truncate(before)
				rejected = append(rejected, Rejected{uint32(first + i), err.Error()})
			}
		}
	}
	sortRejected(rejected)
	made, err := t.out.batch()
	return made, rejected, err
}

func sortRejected(rejected []Rejected) {
	slices.SortStableFunc(rejected, func(a, b Rejected) int { return int(a.Row) - int(b.Row) })
}
