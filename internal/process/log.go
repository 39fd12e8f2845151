// SPDX-License-Identifier: Apache-2.0

package process

import (
	"io"
	"log/slog"

	"github.com/go-logr/logr"

	"outrigger.dev/outrigger/api"
)

// NewLog returns the log of all parts. Each entry is one line.
func NewLog(settings api.LogConfig, out io.Writer) logr.Logger {
	options := &slog.HandlerOptions{Level: map[string]slog.Level{"error": slog.LevelError, "info": slog.LevelInfo, "debug": slog.LevelDebug}[settings.Level]}
	if settings.Format == "text" {
		return logr.FromSlogHandler(slog.NewTextHandler(out, options))
	}
	return logr.FromSlogHandler(slog.NewJSONHandler(out, options))
}
