//go:build !wasip1

package millstream

import (
	"fmt"
	"os"
	"path/filepath"
)

// Outside of a component, in tests, package millstreamtest replaces the host.

// timersOfTest is the timers of a test run: those that are due, and those that were requested.
var timersOfTest struct {
	due   dueTimes
	asked []askedOfTest
}

// askedOfTest is a request of a call: a timer of a group, and whether it is set or cancelled.
type askedOfTest struct {
	group uint32
	at    Timestamp
	set   bool
}

func hostInputs() []Schema { return nil }
func hostKey() Schema      { return nil }
func hostDue() *dueTimes   { return &timersOfTest.due }

func hostSetTimer(group uint32, at Timestamp) {
	timersOfTest.asked = append(timersOfTest.asked, askedOfTest{group, at, true})
}

func hostCancelTimer(group uint32, at Timestamp) {
	timersOfTest.asked = append(timersOfTest.asked, askedOfTest{group, at, false})
}

func hostLog(level Level, line string) {
	fmt.Fprintln(os.Stderr, [...]string{"DEBUG", "INFO", "WARN", "ERROR"}[level&3], line)
}

func hostCount(string, uint64) {}

// seedRandom is for components: tests have the random numbers of their process.
func seedRandom() {}

func hostReadFile(name string) ([]byte, error) {
	content, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		return nil, ConfigError(err.Error())
	}
	return content, nil
}
