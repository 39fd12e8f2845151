// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	metadatafake "k8s.io/client-go/metadata/fake"
	kubetesting "k8s.io/client-go/testing"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
)

// made is the metadata of an object that another one made.
func made(apiVersion, kind, name string, by ...metav1.OwnerReference) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{APIVersion: apiVersion, Kind: kind},
		ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: name, UID: uidOf(kind, name), OwnerReferences: by},
	}
}

func uidOf(kind, name string) types.UID { return types.UID(kind + "/" + name) }

func ownedBy(apiVersion, kind, name string) metav1.OwnerReference {
	yes := true
	return metav1.OwnerReference{APIVersion: apiVersion, Kind: kind, Name: name, UID: uidOf(kind, name), Controller: &yes}
}

// owners is a cluster with workloads of every depth, and one replica's teller.
type owners struct {
	*OwnerEvents
	client   *fake.Clientset
	registry *prometheus.Registry
}

func newOwners(t *testing.T, client *fake.Clientset) *owners {
	t.Helper()
	scheme := metadatafake.NewTestScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	o := &owners{client: client, registry: prometheus.NewRegistry()}
	o.OwnerEvents = NewOwnerEvents(OwnerEventsOptions{
		Events: &Events{Client: client, Instance: "outrigger-0"}, Registerer: o.registry, Log: logr.Discard(),
		Owners: metadatafake.NewSimpleMetadataClient(scheme,
			made("apps/v1", "ReplicaSet", "web-5d", ownedBy("apps/v1", "Deployment", "web")),
			made("apps/v1", "ReplicaSet", "alone"),
			made("batch/v1", "Job", "nightly-29000000", ownedBy("batch/v1", "CronJob", "nightly")),
			made("batch/v1", "Job", "once"),
		),
	})
	return o
}

// run starts the teller and ends it with the test.
func (o *owners) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- o.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// counted returns "written 1" and so on, sorted.
func (o *owners) counted(t *testing.T) string {
	t.Helper()
	var out []string
	for _, line := range counted(t, o.registry, "outrigger_owner_events_total") {
		out = append(out, strings.TrimPrefix(line, "result="))
	}
	return strings.Join(out, ", ")
}

// writtenEvents returns every Event by its type, object, reason and note.
func writtenEvents(t *testing.T, client *fake.Clientset) []string {
	t.Helper()
	list, err := client.EventsV1().Events(metav1.NamespaceAll).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range list.Items {
		if e.Regarding.UID != uidOf(e.Regarding.Kind, e.Regarding.Name) || e.Namespace != "demo" || e.ReportingController == "" || e.ReportingInstance == "" || e.Action == "" || e.EventTime.IsZero() {
			t.Errorf("kubectl does not find this Event, or the API server refuses it: %v", e)
		}
		out = append(out, fmt.Sprintf("%s %s %s %s: %s", e.Type, e.Regarding.Kind, e.Regarding.Name, e.Reason, e.Note))
	}
	slices.Sort(out)
	return out
}

// podOfOwner is the JSON of a pod that this owner makes.
func podOfOwner(apiVersion, kind, name string) string {
	return fmt.Sprintf(`{"metadata":{"generateName":"web-5d-","ownerReferences":[{"apiVersion":%q,"kind":%q,"name":%q,"uid":%q,"controller":true}]}}`,
		apiVersion, kind, name, uidOf(kind, name))
}

var notInjected = api.InjectProblem{
	Object: api.ObjectRef{Kind: "Pod", Namespace: "demo", Name: "web-5d-*"}, Field: "metadata.annotations[x]", Value: "100%",
	Reason: api.InjectInvalidAnnotation, Message: "it is no number.", Advice: "Write one.",
}

func TestTheTopOwnerHearsOfItsPods(t *testing.T) {
	const said = "Pod demo/web-5d-*: metadata.annotations[x] = \"100%\": it is no number. Write one."
	denied := inject.Report{Result: inject.Denied, Reason: notInjected.Reason, Problems: []api.InjectProblem{notInjected}}
	for name, test := range map[string]struct {
		pod    string
		report inject.Report
		err    error
		want   []string
	}{
		"Deployment":                     {podOfOwner("apps/v1", "ReplicaSet", "web-5d"), denied, nil, []string{"Warning Deployment web InvalidAnnotation: Denied: " + said}},
		"CronJob":                        {podOfOwner("batch/v1", "Job", "nightly-29000000"), denied, nil, []string{"Warning CronJob nightly InvalidAnnotation: Denied: " + said}},
		"Job":                            {podOfOwner("batch/v1", "Job", "once"), denied, nil, []string{"Warning Job once InvalidAnnotation: Denied: " + said}},
		"ReplicaSet":                     {podOfOwner("apps/v1", "ReplicaSet", "alone"), denied, nil, []string{"Warning ReplicaSet alone InvalidAnnotation: Denied: " + said}},
		"ReplicaSet that is not there":   {podOfOwner("apps/v1", "ReplicaSet", "gone"), denied, nil, []string{"Warning ReplicaSet gone InvalidAnnotation: Denied: " + said}},
		"StatefulSet":                    {podOfOwner("apps/v1", "StatefulSet", "db"), denied, nil, []string{"Warning StatefulSet db InvalidAnnotation: Denied: " + said}},
		"a kind of somebody else":        {podOfOwner("example.com/v1", "CloneSet", "db"), denied, nil, []string{"Warning CloneSet db InvalidAnnotation: Denied: " + said}},
		"a bare pod":                     {`{"metadata":{"name":"a"}}`, denied, nil, nil},
		"an owner that does not control": {`{"metadata":{"name":"a","ownerReferences":[{"apiVersion":"v1","kind":"X","name":"x","uid":"u"}]}}`, denied, nil, nil},
		"injected, with a warning": {
			podOfOwner("apps/v1", "StatefulSet", "db"), inject.Report{Result: inject.Injected, Reason: api.InjectPolicyEnabled, Problems: []api.InjectProblem{notInjected}}, nil,
			[]string{"Warning StatefulSet db InvalidAnnotation: Injected, but: " + said},
		},
		"injected": {podOfOwner("apps/v1", "StatefulSet", "db"), inject.Report{Result: inject.Injected, Reason: api.InjectPolicyEnabled}, nil, nil},
		"skipped": {
			podOfOwner("apps/v1", "ReplicaSet", "web-5d"), inject.Report{Result: inject.Skipped, Reason: api.InjectPolicyDisabled, Message: "the policy is disabled"}, nil,
			[]string{"Normal Deployment web PolicyDisabled: Not injected: Pod demo/web-5d-*: the policy is disabled. " + api.InjectPolicyDisabled.Advice()},
		},
		"opted out":        {podOfOwner("apps/v1", "ReplicaSet", "web-5d"), inject.Report{Result: inject.Skipped, Reason: api.InjectOptedOut}, nil, nil},
		"already injected": {podOfOwner("apps/v1", "ReplicaSet", "web-5d"), inject.Report{Result: inject.Skipped, Reason: api.InjectAlready}, nil, nil},
		"failed": {
			podOfOwner("apps/v1", "ReplicaSet", "web-5d"), inject.Report{}, errors.New("no luck"),
			[]string{"Warning Deployment web Error: Failed: Pod demo/web-5d-*: deciding about the pod: no luck. " + api.InjectError.Advice()},
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOwners(t, fake.NewClientset())
			h, _, _ := decided(func(r inject.Request) (*corev1.Pod, inject.Report, error) { return r.Pod, test.report, test.err })
			h.Owners = o.OwnerEvents
			dry := true
			review(t, h, "/inject", test.pod, func(r *admissionv1.AdmissionRequest) { r.DryRun = &dry })
			if o.queue.Len() > 0 || len(o.recent.Keys()) > 0 {
				t.Error("a dry run left a trace")
			}
			review(t, h, "/inject", test.pod, nil)
			review(t, h, "/inject", test.pod, nil) // the controller tries again
			if waiting := o.queue.Len(); waiting != len(test.want) {
				t.Fatalf("%d Events wait to be written, want %d", waiting, len(test.want))
			}
			o.run(t)
			eventually(t, func() string { return fmt.Sprint(len(writtenEvents(t, o.client))) }, fmt.Sprint(len(test.want)))
			if diff := cmp.Diff(test.want, writtenEvents(t, o.client)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestTwoReplicasTellOnce(t *testing.T) {
	client := fake.NewClientset()
	for i, want := range []string{"written 1", "known 1"} {
		o := newOwners(t, client)
		o.enqueue("demo", []byte(podOfOwner("apps/v1", "ReplicaSet", "web-5d")), inject.Report{Result: inject.Denied, Problems: []api.InjectProblem{notInjected}})
		o.run(t)
		eventually(t, func() string { return o.counted(t) }, want)
		if events := writtenEvents(t, client); len(events) != 1 {
			t.Errorf("after replica %d: %q", i, events)
		}
	}
}

// A storm of refusals costs the requests nothing and the API server little.
func TestTooManyAtOnceAreDropped(t *testing.T) {
	o := newOwners(t, fake.NewClientset())
	for i := range eventQueueEach + 10 {
		o.enqueue("demo", []byte(podOfOwner("apps/v1", "StatefulSet", fmt.Sprint("s", i))), inject.Report{Result: inject.Denied, Problems: []api.InjectProblem{notInjected}})
	}
	if got := o.counted(t); got != "dropped 10" {
		t.Errorf("counted %q", got)
	}
	for i := range 2 * maxRecent {
		o.remember(fmt.Sprint(i))
	}
	if len(o.recent.Keys()) > maxRecent {
		t.Errorf("%d are remembered", len(o.recent.Keys()))
	}
}

func TestAnEventThatIsRefusedIsCounted(t *testing.T) {
	client := fake.NewClientset()
	client.PrependReactor("create", "events", func(kubetesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("no more Events today")
	})
	o := newOwners(t, client)
	o.enqueue("demo", []byte(podOfOwner("apps/v1", "StatefulSet", "db")), inject.Report{Result: inject.Denied, Problems: []api.InjectProblem{notInjected}})
	o.run(t)
	eventually(t, func() string { return o.counted(t) }, "failed 1")
}

// A debug container is added to a pod that runs: it is neither injected nor changed, whatever the webhook object sends.
func TestWhatIsAboutARunningPodIsSkipped(t *testing.T) {
	h, registry, _ := decided(func(inject.Request) (*corev1.Pod, inject.Report, error) {
		t.Error("it was decided about as if it were new")
		return nil, inject.Report{}, nil
	})
	_, body := review(t, h, "/inject", `{"spec":{"ephemeralContainers":[{"name":"debug"}]}}`, func(r *admissionv1.AdmissionRequest) {
		r.Operation, r.SubResource = admissionv1.Update, "ephemeralcontainers"
	})
	response := responseIn(t, body)
	if !response.Allowed || response.Patch != nil || response.AuditAnnotations["reason"] != string(api.InjectEphemeral) {
		t.Errorf("got %s", body)
	}
	wantCount(t, registry, "skipped", "EphemeralContainers")
}

// Whatever the webhook object sends: a pod that exists is neither injected nor changed, and its change or deletion is never
// refused, with or without the object.
func TestRequestsAboutExistingPodsAreAllowedUnchanged(t *testing.T) {
	for name, change := range map[string]func(*admissionv1.AdmissionRequest){
		"update":               func(r *admissionv1.AdmissionRequest) { r.Operation = admissionv1.Update },
		"update of null":       func(r *admissionv1.AdmissionRequest) { r.Operation, r.Object.Raw = admissionv1.Update, []byte("null") },
		"update of the status": func(r *admissionv1.AdmissionRequest) { r.Operation, r.SubResource = admissionv1.Update, "status" },
		"deletion":             func(r *admissionv1.AdmissionRequest) { r.Operation, r.Object.Raw = admissionv1.Delete, nil },
		"deletion with null":   func(r *admissionv1.AdmissionRequest) { r.Operation, r.Object.Raw = admissionv1.Delete, []byte("null") },
		"binding":              func(r *admissionv1.AdmissionRequest) { r.SubResource = "binding" },
		"exec":                 func(r *admissionv1.AdmissionRequest) { r.Operation, r.SubResource = admissionv1.Connect, "exec" },
	} {
		t.Run(name, func(t *testing.T) {
			h, registry, _ := decided(func(inject.Request) (*corev1.Pod, inject.Report, error) {
				t.Error("the pod was decided about as if it were new")
				return nil, inject.Report{}, nil
			})
			code, body := review(t, h, "/inject", rawPod, change)
			response := responseIn(t, body)
			want := &admissionv1.AdmissionResponse{
				UID: "u1", Allowed: true, Result: &metav1.Status{Code: 200},
				AuditAnnotations: map[string]string{"result": "skipped", "reason": "PodExists"},
			}
			if diff := cmp.Diff(want, response); code != 200 || diff != "" {
				t.Errorf("code %d (-want +got):\n%s", code, diff)
			}
			wantCount(t, registry, "skipped", "PodExists")
		})
	}
}

// A flood of Events from one namespace delays and displaces nobody else's.
func TestAFloodOfOwnersDelaysNobodyElse(t *testing.T) {
	o := newOwners(t, fake.NewClientset())
	report := inject.Report{Result: inject.Skipped, Reason: api.InjectPolicyDisabled, Message: "the policy is disabled"}
	for i := range 2 * eventQueueEach {
		owner := fmt.Sprintf("flood-%d", i)
		o.enqueue("flood", fmt.Appendf(nil, `{"metadata":{"name":"p","ownerReferences":[{"apiVersion":"apps/v1","kind":"StatefulSet","name":%q,"uid":%q,"controller":true}]}}`, owner, owner), report)
	}
	o.enqueue("calm", []byte(`{"metadata":{"name":"p","ownerReferences":[{"apiVersion":"apps/v1","kind":"StatefulSet","name":"db","uid":"db","controller":true}]}}`), report)
	if got := o.queue.Len(); got != eventQueueEach+1 {
		t.Errorf("%d Events wait, want %d", got, eventQueueEach+1)
	}
	for i, want := range []string{"flood", "calm", "flood"} {
		one, _, _ := o.queue.Next(func(string) bool { return false })
		if one.namespace != want {
			t.Errorf("Event %d is of namespace %s, want %s", i, one.namespace, want)
		}
	}
}
