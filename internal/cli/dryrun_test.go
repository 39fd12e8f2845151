// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/yaml"

	"outrigger.dev/outrigger/internal/diagnose"
	"outrigger.dev/outrigger/internal/manifest"
)

// answering has the API server allow or forbid pods, and answer a dry run.
func (s *liveStage) answering(mayCreate bool, create func(*corev1.Pod) error) *liveStage {
	return s.through(interceptor.Funcs{Create: func(ctx context.Context, c client.WithWatch, object client.Object, options ...client.CreateOption) error {
		switch o := object.(type) {
		case *authorizationv1.SelfSubjectAccessReview:
			o.Status.Allowed = mayCreate
			return nil
		case *corev1.Pod:
			asked := client.CreateOptions{}
			if asked.ApplyOptions(options); len(asked.DryRun) != 1 {
				return errors.New("it is no dry run")
			}
			return create(o)
		}
		return c.Create(ctx, object, options...)
	}})
}

func templateFrom(t *testing.T, text string) *podIn {
	t.Helper()
	stream, err := manifest.Read(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	template, err := templatePod(stream.Objects()[0], "demo")
	if err != nil {
		t.Fatal(err)
	}
	return template
}

const realDeployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: demo}
spec: {selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: app, image: app}]}}}
`

// The pod is what the controller would create. The API server is not asked if the user has no permission, or if a dry run says nothing.
func TestDryRun(t *testing.T) {
	for name, c := range map[string]struct {
		manifest string
		may      bool
		want     diagnose.DryRun
	}{
		"accepted":      {realDeployment, true, diagnose.DryRun{Created: true}},
		"no permission": {realDeployment, false, diagnose.DryRun{Unchecked: "you have no permission to create pods in namespace demo"}},
		"a pod that its controller builds": {
			"apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: k}\nspec: {template: {spec: {containers: [{image: app}]}}}\n",
			true, diagnose.DryRun{Unchecked: "the controller of a Service builds its pods itself"},
		},
		"a claim": {"apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: web}\nspec:\n  volumeClaimTemplates: [{metadata: {name: data}}]\n  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: app, image: app}]}}\n", true, diagnose.DryRun{Created: true}},
	} {
		t.Run(name, func(t *testing.T) {
			template := templateFrom(t, c.manifest)
			var created *corev1.Pod
			s := newLiveStage(t).answering(c.may, func(pod *corev1.Pod) error { created = pod; return nil })
			if diff := cmp.Diff(c.want, s.dryRun(t.Context(), *template, inCluster{}, template.pod)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if (created != nil) != c.want.Created || created != nil && (!strings.HasPrefix(created.GenerateName, "web-") || len(created.Spec.Volumes) != strings.Count(c.manifest, "Claim")) {
				t.Errorf("asked for %+v", created)
			}
		})
	}
}

// Events are read only for a workload whose status does not say why it lacks pods, with those about the objects that it owns.
func TestPodFailures(t *testing.T) {
	failed := &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "event"}, Reason: "FailedCreate", Message: "no quota", LastTimestamp: metav1.NewTime(noon),
		InvolvedObject: corev1.ObjectReference{Kind: "Job", UID: "job"}, Type: corev1.EventTypeWarning,
	}
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "job", UID: "job", OwnerReferences: []metav1.OwnerReference{{Kind: "CronJob", Name: "cron", UID: "cron", Controller: new(true)}}}}
	s := newLiveStage(t, failed, job)
	for workload, want := range map[string][]diagnose.PodFailure{
		"apiVersion: batch/v1\nkind: CronJob\nmetadata: {namespace: demo, name: cron, uid: cron}":   {{From: "FailedCreate", Message: "no quota"}},
		"apiVersion: batch/v1\nkind: CronJob\nmetadata: {namespace: demo, name: other, uid: other}": nil,
		"apiVersion: apps/v1\nkind: Deployment\nmetadata: {namespace: demo, name: web, uid: job}":   nil,
	} {
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(workload), &object.Object); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, s.podFailures(t.Context(), object, nil)); diff != "" {
			t.Errorf("%s\n-want +got:\n%s", workload, diff)
		}
	}
}

// An entry that calls Outrigger by a URL is answered by the replicas of the release.
func TestReadyReplicasBehindAURL(t *testing.T) {
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: defaultSystemNamespace, Name: "outrigger", Labels: map[string]string{"app.kubernetes.io/name": "outrigger"}}}
	url := "https://outrigger.example/inject"
	entry := diagnose.Entry{Injector: diagnose.Outrigger, Object: "outrigger-sidecar-injector", Matches: true}
	entry.Webhook.ClientConfig.URL = &url
	s := newLiveStage(t, deployment)
	if got, known := s.readyEndpoints(t.Context(), &diagnose.PodFacts{Entries: []diagnose.Entry{entry}})[url]; got != 0 || !known {
		t.Errorf("%d, %t", got, known)
	}
	s = newLiveStage(t)
	if _, known := s.readyEndpoints(t.Context(), &diagnose.PodFacts{Entries: []diagnose.Entry{entry}})[url]; known {
		t.Error("known without a Deployment")
	}
}
