// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
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
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/dashboard"
	"outrigger.dev/outrigger/internal/diagnose"
	"outrigger.dev/outrigger/routing"
)

// dashboardData reads what the pages of the dashboard show, in the same way as status, explain, and coverage.
type dashboardData struct {
	cluster *live
	from    *clusterFlags
	all     bool
	metrics *dashboardMetrics // nil to show none

	turn     turn // to use the fields below
	coverage *diagnose.CoverageReport
	read     time.Time
	took     time.Duration
}

var _ dashboard.Data = &dashboardData{}

func newDashboardData(l *live, from *clusterFlags, all bool) *dashboardData {
	return &dashboardData{cluster: l, from: from, all: all, turn: newTurn()}
}

// in returns the cluster as a command about a namespace sees it, with the installation's current settings and the user's current
// permissions.
func (d *dashboardData) in(ctx context.Context, namespace string) (*live, error) {
	if !d.all && namespace != d.cluster.namespace {
		return nil, &dashboard.Error{Status: http.StatusNotFound, Err: diagnose.WithCommand(fmt.Sprintf("this dashboard shows only namespace %s. For namespace %s: ", d.cluster.namespace, namespace), "outrigger dashboard -n "+api.ShellWord(namespace))}
	}
	out := *d.cluster
	out.namespace, out.gaps = namespace, diagnose.Gaps{}
	out.from = d.from
	return &out, out.readSettings(ctx)
}

// status reads the status of all Services of the dashboard.
func (d *dashboardData) status(ctx context.Context) (diagnose.StatusReport, error) {
	l, err := d.in(ctx, d.cluster.namespace)
	if err != nil {
		return diagnose.StatusReport{}, err
	}
	return l.withControllerState(ctx, func(ctx context.Context) (diagnose.StatusReport, error) { return l.status(ctx, d.all) })
}

// Service implements dashboard.Data.
func (d *dashboardData) Service(ctx context.Context, namespace, name string) (*dashboard.Service, error) {
	l, err := d.in(ctx, namespace)
	if err != nil {
		return nil, pageError(err)
	}
	s := l.snapshot(namespace, d.all)
	names, err := servicesOf(ctx, s, namespace)
	if err != nil {
		return nil, pageError(err)
	}
	if !slices.Contains(names, name) {
		return nil, &dashboard.Error{Status: http.StatusNotFound, Err: fmt.Errorf("namespace %s has no Service %s", namespace, name)}
	}
	observed, problems, err := l.observe(ctx, s, name)
	if err != nil {
		return nil, pageError(err)
	}
	around, err := l.surroundings(ctx, s, &observed)
	if err != nil {
		return nil, pageError(err)
	}
	explanation := diagnose.ExplainService(observed, problems, around, l.now())
	out := &dashboard.Service{ServiceExplanation: explanation, ResourceVersion: observed.Service.ResourceVersion, Explanation: explanation.Paragraphs()}
	var pods corev1.PodList
	if err := s.List(ctx, &pods, client.InNamespace(namespace)); err != nil {
		return nil, pageError(err)
	}
	out.Workloads = dashboardWorkloads(&observed, explanation.Workloads, pods.Items)
	if out.Events, err = l.events(ctx, name, explanation); err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		out.EventsFailure = err.Error() // all else on the page is known
	}
	if out.Manifests, err = manifestsOf(observed.Existing); err != nil {
		return nil, err
	}
	out.Facts = l.factsOf(s, observed, nil)
	out.Metrics = d.metrics.of(l.config.Routing, observed.Service, explanation.Versions)
	out.Notes = s.notes()
	return out, nil
}

// dashboardWorkloads adds the images and ages of pods to the workloads of a Service.
func dashboardWorkloads(observed *routing.Observed, workloads []diagnose.WorkloadStatus, pods []corev1.Pod) []dashboard.Workload {
	type key struct{ workload, version string }
	images, created := map[key][]string{}, map[key]time.Time{}
	for i := range pods {
		pod := &pods[i]
		ref, serves := routing.WorkloadOf(pod)
		if !serves || diagnose.HasEnded(pod) || !routing.Selects(observed.Service.Spec.Selector, pod.Labels) {
			continue
		}
		at := key{ref.String(), pod.Labels[observed.Intent.VersionLabel]}
		for _, container := range pod.Spec.Containers {
			if container.Name != api.ProxyContainer && !slices.Contains(images[at], container.Image) {
				images[at] = append(images[at], container.Image)
			}
		}
	}
	for _, group := range observed.Pods {
		created[key{group.Workload.String(), group.Version}] = group.Created
	}
	var out []dashboard.Workload
	for _, w := range workloads {
		at := key{w.Workload, w.Version}
		slices.Sort(images[at])
		out = append(out, dashboard.Workload{WorkloadStatus: w, Images: images[at], Created: created[at]})
	}
	return out
}

const (
	maxEventObjects = 12 // objects whose Events are listed
	maxEvents       = 50
	eventsTimeout   = 5 * time.Second // for listing them, so that a page does not wait for its timeline
)

// events returns the Events about a Service, its objects, and its workloads, newest first; none without permission to list Events.
func (l *live) events(ctx context.Context, service string, explanation diagnose.ServiceExplanation) ([]dashboard.Event, error) {
	names := []string{service}
	add := func(name string) {
		if !slices.Contains(names, name) && len(names) < maxEventObjects {
			names = append(names, name)
		}
	}
	objects := map[string]bool{"Service/" + service: true}
	for _, o := range explanation.Objects {
		objects[o.Kind+"/"+o.Name] = true
		add(o.Name)
	}
	for _, w := range explanation.Workloads {
		objects[w.Workload] = true
		if deployment, is := strings.CutPrefix(w.Workload, "Deployment/"); is {
			add(deployment)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, eventsTimeout)
	defer cancel()
	var out []dashboard.Event
	for _, name := range names {
		var events corev1.EventList
		err := l.client.List(ctx, &events, client.InNamespace(l.namespace), client.MatchingFields{"involvedObject.name": name}, client.Limit(10*maxEvents))
		if isForbidden(err) {
			l.gaps.AddKind("Event", l.namespace)
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("list the Events of namespace %s: %w", l.namespace, err)
		}
		for i := range events.Items {
			if e := &events.Items[i]; objects[e.InvolvedObject.Kind+"/"+e.InvolvedObject.Name] {
				out = append(out, eventOf(e))
			}
		}
	}
	slices.SortStableFunc(out, func(a, b dashboard.Event) int { return cmp.Or(b.At.Compare(a.At), cmp.Compare(a.Message, b.Message)) })
	return out[:min(len(out), maxEvents)], nil
}

func eventOf(e *corev1.Event) dashboard.Event {
	out := dashboard.Event{At: e.LastTimestamp.Time, Kind: e.Type, Object: e.InvolvedObject.Kind + " " + e.InvolvedObject.Name, Reason: e.Reason, Message: e.Message, Count: int(e.Count)}
	if e.Related != nil {
		out.Related = e.Related.Kind + " " + e.Related.Name
	}
	if e.Series != nil {
		out.At, out.Count = e.Series.LastObservedTime.Time, int(e.Series.Count)
	}
	if out.At.IsZero() {
		out.At = e.EventTime.Time
	}
	if out.At.IsZero() {
		out.At = e.CreationTimestamp.Time
	}
	return out
}

// manifestsOf returns the generated objects of a Service as YAML.
func manifestsOf(objects routing.Objects) ([]dashboard.Manifest, error) {
	var out []dashboard.Manifest
	var all []client.Object
	for _, o := range objects.DestinationRules {
		all = append(all, o)
	}
	for _, o := range objects.VirtualServices {
		all = append(all, o)
	}
	for _, o := range objects.Gateways {
		all = append(all, o)
	}
	for _, o := range all {
		raw, err := json.Marshal(o)
		if err != nil {
			return nil, err
		}
		fields := map[string]any{}
		if err := json.Unmarshal(raw, &fields); err != nil {
			return nil, err
		}
		kind := routing.KindOf(o)
		fields["apiVersion"], fields["kind"] = "networking.istio.io/v1", kind
		delete(fields, "status")
		if metadata, is := fields["metadata"].(map[string]any); is {
			delete(metadata, "managedFields")
		}
		text, err := yaml.Marshal(fields)
		if err != nil {
			return nil, err
		}
		out = append(out, dashboard.Manifest{Kind: kind, Name: o.GetName(), YAML: string(text)})
	}
	return out, nil
}

// coverageAge is how old the coverage on a page can be. After a slow reading, it can be ten times as old as the duration of that reading.
const coverageAge = 5 * time.Second

// Injection implements dashboard.Data. It compares all pods, so it reads them again only after coverageAge.
func (d *dashboardData) Injection(ctx context.Context) (*diagnose.CoverageReport, error) {
	if err := d.turn.take(ctx); err != nil {
		return nil, fmt.Errorf("wait for the coverage that is being read: %w", err)
	}
	defer d.turn.end()
	if d.coverage != nil && time.Since(d.read) < max(coverageAge, 10*d.took) {
		return d.coverage, nil
	}
	began := time.Now()
	l, err := d.in(ctx, d.cluster.namespace)
	if err != nil {
		return nil, pageError(err)
	}
	report, err := l.coverage(loadFor(l, d.from)).report(ctx, d.all)
	if err != nil {
		return nil, pageError(err)
	}
	d.coverage, d.read, d.took = report, time.Now(), time.Since(began)
	return report, nil
}

// Explain implements dashboard.Data.
func (d *dashboardData) Explain(ctx context.Context, namespace, kind, name string) (*dashboard.Explanation, error) {
	l, err := d.in(ctx, namespace)
	if err != nil {
		return nil, pageError(err)
	}
	out := &dashboard.Explanation{}
	print := &explanations{out: io.Discard, collect: func(paragraphs []diagnose.Paragraph, data any) {
		out.Paragraphs = paragraphs
		out.InjectionExplanation, _ = data.(diagnose.InjectionExplanation)
	}}
	if err := l.explainObject(ctx, d.from, kind, name, print); err != nil {
		return nil, pageError(err)
	}
	if note := l.gaps.Note(namespace); note != "" {
		out.Notes = []string{note}
	}
	return out, nil
}

// pageError returns an error with the status of its page. The cluster's errors have none.
func pageError(err error) error {
	missing, usage, absent := &permissionError{}, &usageError{}, &notThereError{}
	switch {
	case errors.As(err, &missing):
		return &dashboard.Error{Status: http.StatusForbidden, Err: err}
	case errors.As(err, &usage):
		return &dashboard.Error{Status: http.StatusBadRequest, Err: err}
	case errors.As(err, &absent), apierrors.IsNotFound(err):
		return &dashboard.Error{Status: http.StatusNotFound, Err: err}
	case isForbidden(err):
		return &dashboard.Error{Status: http.StatusForbidden, Err: err}
	}
	return err
}
