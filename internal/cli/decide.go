// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/internal/diagnose"
	"outrigger.dev/outrigger/routing"
)

// decide prints the effect of a decision, writes it if it changes anything, and with --wait waits until it is applied.
func (l *live) decide(ctx context.Context, d diagnose.Decision, how writing) error {
	s := l.snapshot(l.namespace, false)
	main, others, err := l.servicesFor(ctx, s, d)
	if err != nil {
		return err
	}
	how.note(s.notes())
	if how.wait && s.gaps.HidesRoutes(l.namespace) {
		return fmt.Errorf("--wait needs permission to list %s in namespace %s; nothing was written", diagnose.RouteKindsText(), l.namespace)
	}
	targets := []routing.Observed{main}
	if d.AllServices {
		targets = append(targets, others...)
	}
	var forecasts []diagnose.Forecast
	for _, observed := range targets {
		seen, err := diagnose.ForecastDecision(observed, d, s.gaps, l.now())
		if err != nil {
			return err
		}
		if observed.Service.Name != d.Service && seen.Skipped != "" {
			how.say("service/%s is skipped: %s", observed.Service.Name, seen.Skipped)
			continue
		}
		forecasts = append(forecasts, seen)
	}
	for _, seen := range forecasts {
		how.say("%s", strings.Join(seen.Lines(), "\n"))
	}
	if !d.AllServices {
		for _, observed := range others {
			how.say("%s", diagnose.DescribeRoute(observed, s.gaps))
		}
		if len(others) > 0 {
			how.say("    This does not change them. To change them too, add --all-services.")
		}
	}
	for _, seen := range forecasts {
		if seen.IsCurrent {
			continue
		}
		if err := l.annotate(ctx, seen.Observed.Service, seen.Annotations, how); err != nil {
			return err
		}
	}
	return l.waitFor(ctx, how, func(ctx context.Context) (string, error) { return l.decided(ctx, forecasts) })
}

// servicesFor reads the Service of a decision, and the other Services of its namespace that select some of its pods, sorted by name.
func (l *live) servicesFor(ctx context.Context, s *snapshot, d diagnose.Decision) (main routing.Observed, others []routing.Observed, err error) {
	names, err := servicesOf(ctx, s, l.namespace)
	if err != nil {
		return main, nil, err
	}
	if !slices.Contains(names, d.Service) {
		return main, nil, noService(l.namespace, d.Service, names)
	}
	if main, _, err = l.observe(ctx, s, d.Service); err != nil {
		return main, nil, err
	}
	var pods corev1.PodList
	if err := s.List(ctx, &pods, client.InNamespace(l.namespace)); err != nil {
		return main, nil, err
	}
	for _, name := range names {
		if name == d.Service {
			continue
		}
		other, _, err := l.sources(s).Gather(ctx, client.ObjectKey{Namespace: l.namespace, Name: name})
		if err != nil {
			return main, nil, err
		}
		if other != nil && diagnose.SamePods(main.Service, other.Service, pods.Items) {
			others = append(others, *other)
		}
	}
	return main, others, nil
}

// annotate changes only the annotations of a Service.
func (l *live) annotate(ctx context.Context, service *corev1.Service, words map[string]string, how writing) error {
	if how.dryRun != dryRunClient {
		patch, err := metadataPatch("annotations", words)
		if err != nil {
			return err
		}
		object := &corev1.Service{}
		object.Namespace, object.Name = service.Namespace, service.Name
		if err := l.client.Patch(ctx, object, patch, how.patchOptions()...); err != nil {
			return mayNotAnnotate(service.Namespace, service.Name, err)
		}
	}
	how.say("service/%s annotated%s", service.Name, how.suffix())
	return nil
}

// metadataPatch returns a merge patch of only labels or annotations. An empty value removes the key.
func metadataPatch(which string, words map[string]string) (client.Patch, error) {
	marks := map[string]any{}
	for key, text := range words {
		if marks[key] = any(nil); text != "" {
			marks[key] = text
		}
	}
	text, err := json.Marshal(map[string]any{"metadata": map[string]any{which: marks}})
	return client.RawPatch(types.MergePatchType, text), err
}
