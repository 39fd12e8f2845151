// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
)

// environmentBrowser is the variable that names the browser.
const environmentBrowser = "OUTRIGGER_BROWSER"

// findBrowser returns the path of a browser that chromedp can drive.
func findBrowser() (string, error) {
	if path := os.Getenv(environmentBrowser); path != "" {
		return exec.LookPath(path)
	}
	// Ubuntu's chromium-browser is a snap, which cannot read the files of tests in /tmp, so it comes last.
	names := []string{"chromium", "google-chrome", "google-chrome-stable", "chrome", "chromium-browser"}
	if runtime.GOOS == "darwin" {
		names = append(names, "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome", "/Applications/Chromium.app/Contents/MacOS/Chromium")
	}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("no browser was found. Install Chromium (Debian: apt-get install chromium), or set %s to the path of Chromium or Chrome", environmentBrowser)
}

// Need skips the test if there is no browser.
func Need(t testing.TB) {
	t.Helper()
	if _, err := findBrowser(); err != nil {
		t.Skip(err)
	}
}

// process is the browser of this test binary, with one process for all tabs.
var process struct {
	start   sync.Once
	context context.Context
	stop    context.CancelFunc
	err     error
}

// browser starts the browser once, and returns the context in which tabs are created.
func browser() (context.Context, error) {
	process.start.Do(func() {
		path, err := findBrowser()
		if err != nil {
			process.err = err
			return
		}
		options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path),
			chromedp.NoSandbox, // containers often permit none, and all pages are ours
			chromedp.Flag("hide-scrollbars", true), chromedp.Flag("disable-gpu", true))
		allocator, stopAllocator := chromedp.NewExecAllocator(context.Background(), options...)
		ctx, stop := chromedp.NewContext(allocator)
		process.context, process.stop = ctx, func() { stop(); stopAllocator() }
		process.err = chromedp.Do(ctx)
	})
	return process.context, process.err
}

// Stop stops the browser, if one was started. A test binary calls it at its end.
func Stop() {
	if process.stop != nil {
		process.stop()
	}
}

// cacheDir returns the folder for what tests download.
func cacheDir() (string, error) {
	if dir := os.Getenv("OUTRIGGER_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	return filepath.Join(dir, "outrigger"), err
}
