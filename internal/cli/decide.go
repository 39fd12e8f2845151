// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/internal/diagnose"
	"outrigger.dev/outrigger/routing"
)

// applyDecision prints the effect of a decision, writes it if it changes anything, and with --wait waits until it is applied.
func (l *live) applyDecision(ctx context.Context, request diagnose.Request, output writing) error {
	_, err := l.applyChange(ctx, request, output)
	return err
}

// applyChange is applyDecision that also returns the change.
func (l *live) applyChange(ctx context.Context, request diagnose.Request, output writing) (diagnose.Change, error) {
	facts, notes, err := l.actionFacts(ctx, request.Service)
	if err != nil {
		return diagnose.Change{}, err
	}
	output.note(notes)
	if output.wait && facts.Gaps.HidesRoutes(l.namespace) {
		return diagnose.Change{}, fmt.Errorf("--wait needs permission to list %s in namespace %s; nothing was written", diagnose.RouteKindsText(), l.namespace)
	}
	change, err := diagnose.ChangeOf(request, facts)
	for _, line := range change.Lines() {
		output.say("%s", line)
	}
	if invalid := (*diagnose.RequestError)(nil); errors.As(err, &invalid) {
		return change, asUsage(err)
	}
	if err != nil {
		return change, err
	}
	if err := l.write(ctx, change.Writes(), output); err != nil {
		return change, err
	}
	return change, l.waitFor(ctx, output, func(ctx context.Context) (string, error) { return l.pendingReason(ctx, change.Forecasts) })
}

// write writes Services. If there are several, it first validates all of them with a server-side dry run, so that nothing is written if the
// API server would reject one of them. An error says which Services were changed.
func (l *live) write(ctx context.Context, writes []diagnose.Forecast, output writing) error {
	if len(writes) > 1 && output.dryRun == dryRunNone {
		validation := output
		validation.dryRun, validation.out = dryRunServer, io.Discard
		for _, forecast := range writes {
			if err := l.annotate(withoutWarnings(ctx), forecast.Observed.Service, forecast.Annotations, validation); err != nil {
				return fmt.Errorf("nothing was written: %w", err)
			}
		}
	}
	return diagnose.WriteError(diagnose.WriteAll(writes, func(forecast diagnose.Forecast) error {
		return l.annotate(ctx, forecast.Observed.Service, forecast.Annotations, output)
	}))
}

// actionFacts reads what an action on a Service depends on, and returns notes about what could not be read.
func (l *live) actionFacts(ctx context.Context, service string) (diagnose.ActionFacts, []string, error) {
	s := l.snapshot(l.namespace, false)
	main, others, err := l.servicesFor(ctx, s, service)
	return l.factsOf(s, main, others), s.notes(), err
}

func (l *live) factsOf(s *snapshot, main routing.Observed, others []routing.Observed) diagnose.ActionFacts {
	return diagnose.ActionFacts{
		Main: main, Others: others, Gaps: s.gaps, AreSettingsKnown: len(l.configs) > 0, SystemNamespace: l.systemNamespace, Now: l.now(),
	}
}

// pendingReason returns pendingText on one line.
func (l *live) pendingReason(ctx context.Context, forecasts []diagnose.Forecast) (string, error) {
	pending, err := l.pendingText(ctx, forecasts)
	return pending.String(), err
}

// pendingText returns what is still missing until the decisions are applied, or nothing if they are. It returns an error if another client
// has replaced a decision, which is then never applied, or if routes are frozen.
func (l *live) pendingText(ctx context.Context, forecasts []diagnose.Forecast) (diagnose.Text, error) {
	if err := l.readSettings(ctx); err != nil {
		return nil, err
	}
	s := l.snapshot(l.namespace, false)
	sources := l.sources(s)
	for _, forecast := range forecasts {
		observed, _, err := sources.Gather(ctx, client.ObjectKeyFromObject(forecast.Observed.Service))
		if err != nil {
			return nil, err
		}
		if observed == nil {
			return nil, fmt.Errorf("service %s was deleted", client.ObjectKeyFromObject(forecast.Observed.Service))
		}
		if why := diagnose.ReplacedDecision(observed.Service.Annotations, forecast.Annotations); why != "" {
			return nil, fmt.Errorf("service %s: %s; what this command requested does not apply", client.ObjectKeyFromObject(observed.Service), why)
		}
		switch why := diagnose.WhyNotApplied(*observed, s.gaps, l.now()); why.String() {
		case "":
		case diagnose.FrozenChange:
			return nil, fmt.Errorf("service/%s: %s", observed.Service.Name, why)
		default:
			return append(diagnose.Sentences("service/"+forecast.Observed.Service.Name+": "), why...), nil
		}
	}
	return nil, nil
}

// servicesFor reads a Service, and the other Services of its namespace that select some of its pods, sorted by name.
func (l *live) servicesFor(ctx context.Context, s *snapshot, service string) (main routing.Observed, others []routing.Observed, err error) {
	names, err := servicesOf(ctx, s, l.namespace)
	if err != nil {
		return main, nil, err
	}
	if !slices.Contains(names, service) {
		return main, nil, noService(l.namespace, service, names)
	}
	if main, _, err = l.observe(ctx, s, service); err != nil {
		return main, nil, err
	}
	var pods corev1.PodList
	if err := s.List(ctx, &pods, client.InNamespace(l.namespace)); err != nil {
		return main, nil, err
	}
	selected := slices.DeleteFunc(slices.Clone(pods.Items), func(pod corev1.Pod) bool { return !routing.Selects(main.Service.Spec.Selector, pod.Labels) })
	var services corev1.ServiceList
	if err := s.List(ctx, &services, client.InNamespace(l.namespace)); err != nil {
		return main, nil, err
	}
	services.Items = slices.Clone(services.Items) // the snapshot keeps them
	slices.SortFunc(services.Items, func(a, b corev1.Service) int { return strings.Compare(a.Name, b.Name) })
	for i := range services.Items {
		name := services.Items[i].Name
		if name == service || !diagnose.SamePods(main.Service, &services.Items[i], selected) {
			continue
		}
		other, _, err := l.sources(s).Gather(ctx, client.ObjectKey{Namespace: l.namespace, Name: name})
		if err != nil {
			return main, nil, err
		}
		if other != nil {
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
		if err := l.patchService(ctx, client.ObjectKeyFromObject(service), patch, output.patchOptions()...); err != nil {
			return err
		}
	}
	output.say("service/%s annotated%s", service.Name, output.suffix())
	return nil
}

// patchService writes a Service. If the response is missing, it reads the Service to find out whether it was changed, and returns an
// UnknownWriteError if that remains unknown.
func (l *live) patchService(ctx context.Context, key client.ObjectKey, patch client.Patch, options ...client.PatchOption) error {
	object := &corev1.Service{}
	object.Namespace, object.Name = key.Namespace, key.Name
	if ctx.Err() != nil {
		return ctx.Err() // nothing was sent
	}
	err := l.client.Patch(ctx, object, patch, options...)
	if err == nil {
		return nil
	}
	failure := mayNotAnnotate(key.Namespace, key.Name, err)
	wanted := client.PatchOptions{}
	wanted.ApplyOptions(options)
	if len(wanted.DryRun) > 0 || isRefused(err) {
		return failure
	}
	switch isWritten, readErr := l.isWritten(ctx, key, patch); {
	case readErr != nil:
		return &diagnose.UnknownWriteError{Err: failure}
	case isWritten:
		return nil
	case isAnswered(err):
		return failure
	}
	return &diagnose.UnknownWriteError{Err: failure} // the API server may still make the change
}

// isRefused reports whether a failed write changed nothing for certain: the API server rejected it, or got no request.
func isRefused(err error) bool {
	status := apierrors.APIStatus(nil)
	return errors.As(err, new(*unreachableError)) || errors.As(err, &status) && status.Status().Code < http.StatusInternalServerError
}

// isAnswered reports whether the API server has finished a failed write. After a timeout of its own, it may still be working on it.
func isAnswered(err error) bool {
	status := apierrors.APIStatus(nil)
	return errors.As(err, &status) && status.Status().Code != http.StatusGatewayTimeout
}

// rereadTimeout limits how long a command waits for the Service after a write without a response.
const rereadTimeout = 10 * time.Second

// isWritten reads a Service, and reports whether it has the labels and annotations of a merge patch. It does so even if the context has
// ended, because that may be why the response is missing.
func (l *live) isWritten(ctx context.Context, key client.ObjectKey, patch client.Patch) (bool, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rereadTimeout)
	defer cancel()
	object := &corev1.Service{}
	if err := l.client.Get(ctx, key, object); err != nil {
		return false, err
	}
	text, err := patch.Data(object)
	if err != nil {
		return false, err
	}
	var wanted struct {
		Metadata struct{ Labels, Annotations map[string]*string }
	}
	if err := json.Unmarshal(text, &wanted); err != nil {
		return false, err
	}
	for _, one := range []struct {
		wanted map[string]*string
		is     map[string]string
	}{{wanted.Metadata.Labels, object.Labels}, {wanted.Metadata.Annotations, object.Annotations}} {
		for name, value := range one.wanted {
			if is, has := one.is[name]; has != (value != nil) || has && is != *value {
				return false, nil
			}
		}
	}
	return true, nil
}

// metadataPatch returns a merge patch of only labels or annotations. An empty value removes the key.
func metadataPatch(which string, values map[string]string) (client.Patch, error) {
	return metadataPatchOf(which, values, "")
}

// metadataPatchOf is a metadataPatch that the API server refuses if the object has another resourceVersion. Without one, it applies to any.
func metadataPatchOf(which string, values map[string]string, resourceVersion string) (client.Patch, error) {
	changes := map[string]any{}
	for key, text := range values {
		if changes[key] = any(nil); text != "" {
			changes[key] = text
		}
	}
	metadata := map[string]any{which: changes}
	if resourceVersion != "" {
		metadata["resourceVersion"] = resourceVersion
	}
	text, err := json.Marshal(map[string]any{"metadata": metadata})
	return client.RawPatch(types.MergePatchType, text), err
}
