// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// patience is how long a tab waits for an effect. It is a bound for failure, never a pause.
const patience = 90 * time.Second

// Tab is a tab of the browser. Its methods fail the test if what they wait for does not happen.
type Tab struct {
	t       testing.TB
	context context.Context
	base    string // the URL of the dashboard that it was opened with, without a path

	mu     sync.Mutex
	alarms []string
}

// NewTab opens an empty tab with cookies of its own. At the end of the test, the test fails if the tab has raised an alarm.
func NewTab(t testing.TB) *Tab {
	t.Helper()
	parent, err := browser()
	if err != nil {
		t.Fatal(err)
	}
	return newTab(parent, t, chromedp.WithNewBrowserContext())
}

// Another opens a second tab with the cookies of this one.
func (tab *Tab) Another() *Tab {
	tab.t.Helper()
	out := newTab(tab.context, tab.t)
	out.base = tab.base
	return out
}

func newTab(parent context.Context, t testing.TB, options ...chromedp.ContextOption) *Tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(parent, options...)
	tab := &Tab{t: t, context: ctx}
	t.Cleanup(func() {
		if alarms := tab.Alarms(); len(alarms) > 0 {
			t.Errorf("alarms of the browser:\n%s", strings.Join(alarms, "\n"))
		}
		cancel()
	})
	if err := errors.Join(chromedp.Do(ctx), chromedp.Listen(ctx, tab.listen)); err != nil {
		t.Fatalf("open a tab: %v", err)
	}
	return tab
}

// In has the methods of the tab fail a subtest, until back is called.
func (tab *Tab) In(t testing.TB) (back func()) {
	outer := tab.t
	tab.t = t
	return func() { tab.t = outer }
}

// listen notes what a page that executes nothing of its data never does.
func (tab *Tab) listen(event any) {
	switch e := event.(type) {
	case *page.EventJavascriptDialogOpening:
		tab.alarm("a dialog opened: %s", e.Message)
		go func() { // the page waits for an answer
			_, _ = chromedp.Call(tab.context, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{Accept: true})
		}()
	case *runtime.EventExceptionThrown:
		tab.alarm("an exception was thrown: %s", e.ExceptionDetails.Text)
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError {
			tab.alarm("an error is on the console, with %d arguments", len(e.Args))
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError && e.Entry.Source != log.EntrySourceNetwork {
			tab.alarm("%s: %s", e.Entry.Source, e.Entry.Text)
		}
	}
}

func (tab *Tab) alarm(format string, args ...any) {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	tab.alarms = append(tab.alarms, fmt.Sprintf(format, args...))
}

// Alarms returns what happened in the tab that never should: dialogs, exceptions, errors, and violations of the
// Content-Security-Policy. It forgets them, so that a test can expect some.
func (tab *Tab) Alarms() []string {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	out := tab.alarms
	tab.alarms = nil
	return out
}

// Eval returns the value of a JavaScript expression in the tab.
func Eval[T any](tab *Tab, expression string) T {
	tab.t.Helper()
	value, err := evaluate[T](tab, expression)
	if err != nil {
		tab.t.Fatalf("%s: %v", expression, err)
	}
	return value
}

func evaluate[T any](tab *Tab, expression string) (T, error) {
	ctx, cancel := context.WithTimeout(tab.context, patience)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

func (tab *Tab) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.context, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		tab.t.Fatalf("%s: %v\nthe page shows:\n%s", what, err, tab.shown())
	}
}

// shown returns the text of the page, for messages.
func (tab *Tab) shown() string {
	text, err := evaluate[string](tab, `document.title + "\n" + location.href + "\n" + document.body.innerText`)
	if err != nil {
		return err.Error()
	}
	return text
}

// Go opens a URL and waits until it is loaded.
func (tab *Tab) Go(url string) {
	tab.t.Helper()
	tab.do("open "+url, chromedp.Navigate(url))
}

// URL returns the address of a path of the dashboard.
func (tab *Tab) URL(path string) string { return tab.base + path }

// WithoutScripts forbids pages of the tab to execute scripts. The methods of the tab still work.
func (tab *Tab) WithoutScripts() {
	tab.t.Helper()
	if _, err := chromedp.Call(tab.context, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		tab.t.Fatal(err)
	}
}

// Click clicks on an element, as with a mouse.
func (tab *Tab) Click(selector string) {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.context, patience)
	defer cancel()
	for {
		err := chromedp.Do(ctx, chromedp.Click(chromedp.CSS(selector)))
		if err == nil {
			return
		}
		// A page that is still loading replaces the element between the search for it and the click, which then does not happen.
		if !strings.Contains(err.Error(), "Could not find node") || ctx.Err() != nil {
			tab.t.Fatalf("click %s: %v\nthe page shows:\n%s", selector, err, tab.shown())
		}
	}
}

// Press types into the element that has the focus.
func (tab *Tab) Press(keys string) {
	tab.t.Helper()
	tab.do("type", chromedp.KeyEvent(keys))
}

// Fill replaces the value of a field as a user does: with the events that a page may listen to.
func (tab *Tab) Fill(selector, value string) {
	tab.t.Helper()
	tab.WantElement(selector)
	Eval[bool](tab, fmt.Sprintf(`(() => {
		const field = document.querySelector(%s)
		field.focus()
		field.value = %s
		field.dispatchEvent(new Event("input", {bubbles: true}))
		field.dispatchEvent(new Event("change", {bubbles: true}))
		return true
	})()`, quoted(selector), quoted(value)))
}

func quoted(text string) string {
	out, _ := json.Marshal(text) // strings always have JSON
	return string(out)
}

// Text returns the visible text of all elements that a selector finds, one per line.
func (tab *Tab) Text(selector string) string {
	tab.t.Helper()
	return Eval[string](tab, fmt.Sprintf(`[...document.querySelectorAll(%s)].map(e => e.innerText ?? e.textContent).join("\n")`, quoted(selector)))
}

// Count returns how many elements a selector finds.
func (tab *Tab) Count(selector string) int {
	tab.t.Helper()
	return Eval[int](tab, fmt.Sprintf(`document.querySelectorAll(%s).length`, quoted(selector)))
}

// Want waits until a JavaScript expression is true.
func (tab *Tab) Want(what, expression string) {
	tab.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		ok, err := evaluate[bool](tab, expression) // fails while another page loads
		if ok && err == nil {
			return
		}
		if time.Now().After(deadline) {
			tab.t.Fatalf("%s: not within %v (%v)\nthe page shows:\n%s", what, patience, err, tab.shown())
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// WantElement waits until a selector finds an element.
func (tab *Tab) WantElement(selector string) {
	tab.t.Helper()
	tab.Want("there is "+selector, fmt.Sprintf(`document.querySelector(%s) !== null`, quoted(selector)))
}

// WantText waits until an element shows all of the texts, whatever the white space between words.
func (tab *Tab) WantText(selector string, texts ...string) {
	tab.t.Helper()
	for _, text := range texts {
		tab.Want(fmt.Sprintf("%s shows %q", selector, text), fmt.Sprintf(
			`[...document.querySelectorAll(%s)].some(e => (e.innerText ?? e.textContent).replace(/\s+/g, " ").includes(%s))`, quoted(selector), quoted(text)))
	}
}

// WantPath waits until the tab is at a path.
func (tab *Tab) WantPath(path string) {
	tab.t.Helper()
	tab.Want("the page is "+path, `document.readyState === "complete" && location.pathname + location.search === `+quoted(path))
}

// Look is how a page is looked at.
type Look struct {
	Width  int
	Height int // 0 = as high as the page
	Dark   bool
	Scale  float64 // pixels of the picture per pixel of the page; 0 = 1
}

// Looks are those of the screenshots, by the names that their files end with.
var Looks = map[string]Look{
	"light": {Width: 1280},
	"dark":  {Width: 1280, Dark: true},
	"360":   {Width: 360, Scale: 2},
	"4k":    {Width: 3840},
}

// Look shows the page in a look.
func (tab *Tab) Look(look Look) {
	tab.t.Helper()
	colors := "light"
	if look.Dark {
		colors = "dark"
	}
	media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: colors}, {Name: "prefers-reduced-motion", Value: "reduce"}, // no moment of a movement is like another
	}}
	if _, err := chromedp.Call(tab.context, emulation.SetEmulatedMedia, media); err != nil {
		tab.t.Fatal(err)
	}
	scale := max(look.Scale, 1)
	for _, height := range []int{800, look.Height} {
		if height == 0 {
			height = min(max(Eval[int](tab, `Math.ceil(document.documentElement.getBoundingClientRect().height)`), 600), 12000)
		}
		tab.do("resize", chromedp.EmulateViewport(int64(look.Width), int64(height), chromedp.EmulateScale(scale)))
	}
}

// Screenshots takes a picture of the page in each look, into bin/screenshots of the repository.
func (tab *Tab) Screenshots(root, name string) {
	tab.t.Helper()
	for ending, look := range Looks {
		tab.Look(look)
		tab.Screenshot(filepath.Join(root, "bin", "screenshots", name+"-"+ending+".png"))
		if wide := Eval[int](tab, `document.documentElement.scrollWidth`); wide > look.Width {
			tab.t.Errorf("%s is %d pixels wide in a window of %d", name, wide, look.Width)
		}
	}
	tab.Look(Looks["light"])
}

// Screenshot writes a picture of what the window shows.
func (tab *Tab) Screenshot(file string) {
	tab.t.Helper()
	picture, err := chromedp.Run(tab.context, chromedp.CaptureScreenshot())
	if err == nil {
		err = os.MkdirAll(filepath.Dir(file), 0o755)
	}
	if err == nil {
		err = os.WriteFile(file, picture, 0o644)
	}
	if err != nil {
		tab.t.Fatal(err)
	}
}

// Contains reports whether an alarm contains a text.
func Contains(alarms []string, text string) bool {
	return slices.ContainsFunc(alarms, func(alarm string) bool { return strings.Contains(alarm, text) })
}
