package millstream

import (
	"errors"
	"fmt"
)

// Rejection is why a row is refused. Any error that a plugin function returns refuses its row, or the rows of its key, with
// the error's text; [Reject] makes one.
type Rejection struct {
	// Reason is for a person to read.
	Reason string
}

// Error gives the reason.
func (r *Rejection) Error() string { return r.Reason }

// Reject makes an error that refuses the row, or the rows of the key: they go to the stage's rejected rows, and the job
// goes on. The arguments are those of fmt.Sprintf.
func Reject(format string, arguments ...any) error {
	return &Rejection{Reason: fmt.Sprintf(format, arguments...)}
}

// Rejected is a refused row of a batch.
type Rejected struct {
	// Row is its index in the batch passed in.
	Row uint32
	// Reason is for a person to read.
	Reason string
}

// Failure kinds, as the interface of plugins numbers them.
const (
	failConfig = iota
	failInput
	failInternal
)

// Failure is why a call fails as a whole. Plugins on whole batches return one; of functions on rows a panic fails the call.
type Failure struct {
	kind    int
	message string
}

// Error gives the message.
func (f *Failure) Error() string { return f.message }

// ConfigError is for a config that is wrong: the author of the job can mend it.
func ConfigError(message string) error { return &Failure{failConfig, message} }

// InputError is for an input or a key that does not fit: the author of the job can mend it.
func InputError(message string) error { return &Failure{failInput, message} }

// InternalError is for anything else: the author of the plugin can mend it.
func InternalError(message string) error { return &Failure{failInternal, message} }

func internalf(format string, arguments ...any) error {
	return InternalError(fmt.Sprintf(format, arguments...))
}

// failureOf makes a failure of any error.
func failureOf(err error) *Failure {
	var failure *Failure
	if errors.As(err, &failure) {
		return failure
	}
	return &Failure{failInternal, err.Error()}
}
