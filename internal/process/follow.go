// SPDX-License-Identifier: Apache-2.0

package process

import (
	"bytes"
	"context"
	"os"
	"time"

	"github.com/go-logr/logr"

	"outrigger.dev/outrigger/api"
)

// readConfigEvery is how often the configuration file is read again. The kubelet replaces a ConfigMap in a volume by a symbolic link,
// which file notifications do not follow, and does so up to a minute after a change.
const readConfigEvery = 2 * time.Second

// followConfig returns a job that reads the configuration file again while the process runs, and passes each one that differs from the
// one before and is valid. An invalid one is logged, and changes nothing.
func followConfig(file string, every time.Duration, changed func(api.Config), logger logr.Logger) Job {
	before, _ := os.ReadFile(file) //nolint:gosec // the file that the user names
	return jobFunc(func(ctx context.Context) error {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
			text, err := os.ReadFile(file) //nolint:gosec // the file that the user names
			if err != nil || bytes.Equal(text, before) {
				continue // one that is missing is being replaced
			}
			before = text
			config, err := api.LoadConfig(text)
			if err != nil {
				logger.Error(err, "the configuration file was changed and is invalid; the values before apply", "file", file)
				continue
			}
			changed(config)
		}
	})
}

// FollowFreeze is followConfig for the only field that takes effect without a restart, routing.freeze. Without a file, the job only waits.
func FollowFreeze(file string, set func(bool), logger logr.Logger) Job {
	if file == "" {
		return jobFunc(func(ctx context.Context) error { <-ctx.Done(); return nil })
	}
	return followConfig(file, readConfigEvery, func(config api.Config) {
		logger.Info("the configuration file was changed; routing.freeze takes effect at once, and all other fields with the next start", "routing.freeze", config.Routing.Freeze)
		set(config.Routing.Freeze)
	}, logger)
}
