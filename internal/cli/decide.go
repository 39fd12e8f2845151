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

// applyDecision prints the effect of a decision, writes it if it changes anything, and with --wait waits until it is applied.
func (l *live) applyDecision(ctx context.Context, d diagnose.Decision, output writing) error {
	s := l.snapshot(l.namespace, false)
	main, others, err := l.servicesFor(ctx, s, d)
	if err != nil {
		return err
	}
	output.note(s.notes())
	if output.wait && s.gaps.HidesRoutes(l.namespace) {
		return fmt.Errorf("--wait needs permission to list %s in namespace %s; nothing was written", diagnose.RouteKindsText(), l.namespace)
	}
	targets := []routing.Observed{main}
	if d.AllServices {
		targets = append(targets, others...)
	}
	var forecasts []diagnose.Forecast
	for _, observed := range targets {
		forecast, err := diagnose.ForecastDecision(observed, d, s.gaps, l.now())
		if err != nil {
			return err
		}
		if observed.Service.Name != d.Service && forecast.Skipped != "" {
			output.say("service/%s is skipped: %s", observed.Service.Name, forecast.Skipped)
			continue
		}
		forecasts = append(forecasts, forecast)
	}
	for _, forecast := range forecasts {
		output.say("%s", strings.Join(forecast.Lines(), "\n"))
	}
	if !d.AllServices {
		for _, observed := range others {
			output.say("%s", diagnose.DescribeRoute(observed, s.gaps))
		}
		switch {
		case len(others) > 0 && d.OneService:
			output.say("    This does not change them.")
		case len(others) > 0:
			output.say("    This does not change them. To change them too, add --all-services.")
		}
	}
	for _, forecast := range forecasts {
		if forecast.IsCurrent {
			continue
		}
		if err := l.annotate(ctx, forecast.Observed.Service, forecast.Annotations, output); err != nil {
			return err
		}
	}
	return l.waitFor(ctx, output, func(ctx context.Context) (string, error) { return l.pendingReason(ctx, forecasts) })
}

// pendingReason returns what is still missing until the decisions are applied, or "" if they are. It returns an error if another client
// has replaced a decision, which is then never applied.
func (l *live) pendingReason(ctx context.Context, forecasts []diagnose.Forecast) (string, error) {
	s := l.snapshot(l.namespace, false)
	sources := l.sources(s)
	for _, forecast := range forecasts {
		observed, _, err := sources.Gather(ctx, client.ObjectKeyFromObject(forecast.Observed.Service))
		if err != nil {
			return "", err
		}
		if observed == nil {
			return "", fmt.Errorf("service %s was deleted", client.ObjectKeyFromObject(forecast.Observed.Service))
		}
		if why := diagnose.ReplacedDecision(observed.Service.Annotations, forecast.Annotations); why != "" {
			return "", fmt.Errorf("service %s: %s; what this command requested does not apply", client.ObjectKeyFromObject(observed.Service), why)
		}
		if why := diagnose.WhyNotApplied(*observed, s.gaps, l.now()); why != "" {
			return "service/" + forecast.Observed.Service.Name + ": " + why, nil
		}
	}
	return "", nil
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
func (l *live) annotate(ctx context.Context, service *corev1.Service, annotations map[string]string, output writing) error {
	if output.dryRun != dryRunClient {
		patch, err := metadataPatch("annotations", annotations)
		if err != nil {
			return err
		}
		object := &corev1.Service{}
		object.Namespace, object.Name = service.Namespace, service.Name
		if err := l.client.Patch(ctx, object, patch, output.patchOptions()...); err != nil {
			return mayNotAnnotate(service.Namespace, service.Name, err)
		}
	}
	output.say("service/%s annotated%s", service.Name, output.suffix())
	return nil
}

// metadataPatch returns a merge patch of only labels or annotations. An empty value removes the key.
func metadataPatch(which string, values map[string]string) (client.Patch, error) {
	changes := map[string]any{}
	for key, text := range values {
		if changes[key] = any(nil); text != "" {
			changes[key] = text
		}
	}
	text, err := json.Marshal(map[string]any{"metadata": map[string]any{which: changes}})
	return client.RawPatch(types.MergePatchType, text), err
}
