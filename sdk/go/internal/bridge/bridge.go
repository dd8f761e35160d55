// Package bridge lets package millstreamtest run the plugin that package millstream has registered.
package bridge

// Stage is how the stage of a test uses the plugin.
type Stage struct {
	// Config is JSON; empty: none.
	Config string
	// Key and Inputs are columns as in "user text, amount int64".
	Key    string
	Inputs []string
}

// Rejected is a row that was refused.
type Rejected struct {
	Row    int
	Reason string
}

// Run is what a call gave: rows as JSON, and those refused.
type Run struct {
	Rows     string
	Rejected []Rejected
}

// Runner runs a plugin as a host would.
type Runner interface {
	// Run runs one batch: for each input an array of objects.
	Run(inputs []string) (Run, error)
	// TimeOut runs the last call of an idle key.
	TimeOut(key string) (Run, error)
	// Watermark sets the watermark of the runs that follow, in microseconds since 1970.
	Watermark(at int64)
	// States gives the columns of key and state.
	States() (string, error)
}

// New makes a runner; set by package millstream.
var New func(stage Stage) (Runner, error)
