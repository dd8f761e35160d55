package millstream

import (
	"fmt"
	"io"
	"log"
	"strings"
)

// Level says how much a line of the log matters.
type Level int32

// The levels of the log.
const (
	Debug Level = iota
	Info
	Warn
	Error
)

// Logf writes a line to the host's log, with stage, plugin and batch; the host drops what is above its limits. In tests it
// goes to standard error. The packages log and slog write to it too, and what is printed to standard output and error.
func Logf(level Level, format string, arguments ...any) {
	hostLog(level, fmt.Sprintf(format, arguments...))
}

// logWriter takes what the packages log and slog write, one line a call.
type logWriter struct{}

func (logWriter) Write(line []byte) (int, error) {
	text := strings.TrimSuffix(string(line), "\n")
	level := Info
	// So slog begins its lines.
	for i, word := range []string{"DEBUG ", "INFO ", "WARN ", "ERROR "} {
		if rest, is := strings.CutPrefix(text, word); is {
			level, text = Level(i), rest
		}
	}
	hostLog(level, text)
	return len(line), nil
}

var _ io.Writer = logWriter{}

// takeLog makes the packages log and slog write to the host's log.
func takeLog() {
	log.SetOutput(logWriter{})
	log.SetFlags(0)
}

// Count adds to the counter of this name, which begins at 0 and is shown with the job's metrics. Names match
// `[a-z][a-z0-9_]{0,63}`; others are ignored. In tests it does nothing.
func Count(counter string, amount uint64) { hostCount(counter, amount) }

// ReadFile gives the contents of a file that the job grants by this name: `grant = { files = { name = "path" } }`. In tests
// it is the file of this name under testdata.
func ReadFile(name string) ([]byte, error) { return hostReadFile(name) }
