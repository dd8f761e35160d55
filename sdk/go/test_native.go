//go:build !wasip1

package millstream

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	"millstream.dev/sdk/internal/bridge"
)

func init() {
	bridge.New = func(stage bridge.Stage) (bridge.Runner, error) { return newRunner(stage) }
}

// wordOf encodes a number as in a column.
func wordOf(kind Type, number json.Number) (uint64, error) {
	if number == "" {
		return 0, nil
	}
	if kind == Float64 {
		float, err := number.Float64()
		return math.Float64bits(float), err
	}
	whole, err := number.Int64()
	return uint64(whole), err
}

func floatText(float float64) string { return strconv.FormatFloat(float, 'g', -1, 64) }

// runner is the host in a test.
type runner struct {
	stage     Stage
	described Description
	batch     uint64
	watermark Null[Timestamp]
	// World update: state and timers of each key, by the key's JSON.
	states []stateOf
	timers []timerOf
}

type stateOf struct {
	key   string
	row   row
	state row
}

type timerOf struct {
	key string
	row row
	at  Timestamp
}

// group is the rows of a key.
type group struct {
	key  string
	row  row
	rows []row
}

func newRunner(stage bridge.Stage) (*runner, error) {
	made := &runner{stage: Stage{config: stage.Config, hasInputs: true, hasKey: true}}
	var err error
	if made.stage.key, err = schemaOf(stage.Key); err != nil {
		return nil, err
	}
	for _, input := range stage.Inputs {
		schema, err := schemaOf(input)
		if err != nil {
			return nil, err
		}
		made.stage.inputs = append(made.stage.inputs, schema)
	}
	if made.described, err = describe(&made.stage); err != nil {
		return nil, err
	}
	// Calls see only the columns that the description selects.
	made.stage.inputs = []Schema{made.described.Input}
	if registered.world == "cogroup" {
		made.stage.inputs = made.described.Inputs
	}
	return made, nil
}

func (r *runner) Watermark(at int64) { r.watermark = Some(Timestamp(at)) }

// context starts a call. The time of the first run is second 1, of the next one second 2.
func (r *runner) context() *Context {
	r.batch++
	return &Context{Batch: r.batch, Time: Timestamp(r.batch * 1_000_000), Watermark: r.watermark}
}

func (r *runner) Run(inputs []string) (bridge.Run, error) {
	rows := make([][]row, len(inputs))
	for i, input := range inputs {
		var err error
		if rows[i], err = rowsOf(input); err != nil {
			return bridge.Run{}, err
		}
	}
	if registered.world != "cogroup" && len(rows) != 1 {
		return bridge.Run{}, errors.New("only world cogroup has several inputs")
	}
	switch registered.world {
	case "transform":
		return r.transform(rows[0])
	case "update":
		return r.update(r.grouped(rows[0]), false)
	case "aggregate":
		return r.aggregate(rows[0])
	default:
		return r.cogroup(rows)
	}
}

func (r *runner) transform(rows []row) (bridge.Run, error) {
	plugin, err := pluginOf[Transformer](&r.stage)
	if err != nil {
		return bridge.Run{}, err
	}
	input, err := batchOf(r.described.Input, rows)
	if err != nil {
		return bridge.Run{}, err
	}
	output, rejected, err := plugin.Process(r.context(), input)
	if err != nil {
		return bridge.Run{}, err
	}
	return r.run(output, rejected)
}

// run converts the result of a call.
func (r *runner) run(output *Batch, rejected []Rejected) (bridge.Run, error) {
	rows, err := jsonOf(r.described.Output, output)
	if err != nil {
		return bridge.Run{}, err
	}
	run := bridge.Run{Rows: text(rows)}
	for _, rejection := range rejected {
		run.Rejected = append(run.Rejected, bridge.Rejected{Row: int(rejection.Row), Reason: rejection.Reason})
	}
	return run, nil
}

func text(value any) string {
	bytes, err := json.Marshal(value)
	if err != nil {
		return err.Error()
	}
	return string(bytes)
}

// grouped returns the rows of each key, with keys in the order of their first rows.
func (r *runner) grouped(rows []row) []group {
	var groups []group
	for _, own := range rows {
		key := r.keyOf(own)
		at := slices.IndexFunc(groups, func(other group) bool { return other.key == text(key) })
		if at < 0 {
			at = len(groups)
			groups = append(groups, group{key: text(key), row: key})
		}
		groups[at].rows = append(groups[at].rows, own)
	}
	return groups
}

func (r *runner) keyOf(own row) row {
	key := row{}
	for _, field := range r.stage.key {
		key[field.Name] = own[field.Name]
	}
	return key
}

// columnsOf returns the columns of the keys and of the rows, and the end of each group.
func (r *runner) columnsOf(groups []group, schema Schema) (keys, rows *Batch, ends []byte, err error) {
	var keyRows, all []row
	var starts []uint32
	for _, group := range groups {
		keyRows, all = append(keyRows, group.row), append(all, group.rows...)
		starts = append(starts, uint32(len(all)))
	}
	if keys, err = batchOf(r.stage.key, keyRows); err != nil {
		return nil, nil, nil, err
	}
	rows, err = batchOf(schema, all)
	return keys, rows, bytesOf(starts), err
}

func (r *runner) TimeOut(key string) (bridge.Run, error) {
	rows, err := rowsOf("[" + key + "]")
	if err != nil {
		return bridge.Run{}, err
	}
	groups := r.grouped(rows)
	groups[0].rows = nil
	return r.update(groups, true)
}

func (r *runner) States() (string, error) {
	rows := []row{}
	for _, state := range r.states {
		merged := maps.Clone(state.row)
		maps.Copy(merged, state.state)
		rows = append(rows, merged)
	}
	return text(rows), nil
}

// due takes the due timers, and adds groups for keys without rows.
func (r *runner) due(now Timestamp, groups []group) []group {
	var wait []timerOf
	var due []timerOf
	for _, timer := range r.timers {
		if timer.at > now {
			wait = append(wait, timer)
			continue
		}
		due = append(due, timer)
		if !slices.ContainsFunc(groups, func(group group) bool { return group.key == timer.key }) {
			groups = append(groups, group{key: timer.key, row: timer.row})
		}
	}
	r.timers = wait
	var ends []uint32
	var times []Timestamp
	for _, group := range groups {
		start := len(times)
		for _, timer := range due {
			if timer.key == group.key {
				times = append(times, timer.at)
			}
		}
		slices.Sort(times[start:])
		ends = append(ends, uint32(len(times)))
	}
	timersOfTest.due, timersOfTest.changes = dueTimes{bytesOf(ends), times}, nil
	return groups
}

func (r *runner) update(groups []group, timedOut bool) (bridge.Run, error) {
	plugin, err := pluginOf[Updater](&r.stage)
	if err != nil {
		return bridge.Run{}, err
	}
	ctx := r.context()
	now := ctx.Time
	if r.watermark.Valid {
		now = r.watermark.Value
	}
	groups = r.due(now, groups)
	call := &Groups{}
	if call.Keys, call.Rows, call.ends, err = r.columnsOf(groups, r.described.Input); err != nil {
		return bridge.Run{}, err
	}
	states, known, idle := make([]row, len(groups)), make([]bool, len(groups)), make([]bool, len(groups))
	for i, group := range groups {
		at := slices.IndexFunc(r.states, func(state stateOf) bool { return state.key == group.key })
		if known[i], idle[i] = at >= 0, timedOut; at >= 0 {
			states[i] = r.states[at].state
		}
	}
	call.Known, call.TimedOut = BitsOf(known), BitsOf(idle)
	if call.States, err = batchOf(r.described.State, states); err != nil {
		return bridge.Run{}, err
	}
	updated, err := plugin.Update(&r.stage, ctx, call)
	if err != nil {
		return bridge.Run{}, err
	}
	if err := r.keep(groups, updated, timedOut); err != nil {
		return bridge.Run{}, err
	}
	return r.run(updated.Output, updated.Rejected)
}

// keep stores the states and timers of a call.
func (r *runner) keep(groups []group, updated *Updated, timedOut bool) error {
	for _, change := range timersOfTest.changes {
		timer := timerOf{groups[change.group].key, groups[change.group].row, change.at}
		r.timers = slices.DeleteFunc(r.timers, func(other timerOf) bool { return other.key == timer.key && other.at == timer.at })
		if change.set {
			r.timers = append(r.timers, timer)
		}
	}
	states, err := jsonOf(r.described.State, updated.States)
	if err != nil {
		return err
	}
	if len(states) != len(groups) {
		return fmt.Errorf("%d states of %d keys", len(states), len(groups))
	}
	for i, group := range groups {
		r.states = slices.DeleteFunc(r.states, func(other stateOf) bool { return other.key == group.key })
		if updated.Kept.At(i) && !timedOut {
			r.states = append(r.states, stateOf{group.key, group.row, states[i]})
		}
	}
	return nil
}

// aggregate lifts all rows, combines those of each key from first to last, and lowers. With an inverse, it
// removes the first row of each key and adds it again.
func (r *runner) aggregate(rows []row) (bridge.Run, error) {
	plugin, err := pluginOf[BatchAggregator](&r.stage)
	if err != nil {
		return bridge.Run{}, err
	}
	ctx := r.context()
	returned := []row{}
	for _, group := range r.grouped(rows) {
		lowered, err := r.reduce(plugin, ctx, group)
		if err != nil {
			return bridge.Run{}, err
		}
		maps.Copy(lowered, group.row)
		returned = append(returned, lowered)
	}
	return bridge.Run{Rows: text(returned)}, nil
}

func (r *runner) reduce(plugin BatchAggregator, ctx *Context, group group) (row, error) {
	accumulators := r.described.State
	one := func(batch *Batch, err error) (row, error) {
		if err != nil {
			return nil, err
		}
		rows, err := jsonOf(accumulators, batch)
		if err == nil && len(rows) != 1 {
			err = fmt.Errorf("%d accumulators where one is needed", len(rows))
		}
		if err != nil {
			return nil, err
		}
		return rows[0], nil
	}
	pair := func(function func(ctx *Context, left, right *Batch) (*Batch, error), left, right row) (row, error) {
		first, err := batchOf(accumulators, []row{left})
		if err != nil {
			return nil, err
		}
		second, err := batchOf(accumulators, []row{right})
		if err != nil {
			return nil, err
		}
		return one(function(ctx, first, second))
	}
	input, err := batchOf(r.described.Input, group.rows)
	if err != nil {
		return nil, err
	}
	lifted, err := plugin.Lift(ctx, input)
	if err != nil {
		return nil, err
	}
	parts, err := jsonOf(accumulators, lifted)
	if err != nil {
		return nil, err
	}
	whole := parts[0]
	for _, part := range parts[1:] {
		if whole, err = pair(plugin.Combine, whole, part); err != nil {
			return nil, err
		}
	}
	if r.described.Inverse && len(parts) > 1 {
		rest, err := pair(plugin.Inverse, whole, parts[0])
		if err != nil {
			return nil, err
		}
		if whole, err = pair(plugin.Combine, parts[0], rest); err != nil {
			return nil, err
		}
	}
	keys, err := batchOf(r.stage.key, []row{group.row})
	if err != nil {
		return nil, err
	}
	last, err := batchOf(accumulators, []row{whole})
	if err != nil {
		return nil, err
	}
	accumulators = r.described.Output
	return one(plugin.Lower(ctx, keys, last))
}

func (r *runner) cogroup(inputs [][]row) (bridge.Run, error) {
	plugin, err := pluginOf[Cogrouper](&r.stage)
	if err != nil {
		return bridge.Run{}, err
	}
	if len(inputs) != len(r.described.Inputs) {
		return bridge.Run{}, fmt.Errorf("%d inputs where the plugin reads %d", len(inputs), len(r.described.Inputs))
	}
	var keys []group
	for _, input := range inputs {
		for _, own := range r.grouped(input) {
			if !slices.ContainsFunc(keys, func(other group) bool { return other.key == own.key }) {
				keys = append(keys, group{key: own.key, row: own.row})
			}
		}
	}
	call := &Cogroups{}
	for i, input := range inputs {
		groups := slices.Clone(keys)
		for _, own := range r.grouped(input) {
			at := slices.IndexFunc(groups, func(other group) bool { return other.key == own.key })
			groups[at].rows = own.rows
		}
		grouped := Grouped{}
		if call.Keys, grouped.Rows, grouped.ends, err = r.columnsOf(groups, r.described.Inputs[i]); err != nil {
			return bridge.Run{}, err
		}
		call.Inputs = append(call.Inputs, grouped)
	}
	output, rejected, err := plugin.Cogroup(&r.stage, r.context(), call)
	if err != nil {
		return bridge.Run{}, err
	}
	// The rows of the second input are counted after those of the first.
	var all []Rejected
	before := uint32(0)
	for i, own := range rejected {
		for _, rejection := range own {
			all = append(all, Rejected{rejection.Row + before, rejection.Reason})
		}
		before += uint32(call.Inputs[i].Rows.rows)
	}
	return r.run(output, all)
}
