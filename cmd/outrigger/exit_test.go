package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// 0 done, 1 failed or refused, 2 wrong usage, which points to --help. Of diff 1 means that something would change, and an
// input that cannot be read is never that.
func TestExitStatus(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "nowhere.yaml")
	t.Setenv("KUBECONFIG", missing)
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	for _, c := range []struct {
		line, stderr string
		status       int
	}{
		{"version --client", "", statusDone},
		{"--version", "", statusDone},
		{"--help", "", statusDone},
		{"uninject -f -", "", statusDone},

		{"uninject -f " + missing, "no such file", statusFailed},
		{"status", "no cluster", statusFailed},
		{"explain deployment/web", "no cluster", statusFailed},

		{"injcet", `unknown command "injcet" for "outrigger"`, statusUsage},
		{"inject --filenam x", "unknown flag: --filenam", statusUsage},
		{"inject x", `unknown command "x" for "outrigger inject"`, statusUsage},
		{"inject", "no input", statusUsage},
		{"inject -f - -f -", "standard input can be read once only", statusUsage},
		{"inject -f - -o josn", `did you mean "json"?`, statusUsage},
		{"inject -f - -o", "flag needs an argument", statusUsage},
		{"inject -f - --nativeSidecars yes", "--nativeSidecars=yes", statusUsage},
		{"inject -f - --compliancePolicy foo", "expected fips-140-2, fips-140-3, pqc", statusUsage},
		{"shift web v1=1 --wait --timeout=-1s", "--timeout=-1s: expected more than 0", statusUsage},
		{"promote web v1 --wait --timeout=0", "--timeout=0s: expected more than 0", statusUsage},
		{"inject -f - --valuesFile x", "set all three", statusUsage},
		{"uninject", "no input", statusUsage},
		{"routes -f - -o wide", "neither a format nor a file", statusUsage},
		{"status -o tabel", "-o \"tabel\"", statusUsage},
		{"status -o nam", "Formats: wide, json, yaml, name, jsonpath=TEMPLATE", statusUsage},
		{"status -A web", "one namespace", statusUsage},
		{"explain", "name one object", statusUsage},
		{"explain service/web -o xml", "-o \"xml\"", statusUsage},
		{"shift web", "name the Service", statusUsage},
		{"shift web v1", "not of the form VERSION=WEIGHT", statusUsage},
		{"shift web v1=many", "\"many\", is not a whole number", statusUsage},
		{"shift web v1=1 --dry-run=maybe", "--dry-run=maybe", statusUsage},
		{"promote web", "name the Service and one version", statusUsage},
		{"promote web v1=10", "names a weight", statusUsage},
		{"enable", "name one namespace", statusUsage},
		{"coverage --max 3", "--max and --dry-run require --evict", statusUsage},
		{"coverage --evict", "--evict needs --max", statusUsage},

		{"diff -f " + missing, "no such file", diffFailed},
		{"diff", "no input", diffFailed},
		{"diff -f - -o jsno", `did you mean "json"?`, diffFailed},
	} {
		t.Run(c.line, func(t *testing.T) {
			status, _, stderr := commandLine(t, strings.Fields(c.line)...)
			if status != c.status || !strings.Contains(stderr, c.stderr) {
				t.Errorf("want status %d and %q, got %d and %s", c.status, c.stderr, status, stderr)
			}
			pointed := strings.Contains(stderr, "--help'.\n")
			if isUsage := status == statusUsage && !strings.HasPrefix(c.line, "diff -f /"); pointed != isUsage {
				t.Errorf("points to --help: %v, got %s", pointed, stderr)
			}
		})
	}
}
