// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"context"
	"fmt"
	"time"

	"github.com/chromedp/chromedp"
)

// Rendered opens a link in a new tab of the browser, and returns how long it takes until each of the JavaScript expressions is true, in their
// order.
func Rendered(ctx context.Context, link string, expressions ...string) ([]time.Duration, error) {
	if _, err := findBrowser(); err != nil {
		return nil, err
	}
	parent, err := browser()
	if err != nil {
		return nil, err
	}
	tab, cancel := chromedp.NewContext(parent, chromedp.WithNewBrowserContext())
	defer cancel()
	if err := chromedp.Do(tab); err != nil {
		return nil, err
	}
	began := time.Now()
	if err := chromedp.Do(tab, chromedp.Navigate(link)); err != nil {
		return nil, err
	}
	var out []time.Duration
	for _, expression := range expressions {
		for {
			isTrue, err := chromedp.Run(tab, chromedp.Evaluate[bool](expression)) // fails while another page loads
			if isTrue && err == nil {
				break
			}
			if time.Since(began) > patience {
				return nil, fmt.Errorf("%s: not within %v (%w)", expression, patience, err)
			}
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(10 * time.Millisecond):
			}
		}
		out = append(out, time.Since(began))
	}
	return out, nil
}
