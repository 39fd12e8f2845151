// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"strings"
	"testing"

	"outrigger.dev/outrigger/api"
)

// ofRelease makes a configuration of a release, with further changes. Templates before 1.27 asked the environment for native
// sidecars.
func ofRelease(release string, changes ...func(*Source)) func(*Source) {
	return func(s *Source) {
		s.Release = release
		if parseRelease(release).isBefore(27) {
			s.Config = strings.ReplaceAll(s.Config, "if .NativeSidecars", `if eq (env "ENABLE_NATIVE_SIDECARS" "false") "true"`)
		}
		for _, change := range changes {
			change(s)
		}
	}
}

// A field of the mesh configuration that the running release does not know is dropped, whatever its value is.
func TestUnknownFieldsAreDropped(t *testing.T) {
	for _, c := range []struct {
		field, word string
		since       int
	}{
		{`connectionSettings: {httpMaxConcurrentStreams: 7}`, "connectionSettings", 31},
		{`statsCompression: false`, "statsCompression", 29},
		{`file_flush_interval: 3s`, "fileFlushInterval", 29},
		{`proxyHeaders: {server: {value: x}, xForwardedHost: {enabled: true}}`, "xForwardedHost", 28},
		{`tracing: {zipkin: {address: "z:9411"}, enableIstioTags: false}`, "enableIstioTags", 25},
	} {
		for _, release := range releases {
			for where, config := range map[string]*Config{
				"annotation": parsed(t, ofRelease(release)),
				"mesh":       parsed(t, ofRelease(release, func(s *Source) { s.Mesh = "defaultConfig: {" + c.field + "}" })),
			} {
				text := "{}"
				if where == "annotation" {
					text = "{" + c.field + "}"
				}
				effective, err := config.proxyConfigOf(pod(t, `metadata: {annotations: {proxy.istio.io/config: '`+text+`'}}`))
				if err != nil {
					t.Fatal(err)
				}
				printed := protoToJSON(effective.config)
				has := strings.Contains(printed, c.word)
				if want := release == "" || int(parseRelease(release)) >= c.since; has != want {
					t.Errorf("release %q, %s in the %s: kept is %t, want %t: %s", release, c.word, where, has, want, printed)
				}
			}
		}
	}
	old := parsed(t, ofRelease("1.30.2"))
	wrong := pod(t, `metadata: {annotations: {proxy.istio.io/config: 'connectionSettings: {httpMaxConcurrentStreams: 0}'}}`)
	if _, report := inject(t, wrong, old); report.Result != Injected {
		t.Errorf("%s: 1.30 does not know the field, so its value must not be validated: %s", report.Result, report.Message)
	}
	if _, report := inject(t, wrong, parsed(t, ofRelease("1.31.0"))); report.Result != Denied {
		t.Errorf("%s: 1.31 knows the field, and its value is invalid", report.Result)
	}
}

// Durations are read as Istio reads them, in any unit.
func TestDurationsAreThoseOfIstio(t *testing.T) {
	for text, want := range map[string]Result{"1m": Injected, "1h0m": Injected, "1500ms": Denied, "60": Denied, "60s": Injected} {
		_, report := inject(t, pod(t, `metadata: {annotations: {proxy.istio.io/config: 'drainDuration: `+text+`'}}`), parsed(t, nil))
		if report.Result != want {
			t.Errorf("drainDuration %s: %s, want %s: %s", text, report.Result, want, report.Message)
		}
	}
}

// A template that uses what the running release does not define fails, as it does with Istio, and says why.
func TestTemplatesAreOfferedWhatTheReleaseOffers(t *testing.T) {
	for text, since := range map[string]int{
		"{{ .ProxyInitImage }}":                                                    31,
		"{{ $.ProxyInitImage }}":                                                   31,
		"{{ if .NativeSidecars }}x{{ end }}":                                       27,
		"{{ .ProxyConfig.ConnectionSettings }}":                                    31,
		"{{ with .ProxyConfig }}{{ .GetConnectionSettings }}{{ end }}":             31,
		"{{ (index (list .MeshConfig) 0).HboneIdleTimeout }}":                      29,
		"{{ .MeshConfig.DefaultConfig.ProxyHeaders.GetXForwardedHost }}":           28,
		"{{ with omitNil .Values.none }}x{{ end }}":                                28,
		`{{ define "part" }}{{ .ProxyInitImage }}{{ end }}{{ template "part" . }}`: 31,
	} {
		for _, release := range releases {
			problems, err := reparsed(ofRelease(release, inComment(text)))
			offered := release == "" || int(parseRelease(release)) >= since
			if offered != (err == nil) {
				t.Errorf("release %q, %s: %v %v, want it offered: %t", release, text, problems, err, offered)
			}
			if err != nil && !strings.Contains(err.Error(), "which Istio defines since 1.") {
				t.Errorf("release %q, %s: the error does not say which release introduced it: %v", release, text, err)
			}
		}
	}
	if _, err := reparsed(ofRelease("1.30.2", inComment("{{ .Values.ProxyInitImage }}"))); err != nil {
		t.Errorf("the values are the user's: %v", err)
	}
	if _, err := reparsed(ofRelease("1.30.2", inComment("{{ if false }}{{ .ProxyInitImage }}{{ end }}"))); err != nil {
		t.Errorf("a field in a branch that is not taken is no error with Istio: %v", err)
	}
}

// inComment adds a text to the template, where what it prints means nothing.
func inComment(text string) func(*Source) {
	return func(s *Source) { s.Config = strings.Replace(s.Config, "spec:", "# "+text+"\n    spec:", 1) }
}

func reparsed(change func(*Source)) ([]api.InjectProblem, error) {
	source := Source{Config: small, Values: smallValues}
	change(&source)
	_, problems, err := Parse(source)
	return problems, err
}
