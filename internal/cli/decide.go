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
	main, others, err := l.over(ctx, s, d)
	if err != nil {
		return err
	}
	how.note(s.notes())
	if how.wait && s.gaps.HidesRoutes(l.namespace) {
		return fmt.Errorf("--wait needs permission to list %s in namespace %s; nothing was written", strings.Join(diagnose.Plurals(diagnose.RouteKinds), ", "), l.namespace)
	}
	targets := []routing.Observed{*main}
	if d.AllServices {
		targets = append(targets, others...)
	}
	var outlooks []diagnose.Forecast
	for _, observed := range targets {
		seen, err := diagnose.ForecastDecision(observed, d, s.gaps, l.now())
		if err != nil {
			return err
		}
		if observed.Service.Name != d.Service && seen.Skipped != "" {
			how.say("service/%s is skipped: %s", observed.Service.Name, seen.Skipped)
			continue
		}
		outlooks = append(outlooks, seen)
	}
	for _, seen := range outlooks {
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
	for _, seen := range outlooks {
		if seen.IsCurrent {
			continue
		}
		if err := l.annotate(ctx, seen.Observed.Service, seen.Annotations, how); err != nil {
			return err
		}
	}
	return l.waitFor(ctx, how, func(ctx context.Context) (string, error) { return l.decided(ctx, outlooks) })
}

// over reads the Service and the others of its namespace that select some of its pods, sorted by name.
func (l *live) over(ctx context.Context, s *snapshot, d diagnose.Decision) (*routing.Observed, []routing.Observed, error) {
	names, err := servicesOf(ctx, s, l.namespace)
	if err != nil {
		return nil, nil, err
	}
	if !slices.Contains(names, d.Service) {
		return nil, nil, noService(l.namespace, d.Service, names)
	}
	sources := l.sources(s)
	look := func(name string) (*routing.Observed, error) {
		observed, _, err := sources.Gather(ctx, client.ObjectKey{Namespace: l.namespace, Name: name})
		return observed, err
	}
	main, err := look(d.Service)
	if err != nil {
		return nil, nil, err
	}
	if main == nil {
		return nil, nil, fmt.Errorf("service %s/%s is being deleted", l.namespace, d.Service)
	}
	var pods corev1.PodList
	if err := s.List(ctx, &pods, client.InNamespace(l.namespace)); err != nil {
		return nil, nil, err
	}
	var others []routing.Observed
	for _, name := range names {
		if name == d.Service {
			continue
		}
		other, err := look(name)
		if err != nil {
			return nil, nil, err
		}
		if other != nil && diagnose.SamePods(main.Service, other.Service, pods.Items) {
			others = append(others, *other)
		}
	}
	return main, others, nil
}

// annotate changes the annotations of a Service and nothing else.
func (l *live) annotate(ctx context.Context, service *corev1.Service, words map[string]string, how writing) error {
	if how.dryRun != dryRunClient {
		patch, err := marksPatch("annotations", words)
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

// marksPatch is a merge patch of labels or annotations alone; an empty value takes one away.
func marksPatch(which string, words map[string]string) (client.Patch, error) {
	marks := map[string]any{}
	for key, text := range words {
		if marks[key] = any(nil); text != "" {
			marks[key] = text
		}
	}
	text, err := json.Marshal(map[string]any{"metadata": map[string]any{which: marks}})
	return client.RawPatch(types.MergePatchType, text), err
}
