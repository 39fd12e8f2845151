// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"testing"
	"time"

	"outrigger.dev/outrigger/internal/diagnose"
)

// A change is read without waiting for the pause, and an error does not end the stream.
func TestStreamReadsAfterAChange(t *testing.T) {
	t.Parallel()
	changed := make(chan struct{}, 1)
	reads := 0
	stream := statusStream{pause: time.Hour, changed: changed, read: func(context.Context) (diagnose.StatusReport, error) {
		if reads++; reads == 2 {
			return diagnose.StatusReport{}, errors.New("the API server is away")
		}
		return diagnose.StatusReport{}, nil
	}}
	ctx, cancel := context.WithCancel(t.Context())
	var errs []error
	err := stream.run(ctx, func(_ diagnose.StatusReport, err error) error {
		errs = append(errs, err)
		if len(errs) == 3 {
			cancel()
		}
		changed <- struct{}{}
		return nil
	})
	if err != nil || len(errs) != 3 || errs[0] != nil || errs[1] == nil || errs[2] != nil {
		t.Errorf("%v, readings %v", err, errs)
	}
}

// What the receiver returns ends the stream.
func TestStreamEndsWithItsReceiver(t *testing.T) {
	t.Parallel()
	closed := errors.New("stdout is closed")
	stream := statusStream{read: func(context.Context) (diagnose.StatusReport, error) { return diagnose.StatusReport{}, nil }}
	if err := stream.run(t.Context(), func(diagnose.StatusReport, error) error { return closed }); !errors.Is(err, closed) {
		t.Error(err)
	}
}
