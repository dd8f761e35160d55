//go:build wasip1

package millstream

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"millstream.dev/sdk/internal/abi"
)

// stackBytesMax limits the stack, so that an endless recursion is reported before it uses up memory.
const stackBytesMax = 16 << 20

func init() {
	debug.SetMaxStack(stackBytesMax)
}

// result is the result of the call. The host reads it before the next call.
var result abi.Area

// call runs a function that writes the plugin's result. It returns the address of the result. A panic becomes an
// error with the plugin's lines that led to it.
func call(function func(to *abi.Area) error) uint32 { return callWith(false, function) }

// callWith is call for results whose largest number has eight bytes, if wide is set. Then the value after the case of the
// result is aligned to eight bytes.
func callWith(wide bool, function func(to *abi.Area) error) uint32 {
	begin := func(tag uint32) {
		result.Reset()
		result.Put(tag)
		if wide {
			result.Put(0)
		}
	}
	abi.Begin()
	begin(0)
	if err := guarded(function); err != nil {
		failure := failureOf(err)
		begin(1)
		result.Put(uint32(failure.kind))
		result.PutString(failure.message)
	}
	return result.Address()
}

func guarded(function func(to *abi.Area) error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = InternalError(fmt.Sprintf("panic: %v\n%s", cause, calls()))
		}
	}()
	return function(&result)
}

// calls lists the active functions of the plugin, innermost first.
func calls() string {
	const deepest = 32
	var counters [deepest]uintptr
	frames := runtime.CallersFrames(counters[:runtime.Callers(0, counters[:])])
	var text strings.Builder
	for panicked, more := false, true; more; {
		var frame runtime.Frame
		frame, more = frames.Next()
		switch {
		case !panicked:
			panicked = frame.Function == "runtime.gopanic"
		case strings.HasPrefix(frame.Function, "runtime."), strings.HasPrefix(frame.Function, "millstream.dev/sdk."):
		default:
			fmt.Fprintf(&text, "%s\n\t%s:%d\n", frame.Function, frame.File, frame.Line)
		}
	}
	return text.String()
}

// contextOf creates the context of a call.
func contextOf(batch uint64, time int64, hasWatermark uint32, watermark int64) *Context {
	return &Context{
		Batch:     batch,
		Time:      Timestamp(time),
		Watermark: Null[Timestamp]{Value: Timestamp(watermark), Valid: hasWatermark != 0},
	}
}

// describeTo runs Describe with the stage from the host.
func describeTo(stage *Stage, lower func(to *abi.Area, description *Description)) uint32 {
	return call(func(to *abi.Area) error {
		description, err := describe(stage)
		if err != nil {
			return err
		}
		lower(to, &description)
		return nil
	})
}

// describeOne runs Describe in a world with one input.
func describeOne(config, configLength, fields, fieldsLength uint32) uint32 {
	stage := &Stage{
		config:    abi.String(config, configLength),
		inputs:    []Schema{liftSchema(fields, fieldsLength)},
		hasInputs: true,
	}
	return describeTo(stage, lowerDescription)
}
