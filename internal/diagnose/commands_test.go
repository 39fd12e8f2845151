// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"outrigger.dev/outrigger/routing"
)

func TestTextsAreSplitIntoCommands(t *testing.T) {
	t.Parallel()
	command := func(text string) TextPart { return TextPart{text, true} }
	text := func(text string) TextPart { return TextPart{text, false} }
	for advice, want := range map[string][]TextPart{
		"":                        nil,
		"Correct or remove them.": {text("Correct or remove them.")},
		"Example: kubectl annotate service -n demo web outrigger.dev/weights=blue=90,green=10 --overwrite.": {
			text("Example: "), command("kubectl annotate service -n demo web outrigger.dev/weights=blue=90,green=10 --overwrite"),
		},
		"To continue: outrigger canary web --resume -n demo": {text("To continue: "), command("outrigger canary web --resume -n demo")},
		"kubectl rollout restart deployment/web -n demo":     {command("kubectl rollout restart deployment/web -n demo")},
		"It stays at this step. `outrigger status` lists what to fix.": {
			text("It stays at this step. "), command("outrigger status"), text(" lists what to fix."),
		},
		"To update the annotations: kubectl annotate service -n demo web outrigger.dev/default-version=v1 outrigger.dev/weights- --overwrite. To go back: outrigger promote web v2 -n demo.": {
			text("To update the annotations: "), command("kubectl annotate service -n demo web outrigger.dev/default-version=v1 outrigger.dev/weights- --overwrite"),
			text(" To go back: "), command("outrigger promote web v2 -n demo"),
		},
		"Write the annotation again: kubectl annotate service -n demo web outrigger.dev/expose-, then kubectl annotate service -n demo web outrigger.dev/expose=true --overwrite.": {
			text("Write the annotation again: "), command("kubectl annotate service -n demo web outrigger.dev/expose-"),
			text(", then "), command("kubectl annotate service -n demo web outrigger.dev/expose=true --overwrite"),
		},
		"To restore it: kubectl annotate service -n demo web outrigger.dev/drift=revert --overwrite, or kubectl delete virtualservice -n demo web.": {
			text("To restore it: "), command("kubectl annotate service -n demo web outrigger.dev/drift=revert --overwrite"),
			text(", or "), command("kubectl delete virtualservice -n demo web"),
		},
		"It takes effect when v2 is ready; see kubectl get pods -n demo -L version.": {
			text("It takes effect when v2 is ready; see "), command("kubectl get pods -n demo -L version"),
		},
		"Outrigger writes it when it runs. kubectl get pods -A":    {text("Outrigger writes it when it runs. "), command("kubectl get pods -A")},
		"Name one of kubectl get gateways.networking.istio.io -A.": {text("Name one of "), command("kubectl get gateways.networking.istio.io -A")},
		"To split: outrigger shift web 'a. Be'=1 -n demo. Then wait.": {
			text("To split: "), command("outrigger shift web 'a. Be'=1 -n demo"), text(" Then wait."),
		},
		"Fix it (kubectl get pods -o jsonpath={.items(0)} -n demo), and wait.": {
			text("Fix it ("), command("kubectl get pods -o jsonpath={.items(0)} -n demo"), text("), and wait."),
		},
		"To recreate it: kubectl get pod web -n demo -o yaml | kubectl replace --force -f -": {
			text("To recreate it: "), command("kubectl get pod web -n demo -o yaml | kubectl replace --force -f -"),
		},
		`It is "x: kubectl delete ns a \"b: kubectl delete ns b" now; see kubectl get ns.`: {
			text(`It is "x: kubectl delete ns a \"b: kubectl delete ns b" now; see `), command("kubectl get ns"),
		},
		"Fix what denies its new pods first; outrigger explain names it.": {text("Fix what denies its new pods first; outrigger explain names it.")},
		"This dashboard shows only namespace a. For namespace b: outrigger dashboard -n b": {
			text("This dashboard shows only namespace a. For namespace b: "), command("outrigger dashboard -n b"),
		},
	} {
		if diff := cmp.Diff(want, SplitCommands(advice)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", advice, diff)
		}
	}
}

func TestCommandsGetTheFlagsOfTheCluster(t *testing.T) {
	t.Parallel()
	flags := ClusterFlags{{"context", "my cluster"}, {"kubeconfig", "/home/me/it's"}, {"user", "me"}}
	const ours = ` '--context=my cluster' '--kubeconfig=/home/me/it'\''s' --user=me`
	for command, want := range map[string]string{
		"kubectl label namespace demo a=b --overwrite":                       "kubectl label namespace demo a=b --overwrite" + ours,
		"kubectl get pod web -n demo -o yaml | kubectl replace --force -f -": "kubectl get pod web -n demo -o yaml" + ours + " | kubectl replace --force -f -" + ours,
		"helm install outrigger charts/outrigger":                            `helm install outrigger charts/outrigger '--kube-context=my cluster' '--kubeconfig=/home/me/it'\''s'`,
		"istioctl proxy-status":                                              `istioctl proxy-status '--context=my cluster' '--kubeconfig=/home/me/it'\''s'`,
		"kubectl get pods -n demo | grep web":                                "kubectl get pods -n demo" + ours + " | grep web",
		// In quotes, neither a pipe nor a flag is one.
		"kubectl annotate service web 'outrigger.dev/match=a | kubectl b'": "kubectl annotate service web 'outrigger.dev/match=a | kubectl b'" + ours,
		"kubectl annotate service web 'outrigger.dev/match=a --user=me b'": "kubectl annotate service web 'outrigger.dev/match=a --user=me b'" + ours,
		`kubectl annotate service web 'a=it'\''s | kubectl b' --overwrite`: `kubectl annotate service web 'a=it'\''s | kubectl b' --overwrite` + ours,
		"kubectl get pods --user=me":                                       `kubectl get pods --user=me '--context=my cluster' '--kubeconfig=/home/me/it'\''s'`,
		"kubectl get pods 'not closed":                                     "kubectl get pods 'not closed",
	} {
		if got := flags.Complete(command); got != want {
			t.Errorf("%s\n got %s\nwant %s", command, got, want)
		}
		if got := (ClusterFlags{}).Complete(command); got != command {
			t.Errorf("without flags: %s", got)
		}
	}
}

func TestCommandsInATextGetTheFlagsOfTheCluster(t *testing.T) {
	t.Parallel()
	flags := ClusterFlags{{"context", "my cluster"}}
	const ours, helm = " '--context=my cluster'", " '--kube-context=my cluster'"
	for text, want := range map[string]string{
		"":                        "",
		"Correct or remove them.": "Correct or remove them.",
		"kubectl annotate service -n demo web a=b --overwrite":                                                                                   "kubectl annotate service -n demo web a=b --overwrite" + ours,
		"To end it: helm upgrade outrigger charts/outrigger --set a=b. To follow it: outrigger status web -n demo --watch":                       "To end it: helm upgrade outrigger charts/outrigger --set a=b" + helm + ". To follow it: outrigger status web -n demo --watch" + ours,
		"It stays. `outrigger status` lists why.":                                                                                                "It stays. `outrigger status" + ours + "` lists why.",
		"Fix it (kubectl get pods -n demo), and wait.":                                                                                           "Fix it (kubectl get pods -n demo" + ours + "), and wait.",
		"For a namespace: outrigger status -n a, and outrigger coverage -n a":                                                                    "For a namespace: outrigger status -n a" + ours + ", and outrigger coverage -n a" + ours,
		"one: kubectl get ns\ntwo: kubectl get pods\n":                                                                                           "one: kubectl get ns" + ours + "\ntwo: kubectl get pods" + ours + "\n",
		"To see it: kubectl get pod web -o yaml | kubectl replace -f -":                                                                          "To see it: kubectl get pod web -o yaml" + ours + " | kubectl replace -f -" + ours,
		`R: x = "see kubectl get ns": Wrong. See kubectl get pods.`:                                                                              `R: x = "see kubectl get ns": Wrong. See kubectl get pods` + ours + ".",
		"Decide: kubectl annotate service web a=b --overwrite, or kubectl annotate service web c=d --overwrite. In a mesh of one cluster set e.": "Decide: kubectl annotate service web a=b --overwrite" + ours + ", or kubectl annotate service web c=d --overwrite" + ours + ". In a mesh of one cluster set e.",
		"To write it now: kubectl annotate service web at=$(date -u +%Y) --overwrite.":                                                           "To write it now: kubectl annotate service web at=$(date -u +%Y) --overwrite" + ours + ".",
		"Fix what denies its new pods first; outrigger explain names it.":                                                                        "Fix what denies its new pods first; outrigger explain names it.",
		"To test the connection: kubectl cluster-info '--context=my cluster'":                                                                    "To test the connection: kubectl cluster-info '--context=my cluster'",
		"pod c is not ready: CrashLoopBackOff: back-off 10s; see kubectl logs -n outrigger-system c --previous":                                  "pod c is not ready: CrashLoopBackOff: back-off 10s; see kubectl logs -n outrigger-system c --previous" + ours,
		"to give v2 requests anyway: outrigger shift app v1=90 v2=10 -n demo":                                                                    "to give v2 requests anyway: outrigger shift app v1=90 v2=10 -n demo" + ours,
		"To choose an older decision: outrigger status app -n demo -o wide, then undo --to":                                                      "To choose an older decision: outrigger status app -n demo -o wide" + ours + ", then undo --to",
		"kubectl annotate service web 'outrigger.dev/match=v2=header:a:b. Cde; see kubectl x' --overwrite":                                       "kubectl annotate service web 'outrigger.dev/match=v2=header:a:b. Cde; see kubectl x' --overwrite" + ours,
		"service/app: v1=100 -> v1=90 v2=10":                                                                                                     "service/app: v1=100 -> v1=90 v2=10",
	} {
		if got := flags.CompleteText(text); got != want {
			t.Errorf("%s\n got %s\nwant %s", text, got, want)
		}
		if got := (ClusterFlags{}).CompleteText(text); got != text {
			t.Errorf("without flags: %s", got)
		}
	}
}

func TestCommandsInAnErrorGetTheFlagsOfTheCluster(t *testing.T) {
	t.Parallel()
	flags := ClusterFlags{{"context", "prod"}}
	for want, err := range map[string]error{
		"one: no version. Example: outrigger promote web Blue green -n demo --context=prod": fmt.Errorf("one: %w", WithCommand("no version. Example: ", "outrigger promote web Blue green -n demo")),
		"no version. Example: kubectl get pods --context=prod":                              errors.New("no version. Example: kubectl get pods"),
	} {
		if got := flags.CompleteError(err); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if got := (ClusterFlags{}).CompleteError(err); got != err.Error() {
			t.Errorf("without flags: %q", got)
		}
	}
}

func TestSimpleCommands(t *testing.T) {
	t.Parallel()
	for command, want := range map[string]bool{
		"kubectl get pods -n demo":                true,
		"kubectl get pod web | kubectl apply":     true,
		`kubectl annotate s web 'a=it'\''s; $x'`:  true,
		"":                                        false,
		"kubectl get pods; id":                    false,
		"kubectl get pods & id":                   false,
		"kubectl get pods|sh":                     false,
		"kubectl get pods > file":                 false,
		"kubectl get `id`":                        false,
		"kubectl get $(id)":                       false,
		`kubectl get "$(id)"`:                     false,
		`kubectl get \$x`:                         false,
		"kubectl get 'a\nb'":                      false,
		"kubectl get 'a\u202eb'":                  false,
		"kubectl get 'a\u2028b'":                  false,
		"kubectl get 'a\x80b'":                    false,
		"kubectl get 'a":                          false,
		"kubectl get pods\ncurl evil":             false,
		"kubectl get pods #'comment":              false,
		"kubectl annotate namespace demo a/b=*.c": false,
		"kubectl annotate namespace demo 'a=*.c'": true,
		"kubectl get pods ~/x":                    false,
		"kubectl get pods -l {a,b}":               false,
	} {
		if got := IsSimpleCommand(command); got != want {
			t.Errorf("%q: %t", command, got)
		}
	}
}

// A name can add no words to a command, not even one that no object can have.
func TestRestartCommandsQuoteNames(t *testing.T) {
	t.Parallel()
	const name = "web --server=https://evil.example"
	for _, kind := range []string{"Deployment", "StatefulSet", "DaemonSet", "Rollout", "Pod"} {
		command := restartCommand(routing.WorkloadRef{Kind: kind, Name: name}, "demo")
		if words, _ := shellWords(command); !slices.ContainsFunc(words, func(word string) bool { return strings.HasSuffix(word, "'"+name+"'") }) {
			t.Errorf("%s: %q", kind, words)
		}
	}
	if command := restartCommand(routing.WorkloadRef{Kind: "Evil --server", Name: name}, "demo"); IsSimpleCommand(command) {
		t.Errorf("%q is offered as a command", command)
	}
}
