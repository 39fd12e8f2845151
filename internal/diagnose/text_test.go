// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"errors"
	"fmt"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

// A command is a part of an error only if Outrigger composed it, however the error is wrapped, and whatever the rest of it looks like.
func TestTextsOfErrors(t *testing.T) {
	t.Parallel()
	const command = "outrigger undo web -n demo"
	err := WithCommand("v2 has succeeded. To go back: ", command)
	for name, c := range map[string]struct {
		err  error
		want Text
	}{
		"alone":             {err, Text{{"v2 has succeeded. To go back: ", false}, {command, true}}},
		"wrapped":           {fmt.Errorf("nothing was written: %w", err), Text{{"nothing was written: ", false}, {"v2 has succeeded. To go back: ", false}, {command, true}}},
		"inside a sentence": {fmt.Errorf("%w, says kubectl delete ns prod", err), Text{{"v2 has succeeded. To go back: " + command + ", says kubectl delete ns prod", false}}},
		"of the cluster":    {errors.New("To fix it: kubectl delete ns prod"), Text{{"To fix it: kubectl delete ns prod", false}}},
		"a value in it":     {WithCommand("x: kubectl delete ns prod. To go back: ", command), Text{{"x: kubectl delete ns prod. To go back: ", false}, {command, true}}},
		"a problem": {advised("no canary: kubectl delete ns prod", api.RouteProblem{Advice: "To retry: outrigger canary web --retry -n demo."}),
			Text{{"no canary: kubectl delete ns prod ", false}, {"To retry: ", false}, {"outrigger canary web --retry -n demo", true}}},
	} {
		if diff := cmp.Diff(c.want, TextOf(c.err)); diff != "" {
			t.Errorf("%s, -want +got:\n%s", name, diff)
		}
	}
}

// No refusal of a request mentions a command to run outside of its parts.
func TestRefusalsHaveTheirCommandsAsParts(t *testing.T) {
	t.Parallel()
	command := regexp.MustCompile(`\b(?:kubectl|outrigger|helm) [a-z]`)
	undecided := serviceWith(t, nil)
	undecided.Existing = routing.Objects{}
	edited := serviceWith(t, nil)
	edited.Existing = routing.Objects{DestinationRules: edited.Existing.DestinationRules, VirtualServices: []*networkingv1.VirtualService{edited.Existing.VirtualServices[0].DeepCopy()}}
	edited.Existing.VirtualServices[0].Spec.Http[0].Route[0].Destination.Subset = "v2"
	for name, observed := range map[string]routing.Observed{"routed": serviceWith(t, nil), "without a route": undecided, "edited": edited} {
		for _, action := range Actions() {
			for _, version := range []string{"v1", "v9"} {
				r := Request{Action: action, Service: "app", Version: version, Weights: []string{version + "=100"}, To: 3}
				if action.OfCanary() != "" {
					r.Version = ""
				}
				_, err := ChangeOf(r, factsOf(observed))
				if err == nil {
					continue
				}
				for _, part := range TextOf(err) {
					if !part.IsCommand && command.MatchString(part.Text) {
						t.Errorf("%s, %s %s: %q is no command in %q", name, action, version, command.FindString(part.Text), err)
					}
				}
			}
		}
	}
}

// Each reason why an action is unavailable, and each note of a preview, has its command as a part.
func TestReasonsHaveTheirCommands(t *testing.T) {
	t.Parallel()
	commands := func(text Text) (out []string) {
		for _, part := range text {
			if part.IsCommand {
				out = append(out, part.Text)
			}
		}
		return out
	}
	for _, offer := range OffersOf(factsOf(serviceWith(t, nil)), "", nil) {
		if offer.Action.OfCanary() == "" {
			continue
		}
		if diff := cmp.Diff([]string{"outrigger canary app VERSION -n demo"}, commands(offer.Unavailable)); diff != "" {
			t.Errorf("%s: %s, -want +got:\n%s", offer.Action, offer.Unavailable, diff)
		}
	}
	unlabeled := serviceWith(t, nil, func(o *routing.Observed) {
		o.Namespace, o.Existing = namespaceOf("other", "label"), routing.Objects{}
		o.Intent, _ = o.Settings.Limits.IntentOf(o.Service, o.Namespace, nil)
	})
	var found []string
	for _, note := range mustChange(t, Request{Action: ActionPromote, Version: "v2"}, factsOf(unlabeled)).Notes() {
		found = append(found, commands(note)...)
	}
	if diff := cmp.Diff([]string{"outrigger enable demo"}, found); diff != "" {
		t.Errorf("notes, -want +got:\n%s", diff)
	}
	undecided := serviceWith(t, nil)
	undecided.Service.Annotations = map[string]string{api.AnnotationWeights: "v1=50,v2=50"}
	undecided.Intent, _ = undecided.Settings.Limits.IntentOf(undecided.Service, undecided.Namespace, nil)
	if diff := cmp.Diff([]string{"kubectl get pods -A -l app.kubernetes.io/name=outrigger"}, commands(WhyNotApplied(undecided, nil, noon))); diff != "" {
		t.Errorf("what a change waits for, -want +got:\n%s", diff)
	}
}
