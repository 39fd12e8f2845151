// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
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

func TestTheAPIServerIsAskedForThePod(t *testing.T) {
	quota := apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "web-x", errors.New("exceeded quota: none"))
	for name, c := range map[string]struct {
		may    bool
		create func(*corev1.Pod) error
		want   diagnose.DryRun
	}{
		"accepted, with a sidecar": {true, func(pod *corev1.Pod) error {
			pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: "istio-proxy"})
			return nil
		}, diagnose.DryRun{Created: true, Sidecar: true}},
		"accepted, without": {true, func(*corev1.Pod) error { return nil }, diagnose.DryRun{Created: true}},
		"refused":           {true, func(*corev1.Pod) error { return quota }, diagnose.DryRun{Refused: quota.Error()}},
		"no permission":     {false, func(*corev1.Pod) error { return errors.New("asked") }, diagnose.DryRun{Unchecked: "you have no permission to create pods in namespace demo"}},
		"no such namespace": {true, func(*corev1.Pod) error {
			return apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "demo")
		}, diagnose.DryRun{Unchecked: "namespace demo does not exist"}},
		"a webhook without dry run": {true, func(*corev1.Pod) error {
			return apierrors.NewBadRequest("admission webhook x does not support dry run")
		}, diagnose.DryRun{Unchecked: "admission webhook x does not support dry run"}},
		"no answer": {true, func(*corev1.Pod) error { return errors.New("connection refused") }, diagnose.DryRun{Unchecked: "the API server did not answer: connection refused"}},
	} {
		t.Run(name, func(t *testing.T) {
			template := templateFrom(t, realDeployment)
			s := newLiveStage(t).answering(c.may, func(pod *corev1.Pod) error {
				if pod.Namespace != "demo" || pod.Name != "" || !strings.HasPrefix(pod.GenerateName, "web-") || pod.OwnerReferences != nil || pod.Labels["app"] != "web" {
					t.Errorf("asked for %+v", pod.ObjectMeta)
				}
				return c.create(pod)
			})
			if got := s.realityOf(t.Context(), template.object, nil, template.pod, nil); got.Created != c.want.Created || got.Sidecar != c.want.Sidecar || got.Refused != c.want.Refused || got.Unchecked != c.want.Unchecked {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}

// The dry run adds the volumes that the controller of a StatefulSet adds, and creates a live pod again as a new one. It is not made for
// kinds whose controller builds pods in its own way.
func TestThePodIsWhatItsControllerSends(t *testing.T) {
	var asked *corev1.Pod
	s := newLiveStage(t).answering(true, func(pod *corev1.Pod) error { asked = pod; return nil })
	set := templateFrom(t, `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  volumeClaimTemplates: [{metadata: {name: data}}]
  template: {spec: {containers: [{name: app, image: app, volumeMounts: [{name: data, mountPath: /data}]}]}}
`)
	s.realityOf(t.Context(), set.object, nil, set.pod, nil)
	if asked == nil || len(asked.Spec.Volumes) != 1 || asked.Spec.Volumes[0].PersistentVolumeClaim == nil || asked.Spec.Volumes[0].Name != "data" {
		t.Errorf("asked for %+v", asked)
	}
	alone := templateFrom(t, "apiVersion: v1\nkind: Pod\nmetadata: {name: alone, uid: u, resourceVersion: '7'}\nspec: {nodeName: node, containers: [{name: app, image: app}]}\nstatus: {phase: Running}\n")
	s.realityOf(t.Context(), alone.object, nil, alone.pod, nil)
	if asked.Name != "" || asked.GenerateName != "alone-" || asked.UID != "" || asked.ResourceVersion != "" || asked.Spec.NodeName != "" || asked.Status.Phase != "" {
		t.Errorf("asked for %+v", asked)
	}
	asked = nil
	knative := templateFrom(t, "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: k}\nspec: {template: {spec: {containers: [{image: app}]}}}\n")
	if got := s.realityOf(t.Context(), knative.object, nil, knative.pod, nil); asked != nil || !strings.Contains(got.Unchecked, "the controller of a Service builds") {
		t.Errorf("%+v, asked for %+v", got, asked)
	}
}

func workloadFrom(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	raw, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	out := &unstructured.Unstructured{}
	if err := out.UnmarshalJSON(raw); err != nil {
		t.Fatal(err)
	}
	return out
}

func failedCreate(name string, at time.Time) *corev1.Event {
	return &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: name}, Reason: "FailedCreate", Message: "message of " + name, LastTimestamp: metav1.NewTime(at),
		InvolvedObject: corev1.ObjectReference{Kind: "StatefulSet", UID: "uid-x"}, Type: corev1.EventTypeWarning,
	}
}

func TestWhyTheControllerCannotCreatePods(t *testing.T) {
	const running = "metadata: {namespace: demo, name: web, uid: uid-x, creationTimestamp: '2026-01-02T11:00:00Z'}\n"
	newer := podOf("web-0", nil, true)
	newer.CreationTimestamp = metav1.NewTime(noon)
	for name, c := range map[string]struct {
		workload string
		pods     []corev1.Pod
		want     string
	}{
		"the condition of a Deployment": {"apiVersion: apps/v1\nkind: Deployment\n" + running + "status: {conditions: [{type: ReplicaFailure, status: 'True', message: no quota}]}", nil, "ReplicaFailure: no quota"},
		"a condition that is over":      {"apiVersion: apps/v1\nkind: Deployment\n" + running + "status: {conditions: [{type: ReplicaFailure, status: 'False', message: no quota}]}", nil, ""},
		"the Event of a StatefulSet":    {"apiVersion: apps/v1\nkind: StatefulSet\n" + running + "spec: {replicas: 1}", nil, "FailedCreate: message of late"},
		"one that has its pods":         {"apiVersion: apps/v1\nkind: StatefulSet\n" + running + "spec: {replicas: 1}\nstatus: {replicas: 1}", nil, ""},
		"an Event before the last pod":  {"apiVersion: apps/v1\nkind: StatefulSet\n" + running + "spec: {replicas: 2}\nstatus: {replicas: 1}", []corev1.Pod{*newer}, ""},
		"a DaemonSet":                   {"apiVersion: apps/v1\nkind: DaemonSet\n" + running + "status: {desiredNumberScheduled: 2, currentNumberScheduled: 0}", nil, "FailedCreate: message of late"},
		"a Job that has ended":          {"apiVersion: batch/v1\nkind: Job\n" + running + "status: {completionTime: '2026-01-02T11:30:00Z'}", nil, ""},
		"a Job":                         {"apiVersion: batch/v1\nkind: Job\n" + running, nil, "FailedCreate: message of late"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newLiveStage(t, failedCreate("early", noon.Add(-2*time.Minute)), failedCreate("late", noon.Add(-time.Minute)))
			got := ""
			for _, failure := range s.podFailures(t.Context(), workloadFrom(t, c.workload), c.pods) {
				got += failure.From + ": " + failure.Message
			}
			if got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
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
