package millstream

// BatchAggregator is a plugin of world aggregate that processes batches. [Aggregate] creates one from functions
// on rows.
type BatchAggregator interface {
	// Describe is called when a job is loaded. It describes output and accumulator, or returns an error if config or input are unsuitable.
	Describe(stage *Stage) (Description, error)
	// Lift returns an accumulator for each row.
	Lift(ctx *Context, rows *Batch) (*Batch, error)
	// Combine combines pairs of accumulators. It must be associative.
	Combine(ctx *Context, left, right *Batch) (*Batch, error)
	// Lower returns the output row of each accumulator. keys has one row per accumulator, and no columns if the
	// stage has no key.
	Lower(ctx *Context, keys, accumulators *Batch) (*Batch, error)
	// Inverse removes the accumulators part from whole, in pairs. It is only called if the description says so.
	Inverse(ctx *Context, whole, part *Batch) (*Batch, error)
}

// AggregateBatches registers a plugin that processes batches. It is created for each config.
func AggregateBatches(make func(stage *Stage) (BatchAggregator, error)) {
	register("aggregate", make)
}

// Aggregator reduces rows of type I to rows of type O, with accumulators of type A. An error of its functions
// fails the call: in an aggregate, only the host can reject rows.
type Aggregator[I, A, O any] struct {
	// Lift returns an accumulator for a row.
	Lift func(ctx *Context, row I) (A, error)
	// Combine combines two accumulators. It must be associative: the grouping must not change the result.
	Combine func(ctx *Context, left, right A) (A, error)
	// Lower returns the output row. The key columns come before its columns.
	Lower func(ctx *Context, accumulator A) (O, error)
	// Inverse may be nil. It removes an accumulator, Inverse(Combine(a, b), a) = b, which makes sliding windows
	// cheaper.
	Inverse func(ctx *Context, whole, part A) (A, error)
}

// Aggregate registers functions that reduce rows.
func Aggregate[I, A, O any](functions Aggregator[I, A, O]) {
	lower := func(ctx *Context, _ AnyKey, accumulator A) (O, error) { return functions.Lower(ctx, accumulator) }
	AggregateByKey(KeyedAggregator[AnyKey, I, A, O]{functions.Lift, functions.Combine, lower, functions.Inverse})
}

// KeyedAggregator is an [Aggregator] whose Lower receives the key.
type KeyedAggregator[K, I, A, O any] struct {
	Lift    func(ctx *Context, row I) (A, error)
	Combine func(ctx *Context, left, right A) (A, error)
	Lower   func(ctx *Context, key K, accumulator A) (O, error)
	Inverse func(ctx *Context, whole, part A) (A, error)
}

// AggregateByKey registers functions that reduce rows. Lower receives the key.
func AggregateByKey[K, I, A, O any](functions KeyedAggregator[K, I, A, O]) {
	key, row, accumulator, output := layoutOf[K](), layoutOf[I](), layoutOf[A](), layoutOf[O]()
	register("aggregate", func(stage *Stage) (BatchAggregator, error) {
		if err := readConfig(stage); err != nil {
			return nil, err
		}
		return &aggregateRows[K, I, A, O]{
			functions: functions,
			keys:      block[K]{layout: key},
			rows:      block[I]{layout: row},
			left:      block[A]{layout: accumulator},
			right:     block[A]{layout: accumulator},
			new:       newOut[A](accumulator),
			out:       newOut[O](output),
		}, nil
	})
}

type aggregateRows[K, I, A, O any] struct {
	functions   KeyedAggregator[K, I, A, O]
	keys        block[K]
	rows        block[I]
	left, right block[A]
	new         *Out[A]
	out         *Out[O]
}

func (a *aggregateRows[K, I, A, O]) Describe(*Stage) (Description, error) {
	made := description()
	made.Input, made.State, made.Output = a.rows.layout.schema(), a.left.layout.schema(), a.out.layout.schema()
	made.Inverse = a.functions.Inverse != nil
	made.Key = a.keys.layout.key()
	return made, nil
}

func (a *aggregateRows[K, I, A, O]) Lift(ctx *Context, rows *Batch) (*Batch, error) {
	if err := a.rows.begin(rows); err != nil {
		return nil, err
	}
	defer a.rows.end()
	if missing := a.rows.layout.missing(rows); len(missing) > 0 {
		return nil, InputError(internalf("row %d: %s", missing[0].Row, missing[0].Reason).Error())
	}
	a.new.begin(rows.rows, rows.Bytes())
	for row := range rows.rows {
		lifted, err := a.functions.Lift(ctx, *a.rows.at(row))
		if err != nil {
			return nil, failed(row, err)
		}
		a.new.Push(lifted)
	}
	return a.new.batch()
}

func (a *aggregateRows[K, I, A, O]) Combine(ctx *Context, left, right *Batch) (*Batch, error) {
	return a.pairs(ctx, left, right, a.functions.Combine)
}

func (a *aggregateRows[K, I, A, O]) Inverse(ctx *Context, whole, part *Batch) (*Batch, error) {
	if a.functions.Inverse == nil {
		return nil, InternalError("this aggregate has no inverse")
	}
	return a.pairs(ctx, whole, part, a.functions.Inverse)
}

func (a *aggregateRows[K, I, A, O]) pairs(
	ctx *Context, left, right *Batch, function func(ctx *Context, left, right A) (A, error),
) (*Batch, error) {
	if left.rows != right.rows {
		return nil, internalf("row counts differ: %d and %d", left.rows, right.rows)
	}
	if err := begin(a.left.begin(left), a.right.begin(right)); err != nil {
		return nil, err
	}
	defer a.left.end()
	defer a.right.end()
	a.new.begin(left.rows, left.Bytes())
	for row := range left.rows {
		combined, err := function(ctx, *a.left.at(row), *a.right.at(row))
		if err != nil {
			return nil, failed(row, err)
		}
		a.new.Push(combined)
	}
	return a.new.batch()
}

func (a *aggregateRows[K, I, A, O]) Lower(ctx *Context, keys, accumulators *Batch) (*Batch, error) {
	if err := begin(a.keys.begin(keys), a.left.begin(accumulators)); err != nil {
		return nil, err
	}
	if len(a.keys.layout.columns) > 0 && keys.rows != accumulators.rows {
		return nil, internalf("row counts differ: %d and %d", keys.rows, accumulators.rows)
	}
	defer a.keys.end()
	defer a.left.end()
	a.out.begin(accumulators.rows, accumulators.Bytes())
	for row := range accumulators.rows {
		var key K
		if len(a.keys.layout.columns) > 0 {
			key = *a.keys.at(row)
		}
		lowered, err := a.functions.Lower(ctx, key, *a.left.at(row))
		if err != nil {
			return nil, failed(row, err)
		}
		a.out.Push(lowered)
	}
	return a.out.batch()
}

func failed(row int, err error) error { return internalf("row %d: %s", row, err.Error()) }
