package millstream

// Cogrouper is a plugin of world cogroup that processes batches. [Cogroup2] creates one from a function on rows.
type Cogrouper interface {
	// Describe is called when a job is loaded. It describes the inputs and the output, or returns an error if config,
	// inputs or key are unsuitable.
	Describe(stage *Stage) (Description, error)
	// Cogroup is called with the groups of a batch or a window. Every key occurs once. It returns rows, and the rejected
	// rows of each input.
	Cogroup(stage *Stage, ctx *Context, groups *Cogroups) (*Batch, [][]Rejected, error)
}

// Cogroups has the rows of several inputs, grouped by key. A group is a key that has rows in at least one input.
type Cogroups struct {
	// Keys has the key columns, one row per group.
	Keys *Batch
	// Inputs has the stage's inputs, in order.
	Inputs []Grouped
}

// Grouped has the rows of one input.
type Grouped struct {
	// Rows has the rows of the first group first. Within a group, they are in the order of arrival.
	Rows *Batch
	ends []byte
}

// End returns the end of a group's rows, which start at the end of the previous group.
func (g *Grouped) End(group int) int { return offset(g.ends, group) }

func (g *Grouped) start(group int) int {
	if group == 0 {
		return 0
	}
	return g.End(group - 1)
}

// CogroupBatches registers a plugin that processes batches. It is created for each config.
func CogroupBatches(make func(stage *Stage) (Cogrouper, error)) {
	register("cogroup", make)
}

// Cogroup2 registers a function that is called for each key with rows in at least one of two inputs, with the rows of
// each input. An error rejects the rows of the key in all inputs. The rules of [Update] for arguments apply here too.
func Cogroup2[K, A, B any, O output[O]](function func(ctx *Context, key K, first []A, second []B, out O) error) {
	first, second := &input[A]{block: block[A]{layout: layoutOf[A]()}}, &input[B]{block: block[B]{layout: layoutOf[B]()}}
	cogroup(func(ctx *Context, key K, group int, out O) error {
		return function(ctx, key, first.rows(group), second.rows(group), out)
	}, first, second)
}

// Cogroup3 is [Cogroup2] for three inputs.
func Cogroup3[K, A, B, C any, O output[O]](
	function func(ctx *Context, key K, first []A, second []B, third []C, out O) error,
) {
	first, second := &input[A]{block: block[A]{layout: layoutOf[A]()}}, &input[B]{block: block[B]{layout: layoutOf[B]()}}
	third := &input[C]{block: block[C]{layout: layoutOf[C]()}}
	cogroup(func(ctx *Context, key K, group int, out O) error {
		return function(ctx, key, first.rows(group), second.rows(group), third.rows(group), out)
	}, first, second, third)
}

// Cogroup4 is [Cogroup2] for four inputs.
func Cogroup4[K, A, B, C, D any, O output[O]](
	function func(ctx *Context, key K, first []A, second []B, third []C, fourth []D, out O) error,
) {
	first, second := &input[A]{block: block[A]{layout: layoutOf[A]()}}, &input[B]{block: block[B]{layout: layoutOf[B]()}}
	third, fourth := &input[C]{block: block[C]{layout: layoutOf[C]()}}, &input[D]{block: block[D]{layout: layoutOf[D]()}}
	cogroup(func(ctx *Context, key K, group int, out O) error {
		return function(ctx, key, first.rows(group), second.rows(group), third.rows(group), fourth.rows(group), out)
	}, first, second, third, fourth)
}

// anyInput is an input with any type of rows.
type anyInput interface {
	begin(grouped *Grouped) error
	// bounds returns the start and the end of a group's rows, and the rows with a null in a field that is not
	// nullable.
	bounds(group int) (start, end int, skipped []Rejected)
	nulls() []Rejected
	end()
	schema() Schema
}

type input[T any] struct {
	block   block[T]
	grouped *Grouped
	missing []Rejected
}

func (i *input[T]) begin(grouped *Grouped) error {
	if err := i.block.begin(grouped.Rows); err != nil {
		return err
	}
	i.grouped, i.missing = grouped, i.block.layout.missing(grouped.Rows)
	return nil
}

func (i *input[T]) bounds(group int) (int, int, []Rejected) {
	start, end := i.grouped.start(group), i.grouped.End(group)
	return start, end, within(i.missing, start, end)
}

func (i *input[T]) rows(group int) []T {
	start, end, skipped := i.bounds(group)
	return without(i.block.span(start, end), start, skipped)
}

func (i *input[T]) nulls() []Rejected { return i.missing }
func (i *input[T]) end()              { i.block.end() }
func (i *input[T]) schema() Schema    { return i.block.layout.schema() }

// cogroup registers a function that gets the rows of a group from the inputs.
func cogroup[K any, O output[O]](function func(ctx *Context, key K, group int, out O) error, inputs ...anyInput) {
	key := layoutOf[K]()
	var out O
	out = out.make()
	register("cogroup", func(stage *Stage) (Cogrouper, error) {
		if err := readConfig(stage); err != nil {
			return nil, err
		}
		return &cogroupRows[K, O]{function, block[K]{layout: key}, inputs, out}, nil
	})
}

type cogroupRows[K any, O output[O]] struct {
	function func(ctx *Context, key K, group int, out O) error
	keys     block[K]
	inputs   []anyInput
	out      O
}

func (c *cogroupRows[K, O]) Describe(stage *Stage) (Description, error) {
	made := description()
	for _, input := range c.inputs {
		made.Inputs = append(made.Inputs, input.schema())
	}
	made.Output = c.out.schema(stage)
	made.Key = c.keys.layout.key()
	return made, nil
}

func (c *cogroupRows[K, O]) Cogroup(stage *Stage, ctx *Context, groups *Cogroups) (*Batch, [][]Rejected, error) {
	count := groups.Keys.rows
	if len(groups.Inputs) != len(c.inputs) {
		return nil, nil, internalf("%d inputs where %d are needed", len(groups.Inputs), len(c.inputs))
	}
	err := c.keys.begin(groups.Keys)
	if err != nil {
		return nil, nil, err
	}
	defer c.keys.end()
	bytes := 0
	rejected := make([][]Rejected, len(c.inputs))
	for i, input := range c.inputs {
		if err := c.begin(input, i, &groups.Inputs[i], count); err != nil {
			return nil, nil, err
		}
		defer input.end()
		bytes += groups.Inputs[i].Rows.Bytes()
		rejected[i] = input.nulls()[:len(input.nulls()):len(input.nulls())]
	}
	c.out.begin(count, min(bytes, groups.Keys.Bytes()))
	for group := range count {
		c.out.group(uint32(group))
		before := c.out.Len()
		why := c.function(ctx, *c.keys.at(group), group, c.out)
		if why == nil {
			continue
		}
		c.out.truncate(before)
		for i, input := range c.inputs {
			start, end, skipped := input.bounds(group)
			rejected[i] = refuse(rejected[i], skipped, start, end, why)
		}
	}
	for i := range rejected {
		sortRejected(rejected[i])
	}
	rows, err := c.out.finish(stage, groups.Keys)
	return rows, rejected, err
}

func (c *cogroupRows[K, O]) begin(input anyInput, index int, grouped *Grouped, count int) error {
	if err := input.begin(grouped); err != nil {
		return err
	}
	for group := range count {
		if end := grouped.End(group); end < grouped.start(group) || end > grouped.Rows.rows {
			return internalf("input %d: group %d ends out of order", index, group)
		}
	}
	return nil
}
