// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// 0 done, 1 failed or refused, 2 wrong usage, which points to --help. Of diff 1 means that something would change, and an
// input that cannot be read is never that.
func TestExitStatus(t *testing.T) {
	missing, blank := filepath.Join(t.TempDir(), "nowhere.yaml"), filepath.Join(t.TempDir(), "blank.yaml")
	if err := os.WriteFile(blank, []byte("---\n# nothing\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", missing)
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	for _, c := range []struct {
		line, stderr string
		status       int
	}{
		{"version --client", "", statusDone},
		{"--version", "", statusDone},
		{"--help", "", statusDone},

		{"uninject -f " + blank, "no object was found in ", statusFailed},
		{"uninject -f " + missing, "no such file", statusFailed},
		{"status", "no cluster", statusFailed},
		{"explain deployment/web", "no cluster", statusFailed},

		{"injcet", `unknown command "injcet" for "outrigger"`, statusUsage},
		{"inject --filenam x", "unknown flag: --filenam", statusUsage},
		{"inject x.yaml y.yaml", "name files with -f. Example: outrigger inject -f x.yaml -f y.yaml", statusUsage},
		{"routes x.yaml", "Example: outrigger routes -f x.yaml", statusUsage},
		{"check --timeout=-1s", "--timeout=-1s: expected 0 or more", statusUsage},
		{"version x", `unexpected argument "x": outrigger version takes flags only`, statusUsage},
		{"coverage x", `unexpected argument "x": outrigger coverage takes flags only`, statusUsage},
		{"explain app.yaml", "Example: outrigger explain -f app.yaml", statusUsage},
		{"explain ns/shop", "explain does not take a Namespace; it takes a Service, a Pod, or an object with a pod template", statusUsage},
		{"explain sts", `"sts" is a type: name an object of it. Example: sts/web. For a Service of this name: svc/sts`, statusUsage},
		{"explain ns/shop", "outrigger status -n shop", statusUsage},
		{"inject -f - -n Bad_Name", `-n "Bad_Name" is not the name of a namespace`, statusUsage},
		{"routes -f - -n Bad_Name", `-n "Bad_Name" is not the name of a namespace`, statusUsage},
		{"status -n Bad_Name", `-n "Bad_Name" is not the name of a namespace`, statusUsage},
		{"status --system-namespace Bad_Name", `--system-namespace "Bad_Name" is not the name of a namespace`, statusUsage},
		{"enable Bad_Name", `"Bad_Name" is not the name of a namespace`, statusUsage},
		{"undo app --to x", "--to=x: expected a whole number, such as 2", statusUsage},
		{"undo app --to 1.5", "--to=1.5: expected a whole number", statusUsage},
		{"coverage --evict --max many", "--max=many: expected a whole number", statusUsage},
		{"shift app v1=1 --timeout 1x", "--timeout=1x: expected a duration, such as 30s", statusUsage},
		{"shift app v1=1 --wait=yes", "--wait=yes: expected true or false", statusUsage},
		{"promote app @lowst", `unknown policy "@lowst" (did you mean "@lowest"?). Policies: @first, @lowest, @highest, @all. Example: promote app @highest`, statusUsage},
		{"promote app @newest", `unknown policy "@newest". Policies:`, statusUsage},
		{"status --request-timeout 1x", "--request-timeout=1x: expected a duration", statusUsage},
		{"version --request-timeout 1x", "--request-timeout=1x: expected a duration", statusUsage},
		{"inject -f - --request-timeout 1x", "--request-timeout=1x: expected a duration", statusUsage},
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
		{"shift web v1=1 --dry-run=maybe", "--dry-run=maybe: expected none, client, or server", statusUsage},
		{"shift web v1=1 --dry-run", "--dry-run needs a value: --dry-run=client prints", statusUsage},
		{"uninstall-routes --dry-run", "--dry-run needs a value", statusUsage},
		{"uninstall-routes --dry-run -n demo", "--dry-run needs a value", statusUsage},
		{"enable demo --dry-run", "--dry-run needs a value", statusUsage},
		{"undo web --dry-run", "--dry-run needs a value", statusUsage},
		{"coverage --evict --max 1 --dry-run", "--dry-run needs a value", statusUsage},
		{"undo a b", "name one service: NAME, svc/NAME, or svc NAME; got a b", statusUsage},
		{"promote web", "name the Service and one version", statusUsage},
		{"promote web v1=10", "names a weight", statusUsage},
		{"enable", "name one namespace: enable NAMESPACE", statusUsage},
		{"enable a b", "name one namespace: NAME, ns/NAME, or ns NAME; got a b", statusUsage},
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

// An empty argument names nothing, and an error is said once.
func TestAnEmptyArgumentIsWrongUsage(t *testing.T) {
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	for _, command := range [][]string{{"status", ""}, {"explain", ""}, {"explain", "deployment", ""}, {"enable", ""}, {"undo", ""}, {"shift", "", "v1=1"}, {"promote", "web", ""}} {
		if status, _, stderr := commandLine(t, command...); status != statusUsage || strings.Count(stderr, "name one") > 1 {
			t.Errorf("%q: status %d, %s", command, status, stderr)
		}
	}
	if _, _, stderr := commandLine(t, "enable", "a", "b"); strings.Count(stderr, "name one namespace") != 1 {
		t.Errorf("got %s", stderr)
	}
}
