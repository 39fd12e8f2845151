// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"outrigger.dev/outrigger/internal/diagnose"
)

// prod are the flags of a user who selects a cluster.
var prod = diagnose.ClusterFlags{{Name: "context", Value: "prod"}, {Name: "kubeconfig", Value: "/home/me/my config"}}

const (
	prodFlags     = " --context=prod '--kubeconfig=/home/me/my config'"
	prodHelmFlags = " --kube-context=prod '--kubeconfig=/home/me/my config'"
)

// prodCommand is a command whose flags select that cluster, and what it prints.
func prodCommand(t *testing.T) (command *cobra.Command, out *bytes.Buffer) {
	t.Helper()
	command, out = canaryCommand(), &bytes.Buffer{}
	command.SetOut(out)
	command.SetErr(out)
	if err := command.ParseFlags([]string{"app", "v2", "--context=prod", "--kubeconfig=/home/me/my config", "--token=secret", "-n", "demo"}); err != nil {
		t.Fatal(err)
	}
	return command, out
}

// Commands in advice select the cluster of the command that prints them, wherever it prints them.
func TestAdvisedCommandsSelectTheCluster(t *testing.T) {
	t.Parallel()
	frozen := func(t *testing.T) *rollout {
		r := newRollout(t, "outrigger.dev/weights=v1=90,v2=10")
		r.mustCanary("app", "v2", "--steps=25@1m,100@1m")
		r.config.Routing.Freeze = true
		return r
	}
	const thaw = "helm upgrade outrigger charts/outrigger -n outrigger-system --reset-then-reuse-values --set routing.freeze=false" + prodHelmFlags
	for name, c := range map[string]struct {
		print func(t *testing.T, out *bytes.Buffer, command *cobra.Command)
		want  []string
	}{
		"an error": {func(t *testing.T, out *bytes.Buffer, command *cobra.Command) {
			report(frozen(t).watched(canaryWatch{version: "v2"}), command, out)
		}, []string{"To end it: " + thaw + ". To follow the canary: outrigger status app -n demo --watch" + prodFlags + "\n"}},
		"a note": {func(_ *testing.T, _ *bytes.Buffer, command *cobra.Command) {
			completeNotes(command)
			printNotes(command.ErrOrStderr(), "one. To fix it: kubectl edit configmap -n a b", "two")
		}, []string{"Note: one. To fix it: kubectl edit configmap -n a b" + prodFlags + "\nNote: two\n"}},
		"a change": {func(t *testing.T, out *bytes.Buffer, command *cobra.Command) {
			r, output := newRollout(t), writing{dryRun: dryRunClient}
			output.to(command)
			if err := r.applyDecision(t.Context(), shifting(t, "app", "v1=90", "v2=10"), output); err != nil {
				t.Error(err)
			}
		}, []string{"outrigger.dev/weights=v1=90,v2=10 --overwrite" + prodFlags + "\n"}},
		"status": {func(t *testing.T, out *bytes.Buffer, _ *cobra.Command) {
			out.WriteString(frozen(t).table(tableView{flags: prod}, false, "app"))
		}, []string{"To end that: " + thaw + "\n", "    To remove them: kubectl annotate service -n demo app outrigger.dev/weights- --overwrite" + prodFlags + ".\n"}},
		"status of a success": {func(t *testing.T, out *bytes.Buffer, _ *cobra.Command) {
			r := newRollout(t, "outrigger.dev/default-version=v1")
			r.mustCanary("app", "v2", "--steps=100@1m")
			r.after(2 * time.Minute)
			out.WriteString(r.table(tableView{flags: prod}, false, "app"))
		}, []string{"outrigger.dev/default-version=v2 --overwrite" + prodFlags + ".\n"}},
		"status of an installation": {func(t *testing.T, out *bytes.Buffer, _ *cobra.Command) {
			if err := printStatus(diagnose.StatusReport{
				NotRunning:   "No controller runs. To see why: kubectl get pods -n a",
				Certificates: []diagnose.CertificateStatus{{Webhook: "b", Problem: "it has expired"}},
				Namespaces: []diagnose.NamespaceStatus{{
					Name: "demo", WithoutSidecar: []diagnose.RestartStatus{{Workload: "Deployment/c", Pods: 1, Command: "kubectl rollout restart deployment/c -n demo"}},
					Problems: []diagnose.ProblemStatus{{Object: "Namespace demo", Reason: "R", Message: "It says \"see kubectl x\".", Advice: "See kubectl get pods -n d."}},
					Services: []diagnose.ServiceStatus{{Name: "e", Skipped: "It is headless. Example: kubectl get service e.", Due: []string{"apply"}}},
				}},
			}, tableView{flags: prod}, out); err != nil {
				t.Error(err)
			}
		}, []string{"kubectl get pods -n a" + prodFlags + "\n", "kubectl describe mutatingwebhookconfiguration b" + prodFlags + "\n", "kubectl rollout restart deployment/c -n demo" + prodFlags + "\n",
			"R: Namespace demo: It says \"see kubectl x\".\n    See kubectl get pods -n d" + prodFlags + ".\n", "Example: kubectl get service e" + prodFlags + ".\n", "kubectl get pods -A -l app.kubernetes.io/name=outrigger" + prodFlags + "\n"}},
		"a line of status --watch": {func(t *testing.T, out *bytes.Buffer, _ *cobra.Command) {
			w := statusWatch{out: out, flags: prod}
			if err := w.changes(nil, map[string]string{"routes:": " Frozen. To end that: helm upgrade outrigger"}); err != nil {
				t.Error(err)
			}
		}, []string{"routes: Frozen. To end that: helm upgrade outrigger" + prodHelmFlags + "\n"}},
		"coverage": {func(t *testing.T, out *bytes.Buffer, _ *cobra.Command) {
			report := &diagnose.CoverageReport{Workloads: []diagnose.WorkloadCoverage{{Namespace: "demo", Workload: "Deployment/web", Pods: []string{"a"}, Of: 1, Command: "kubectl rollout restart deployment/web -n demo"}}}
			if err := printCoverage(report, tableView{flags: prod}, out); err != nil {
				t.Error(err)
			}
		}, []string{"\nkubectl rollout restart deployment/web -n demo" + prodFlags + "\n"}},
		"explain": {func(t *testing.T, out *bytes.Buffer, _ *cobra.Command) {
			print := &explanations{out: out, flags: prod}
			if err := print.add(func() []diagnose.Paragraph {
				return []diagnose.Paragraph{{Heading: "Settings", Rows: [][]string{{"Service", "kubectl get x"}}}, {Heading: "What to change", Rows: [][]string{{"1", "kubectl label namespace demo a=b"}}}}
			}, nil); err != nil {
				t.Error(err)
			}
		}, []string{"  Service   kubectl get x\n", "  1   kubectl label namespace demo a=b" + prodFlags + "\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			command, out := prodCommand(t)
			c.print(t, out, command)
			for _, want := range c.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%q is not in\n%s", want, out.String())
				}
			}
			if strings.Contains(out.String(), "secret") {
				t.Errorf("the token is printed:\n%s", out.String())
			}
		})
	}
}

// Without such flags, texts are unchanged. A writer of notes returns the errors of the underlying writer.
func TestCommandsWithoutClusterFlags(t *testing.T) {
	t.Parallel()
	command := canaryCommand()
	var out bytes.Buffer
	command.SetErr(&out)
	completeNotes(command)
	if command.ErrOrStderr() != &out {
		t.Error("the notes are changed")
	}
	if _, err := (completing{failingWriter{}, prod}).Write([]byte("x")); err == nil {
		t.Error("no error")
	}
	if _, _, stderr := commandLine(t, "explain", "app.yaml", "--context=prod"); !strings.Contains(stderr, "Example: outrigger explain -f app.yaml --context=prod\n") {
		t.Errorf("%q", stderr)
	}
	if _, _, stderr := commandLine(t, "explain", "app.yaml"); !strings.Contains(stderr, "Example: outrigger explain -f app.yaml\n") {
		t.Errorf("%q", stderr)
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errors.New("closed") }
