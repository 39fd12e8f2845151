// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"outrigger.dev/outrigger/internal/diagnose"
)

// The commands that a page shows get the flags that select the cluster: only those that were given, and never a token.
func TestFlagsThatSelectTheCluster(t *testing.T) {
	t.Parallel()
	file, err := filepath.Abs("mine.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		want diagnose.ClusterFlags
	}{
		"none":         {[]string{"-n", "demo", "--request-timeout=5s"}, nil},
		"a context":    {[]string{"--context", "my prod"}, diagnose.ClusterFlags{{Name: "context", Value: "my prod"}}},
		"empty values": {[]string{"--context=", "--kubeconfig="}, nil},
		"a file, a user with groups, and a token": {
			[]string{"--kubeconfig=mine.yaml", "--as=jane", "--as-group=a", "--as-group=b", "--token=secret", "--server=https://example.com"},
			diagnose.ClusterFlags{{Name: "as", Value: "jane"}, {Name: "as-group", Value: "a"}, {Name: "as-group", Value: "b"}, {Name: "kubeconfig", Value: file}, {Name: "server", Value: "https://example.com"}},
		},
	} {
		var flags kubeFlags
		set := pflag.NewFlagSet("", pflag.ContinueOnError)
		flags.register(set, true)
		if err := set.Parse(c.args); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, flags.selecting()); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
	var unregistered kubeFlags
	if got := unregistered.selecting(); got != nil {
		t.Errorf("%v", got)
	}
}
