// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	code := m.Run()
	Stop()
	os.Exit(code)
}

// A page that executes what it shows, violates its policy, and has barriers: what the tests of the dashboard look for is found.
func TestATabRaisesAlarms(t *testing.T) {
	Need(t)
	policy := ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if policy != "" {
			w.Header().Set("Content-Security-Policy", policy)
		}
		_, _ = fmt.Fprint(w, `<title>bad</title><p id="p">text</p><script>alert("executed"); throw new Error("thrown")</script>`)
	}))
	defer server.Close()

	tab := NewTab(t)
	tab.Go(server.URL)
	tab.WantText("#p", "text")
	if alarms := tab.Alarms(); !Contains(alarms, "a dialog opened: executed") || !Contains(alarms, "an exception was thrown") {
		t.Errorf("a page with a script raised only these alarms: %q", alarms)
	}

	policy = "default-src 'none'"
	tab.Go(server.URL)
	tab.WantText("#p", "text")
	if alarms := tab.Alarms(); !Contains(alarms, "Content Security Policy") || Contains(alarms, "dialog") {
		t.Errorf("a page with a script that its policy forbids raised these alarms: %q", alarms)
	}
}

func TestAnAuditFindsBarriers(t *testing.T) {
	Need(t)
	NeedAxe(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'none'")
		_, _ = fmt.Fprint(w, `<!DOCTYPE html><title>bad</title><main><h1>Bad</h1><img src="/x.png"><input></main>`)
	}))
	defer server.Close()
	tab := NewTab(t)
	tab.Go(server.URL)
	found := strings.Join(tab.Audit(), "\n")
	for _, rule := range []string{"html-has-lang", "image-alt", "label"} {
		if !strings.Contains(found, rule+": ") {
			t.Errorf("%s is not found:\n%s", rule, found)
		}
	}
	tab.Alarms() // the picture is forbidden
}
