package millstream

import (
	"slices"
	"unsafe"
)

// Timers are the timers of one key: a key is called again when a time has come. Times are event time, told by the watermark,
// where the stage has `time`, and processing time elsewhere.
type Timers struct {
	due   *dueTimes
	group int
	asked []asked
}

// asked is what a function asked for: a time, and whether it is set or cancelled.
type asked struct {
	at  Timestamp
	set bool
}

// dueTimes are the timers for which the groups of a call are called.
type dueTimes struct {
	ends  []byte
	times []Timestamp
}

// Due gives the times that were asked for and have come, the earliest first: why the key is called, where it has no rows.
// They are not told again.
func (t *Timers) Due() []Timestamp {
	if t.due == nil {
		t.due = hostDue()
	}
	return t.due.of(t.group)
}

// IsDue tells whether a time that was asked for has come.
func (t *Timers) IsDue() bool { return len(t.Due()) > 0 }

// Set asks to be called for this key, with rows or without, in the first batch after this one that has reached this time. A
// key has one timer a time. A timer waits until it is due or cancelled, also where the key's state is removed.
func (t *Timers) Set(at Timestamp) { t.asked = append(t.asked, asked{at, true}) }

// Cancel takes back what Set asked for, in this call or in one before.
func (t *Timers) Cancel(at Timestamp) { t.asked = append(t.asked, asked{at, false}) }

func (t *Timers) begin(group int) { t.group = group }

// end tells the host, if the function did not refuse its rows.
func (t *Timers) end(done bool) {
	for _, asked := range t.asked {
		switch {
		case !done:
		case asked.set:
			SetTimer(uint32(t.group), asked.at)
		default:
			CancelTimer(uint32(t.group), asked.at)
		}
	}
	t.asked = t.asked[:0]
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

// timesOf reads times, of eight bytes each.
func timesOf(bytes []byte) []Timestamp {
	times := make([]Timestamp, len(bytes)/8)
	if len(times) > 0 {
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&times[0])), len(times)*8), bytes)
	}
	return times
}

// SetTimer asks to be called for the key of a group of this call; see [Timers.Set].
func SetTimer(group uint32, at Timestamp) { hostSetTimer(group, at) }

// CancelTimer takes back what SetTimer asked for.
func CancelTimer(group uint32, at Timestamp) { hostCancelTimer(group, at) }

// DueTimers gives the timers of a group of this call.
func DueTimers(group uint32) []Timestamp { return hostDue().of(int(group)) }
