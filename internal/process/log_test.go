// SPDX-License-Identifier: Apache-2.0

package process

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
	"outrigger.dev/outrigger/webhook"
)

// Each decision is one line with the same keys, in either form, and holds nothing of the pod but its name.
func TestOneLineOfTheLogForEachDecision(t *testing.T) {
	config, _, err := inject.Parse(inject.Source{Config: sidecarTemplate, Values: "{}"})
	if err != nil {
		t.Fatal(err)
	}
	const pod = `{"metadata":{"name":"web","labels":{"l":"secret-1"},"annotations":{"a":"secret-2"%s}},"spec":{"containers":[{"name":"app","env":[{"name":"PASSWORD","value":"secret-3"}]}]}}`
	for _, c := range []struct {
		what, annotations, message string
		dryRun                     bool
		from                       oneConfig
		keys                       []string // beside those that all have
		result, reason, level      string
	}{
		{what: "injected", message: "decided about a pod", from: oneConfig{config: config}, keys: []string{"templates"}, result: "injected", reason: "PolicyEnabled", level: "INFO"},
		{what: "dry run", dryRun: true, message: "decided about a pod", from: oneConfig{config: config}, keys: []string{"dryRun", "templates"}, result: "injected", reason: "PolicyEnabled", level: "INFO"},
		{what: "opted out", annotations: `,"sidecar.istio.io/inject":"false"`, message: "decided about a pod", from: oneConfig{config: config}, keys: []string{"message"}, result: "skipped", reason: "OptedOut", level: "INFO"},
		{what: "denied", annotations: `,"inject.istio.io/templates":"nosuch"`, message: "decided about a pod", from: oneConfig{config: config}, keys: []string{"message"}, result: "denied", reason: "UnknownTemplate", level: "INFO"},
		{what: "failed", message: "no decision about a pod", from: oneConfig{err: errors.New("not known yet")}, keys: []string{"err"}, result: "failed", reason: "Error", level: "ERROR"},
	} {
		t.Run(c.what, func(t *testing.T) {
			for _, form := range []string{"json", "text"} {
				var out bytes.Buffer
				handler := (&webhook.Handler{Namespaces: plainNamespaces{}, Config: c.from, Log: NewLog(api.LogConfig{Level: "info", Format: form}, &out)}).HTTP()
				dry := map[bool]string{true: "true", false: "false"}[c.dryRun]
				request := httptest.NewRequest(http.MethodPost, "/inject", strings.NewReader(
					`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u-1","namespace":"demo","name":"web","operation":"CREATE","dryRun":`+dry+
						`,"object":`+strings.Replace(pod, "%s", c.annotations, 1)+`}}`))
				request.Header.Set("Content-Type", "application/json")
				handler.ServeHTTP(httptest.NewRecorder(), request)
				if text := out.String(); strings.Count(text, "\n") != 1 || strings.Contains(text, "secret") {
					t.Fatalf("%s: the log says\n%s", form, text)
				}
				if form == "text" {
					for _, part := range []string{"level=" + c.level, `msg="` + c.message + `"`, "result=" + c.result, "reason=" + c.reason} {
						if !strings.Contains(out.String(), part) {
							t.Errorf("%s is not in %s", part, out.String())
						}
					}
					continue
				}
				line := map[string]any{}
				if err := json.Unmarshal(out.Bytes(), &line); err != nil {
					t.Fatal(err)
				}
				want := append([]string{"duration", "level", "msg", "namespace", "pod", "reason", "result", "time", "uid"}, c.keys...)
				slices.Sort(want)
				if diff := cmp.Diff(want, slices.Sorted(maps.Keys(line))); diff != "" {
					t.Errorf("keys (-want +got):\n%s", diff)
				}
				if line["msg"] != c.message || line["result"] != c.result || line["reason"] != c.reason || line["level"] != c.level {
					t.Errorf("it says %s", out.String())
				}
			}
		})
	}
}
