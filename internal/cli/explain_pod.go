// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
	"outrigger.dev/outrigger/internal/diagnose"
	"outrigger.dev/outrigger/internal/manifest"
	"outrigger.dev/outrigger/routing"
)

// explainFiles explains every pod and pod template of the input.
func explainFiles(command *cobra.Command, from *clusterFlags, input *inputFlags, print *explanations) error {
	in, err := input.read(command.Context(), command.InOrStdin())
	if err != nil {
		return err
	}
	objects, err := in.objects()
	if err != nil {
		return err
	}
	l, err := from.connect(command.Context(), command.ErrOrStderr())
	if err != nil {
		return err
	}
	found := 0
	for _, object := range objects {
		namespace := object.Namespace
		if namespace == "" {
			namespace = l.namespace
		}
		template, err := templatePod(object, namespace)
		if err != nil {
			return err
		}
		if template == nil {
			continue
		}
		found++
		if err := l.explainTemplate(command.Context(), from, *template, inCluster{}, print); err != nil {
			return fmt.Errorf("%s: %w", object, err)
		}
	}
	l.printUnread(command.ErrOrStderr())
	if found == 0 {
		return fmt.Errorf("%s contains no pod and no pod template", in.names())
	}
	return nil
}

// explainObject explains a live pod, or the pods of a live workload.
func explainObject(command *cobra.Command, from *clusterFlags, kind, name string, print *explanations) error {
	ctx := command.Context()
	l, err := from.connect(ctx, command.ErrOrStderr())
	if err != nil {
		return err
	}
	if err := l.explainObject(ctx, from, kind, name, print); err != nil {
		return err
	}
	l.printUnread(command.ErrOrStderr())
	return nil
}

func (l *live) explainObject(ctx context.Context, from *clusterFlags, kind, name string, print *explanations) error {
	if err := l.checkNamespaceExists(ctx, l.namespace); err != nil {
		return err
	}
	live, err := l.find(from, kind, name)
	if err != nil {
		return err
	}
	gvk := live.GroupVersionKind()
	live.SetManagedFields(nil)
	text, err := live.MarshalJSON()
	if err != nil {
		return err
	}
	document, err := manifest.FromJSON(text)
	if err != nil {
		return err
	}
	objects, err := document.Objects()
	if err != nil {
		return err
	}
	template, err := templatePod(objects[0], l.namespace)
	if err != nil {
		return err
	}
	if template == nil {
		return notExplained(gvk.Kind, name)
	}
	pods, err := l.podsOf(ctx, live, template)
	if err != nil {
		return err
	}
	return l.explainTemplate(ctx, from, *template, inCluster{live, pods}, print)
}

// inCluster is the existing workload of a template, with its running pods.
type inCluster struct {
	workload *unstructured.Unstructured // nil where a file describes it
	pods     []corev1.Pod
}

// podsOf returns the running pods of an object: a Pod itself, or those that its selector matches. It returns none without a
// selector.
func (l *live) podsOf(ctx context.Context, object *unstructured.Unstructured, template *podIn) ([]corev1.Pod, error) {
	if template.isPod {
		return []corev1.Pod{*template.pod}, nil
	}
	raw, has, err := unstructured.NestedMap(object.Object, "spec", "selector")
	if err != nil || !has {
		return nil, nil //nolint:nilerr // a selector of another form selects nothing that is known here
	}
	wanted := &metav1.LabelSelector{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(raw, wanted); err != nil || len(wanted.MatchLabels)+len(wanted.MatchExpressions) == 0 {
		return nil, nil //nolint:nilerr // the selector of a ReplicationController is a plain map
	}
	selector, err := metav1.LabelSelectorAsSelector(wanted)
	if err != nil {
		return nil, err
	}
	var list corev1.PodList
	err = l.client.List(ctx, &list, client.InNamespace(l.namespace), client.MatchingLabelsSelector{Selector: selector})
	if isForbidden(err) {
		l.gaps.AddKind("Pod", l.namespace)
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the pods: %w", err)
	}
	return slices.DeleteFunc(list.Items, func(pod corev1.Pod) bool { return diagnose.HasEnded(&pod) }), nil
}

// explainTemplate explains a pod template, with its running pods.
func (l *live) explainTemplate(ctx context.Context, from *clusterFlags, template podIn, is inCluster, print *explanations) error {
	s := diagnose.PodFacts{Kind: template.object.Kind, Name: template.object.Name, Pods: is.pods}
	raw, pod, err := asCreated(template)
	if err != nil {
		return err
	}
	s.Pod = pod
	var note string
	if s.Namespace, note, err = l.namespaceOf(ctx, pod.Namespace); err != nil {
		return err
	}
	if note != "" {
		s.Notes = append(s.Notes, note)
	}
	objects, err := l.webhookObjects(ctx)
	if err != nil {
		return err
	}
	s.Blind = l.gaps.HidesClusterWide("MutatingWebhookConfiguration")
	s.Entries = diagnose.MatchingEntries(ctx, diagnose.InjectorEntries(objects), pod, s.Namespace)
	s.Endpoints = l.readyEndpoints(ctx, &s)
	s.Owner, s.Owned = routing.WorkloadOf(pod)
	if template.isPod && metav1.GetControllerOfNoCopy(pod) == nil {
		s.Owner, s.Owned = routing.WorkloadRef{Kind: "Pod", Name: pod.Name}, true
	}
	config := l.installationOf(s.Entries)
	source := istioFlagsOf(config.Istio)
	source.kube, source.gaps = from.kube, l.gaps
	s.DryRun = l.dryRun(ctx, template, is, pod)
	istio, err := source.load(ctx)
	if isForbidden(err) {
		l.gaps.AddKind("ConfigMap", config.Istio.Namespace)
		s.Unknown = "you have no permission to read Istio's configuration"
		return print.add(s.Paragraphs, s.Data())
	}
	if err != nil {
		s.Unknown = err.Error()
		return print.add(s.Paragraphs, s.Data())
	}
	answer, err := inject.Review(inject.Received{JSON: raw, NamespaceName: s.Namespace.Name, Namespace: s.Namespace, Path: s.Path()}, istio.config)
	if err != nil {
		return err
	}
	s.Report = answer.Report
	return print.add(s.Paragraphs, s.Data())
}

// asCreated returns the pod as a controller creates it: without the sidecar, if it is injected.
func asCreated(template podIn) ([]byte, *corev1.Pod, error) {
	before, injected, _, err := inject.Uninject(template.pod)
	if err != nil {
		return nil, nil, err
	}
	if !injected {
		return template.raw, template.pod, nil
	}
	raw, err := json.Marshal(before)
	return raw, before, err
}

// namespaceOf reads a Namespace. If it does not exist or cannot be read, the result has only its name. note says that it does not exist.
func (l *live) namespaceOf(ctx context.Context, name string) (namespace *corev1.Namespace, note string, err error) {
	namespace = &corev1.Namespace{}
	if err = l.client.Get(ctx, client.ObjectKey{Name: name}, namespace); err == nil {
		return namespace, "", nil
	}
	switch {
	case isForbidden(err):
		l.gaps.AddObject("Namespace", "", name)
	case apierrors.IsNotFound(err):
		note = fmt.Sprintf("Namespace %s does not exist; it is assumed to have no labels.", name)
	default:
		return nil, "", fmt.Errorf("read Namespace %s: %w", name, err)
	}
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelMetadataName: name}}}, note, nil
}

// readyEndpoints counts the ready endpoints behind the Services of matching entries.
func (l *live) readyEndpoints(ctx context.Context, s *diagnose.PodFacts) map[string]int {
	out := map[string]int{}
	for _, entry := range s.Entries {
		service, url := entry.Webhook.ClientConfig.Service, entry.Webhook.ClientConfig.URL
		if entry.Matches && entry.Injector == diagnose.Outrigger && service == nil && url != nil {
			if ready, known := l.readyReplicas(ctx); known {
				out[*url] = ready
			}
		}
		if !entry.Matches || service == nil {
			continue
		}
		name := service.Namespace + "/" + service.Name
		if _, done := out[name]; done {
			continue
		}
		var list discoveryv1.EndpointSliceList
		if err := l.client.List(ctx, &list, client.InNamespace(service.Namespace), client.MatchingLabels{discoveryv1.LabelServiceName: service.Name}); err != nil {
			if isForbidden(err) {
				l.gaps.AddKind("EndpointSlice", service.Namespace)
			} else {
				s.Notes = append(s.Notes, fmt.Sprintf("The endpoints of Service %s are unknown: %v.", name, err))
			}
			continue
		}
		out[name] = 0
		for _, slice := range list.Items {
			for _, endpoint := range slice.Endpoints {
				if endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready {
					out[name]++
				}
			}
		}
	}
	return out
}

// readyReplicas counts the ready replicas of Outrigger in its namespace, for entries that call it by a URL; false if there are no
// Deployments of it there, or they may not be read.
func (l *live) readyReplicas(ctx context.Context) (ready int, known bool) {
	deployments, err := l.deployments(ctx)
	for i := range deployments {
		ready += int(deployments[i].Status.ReadyReplicas)
	}
	return ready, err == nil && len(deployments) > 0
}

// deployments returns the Deployments of Outrigger in its namespace.
func (l *live) deployments(ctx context.Context) ([]appsv1.Deployment, error) {
	var list appsv1.DeploymentList
	err := l.client.List(ctx, &list, client.InNamespace(l.systemNamespace), client.MatchingLabels{"app.kubernetes.io/name": "outrigger"})
	if isForbidden(err) {
		l.gaps.AddKind("Deployment", l.systemNamespace)
	}
	return list.Items, err
}

// webhookObjects returns the MutatingWebhookConfigurations of the cluster, or none without permission to list them.
func (l *live) webhookObjects(ctx context.Context) ([]admissionregistrationv1.MutatingWebhookConfiguration, error) {
	var objects admissionregistrationv1.MutatingWebhookConfigurationList
	err := l.client.List(ctx, &objects)
	if isForbidden(err) {
		l.gaps.AddKind("MutatingWebhookConfiguration", "")
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the MutatingWebhookConfigurations: %w", err)
	}
	return objects.Items, nil
}

// printUnread reports in one note what could not be read.
func (l *live) printUnread(notes io.Writer) {
	if note := l.gaps.Note(l.namespace); note != "" {
		printNotes(notes, note)
	}
}

// installationOf returns the settings of the Outrigger whose entry matches, or else of the one without a revision.
func (l *live) installationOf(entries []diagnose.Entry) api.Config {
	revision := ""
	for _, entry := range entries {
		if entry.Injector == diagnose.Outrigger && entry.Matches {
			revision = entry.Revision
		}
	}
	if config, is := l.installed(revision); is {
		return config
	}
	return l.config
}

// installed returns the settings of the installation with a revision; false if there is none, or its settings may not be read.
func (l *live) installed(revision string) (api.Config, bool) {
	at := slices.IndexFunc(l.configs, func(config api.Config) bool {
		return api.WithRevision("", config.Istio.Revision) == api.WithRevision("", revision)
	})
	if at < 0 {
		return api.Config{}, false
	}
	return l.configs[at], true
}

// completeExplain completes KIND/NAME, and the names of Services.
func completeExplain(ctx context.Context, l *live, args []string) ([]string, error) {
	out, err := servicesToExplain(ctx, l, args)
	if err != nil {
		return nil, err
	}
	for _, gvk := range []schema.GroupVersionKind{appsv1.SchemeGroupVersion.WithKind("Deployment"), corev1.SchemeGroupVersion.WithKind("Pod")} {
		names, err := l.names(ctx, gvk, l.namespace)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			out = append(out, strings.ToLower(gvk.Kind)+"/"+name)
		}
	}
	return out, nil
}
