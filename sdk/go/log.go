package millstream

import (
	"fmt"
	"io"
	"log"
	"strings"
)

// Level is the severity of a log message.
type Level int32

// Log levels.
const (
	Debug Level = iota
	Info
	Warn
	Error
)

// Logf logs a message. The host adds stage, plugin and batch, and drops messages above its limits. In tests, messages go to
// standard error. The packages log and slog also write to this log, and so does text printed to standard output and error.
func Logf(level Level, format string, arguments ...any) {
	hostLog(level, fmt.Sprintf(format, arguments...))
}

// logWriter receives the lines of the packages log and slog, one per call.
type logWriter struct{}

func (logWriter) Write(line []byte) (int, error) {
	text := strings.TrimSuffix(string(line), "\n")
	level := Info
	// Prefixes of slog's lines.
	for i, word := range []string{"DEBUG ", "INFO ", "WARN ", "ERROR "} {
		if rest, is := strings.CutPrefix(text, word); is {
			level, text = Level(i), rest
		}
	}
	hostLog(level, text)
	return len(line), nil
}

var _ io.Writer = logWriter{}

// takeLog redirects the packages log and slog to the host's log.
func takeLog() {
	log.SetOutput(logWriter{})
	log.SetFlags(0)
}

// Count adds to a counter, which starts at 0 and is shown with the job's metrics. Names match `[a-z][a-z0-9_]{0,63}`; other
// names are ignored. In tests, it does nothing.
func Count(counter string, amount uint64) { hostCount(counter, amount) }

// ReadFile returns the contents of a file that the job grants by name: `grant = { files = { name = "path" } }`. In tests, it
// reads the file of this name in testdata.
func ReadFile(name string) ([]byte, error) { return hostReadFile(name) }
