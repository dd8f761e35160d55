//go:build !wasip1

package millstream

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"millstream.dev/sdk/internal/bridge"
)

// host creates a host for the plugin that a function registers.
func host(t *testing.T, stage bridge.Stage, register func()) bridge.Runner {
	t.Helper()
	runner, err := refusable(stage, register)
	if err != nil {
		t.Fatal(err)
	}
	return runner
}

func refusable(stage bridge.Stage, register func()) (bridge.Runner, error) {
	registered.make, made.plugin, configs = nil, nil, nil
	register()
	return bridge.New(stage)
}

func wants(t *testing.T, what, want, got string) {
	t.Helper()
	if got != want {
		t.Errorf("%s\n got %s\nwant %s", what, got, want)
	}
}

func ran(t *testing.T, runner bridge.Runner, rows string, rejected []bridge.Rejected, inputs ...string) {
	t.Helper()
	run, err := runner.Run(inputs)
	if err != nil {
		t.Fatal(err)
	}
	wants(t, "rows", rows, run.Rows)
	wants(t, "rejected", fmt.Sprint(rejected), fmt.Sprint(run.Rejected))
}

type every struct {
	Flag       bool
	Int        int
	Whole      int64
	Float      float64
	Text       string
	Bytes      []byte
	At         Timestamp
	When       time.Time
	FlagOrNil  *bool
	IntOrNil   Null[int]
	FloatOrNil *float64
	TextOrNil  Null[string]
	BytesOrNil *[]byte
	AtOrNil    Null[Timestamp]
	WhenOrNil  *time.Time
	Left       func() `millstream:"-"`
	_          int
}

func TestEveryTypeIsUnchanged(t *testing.T) {
	runner := host(t, bridge.Stage{}, func() {
		Transform(func(_ *Context, row every, out *Out[every]) error {
			out.Push(row)
			return nil
		})
	})
	full := `{"at":-1,"at_or_nil":5,"bytes":"00ff","bytes_or_nil":"","flag":true,"flag_or_nil":false,"float":-0.5,` +
		`"float_or_nil":1e+300,"int":9007199254740993,"int_or_nil":-7,"text":"größer 😀","text_or_nil":"x",` +
		`"when":1700000000000001,"when_or_nil":-62135596800000000,"whole":-9223372036854775808}`
	none := `{"at":0,"at_or_nil":null,"bytes":"","bytes_or_nil":null,"flag":false,"flag_or_nil":null,"float":0,` +
		`"float_or_nil":null,"int":0,"int_or_nil":null,"text":"","text_or_nil":null,` +
		`"when":0,"when_or_nil":null,"whole":0}`
	var rows []string
	// More than one block, so that the last block and the last byte of a bitmap are partly filled.
	for i := range 3*blockRows + 5 {
		if i%3 == 0 {
			rows = append(rows, full)
		} else {
			rows = append(rows, none)
		}
	}
	text := "[" + strings.Join(rows, ",") + "]"
	for range 2 {
		ran(t, runner, text, nil, text)
	}
	ran(t, runner, "[]", nil, "[]")
}

func TestColumnsAreNamedInSnakeCase(t *testing.T) {
	for name, want := range map[string]string{
		"A": "a", "UserID": "user_id", "HTTPServer": "http_server", "TotalM": "total_m", "X2Y": "x2_y", "Größe": "größe",
		"Already_snake": "already_snake",
	} {
		wants(t, name, want, snake(name))
	}
	layout := layoutOf[struct {
		Kind string `millstream:"type"`
		Skip string `millstream:"-"`
		Two  *bool  `millstream:"two words"`
	}]()
	wants(t, "columns", "type text, two words bool", layout.schema().String())
	if fields := layout.schema(); fields[0].Nullable || !fields[1].Nullable {
		t.Errorf("%+v", fields)
	}
}

func TestTypesThatAreNotRowsAreRejected(t *testing.T) {
	refused := func(words string, layout func() *layout) {
		t.Helper()
		defer func() {
			if got := fmt.Sprint(recover()); !strings.Contains(got, words) {
				t.Errorf("%s does not hold %s", got, words)
			}
		}()
		layout()
	}
	refused("int64 is not a row", layoutOf[int64])
	refused("field Small of", layoutOf[struct{ Small int32 }])
	refused("has type map", layoutOf[struct{ M map[string]int }])
	refused("has type []string", layoutOf[struct{ M []string }])
}

type line struct{ Line string }
type word struct{ Word *string }

func TestOutputRowsOfARejectedRowAreRemoved(t *testing.T) {
	runner := host(t, bridge.Stage{}, func() {
		Transform(func(_ *Context, row line, out *Out[word]) error {
			for text := range strings.SplitSeq(row.Line, " ") {
				switch text {
				case "!":
					return Reject("a %s", text)
				case "many":
					// More rows than are buffered.
					for range 2 * blockRows {
						out.Push(word{&text})
					}
				case "-":
					out.Push(word{})
				default:
					out.Push(word{&text})
				}
			}
			return nil
		})
	})
	ran(t, runner, `[{"word":"a"},{"word":null},{"word":"b"},{"word":null}]`,
		[]bridge.Rejected{{Row: 1, Reason: "a !"}, {Row: 2, Reason: "column `line` is null"}, {Row: 3, Reason: "a !"}},
		`[{"line":"a -"},{"line":"many - !"},{"line":null},{"line":"c !"},{"line":"b -"}]`)
}

func TestTextsOfAllLengthsAreCopied(t *testing.T) {
	source := "0123456789abcdefghijklmnopqrstuvwxyz"
	for length := range len(source) {
		for _, room := range []int{0, 3, 100} {
			got := appendText(append(make([]byte, 0, 3+room), "ab-"...), source[1:][:length])
			wants(t, fmt.Sprint(length, " ", room), "ab-"+source[1:][:length], string(got))
		}
	}
}

func TestConfigsAreStrict(t *testing.T) {
	type settings struct {
		AtLeast int64 `json:"at_least" millstream:"required"`
		Label   string
		Inner   struct{ Deep int } `json:"inner"`
	}
	var read *settings
	register := func() {
		read = Config(settings{Label: "ok"})
		Transform(func(*Context, line, *Out[line]) error { return nil })
	}
	for config, words := range map[string]string{
		``:                              "missing field `at_least`",
		`{"at_least": 1, "at_most": 2}`: "unknown field `at_most`",
		`{"AT_LEAST": 1}`:               "missing field `at_least`",
		`{"at_least": 1, "label": "x"}`: "unknown field `label`",
		`{"at_least": 1.5}`:             "at_least",
		`{"at_least": 1, "inner": {"shallow":1}}`: "shallow",
		`[]`: "array",
		`{`:  "unexpected end",
	} {
		_, err := refusable(bridge.Stage{Config: config}, register)
		if err == nil || !strings.Contains(err.Error(), words) || failureOf(err).kind != failConfig {
			t.Errorf("%s: %v", config, err)
		}
	}
	host(t, bridge.Stage{Config: `{"at_least": 9007199254740993, "inner": {"Deep": 3}}`}, register)
	if read.AtLeast != 9007199254740993 || read.Label != "ok" || read.Inner.Deep != 3 {
		t.Errorf("%+v", read)
	}
	// No value of the previous config is kept.
	host(t, bridge.Stage{Config: `{"at_least": 1, "Label": "new"}`}, register)
	if read.AtLeast != 1 || read.Label != "new" || read.Inner.Deep != 0 {
		t.Errorf("%+v", read)
	}
	_, err := refusable(bridge.Stage{Config: `{"a": 1}`}, func() {
		Transform(func(*Context, line, *Out[line]) error { return nil })
	})
	wants(t, "no config", "this plugin takes no config", fmt.Sprint(err))
}

type amount struct{ Amount int64 }
type total struct {
	Total int64
	Note  *string
}

func TestStatesAreKeptChangedAndRemoved(t *testing.T) {
	runner := host(t, bridge.Stage{Key: "user text"}, func() {
		Update(func(ctx *Context, _ AnyKey, rows []amount, state *total, out *KeyedOut[total]) (*total, error) {
			if state == nil {
				state = &total{}
			}
			for _, row := range rows {
				state.Total += row.Amount
				out.Push(*state)
				switch row.Amount {
				case -1:
					return nil, Reject("no")
				case 0:
					return nil, nil
				}
			}
			if ctx.TimedOut {
				out.Push(total{Total: -state.Total})
			}
			return state, nil
		})
	})
	ran(t, runner, `[{"note":null,"total":1,"user":"a"},{"note":null,"total":3,"user":"a"},{"note":null,"total":5,"user":"b"}]`,
		[]bridge.Rejected{{Row: 2, Reason: "column `amount` is null"}},
		`[{"user":"a","amount":1},{"user":"b","amount":5},{"user":"a","amount":2},{"user":"a","amount":null}]`)
	// State changes before the function rejected are not kept.
	ran(t, runner, `[{"note":null,"total":6,"user":"b"}]`,
		[]bridge.Rejected{{Row: 0, Reason: "no"}, {Row: 1, Reason: "column `amount` is null"}, {Row: 2, Reason: "no"}},
		`[{"user":"a","amount":7},{"user":"a","amount":null},{"user":"a","amount":-1},{"user":"b","amount":1}]`)
	states, err := runner.States()
	wants(t, "states", `[{"note":null,"total":3,"user":"a"},{"note":null,"total":6,"user":"b"}] <nil>`, fmt.Sprint(states, " ", err))
	ran(t, runner, `[{"note":null,"total":6,"user":"b"}]`, nil, `[{"user":"b","amount":0}]`)
	run, err := runner.TimeOut(`{"user":"a"}`)
	wants(t, "timeout", `[{"note":null,"total":-3,"user":"a"}] <nil>`, fmt.Sprint(run.Rows, " ", err))
	states, _ = runner.States()
	wants(t, "states", "[]", states)
}

func TestTimersAreSetUnlessRowsAreRejected(t *testing.T) {
	runner := host(t, bridge.Stage{Key: "user text"}, func() {
		Update(func(ctx *Context, _ AnyKey, rows []amount, state *total, out *KeyedOut[amount]) (*total, error) {
			for _, at := range ctx.Timers.Due() {
				out.Push(amount{int64(at)})
			}
			for _, row := range rows {
				ctx.Timers.Set(Timestamp(row.Amount))
				if row.Amount == 1 {
					return state, Reject("no")
				}
				ctx.Timers.Cancel(3000000)
			}
			return nil, nil
		})
	})
	ran(t, runner, `[]`, []bridge.Rejected{{Row: 2, Reason: "no"}},
		`[{"user":"a","amount":2000000},{"user":"a","amount":1500000},{"user":"b","amount":1},{"user":"c","amount":3000000}]`)
	ran(t, runner, `[{"amount":1500000,"user":"a"},{"amount":2000000,"user":"a"}]`, nil, `[]`)
	ran(t, runner, `[]`, nil, `[]`)
}

func TestAnErrorOfAnAggregateNamesTheRow(t *testing.T) {
	register := func() {
		type keyOf struct{ User string }
		AggregateByKey(KeyedAggregator[keyOf, amount, total, line]{
			Lift: func(_ *Context, row amount) (total, error) {
				if row.Amount < 0 {
					return total{}, Reject("below zero")
				}
				return total{Total: row.Amount}, nil
			},
			Combine: func(_ *Context, left, right total) (total, error) { return total{Total: left.Total + right.Total}, nil },
			Lower: func(_ *Context, key keyOf, sum total) (line, error) {
				return line{fmt.Sprint(key.User, sum.Total)}, nil
			},
			Inverse: func(_ *Context, whole, part total) (total, error) { return total{Total: whole.Total - part.Total}, nil },
		})
	}
	runner := host(t, bridge.Stage{Key: "user text"}, register)
	ran(t, runner, `[{"line":"a3","user":"a"},{"line":"b5","user":"b"}]`, nil,
		`[{"user":"a","amount":1},{"user":"b","amount":5},{"user":"a","amount":2}]`)
	_, err := runner.Run([]string{`[{"user":"a","amount":1},{"user":"a","amount":-1}]`})
	wants(t, "error", "row 1: below zero", fmt.Sprint(err))
	_, err = runner.Run([]string{`[{"user":"a","amount":null}]`})
	wants(t, "null", "row 0: column `amount` is null", fmt.Sprint(err))
}

func TestSeveralInputsAreGroupedByKey(t *testing.T) {
	runner := host(t, bridge.Stage{Key: "user text"}, func() {
		type key struct{ User string }
		type counts struct{ Left, Right int64 }
		Cogroup2(func(_ *Context, key key, left []amount, right []AnyKey, out *KeyedOut[counts]) error {
			out.Push(counts{int64(len(left)), int64(len(right))})
			if key.User == "bad" {
				return Reject("%d and %d", len(left), len(right))
			}
			if key.User == "twice" {
				out.Push(counts{})
			}
			return nil
		})
	})
	ran(t, runner, `[{"left":2,"right":1,"user":"a"},{"left":0,"right":1,"user":"twice"},{"left":0,"right":0,"user":"twice"}]`,
		[]bridge.Rejected{{Row: 2, Reason: "1 and 2"}, {Row: 3, Reason: "column `amount` is null"}, {Row: 5, Reason: "1 and 2"}, {Row: 6, Reason: "1 and 2"}},
		`[{"user":"a","amount":1},{"user":"bad","amount":2},{"user":"a","amount":1},{"user":"bad","amount":null}]`,
		`[{"user":"bad"},{"user":"twice"},{"user":"a"},{"user":"bad"}]`)
}

func TestBatchesAreTakenApartAndPutTogether(t *testing.T) {
	batch := NewBatch(3).
		AddInt64s([]int64{1, 2, 3}, nil).
		AddTexts([]string{"a", "", "ccc"}, BitsOf([]bool{true, false, true})).
		AddBools(BitsOf([]bool{true, false, true}), nil)
	schema := Schema{{"i", Int64, false}, {"t", Text, true}, {"b", Bool, false}}
	taken, err := batch.Take([]uint32{2, 2, 1, 0}, schema)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := jsonOf(schema, taken)
	wants(t, "rows", `[{"b":true,"i":3,"t":"ccc"},{"b":true,"i":3,"t":"ccc"},{"b":false,"i":2,"t":null},`+
		`{"b":true,"i":1,"t":"a"}] <nil>`, fmt.Sprint(text(rows), " ", err))
	if _, err = batch.Take([]uint32{3}, schema); err == nil {
		t.Error("a row was taken that is not there")
	}
	if _, err = batch.Take([]uint32{0}, Schema{{"i", Int64, false}, {"d", "arrow Date32", true}, {"b", Bool, false}}); err == nil {
		t.Error("a column of a foreign type was taken apart")
	}
	if _, err = batch.Beside(NewBatch(2)); err == nil {
		t.Error("columns of different lengths stand side by side")
	}
	both, err := batch.Select(2, 0).Beside(batch.Select(1))
	if err != nil || both.Width() != 3 || both.Texts(2).At(2) != "ccc" || !both.IsNull(2, 1) || both.Bools(0).At(1) {
		t.Errorf("%+v %v", both, err)
	}
}

func TestColumnsThatAreTooShortAreFound(t *testing.T) {
	layout := layoutOf[every]()
	for i := range layout.columns {
		batch := &Batch{rows: 9}
		for range layout.columns {
			batch.AddColumn(Column{Offsets: make([]byte, 40), Data: make([]byte, 72)})
		}
		if err := layout.check(batch); err != nil {
			t.Fatal(err)
		}
		short := batch.columns[i]
		batch.columns[i].Validity = []byte{1}
		if err := layout.check(batch); err == nil {
			t.Errorf("column %d: its validity is too short", i)
		}
		batch.columns[i] = Column{Offsets: short.Offsets[:36], Data: []byte{1}}
		if err := layout.check(batch); err == nil {
			t.Errorf("column %d: it is too short", i)
		}
	}
	if err := layout.check(&Batch{}); err == nil {
		t.Error("the columns are not there")
	}
}

func TestLinesOfTheLogHaveLevels(t *testing.T) {
	length, err := logWriter{}.Write([]byte("WARN careful a=1\n"))
	if length != 17 || err != nil {
		t.Error(length, err)
	}
}

func TestAPluginIsRegisteredOnce(t *testing.T) {
	defer func() {
		wants(t, "panic", "millstream: two plugins in one program; a component holds one", fmt.Sprint(recover()))
	}()
	function := func(*Context, line, *Out[line]) error { return nil }
	host(t, bridge.Stage{}, func() { Transform(function) })
	Transform(function)
}

type oldSum struct {
	Sum  int64
	Note Null[string]
}

type newSum struct {
	Total int64
	Text  string
}

func TestStatesOfOtherVersionsAreConverted(t *testing.T) {
	migrations = nil
	defer func() { migrations = nil }()
	Migrate(func(old struct{ Sum int64 }) (newSum, error) { return newSum{Total: old.Sum}, nil })
	Migrate(func(old oldSum) (newSum, error) {
		if old.Sum < 0 {
			return newSum{}, fmt.Errorf("below 0")
		}
		return newSum{Total: old.Sum, Text: old.Note.Value}, nil
	})
	schema := Schema{{Name: "sum", Type: Int64}, {Name: "note", Type: Text, Nullable: true}}
	states := NewBatch(2).AddInt64s([]int64{3, 4}, nil).AddTexts([]string{"a", ""}, BitsOf([]bool{true, false}))
	made, err := migrate("0.1.0", schema, states)
	if err != nil {
		t.Fatal(err)
	}
	wants(t, "totals", "[3 4]", fmt.Sprint(made.Int64s(0)))
	wants(t, "texts", "a,", made.Texts(1).At(0)+","+made.Texts(1).At(1))
	made, err = migrate("0.1.0", schema[:1], NewBatch(1).AddInt64s([]int64{5}, nil))
	if err != nil {
		t.Fatal(err)
	}
	wants(t, "the other", "[5]", fmt.Sprint(made.Int64s(0)))
	_, err = migrate("0.1.0", schema, NewBatch(1).AddInt64s([]int64{-1}, nil).AddTexts([]string{""}, nil))
	wants(t, "a refusal", "row 0: below 0", fmt.Sprint(err))
	_, err = migrate("0.2.0", Schema{{Name: "sum", Type: Text}}, NewBatch(0))
	wants(t, "others", "states of version 0.2.0 have the columns (sum text); expected (sum int64) or "+
		"(sum int64, note text)", fmt.Sprint(err))
}
