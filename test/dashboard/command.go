// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"net/url"
	"testing"
)

// Command is a dashboard that runs until its test ends. Its methods fail the test.
type Command struct {
	URL string // without a path

	t       testing.TB
	process *Process
}

// Start runs the dashboard of a binary, and returns when it listens.
func Start(t testing.TB, binary, kubeconfig string, args ...string) *Command {
	t.Helper()
	process, err := Run(t.Context(), binary, kubeconfig, args...)
	if process != nil {
		t.Cleanup(func() { _ = process.Wait() }) // the test's context, which ends before, interrupts it
	}
	if err != nil {
		t.Fatal(err)
	}
	return &Command{process.URL, t, process}
}

// Open opens the dashboard in a new tab, as its user does: by the file.
func (c *Command) Open() *Tab {
	c.t.Helper()
	tab := NewTab(c.t)
	c.OpenIn(tab)
	return tab
}

// OpenIn opens the dashboard in a tab, with a file of its own.
func (c *Command) OpenIn(tab *Tab) {
	c.t.Helper()
	path, err := c.process.File()
	if err != nil {
		c.t.Fatal(err)
	}
	tab.base = c.URL
	tab.Go((&url.URL{Scheme: "file", Path: path}).String())
	tab.Want("the first page is open", `location.origin === `+quoted(c.URL)+` && location.pathname === "/" && document.readyState === "complete"`)
}

// Link returns a link that opens the dashboard once.
func (c *Command) Link() string {
	c.t.Helper()
	link, err := c.process.Link()
	if err != nil {
		c.t.Fatal(err)
	}
	return link
}
