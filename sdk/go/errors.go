package millstream

import (
	"errors"
	"fmt"
)

// Rejection is the error of a rejected row. Any error that a plugin function returns rejects its row, or the rows
// of its key, with the error's text. [Reject] creates one.
type Rejection struct {
	// Reason is the reason as text.
	Reason string
}

// Error returns the reason.
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
	// Reason is the reason as text.
	Reason string
}

// Failure kinds, with the numbers of the plugin interface.
const (
	failConfig = iota
	failInput
	failInternal
)

// Failure is the error of a failed call. Plugins that process batches return one. With functions on rows, a panic fails
// the call.
type Failure struct {
	kind    int
	message string
}

// Error returns the message.
func (f *Failure) Error() string { return f.message }

// ConfigError reports an invalid config, which the author of the job can fix.
func ConfigError(message string) error { return &Failure{failConfig, message} }

// InputError reports an unsuitable input or key, which the author of the job can fix.
func InputError(message string) error { return &Failure{failInput, message} }

// InternalError reports any other error, which the author of the plugin can fix.
func InternalError(message string) error { return &Failure{failInternal, message} }

func internalf(format string, arguments ...any) error {
	return InternalError(fmt.Sprintf(format, arguments...))
}

// failureOf converts any error to a failure.
func failureOf(err error) *Failure {
	var failure *Failure
	if errors.As(err, &failure) {
		return failure
	}
	return &Failure{failInternal, err.Error()}
}
