// A value of every type, with and without nulls: every output column is computed, so that a value that is read or
// written wrongly is detected.
package main

import (
	"math"
	"slices"
	"time"
	"unicode/utf8"

	millstream "millstream.dev/sdk"
)

// Values is an input row.
type Values struct {
	Flag         bool
	Int          int64
	Float        float64
	Text         string
	Binary       []byte
	At           millstream.Timestamp
	FlagOrNull   *bool
	IntOrNull    *int64
	FloatOrNull  millstream.Null[float64]
	TextOrNull   *string
	BinaryOrNull *[]byte
	AtOrNull     *time.Time
	Type         millstream.Null[string]
	Class        *int
	Func         millstream.Null[bool]
	TwoWords     *string `millstream:"two words"`
	Größe        *int64
}

// Computed is an output row.
type Computed struct {
	Flag         bool
	Int          int64
	Float        float64
	IsNegative   bool
	Text         string
	Length       int64
	Binary       []byte
	At           millstream.Timestamp
	FlagOrNull   *bool
	IntOrNull    *int64
	FloatOrNull  millstream.Null[float64]
	TextOrNull   *string
	LengthOrNull *int64
	BinaryOrNull *[]byte
	AtOrNull     *time.Time
	Type         millstream.Null[string]
	Class        *int
	Func         millstream.Null[bool]
	TwoWords     *string `millstream:"two words"`
	Größe        *int64
}

func init() {
	millstream.Transform(types)
}

func types(_ *millstream.Context, row Values, out *millstream.Out[Computed]) error {
	out.Push(Computed{
		Flag:         !row.Flag,
		Int:          ^row.Int,
		Float:        row.Float * 2,
		IsNegative:   math.Signbit(row.Float) && !math.IsNaN(row.Float),
		Text:         row.Text + "!",
		Length:       length(row.Text),
		Binary:       reversed(row.Binary),
		At:           row.At + 1_000_000,
		FlagOrNull:   each(row.FlagOrNull, func(flag bool) bool { return !flag }),
		IntOrNull:    each(row.IntOrNull, inverted),
		FloatOrNull:  millstream.Null[float64]{Value: row.FloatOrNull.Value * 2, Valid: row.FloatOrNull.Valid},
		TextOrNull:   each(row.TextOrNull, func(text string) string { return text + "!" }),
		LengthOrNull: each(row.TextOrNull, length),
		BinaryOrNull: each(row.BinaryOrNull, reversed),
		AtOrNull:     each(row.AtOrNull, func(at time.Time) time.Time { return at.Add(time.Second) }),
		Type:         row.Type,
		Class:        each(row.Class, func(class int) int { return ^class }),
		Func:         millstream.Null[bool]{Value: !row.Func.Value, Valid: row.Func.Valid},
		TwoWords:     row.TwoWords,
		Größe:        each(row.Größe, inverted),
	})
	return nil
}

func each[T, O any](value *T, change func(T) O) *O {
	if value == nil {
		return nil
	}
	changed := change(*value)
	return &changed
}

func inverted(number int64) int64 { return ^number }

func length(text string) int64 { return int64(utf8.RuneCountInString(text)) }

func reversed(bytes []byte) []byte {
	bytes = slices.Clone(bytes)
	slices.Reverse(bytes)
	return bytes
}

func main() {}
