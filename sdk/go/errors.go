package millstream

import (
	"errors"
	"fmt"
)

// Rejection is why a row is rejected. Any error that a plugin function returns rejects its row, or the rows
// of its key, with the error's text; [Reject] makes one.
type Rejection struct {
	// Reason is for a person to read.
	Reason string
}

// Error gives the reason.
func (r *Rejection) Error() string { return r.Reason }

// Reject returns an error that rejects the row, or the rows of the key: they go to the stage's rejected rows,
// and the job continues. The arguments are those of fmt.Sprintf.
func Reject(format string, arguments ...any) error {
	return &Rejection{Reason: fmt.Sprintf(format, arguments...)}
}

// Rejected is a rejected row of a batch.
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

// Failure is why a call fails. Plugins that work on batches return one; with functions on rows, a panic fails
// the call.
type Failure struct {
	kind    int
	message string
}

// Error gives the message.
func (f *Failure) Error() string { return f.message }

// ConfigError reports an invalid config, which the author of the job can fix.
func ConfigError(message string) error { return &Failure{failConfig, message} }

// InputError reports an unsuitable input or key, which the author of the job can fix.
func InputError(message string) error { return &Failure{failInput, message} }

// InternalError reports anything else, which the author of the plugin can fix.
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
