// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

func TestLoadConfigLaysTheFileOverTheDefaults(t *testing.T) {
	with := func(change func(*Config)) Config {
		config := DefaultConfig()
		change(&config)
		return config
	}
	for name, test := range map[string]struct {
		file string
		want Config
	}{
		"empty":               {"", DefaultConfig()},
		"only comments":       {"# nothing\n---\n# still nothing\n", DefaultConfig()},
		"its type":            {"apiVersion: config.outrigger.dev/v1alpha1\nkind: Configuration\n", DefaultConfig()},
		"no value":            {"istio:\nwebhook:\n  port:\n", DefaultConfig()},
		"a duration":          {"shutdown: {linger: 90s}", with(func(c *Config) { c.Shutdown.Linger = 90 * time.Second })},
		"zero is a value":     {"routing: {settle: 0s}", with(func(c *Config) { c.Routing.Settle = 0 })},
		"a number":            {"webhook: {port: 9443}", with(func(c *Config) { c.Webhook.Port = 9443 })},
		"a list":              {`certificates: {hosts: ["127.0.0.1", a.b.svc]}`, with(func(c *Config) { c.Certificates.Hosts = []string{"127.0.0.1", "a.b.svc"} })},
		"a choice":            {"routing: {expose: disabled}", with(func(c *Config) { c.Routing.Expose = ExposeDisabled })},
		"JSON":                {`{"log": {"format": "text"}}`, with(func(c *Config) { c.Log.Format = "text" })},
		"an address":          {"metrics: {address: \"0\"}", with(func(c *Config) { c.Metrics.Address = "0" })},
		"routing off":         {"routing: {enabled: false}", with(func(c *Config) { c.Routing.Enabled = false })},
		"a revision":          {"istio: {revision: canary}", with(func(c *Config) { c.Istio.Revision = "canary"; c.Routing.Enabled = false })},
		"a revision, routing": {"istio: {revision: canary}\nrouting: {enabled: true}", with(func(c *Config) { c.Istio.Revision = "canary" })},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := LoadConfig([]byte(test.file))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestLoadConfigRefusesWithFieldValueAndWhatWouldBeRight(t *testing.T) {
	for name, test := range map[string]struct {
		file string
		want []string
	}{
		"not YAML":                {"a: [", []string{"not YAML"}},
		"a list":                  {"- a", []string{"must be a map of fields"}},
		"two documents":           {"kind: Configuration\n---\nkind: Configuration\n", []string{"second"}},
		"twice":                   {"log: {level: info, level: debug}", []string{"level"}},
		"unknown at the top":      {"isto: {}", []string{"isto: Forbidden: unknown field; did you mean istio?", "istio, kind"}},
		"unknown below":           {"istio: {revison: a}", []string{"istio.revison: Forbidden: unknown field; did you mean istio.revision?", "platform, revision"}},
		"wrong case":              {"webhook: {mintlsversion: \"1.2\"}", []string{"webhook.mintlsversion: Forbidden: unknown field; did you mean webhook.minTLSVersion?"}},
		"another version":         {"apiVersion: config.outrigger.dev/v2", []string{`apiVersion: Invalid value: "config.outrigger.dev/v2"`, "config.outrigger.dev/v1alpha1"}},
		"another kind":            {"kind: ConfigMap", []string{`kind: Invalid value: "ConfigMap"`, `"Configuration"`}},
		"section is text":         {"istio: istio-system", []string{`istio: Invalid value: "istio-system"`, "map of fields"}},
		"a version unquoted":      {"webhook: {minTLSVersion: 1.3}", []string{"webhook.minTLSVersion: Invalid value: 1.3", `"1.2", "1.3"`}},
		"a release unquoted":      {"istio: {version: 1.31}", []string{"istio.version: Invalid value: 1.31", "quotes"}},
		"a release with a v":      {"istio: {version: v1.31}", []string{`istio.version: Invalid value: "v1.31"`, "1.31.1"}},
		"port too high":           {"webhook: {port: 70000}", []string{"webhook.port: Invalid value: 70000", "from 1 to 65535"}},
		"port is text":            {"webhook: {port: \"443\"}", []string{`webhook.port: Invalid value: "443"`, "whole number"}},
		"port is a fraction":      {"webhook: {port: 1.5}", []string{"webhook.port: Invalid value: 1.5", "whole number"}},
		"duration without unit":   {"shutdown: {linger: 10}", []string{"shutdown.linger: Invalid value: 10", "a duration from 0s to 5m"}},
		"duration unreadable":     {"shutdown: {linger: long}", []string{`shutdown.linger: Invalid value: "long"`}},
		"duration negative":       {"routing: {settle: -1s}", []string{`routing.settle: Invalid value: "-1s"`}},
		"bool is text":            {"routing: {enabled: \"yes\"}", []string{`routing.enabled: Invalid value: "yes"`, "true or false"}},
		"choice":                  {"istio: {nativeSidecars: maybe}", []string{`istio.nativeSidecars: Invalid value: "maybe"`, `"auto", "enabled", "disabled"`}},
		"revision with a dot":     {"istio: {revision: 1-31.1}", []string{`istio.revision: Invalid value: "1-31.1"`, "lowercase letters"}},
		"hosts not a list":        {"certificates: {hosts: a}", []string{`certificates.hosts: Invalid value: "a"`, "list"}},
		"a host that is none":     {"certificates: {hosts: [a/b]}", []string{`certificates.hosts[0]: Invalid value: "a/b"`, "a DNS name or an IP address"}},
		"an address that is not":  {"health: {address: 8081}", []string{"health.address: Invalid value: 8081", "quotes"}},
		"address without a port":  {"health: {address: localhost}", []string{`health.address: Invalid value: "localhost"`, "host:port"}},
		"renew behind lease":      {"leaderElection: {renewDeadline: 20s}", []string{`leaderElection.renewDeadline: Invalid value: "20s"`, "leaseDuration, 15s"}},
		"retry behind renew":      {"leaderElection: {retryPeriod: 9s}", []string{`leaderElection.retryPeriod: Invalid value: "9s"`, "renewDeadline, 10s"}},
		"leaf outlives its CA":    {"certificates: {caDuration: 24h}", []string{`certificates.leafDuration: Invalid value: "24h"`, "caDuration, 24h"}},
		"a CA that is none":       {"webhook: {clientCA: /etc/ca.crt}", []string{`webhook.clientCA: Invalid value: "/etc/ca.crt"`, "certificates in PEM"}},
		"a CA that is a key":      {"webhook: {clientCA: \"-----BEGIN PRIVATE KEY-----\\nAAAA\\n-----END PRIVATE KEY-----\"}", []string{"webhook.clientCA", "certificates in PEM"}},
		"names without a CA":      {"webhook: {clientNames: [apiserver]}", []string{"webhook.clientNames", "webhook.clientCA"}},
		"unknown source":          {"certificates: {source: vault}", []string{`certificates.source: Invalid value: "vault"`, `"selfManaged", "secret", "certManager"`}},
		"no Certificate":          {"certificates: {source: certManager}", []string{"certificates.certificateName", "with source certManager"}},
		"a Certificate too many":  {"certificates: {certificateName: a}", []string{`certificates.certificateName: Invalid value: "a"`, `source is "selfManaged"`}},
		"a caBundle that is none": {"certificates: {source: secret, caBundle: x}", []string{"certificates.caBundle", "certificates in PEM"}},
		"a URL with a query":      {"routing: {metrics: {prometheusURL: \"http://bob:hidden@prometheus:9090?a=b\"}}", []string{`routing.metrics.prometheusURL: Invalid value: "[hidden]@prometheus:9090?a=b"`, "without a query"}},
		"two faults":              {"webhook: {port: 0}\nlog: {level: loud}", []string{`log.level: Invalid value: "loud"`, "webhook.port: Invalid value: 0"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := LoadConfig([]byte(test.file))
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not contain %q", err, want)
				}
			}
		})
	}
}

// A key or token in the wrong field is not printed: errors are logged.
func TestConfigErrorsContainNoSecrets(t *testing.T) {
	t.Parallel()
	const secret = "c2VjcmV0LWtleS1tYXRlcmlhbA"
	pem := "-----BEGIN PRIVATE KEY-----\n" + secret + "==\n-----END PRIVATE KEY-----\n"
	text := func(value string) string { // in quotes
		quoted, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		return string(quoted)
	}
	for name, test := range map[string]struct{ file, want string }{
		"a private key":          {"istio: {revision: " + text(pem) + "}", `istio.revision: Invalid value: "[hidden: PRIVATE KEY in PEM, 83 bytes]": must be `},
		"a part of a key":        {"webhook: {clientCA: " + text("-----BEGIN PRIVATE KEY-----"+secret) + "}", `webhook.clientCA: Invalid value: "[hidden: text, 53 bytes]": must be certificates in PEM`},
		"several lines":          {"webhook: {port: " + text("one\n"+secret+"\nthree\n") + "}", `webhook.port: Invalid value: "[hidden: text of 3 lines, 37 bytes]": must be `},
		"a token":                {"log: {level: eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ." + secret + ".x-Y}", `log.level: Invalid value: "[hidden: text, 65 bytes]": must be one of `},
		"a token of letters":     {"log: {level: ghp_0A" + secret + "}", `log.level: Invalid value: "[hidden: text, 32 bytes]"`},
		"a token in hexadecimal": {"istio: {version: \"0f0e0d0c0b0a09080706050403020100\"}", `istio.version: Invalid value: "[hidden: text, 32 bytes]"`},
		"a boolean":              {"routing: {enabled: " + text(pem) + "}", `routing.enabled: Invalid value: "[hidden: PRIVATE KEY in PEM, 83 bytes]"`},
		"a section":              {"istio: " + text(pem), `istio: Invalid value: "[hidden: PRIVATE KEY in PEM, 83 bytes]": must be a map of fields`},
		"an item":                {"certificates: {hosts: [" + text(pem) + "]}", `certificates.hosts[0]: Invalid value: "[hidden: PRIVATE KEY in PEM, 83 bytes]"`},
		"a map":                  {"log: {level: {a: [" + text(pem) + "]}}", `log.level: Invalid value: "[hidden: map, 96 bytes]"`},
		"a list":                 {"log: {level: [x, " + text(pem) + "]}", `log.level: Invalid value: "[hidden: list, 94 bytes]"`},
		"the name of a field":    {"istio: {" + text(pem) + ": a}", "istio.[hidden: PRIVATE KEY in PEM, 83 bytes]: Forbidden: unknown field"},
		"the name of a query":    {"routing: {metrics: {queries: {" + text(pem) + ": vector(1)}}}", `routing.metrics.queries: Invalid value: "[hidden: PRIVATE KEY in PEM, 83 bytes]"`},
		"a query":                {"routing: {metrics: {queries: {" + text(pem) + ": 1}}}", "routing.metrics.queries[[hidden: PRIVATE KEY in PEM, 83 bytes]]: Invalid value: 1"},
		"a check":                {"routing: {canary: {checks: " + text(pem) + "}}", `routing.canary.checks: Invalid value: "[hidden: PRIVATE KEY in PEM, 83 bytes]": must be checks such as error-rate<1%, separated by commas`},
		"a URL":                  {"routing: {metrics: {prometheusURL: " + text("http://a@b/?token=0A"+secret) + "}}", `routing.metrics.prometheusURL: Invalid value: "[hidden: text, `},
		"a long value, shortened": {"log: {level: " + strings.Repeat("loud ", 100) + "x}",
			`log.level: Invalid value: "` + strings.Repeat("loud ", 24) + `..."`},
	} {
		_, err := LoadConfig([]byte(test.file))
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), secret[:12]) || strings.Contains(err.Error(), "0f0e0d") {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
}

// Every field has a description, and its default passes its own check, so that the reference can be pasted.
func TestFieldsAreDocumentedAndTheirDefaultsAreValid(t *testing.T) {
	fields := DefaultConfig().Fields()
	if len(fields) < 30 {
		t.Fatalf("only %d fields", len(fields))
	}
	for _, field := range fields {
		if field.Doc == "" || !strings.HasSuffix(field.Doc, ".") {
			t.Errorf("%s: documentation %q is not a sentence", field.Path, field.Doc)
		}
		file := field.Default
		path := strings.Split(field.Path, ".")
		for i := len(path) - 1; i >= 0; i-- {
			file = "{" + path[i] + ": " + file + "}"
		}
		got, err := LoadConfig([]byte(file))
		if err != nil {
			t.Errorf("%s: its default is refused: %v", field.Path, err)
		}
		if diff := cmp.Diff(DefaultConfig(), got); diff != "" {
			t.Errorf("%s: its default as written changes something\n%s", field.Path, diff)
		}
	}
}

func TestNamesFollowTheRevision(t *testing.T) {
	for revision, want := range map[string][2]string{
		"":        {"outrigger-sidecar-injector", "outrigger-last-good"},
		"default": {"outrigger-sidecar-injector", "outrigger-last-good"},
		"1-31":    {"outrigger-sidecar-injector-1-31", "outrigger-last-good-1-31"},
	} {
		config := DefaultConfig()
		config.Istio.Revision = revision
		if got := [2]string{config.WebhookConfigurationName(), config.LastGoodName()}; got != want {
			t.Errorf("revision %q: got %v, want %v", revision, got, want)
		}
	}
}

// A release that only counts never takes the lead of routing, which may be another's.
func TestTheLeaseIsThatOfWhatThereIsToLead(t *testing.T) {
	for file, want := range map[string]string{
		"":                                  "outrigger-routing",
		"coverage: {interval: 0s}":          "outrigger-routing",
		"leaderElection: {leaseName: mine}": "mine",
		"routing: {enabled: false}":         "outrigger-coverage",
		"routing: {enabled: false}\nleaderElection: {leaseName: mine}": "outrigger-coverage",
		"istio: {revision: default}\nrouting: {enabled: false}":        "outrigger-coverage",
		"istio: {revision: canary}":                                    "outrigger-coverage-canary",
		"istio: {revision: canary}\nrouting: {enabled: true}":          "outrigger-routing",
		"istio: {revision: canary}\ncoverage: {interval: 0s}":          "",
	} {
		config, err := LoadConfig([]byte(file))
		if err != nil {
			t.Errorf("%q: %v", file, err)
		}
		if got := config.LeaseName(); got != want {
			t.Errorf("%q: the Lease is %q, not %q", file, got, want)
		}
	}
}

func TestRoutingSettingsCarryEveryField(t *testing.T) {
	canary := DefaultCanary()
	want := RoutingSettings{
		Settle: 2 * time.Second, PropagationDelay: 2 * time.Second, SubsetRetention: time.Minute, SplitAge: 5 * time.Minute,
		DefaultGoneWindow: 5 * time.Minute, DefaultGoneAfter: 30 * time.Second, Expose: ExposeEnabled, AllowWildcardHost: true,
		ClusterDomain: "cluster.local", MultiCluster: MultiClusterAuto,
		MaxVersions: 50, MaxObjectBytes: 256 << 10, Limits: RouteLimits{AnnotationBytes: 16 << 10, MatchItems: 100, Hosts: 50, Canary: &canary},
		Canary: CanarySettings{Interval: DefaultCanaryInterval},
	}
	if diff := cmp.Diff(want, DefaultConfig().RoutingSettings()); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// The file has the defaults of the annotations, which those of a Service replace one by one.
func TestCanaryDefaultsOfTheFile(t *testing.T) {
	config, err := LoadConfig([]byte(`
routing:
  canary: {steps: "10@2m,30@7m,50,100", interval: 7m, minRequests: 5, deadline: 30m, checks: "error-rate<2%,queue<7"}
  metrics: {prometheusURL: "http://prometheus.monitoring:9090", queries: {queue: "vector(1)", requests: "vector(9)"}}`))
	if err != nil {
		t.Fatal(err)
	}
	limits := config.RoutingSettings().Limits
	minute := time.Minute
	for annotations, want := range map[string][]CanaryStep{
		"":                    {{10, 2 * minute, true}, {30, 7 * minute, true}, {50, 7 * minute, false}, {100, 7 * minute, false}},
		"canary-interval=1m":  {{10, 2 * minute, true}, {30, 7 * minute, true}, {50, minute, false}, {100, minute, false}},
		"canary-steps=20,100": {{20, 7 * minute, false}, {100, 7 * minute, false}},
		"canary-steps=20@3m,100;canary-interval=1m": {{20, 3 * minute, true}, {100, minute, false}},
	} {
		service := &corev1.Service{}
		service.Annotations = map[string]string{AnnotationCanary: "v2"}
		for _, item := range strings.Split(annotations, ";") {
			if key, value, found := strings.Cut(item, "="); found {
				service.Annotations[Domain+"/"+key] = value
			}
		}
		intent, problems := limits.IntentOf(service, nil, nil)
		if len(problems) > 0 || intent.Canary == nil {
			t.Fatalf("%s: %v", annotations, problems)
		}
		if diff := cmp.Diff(want, intent.Canary.Steps); diff != "" {
			t.Errorf("%s: -want +got\n%s", annotations, diff)
		}
		if c := intent.Canary; c.MinRequests != 5 || c.Deadline != 30*minute || len(c.Checks) != 2 || c.Checks[1].Metric != "queue" {
			t.Errorf("%s: %+v", annotations, c)
		}
	}
	config, err = LoadConfig([]byte("routing: {canary: {checks: readiness}}"))
	if err != nil {
		t.Fatal(err)
	}
	if checks := config.RoutingSettings().Limits.CanaryDefaults().Checks; checks == nil || len(checks) > 0 {
		t.Errorf("%#v", checks)
	}
	for file, want := range map[string]string{
		`routing: {canary: {checks: "error-rate<1%"}}`:                                           "routing.canary.checks: Forbidden: requires routing.metrics.prometheusURL",
		`routing: {canary: {checks: "error-rat<1%"}, metrics: {prometheusURL: "http://p:9090"}}`: `did you mean "error-rate"?`,
		`routing: {canary: {steps: "50,10"}}`:                                                    "must be rising percentages",
		`routing: {metrics: {prometheusURL: "prometheus:9090"}}`:                                 "must be a URL",
		`routing: {metrics: {queries: {mine: 7}}}`:                                               "must be text",
		`routing: {metrics: {queries: [a]}}`:                                                     "must be a map of text",
		`routing: {metrics: {queries: {"my query": "vector(1)"}}}`:                               `routing.metrics.queries: Invalid value: "my query": must be a name that checks can use`,
		`routing: {metrics: {queries: {9lives: "vector(1)"}}}`:                                   "must be a name that checks can use",
		`routing: {canary: {minRequests: -1}}`:                                                   "whole number from 0",
	} {
		if _, err := LoadConfig([]byte(file)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; the error must contain %q", file, err, want)
		}
	}
}
