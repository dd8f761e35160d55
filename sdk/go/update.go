package millstream

import "sort"

// Updater is a plugin of world update that processes batches. [Update] creates one from a function on rows.
type Updater interface {
	// Describe is called when a job is loaded. It describes output and state, or returns an error if config, input or key are unsuitable.
	Describe(stage *Stage) (Description, error)
	// Update is called with groups of a batch. Every key occurs at most once per batch.
	Update(stage *Stage, ctx *Context, groups *Groups) (*Updated, error)
}

// Groups has rows grouped by key, and the state of each key.
type Groups struct {
	// Keys has the key columns, one row per group.
	Keys *Batch
	// Rows has the rows of the first group first. Within a group, they are in the order of arrival.
	Rows *Batch
	// States has the old states, one row per group. The values of a key without a state are undefined.
	States *Batch
	// Known is set for keys that had a state.
	Known Bits
	// TimedOut is set for idle keys that are called a last time.
	TimedOut Bits
	ends     []byte
}

// End returns the end of a group's rows, which start at the end of the previous group.
func (g *Groups) End(group int) int { return offset(g.ends, group) }

// Updated is the result of a call in world update.
type Updated struct {
	// States has the new states, one row per group.
	States *Batch
	// Kept is set for new states to keep; the other keys are removed.
	Kept Bits
	// Output has the output rows.
	Output *Batch
	// Rejected has the rejected rows, in order.
	Rejected []Rejected
}

// UpdateBatches registers a plugin that processes batches. It is created for each config.
func UpdateBatches(make func(stage *Stage) (Updater, error)) {
	register("update", make)
}

// Update registers a function that is called for each key that has new rows. It receives the rows and the state, which is nil for
// a new key. It returns the new state; nil removes the key. An error rejects the rows of the key, leaves its state unchanged and
// removes the pushed rows. The last argument is an *Out or a *KeyedOut.
//
// With [AnyKey] as the key, the plugin accepts any key. With [AnyKey] as the row, rows are only counted, with len. Rows and state are
// valid until the function returns; their strings and bytes stay valid.
func Update[K, I, S any, O output[O]](function func(ctx *Context, key K, rows []I, state *S, out O) (*S, error)) {
	key, input, state := layoutOf[K](), layoutOf[I](), layoutOf[S]()
	var out O
	out = out.make()
	register("update", func(stage *Stage) (Updater, error) {
		if err := readConfig(stage); err != nil {
			return nil, err
		}
		return &updateRows[K, I, S, O]{
			function: function,
			keys:     block[K]{layout: key},
			rows:     block[I]{layout: input},
			states:   block[S]{layout: state},
			out:      out,
			new:      newOut[S](state),
		}, nil
	})
}

type updateRows[K, I, S any, O output[O]] struct {
	function func(ctx *Context, key K, rows []I, state *S, out O) (*S, error)
	keys     block[K]
	rows     block[I]
	states   block[S]
	out      O
	new      *Out[S]
}

func (u *updateRows[K, I, S, O]) Describe(stage *Stage) (Description, error) {
	made := description()
	made.Input, made.State = u.rows.layout.schema(), u.states.layout.schema()
	made.Output = u.out.schema(stage)
	made.Key = u.keys.layout.key()
	return made, nil
}

// key returns the required schema of keys; nil: any.
func (l *layout) key() Schema {
	if len(l.columns) == 0 {
		return nil
	}
	return l.schema()
}

func (u *updateRows[K, I, S, O]) Update(stage *Stage, ctx *Context, groups *Groups) (*Updated, error) {
	count := groups.Keys.rows
	if err := begin(u.keys.begin(groups.Keys), u.rows.begin(groups.Rows), u.states.begin(groups.States)); err != nil {
		return nil, err
	}
	defer u.keys.end()
	defer u.rows.end()
	defer u.states.end()
	u.out.begin(count, min(groups.Rows.Bytes(), groups.Keys.Bytes()))
	u.new.begin(count, groups.States.Bytes())
	missing := u.rows.layout.missing(groups.Rows)
	rejected := missing[:len(missing):len(missing)]
	kept := bitmap{bits: make([]byte, 0, (count+7)/8)}
	ctx.Timers.due = nil
	for group, start := 0, 0; group < count; group++ {
		end := groups.End(group)
		if end < start || end > groups.Rows.rows {
			return nil, internalf("group %d ends at row %d, which is out of order", group, end)
		}
		ctx.TimedOut = groups.TimedOut.At(group)
		ctx.Timers.begin(group)
		u.out.group(uint32(group))
		before := u.out.Len()
		var old *S
		if groups.Known.At(group) {
			old = u.states.at(group)
		}
		skipped := within(missing, start, end)
		state, err := u.function(ctx, *u.keys.at(group), without(u.rows.span(start, end), start, skipped), old, u.out)
		ctx.Timers.end(err == nil)
		if err != nil {
			u.out.truncate(before)
			rejected = refuse(rejected, skipped, start, end, err)
			state = nil
			if old != nil {
				// The function may have changed the state that it received.
				u.states.read(group, group+1)
				state = u.states.at(group)
			}
		}
		kept.push(state != nil)
		if state == nil {
			state = new(S)
		}
		u.new.Push(*state)
		start = end
	}
	sortRejected(rejected)
	states, err := u.new.batch()
	if err != nil {
		return nil, err
	}
	output, err := u.out.finish(stage, groups.Keys)
	return &Updated{States: states, Kept: kept.bits, Output: output, Rejected: rejected}, err
}

// begin returns the first error.
func begin(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// within returns the rejected rows from start to end. rejected must be in order.
func within(rejected []Rejected, start, end int) []Rejected {
	if len(rejected) == 0 {
		return nil
	}
	from := sort.Search(len(rejected), func(i int) bool { return int(rejected[i].Row) >= start })
	to := sort.Search(len(rejected), func(i int) bool { return int(rejected[i].Row) >= end })
	return rejected[from:to]
}

// without returns rows without the skipped ones. The first row has the index start.
func without[T any](rows []T, start int, skipped []Rejected) []T {
	if len(skipped) == 0 {
		return rows
	}
	kept := make([]T, 0, len(rows))
	for i, row := range rows {
		if len(skipped) > 0 && int(skipped[0].Row) == start+i {
			skipped = skipped[1:]
			continue
		}
		kept = append(kept, row)
	}
	return kept
}

// refuse adds the rows from start to end, except those already rejected.
func refuse(rejected, skipped []Rejected, start, end int, why error) []Rejected {
	reason := why.Error()
	for row := start; row < end; row++ {
		if len(skipped) > 0 && int(skipped[0].Row) == row {
			skipped = skipped[1:]
			continue
		}
		rejected = append(rejected, Rejected{uint32(row), reason})
	}
	return rejected
}
