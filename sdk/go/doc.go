// Package millstream is for writing Millstream plugins in Go: functions on rows become a WebAssembly component.
//
//	type Line struct {
//		Value string
//	}
//
//	type Word struct {
//		Word string
//	}
//
//	func init() {
//		millstream.Transform(split)
//	}
//
//	func split(ctx *millstream.Context, line Line, out *millstream.Out[Word]) error {
//		for word := range strings.FieldsSeq(line.Value) {
//			out.Push(Word{Word: word})
//		}
//		return nil
//	}
//
//	func main() {}
//
// A plugin registers itself in an init function with [Transform], [Update], [Aggregate] or [Cogroup2], or with one of
// [TransformBatches], [UpdateBatches], [AggregateBatches] and [CogroupBatches] if it works on whole columns. Package
// [millstream.dev/sdk/millstreamtest] runs it in a plain go test.
//
// Rows are structs. An exported field is a column. Its name is the field's name in snake case, or the name in the tag
// `millstream:"name"`. A field with the tag "-" is not a column. Its type is bool, int64, int, float64, string, []byte,
// [Timestamp] or time.Time. For a nullable column, it is a pointer to one of these, or [Null] of one. A row with a null in
// any other field is rejected before the function sees it.
package millstream
