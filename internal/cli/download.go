// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// downloadAttempts is how often a URL is requested while its server fails, as in kubectl.
const downloadAttempts = 3

// download returns the content of a URL. It retries while the server responds with a 5xx status.
func download(ctx context.Context, url string) ([]byte, error) {
	for attempt := 1; ; attempt++ {
		text, status, err := get(ctx, url)
		switch {
		case err != nil:
			return nil, err
		case status == http.StatusOK:
			return text, nil
		case status < http.StatusInternalServerError || attempt == downloadAttempts:
			return nil, fmt.Errorf("the server answers %d %s", status, http.StatusText(status))
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

func get(ctx context.Context, url string) ([]byte, int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, 0, err
	}
	request.Header.Set("User-Agent", "outrigger/"+version)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = answer.Body.Close() }() // only read
	text, err := io.ReadAll(answer.Body)
	return text, answer.StatusCode, err
}
