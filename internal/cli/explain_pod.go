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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
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
	l.noteUnread(command.ErrOrStderr())
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
	if err := l.mustExist(ctx, l.namespace); err != nil {
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
	stream, err := manifest.Read(strings.NewReader(string(text)))
	if err != nil {
		return err
	}
	template, err := templatePod(stream.Objects()[0], l.namespace)
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
	if err := l.explainTemplate(ctx, from, *template, inCluster{live, pods}, print); err != nil {
		return err
	}
	l.noteUnread(command.ErrOrStderr())
	return nil
}

// inCluster is what there is of a workload in the cluster.
type inCluster struct {
	workload *unstructured.Unstructured // nil where a file describes it
	pods     []corev1.Pod
}

// podsOf are the pods that run for an object: itself, or those of its selector that do not end. None if it has no selector.
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
		return nil, nil //nolint:nilerr // that of a ReplicationController is a plain map
	}
	selector, err := metav1.LabelSelectorAsSelector(wanted)
	if err != nil {
		return nil, err
	}
	var list corev1.PodList
	err = l.client.List(ctx, &list, client.InNamespace(l.namespace), client.MatchingLabelsSelector{Selector: selector})
	if isForbidden(err) {
		l.unread().kindIn("Pod", l.namespace)
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the pods: %w", err)
	}
	return slices.DeleteFunc(list.Items, func(pod corev1.Pod) bool { return ended(&pod) }), nil
}

// injectionStory is all that decides about the sidecar of one pod.
type injectionStory struct {
	object    *manifest.Object
	pod       *corev1.Pod // as it is created
	namespace *corev1.Namespace
	pods      []corev1.Pod // that run now
	entries   []entryVerdict
	blind     bool           // the webhook objects may not be read
	endpoints map[string]int // of our Services, "namespace/name", and of the URLs of entries, how many are ready
	real      reality
	report    inject.Report // what Outrigger decides, asked or not
	unknown   string        // why it is not known what Outrigger decides
	owner     routing.WorkloadRef
	owned     bool
	notes     []string
}

// explainTemplate tells the story of a pod template, with the pods that run for it.
func (l *live) explainTemplate(ctx context.Context, from *clusterFlags, template podIn, is inCluster, print *explanations) error {
	s := injectionStory{object: template.object, pods: is.pods}
	raw, pod, err := asCreated(template)
	if err != nil {
		return err
	}
	s.pod = pod
	if s.namespace, err = l.namespaceOf(ctx, pod.Namespace, &s); err != nil {
		return err
	}
	objects, err := l.webhookObjects(ctx)
	if err != nil {
		return err
	}
	s.blind = l.unread().elsewhere("MutatingWebhookConfiguration")
	s.entries = entriesFor(ctx, objects, pod, s.namespace)
	s.endpoints = l.readyEndpoints(ctx, &s)
	s.owner, s.owned = routing.WorkloadOf(pod)
	if template.isPod && metav1.GetControllerOfNoCopy(pod) == nil {
		s.owner, s.owned = routing.WorkloadRef{Kind: "Pod", Name: pod.Name}, true
	}
	config, err := l.installation(ctx, s.entries)
	if err != nil {
		return err
	}
	source := istioFlags{
		kube: from.kube, istioNamespace: config.Istio.Namespace, revision: config.Istio.Revision,
		nativeSidecars: config.Istio.NativeSidecars, platform: config.Istio.Platform, compliancePolicy: config.Istio.CompliancePolicy, release: config.Istio.Version,
		unread: l.unread(),
	}
	s.real = l.realityOf(ctx, template.object, is.workload, pod, is.pods)
	istio, err := source.load(ctx)
	if isForbidden(err) {
		l.unread().kindIn("ConfigMap", config.Istio.Namespace)
		s.unknown = "you have no permission to read Istio's configuration"
		return print.add(s.paragraphs, s.data())
	}
	if err != nil {
		s.unknown = err.Error()
		return print.add(s.paragraphs, s.data())
	}
	answer, err := inject.Review(inject.Received{JSON: raw, NamespaceName: s.namespace.Name, Namespace: s.namespace, Path: s.path()}, istio.config)
	if err != nil {
		return err
	}
	s.report = answer.Report
	return print.add(s.paragraphs, s.data())
}

// asCreated returns the pod as it was sent, or would be: a live one without the sidecar that it was given.
func asCreated(template podIn) ([]byte, *corev1.Pod, error) {
	before, injected, _, err := inject.Removed(template.pod)
	if err != nil {
		return nil, nil, err
	}
	if !injected {
		return template.raw, template.pod, nil
	}
	raw, err := json.Marshal(before)
	return raw, before, err
}

// namespaceOf reads the Namespace; one that is not there or may not be read has only its name.
func (l *live) namespaceOf(ctx context.Context, name string, s *injectionStory) (*corev1.Namespace, error) {
	namespace := &corev1.Namespace{}
	err := l.client.Get(ctx, client.ObjectKey{Name: name}, namespace)
	if err == nil {
		return namespace, nil
	}
	if !isUnreadable(err) {
		return nil, fmt.Errorf("read Namespace %s: %w", name, err)
	}
	if isForbidden(err) {
		l.unread().object("Namespace", "", name)
	} else {
		s.notes = append(s.notes, fmt.Sprintf("Namespace %s does not exist; it is assumed to have no labels.", name))
	}
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"kubernetes.io/metadata.name": name}}}, nil
}

// readyEndpoints counts who answers behind the Services of our entries that are asked.
func (l *live) readyEndpoints(ctx context.Context, s *injectionStory) map[string]int {
	out := map[string]int{}
	for _, entry := range s.entries {
		service, url := entry.webhook.ClientConfig.Service, entry.webhook.ClientConfig.URL
		if entry.asked && entry.injector == ours && service == nil && url != nil {
			if ready, known := l.readyReplicas(ctx); known {
				out[*url] = ready
			}
		}
		if !entry.asked || service == nil {
			continue
		}
		name := service.Namespace + "/" + service.Name
		if _, done := out[name]; done {
			continue
		}
		var list discoveryv1.EndpointSliceList
		if err := l.client.List(ctx, &list, client.InNamespace(service.Namespace), client.MatchingLabels{discoveryv1.LabelServiceName: service.Name}); err != nil {
			if isForbidden(err) {
				l.unread().kindIn("EndpointSlice", service.Namespace)
			} else {
				s.notes = append(s.notes, fmt.Sprintf("The endpoints of Service %s are unknown: %v.", name, err))
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
	var list appsv1.DeploymentList
	err := l.client.List(ctx, &list, client.InNamespace(l.installed), client.MatchingLabels{"app.kubernetes.io/name": "outrigger"})
	if isForbidden(err) {
		l.unread().kindIn("Deployment", l.installed)
	}
	for i := range list.Items {
		ready += int(list.Items[i].Status.ReadyReplicas)
	}
	return ready, err == nil && len(list.Items) > 0
}

// webhookObjects are those of the cluster; none where they may not be read.
func (l *live) webhookObjects(ctx context.Context) ([]admissionregistrationv1.MutatingWebhookConfiguration, error) {
	var objects admissionregistrationv1.MutatingWebhookConfigurationList
	err := l.client.List(ctx, &objects)
	if isForbidden(err) {
		l.unread().kindIn("MutatingWebhookConfiguration", "")
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the MutatingWebhookConfigurations: %w", err)
	}
	return objects.Items, nil
}

// noteUnread reports in one note what could not be read.
func (l *live) noteUnread(notes io.Writer) {
	if note := l.unread().note(l.namespace); note != "" {
		_, _ = fmt.Fprintln(notes, "Note: "+note) // nothing to do if stderr is closed
	}
}

// installation returns the settings of the Outrigger whose entry is asked, else of the one without a revision.
func (l *live) installation(ctx context.Context, entries []entryVerdict) (api.Config, error) {
	revision := ""
	for _, entry := range entries {
		if entry.injector == ours && entry.asked {
			revision = entry.revision
		}
	}
	configs, err := installations(ctx, l.client, l.installed, l.unread())
	if err != nil {
		return api.Config{}, err
	}
	for _, config := range configs {
		if config.Istio.Revision == revision {
			return config, nil
		}
	}
	return l.config, nil
}

// webhookName is the name of the chart's webhook object, without a revision.
const webhookName = "outrigger-sidecar-injector"

// path is that of the URL of our entry which is asked.
func (s *injectionStory) path() string {
	for _, entry := range s.entries {
		if entry.injector == ours && entry.asked && entry.webhook.ClientConfig.Service != nil && entry.webhook.ClientConfig.Service.Path != nil {
			return *entry.webhook.ClientConfig.Service.Path
		}
	}
	return injectPath
}

// asked returns the first entry of an injector that is asked; nil if none is.
func (s *injectionStory) asked(whose injectorName) *entryVerdict {
	at := slices.IndexFunc(s.entries, func(v entryVerdict) bool { return v.injector == whose && v.asked })
	if at < 0 {
		return nil
	}
	return &s.entries[at]
}

// whatToExplain completes KIND/NAME.
func whatToExplain(ctx context.Context, l *live, args []string) ([]string, error) {
	out, err := servicesToExplain(ctx, l, args)
	if err != nil {
		return nil, err
	}
	for _, gvk := range []schema.GroupVersionKind{appsv1.SchemeGroupVersion.WithKind("Deployment"), corev1.SchemeGroupVersion.WithKind("Pod")} {
		k := strings.ToLower(gvk.Kind)
		gvk.Kind += "List"
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(gvk)
		if err := l.client.List(ctx, list, client.InNamespace(l.namespace)); err != nil {
			return nil, err
		}
		for _, item := range list.Items {
			out = append(out, k+"/"+item.Name)
		}
	}
	return out, nil
}
