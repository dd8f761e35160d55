//go:build !wasip1

package millstream

import (
	"fmt"
	"os"
	"path/filepath"
)

// Outside of a component, in tests, package millstreamtest replaces the host.

// timersOfTest has the timers of a test run: the due ones, and the changes that calls made.
var timersOfTest struct {
	due     dueTimes
	changes []changeOfTest
}

// changeOfTest is a timer change of a call: group, time, and whether the timer is set or canceled.
type changeOfTest struct {
	group uint32
	at    Timestamp
	set   bool
}

func hostInputs() []Schema { return nil }
func hostKey() Schema      { return nil }
func hostDue() *dueTimes   { return &timersOfTest.due }

func hostSetTimer(group uint32, at Timestamp) {
	timersOfTest.changes = append(timersOfTest.changes, changeOfTest{group, at, true})
}

func hostCancelTimer(group uint32, at Timestamp) {
	timersOfTest.changes = append(timersOfTest.changes, changeOfTest{group, at, false})
}

func hostLog(level Level, line string) {
	fmt.Fprintln(os.Stderr, [...]string{"DEBUG", "INFO", "WARN", "ERROR"}[level&3], line)
}

func hostCount(string, uint64) {}

// seedRandom does nothing: tests use the random numbers of their process.
func seedRandom() {}

func hostReadFile(name string) ([]byte, error) {
	content, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		return nil, ConfigError(err.Error())
	}
	return content, nil
}
