// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/yaml"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
	"outrigger.dev/outrigger/internal/diagnose"
)

const coverageTemplate = `
policy: enabled
templates:
  sidecar: |
    spec:
      containers: [{name: istio-proxy, image: "hub/proxyv2:1"}]
`

// coverageWebhook is our webhook object cut down to what decides, and who answers behind it.
const coverageWebhook = `
metadata: {name: outrigger-sidecar-injector}
webhooks:
- name: namespace.sidecar-injector.outrigger.dev
  clientConfig: {caBundle: eA==, service: {namespace: outrigger-system, name: outrigger, path: /inject}}
  rules: [{operations: [CREATE], apiGroups: [""], apiVersions: [v1], resources: [pods], scope: Namespaced}]
  namespaceSelector: {matchLabels: {istio-injection: enabled}}
  objectSelector: {matchExpressions: [{key: sidecar.istio.io/inject, operator: NotIn, values: ["false"]}]}
  failurePolicy: Fail
`

// coverageStage is a cluster in which Outrigger injects, with pods.
func coverageStage(t *testing.T, ready bool, pods ...client.Object) (*liveStage, *coverageReader) {
	t.Helper()
	object := &admissionregistrationv1.MutatingWebhookConfiguration{}
	if err := yaml.UnmarshalStrict([]byte(coverageWebhook), object); err != nil {
		t.Fatal(err)
	}
	slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "outrigger-system", Name: "outrigger-x", Labels: map[string]string{discoveryv1.LabelServiceName: "outrigger"}}}
	slice.AddressType = discoveryv1.AddressTypeIPv4
	slice.Endpoints = []discoveryv1.Endpoint{{Addresses: []string{"127.0.0.1"}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}}
	s := newLiveStage(t, append(pods, demo("istio-injection=enabled"), object, slice)...)
	config, _, err := inject.Parse(inject.Source{Config: coverageTemplate, Values: "{}"})
	if err != nil {
		t.Fatal(err)
	}
	return s, s.coverage(func(_ context.Context, settings istioFlags) (*inject.Config, error) {
		if settings.revision != "" || settings.istioNamespace != "istio-system" {
			return nil, fmt.Errorf("asked for %+v", settings)
		}
		return config, nil
	})
}

// livePod is a pod of a Deployment, with the image of its proxy or none.
func livePod(workload string, n int, image string) *corev1.Pod {
	pod := podOf(fmt.Sprintf("%s-abc-%d", workload, n), map[string]string{"app": workload, "pod-template-hash": "abc"}, true)
	pod.UID = "uid"
	pod.GenerateName = workload + "-abc-"
	pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: workload + "-abc", UID: "rs", Controller: ptr.To(true)}}
	pod.Spec.Containers = pod.Spec.Containers[:1]
	if image != "" {
		pod.Annotations = map[string]string{api.AnnotationStatus: `{"containers":["istio-proxy"],"revision":"default"}`}
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: "istio-proxy", Image: image})
	}
	return pod
}

// mixed are pods of every state, some of which nothing must ever evict.
func mixed() []client.Object {
	bare, job, wrong, out, ended := livePod("bare", 0, ""), livePod("job", 0, ""), livePod("wrong", 0, ""), livePod("out", 0, ""), livePod("ended", 0, "")
	bare.OwnerReferences, bare.GenerateName, bare.Labels = nil, "", nil
	job.OwnerReferences[0].Kind, job.OwnerReferences[0].Name = "Job", "job"
	wrong.Annotations = map[string]string{"inject.istio.io/templates": "nosuch"}
	out.Labels["sidecar.istio.io/inject"] = "false"
	ended.Status.Phase = corev1.PodSucceeded
	return []client.Object{
		livePod("new", 0, "hub/proxyv2:1"), livePod("new", 1, ""), livePod("none", 0, ""), livePod("none", 1, ""), livePod("old", 0, "hub/proxyv2:0"),
		bare, job, wrong, out, ended,
	}
}

func TestCoverageNamesPods(t *testing.T) {
	_, c := coverageStage(t, true, mixed()...)
	report, err := c.report(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := printCoverage(report, tableView{wide: true}, &out); err != nil {
		t.Fatal(err)
	}
	want := `WORKLOAD           PODS   STATE      REASON           DETAILS
Deployment/new     1/2    missing    NoSidecar        -
Deployment/none    2/2    missing    NoSidecar        -
Deployment/wrong   1/1    missing    NewPodDenied     UnknownTemplate: Pod demo/wrong-abc-*: metadata.annotations[inject.istio.io/templates] = "nosuch": requested template "nosuch" not found; have sidecar. Name templates of Istio's configuration, separated by commas.
Job/job            1/1    missing    NoSidecar        -
Pod/bare-abc-0     1/1    missing    NoSidecar        -
Deployment/old     1/1    outdated   DifferentImage   the image of istio-proxy is hub/proxyv2:0, now hub/proxyv2:1

FOR NEW PODS
kubectl rollout restart deployment/new -n demo
kubectl rollout restart deployment/none -n demo
(Deployment/wrong in namespace demo: fix what denies its new pods first; outrigger explain names it)
(Job/job in namespace demo: its next pod gets the sidecar)
kubectl get pod bare-abc-0 -n demo -o yaml | kubectl replace --force -f -
kubectl rollout restart deployment/old -n demo

1 covered, 6 missing, 1 outdated
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestCoverageOfTheWholeCluster(t *testing.T) {
	elsewhere := livePod("plain", 0, "")
	elsewhere.Namespace = "plain"
	_, c := coverageStage(t, true, livePod("none", 0, ""), elsewhere, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "plain"}})
	report, err := c.report(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := printCoverage(report, tableView{namespaces: true}, &out); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.HasPrefix(got, "NAMESPACE   WORKLOAD          PODS   STATE     REASON\ndemo        Deployment/none   1/1    missing   NoSidecar\n") || strings.Contains(got, "plain") {
		t.Errorf("it says\n%s", got)
	}
}

// evicted runs an eviction and returns "POD RESULT: MESSAGE" of each.
func evicted(t *testing.T, c *coverageReader, how evictionFlags) ([]string, error) {
	t.Helper()
	report, err := c.report(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	how.wanted = true
	err = c.evict(t.Context(), report, how)
	var out []string
	for _, e := range report.Evictions {
		out = append(out, e.Pod+" "+e.Result+": "+e.Message)
	}
	return out, err
}

func podNames(t *testing.T, s *liveStage) string {
	t.Helper()
	var list corev1.PodList
	if err := s.client.List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, pod := range list.Items {
		names = append(names, strings.Replace(pod.Name, "-abc-", "", 1))
	}
	return strings.Join(names, " ")
}

func TestEvictionsAreBoundedAndLeaveWhatWouldNotComeBack(t *testing.T) {
	left := []string{"wrong-abc-0 left: a new pod would be denied", "job-abc-0 left: a Job's pod is not run twice", "bare-abc-0 left: no controller would recreate it"}
	const all = "bare0 ended0 job0 new0 new1 none0 none1 old0 out0 wrong0"
	for _, c := range []struct {
		what   string
		how    evictionFlags
		answer func(pod string, eviction *policyv1.Eviction) error // nil = it goes
		want   []string
		after  string
		err    string
	}{
		{what: "two", how: evictionFlags{max: 2}, want: []string{"new-abc-1 evicted: ", "none-abc-0 evicted: "}, after: "bare0 ended0 job0 new0 none1 old0 out0 wrong0"},
		{what: "as many as may go", how: evictionFlags{max: 100}, after: "bare0 ended0 job0 new0 out0 wrong0",
			want: append(append([]string{"new-abc-1 evicted: ", "none-abc-0 evicted: "}, left...), "old-abc-0 evicted: ", "none-abc-1 evicted: ")},
		{what: "a dry run of the client", how: evictionFlags{max: 1, dryRun: dryRunClient}, want: []string{"new-abc-1 evicted: (dry run)"}, after: all},
		{what: "a dry run of the server", how: evictionFlags{max: 1, dryRun: dryRunServer}, after: all, want: []string{"new-abc-1 evicted: (server dry run)"},
			answer: func(_ string, eviction *policyv1.Eviction) error {
				if len(eviction.DeleteOptions.DryRun) != 1 {
					return errors.New("no dry run")
				}
				return nil
			}},
		{what: "not allowed", how: evictionFlags{max: 5}, answer: func(pod string, _ *policyv1.Eviction) error {
			return apierrors.NewForbidden(corev1.Resource("pods/eviction"), pod, errors.New("no right"))
		}, err: "evict pod demo/new-abc-1: ", after: all},
	} {
		t.Run(c.what, func(t *testing.T) {
			s, coverer := coverageStage(t, true, mixed()...)
			dry := c.how.dryRun == dryRunServer // the fake API server knows no dry run of an eviction
			if c.answer != nil {
				s.client = interceptor.NewClient(s.client.(client.WithWatch), interceptor.Funcs{
					SubResourceCreate: func(ctx context.Context, inner client.Client, resource string, object, sub client.Object, options ...client.SubResourceCreateOption) error {
						if err := c.answer(object.GetName(), sub.(*policyv1.Eviction)); err != nil || dry {
							return err
						}
						return inner.SubResource(resource).Create(ctx, object, sub, options...)
					},
				})
			}
			got, err := evicted(t, coverer, c.how)
			if (err == nil) != (c.err == "") || err != nil && !strings.HasPrefix(err.Error(), c.err) {
				t.Errorf("error %v, want %q", err, c.err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if after := podNames(t, s); c.after != "" && after != c.after {
				t.Errorf("there are %s, want %s", after, c.after)
			}
		})
	}
}

func TestNothingIsEvictedWhileNobodyAnswers(t *testing.T) {
	s, c := coverageStage(t, false, livePod("none", 0, ""))
	got, err := evicted(t, c, evictionFlags{max: 5})
	if err != nil || len(got) != 1 || !strings.HasPrefix(got[0], "none-abc-0 left: a new pod would get no sidecar: No pod is ready behind Service outrigger-system/outrigger") {
		t.Errorf("%q, %v", got, err)
	}
	if left := podNames(t, s); left != "none0" {
		t.Errorf("left are %q", left)
	}
}

const notCompared = "0 covered, 1 missing, 0 outdated, 1 have a sidecar that was not compared"

// Without permissions in the whole cluster, coverage goes by the namespace's label, and says what it did not compare.
func TestCoverageWithTheRightsOfOneNamespace(t *testing.T) {
	for name, c := range map[string]struct {
		forbid func(client.ObjectList) bool
		config error
		note   string
		left   string // the message of the eviction
		counts string
	}{
		"no webhook objects": {func(l client.ObjectList) bool {
			_, is := l.(*admissionregistrationv1.MutatingWebhookConfigurationList)
			return is
		}, nil, "MutatingWebhookConfigurations", "it is unknown what a new pod would get: you have no permission to read the webhook objects", notCompared},
		"no EndpointSlices": {func(l client.ObjectList) bool {
			_, is := l.(*discoveryv1.EndpointSliceList)
			return is
		}, nil, "EndpointSlices in namespace outrigger-system", "it is unknown what a new pod would get: you have no permission to read EndpointSlices in namespace outrigger-system, so it is unknown whether a replica of Outrigger is ready", "1 covered, 1 missing, 0 outdated"},
		"no Istio configuration": {func(client.ObjectList) bool { return false }, forbidden, "ConfigMaps in namespace istio-system", "it is unknown what a new pod would get: you have no permission to read Istio's configuration", notCompared},
	} {
		t.Run(name, func(t *testing.T) {
			s, first := coverageStage(t, true, livePod("new", 0, "hub/proxyv2:1"), livePod("new", 1, ""))
			s.through(interceptor.Funcs{List: func(ctx context.Context, cl client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
				if _, is := list.(*corev1.NamespaceList); is || c.forbid(list) {
					return forbidden
				}
				return cl.List(ctx, list, options...)
			}})
			cover := s.coverage(func(ctx context.Context, settings istioFlags) (*inject.Config, error) {
				if c.config != nil {
					return nil, c.config
				}
				return first.load(ctx, settings)
			})
			report, err := cover.report(t.Context(), true)
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			if err := printCoverage(report, tableView{}, &out); err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{"Deployment/new   1/2    missing   NoSidecar", c.counts} {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%q is not in\n%s", want, out.String())
				}
			}
			if len(report.Notes) != 1 || !strings.Contains(report.Notes[0], c.note) {
				t.Errorf("notes %q", report.Notes)
			}
			// What a new pod would get is unknown, so none is evicted, and the command fails.
			for _, dryRun := range []string{dryRunNone, dryRunClient} {
				report.Evictions = nil
				err := cover.evict(t.Context(), report, evictionFlags{wanted: true, max: 5, dryRun: dryRun})
				if err == nil || !strings.HasPrefix(err.Error(), "1 pods were not evicted, because it is unknown ") {
					t.Errorf("--dry-run=%s: %v", dryRun, err)
				}
				if len(report.Evictions) != 1 || report.Evictions[0].Result != diagnose.PodLeft || report.Evictions[0].Message != c.left {
					t.Errorf("--dry-run=%s: %+v", dryRun, report.Evictions)
				}
			}
		})
	}
}
