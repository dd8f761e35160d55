package millstream

import (
	"slices"
	"unsafe"
)

// Timers are the timers of one key: the key is called again at a given time. In a stage with `time`, a timer's time is event
// time, measured by the watermark; otherwise it is processing time.
type Timers struct {
	due     *dueTimes
	group   int
	changes []timerChange
}

// timerChange is a timer change: a time, and whether the timer is set or canceled.
type timerChange struct {
	at  Timestamp
	set bool
}

// dueTimes are the due timers of the groups of a call.
type dueTimes struct {
	ends  []byte
	times []Timestamp
}

// Due returns the times that were set and have been reached, earliest first. If the key has no rows, these are the reason for
// the call. Each timer is due once.
func (t *Timers) Due() []Timestamp {
	if t.due == nil {
		t.due = hostDue()
	}
	return t.due.of(t.group)
}

// IsDue reports whether a timer is due.
func (t *Timers) IsDue() bool { return len(t.Due()) > 0 }

// Set sets a timer: the key is called, with or without rows, in the first batch after this one that has reached the time. A key
// has at most one timer per time. A timer stays until it is due or canceled, even if the state is removed.
func (t *Timers) Set(at Timestamp) { t.changes = append(t.changes, timerChange{at, true}) }

// Cancel cancels a timer that Set set in this call or an earlier one.
func (t *Timers) Cancel(at Timestamp) { t.changes = append(t.changes, timerChange{at, false}) }

func (t *Timers) begin(group int) { t.group = group }

// end passes the changes to the host, unless the function rejected its rows.
func (t *Timers) end(done bool) {
	for _, change := range t.changes {
		switch {
		case !done:
		case change.set:
			SetTimer(uint32(t.group), change.at)
		default:
			CancelTimer(uint32(t.group), change.at)
		}
	}
	t.changes = t.changes[:0]
}

func (d *dueTimes) of(group int) []Timestamp {
	start := 0
	if group > 0 {
		start = d.end(group - 1)
	}
	return slices.Clone(d.times[start:max(d.end(group), start)])
}

func (d *dueTimes) end(group int) int {
	if len(d.ends) < group*4+4 {
		return len(d.times)
	}
	return min(offset(d.ends, group), len(d.times))
}

// timesOf decodes times of eight bytes each.
func timesOf(bytes []byte) []Timestamp {
	times := make([]Timestamp, len(bytes)/8)
	if len(times) > 0 {
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&times[0])), len(times)*8), bytes)
	}
	return times
}

// SetTimer sets a timer for the key of a group of this call; see [Timers.Set].
func SetTimer(group uint32, at Timestamp) { hostSetTimer(group, at) }

// CancelTimer cancels a timer that SetTimer set.
func CancelTimer(group uint32, at Timestamp) { hostCancelTimer(group, at) }

// DueTimers returns the due timers of a group of this call.
func DueTimers(group uint32) []Timestamp { return hostDue().of(int(group)) }
