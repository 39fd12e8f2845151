// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// reverterManager is the field manager of a client that changes an object back whenever Outrigger has written it.
const reverterManager = "e2e-reverter"

// startReverter watches objects of a kind and calls revert for each state, until the test ends. It returns how often revert
// wrote.
func startReverter(t *testing.T, list client.ObjectList, revert func(client.Object) (bool, error), options ...client.ListOption) *atomic.Int64 {
	t.Helper()
	watching, err := client.NewWithWatch(cluster.Config, client.Options{Scheme: kube.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	changes, err := watching.Watch(ctx, list, options...)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	var count atomic.Int64
	var done sync.WaitGroup
	done.Go(func() {
		for change := range changes.ResultChan() {
			object, is := change.Object.(client.Object)
			if !is {
				continue
			}
			if wrote, err := revert(object); err == nil && wrote {
				count.Add(1)
			}
		}
	})
	t.Cleanup(func() { cancel(); changes.Stop(); done.Wait() })
	return &count
}

// writesOf counts Outrigger's successful patches of a resource by name since a moment, by the audit log.
func writesOf(t *testing.T, since int64, resource, name string) int {
	t.Helper()
	count := 0
	for _, r := range requests(t, asker{namespace: outriggerNamespace, account: outriggerName}, since) {
		if r.resource == resource && r.name == name && r.verb == "patch" && r.status == http.StatusOK {
			count++
		}
	}
	return count
}

// eventNote returns the text of the first Event with a reason about an object.
func eventNote(t *testing.T, namespace, object, reason string) string {
	t.Helper()
	events := &corev1.EventList{}
	if err := kube.List(t.Context(), events, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	for _, event := range events.Items {
		if event.InvolvedObject.Name == object && event.Reason == reason {
			return event.Message
		}
	}
	return ""
}

// For half a minute another client reverts each write to a DestinationRule of one tenant. Outrigger answers a few times, the
// subset that the route names excepted, and names the client. Another tenant's Event is not delayed.
func TestAContestedDestinationRuleIsWrittenRarely(t *testing.T) {
	needIstio(t)
	for _, test := range []struct {
		what        string
		patch       string
		least, most int
	}{
		{"a record", `{"metadata": {"annotations": {"outrigger.dev/subset-added-at": "theirs"}}}`, 6, 8},
		{"the subset that the route names", `{"spec": {"subsets": [{"name": "theirs"}]}}`, 20, 32},
	} {
		t.Run(test.what, func(t *testing.T) {
			tenant, other := namespace(t, "outrigger.dev/routing=enabled"), namespace(t, "outrigger.dev/routing=enabled")
			apply(t, tenant, service("app")+fixed("app-v1", "app", "v1"))
			wantRoutes(t, tenant, "app", "v1=100")
			quiet(t, tenant)
			since, before := noted(t), samples(scrapeLeader(t), "outrigger_routing_writes_total")
			began := time.Now()
			reverts := startReverter(t, &networkingv1.DestinationRuleList{}, func(object client.Object) (bool, error) {
				rule := object.(*networkingv1.DestinationRule)
				if rule.Annotations["outrigger.dev/subset-added-at"] == "theirs" || len(rule.Spec.Subsets) > 0 && rule.Spec.Subsets[0].Name == "theirs" {
					return false, nil
				}
				return true, kube.Patch(context.Background(), rule, client.RawPatch(types.MergePatchType, []byte(test.patch)), client.FieldOwner(reverterManager))
			}, client.InNamespace(tenant))

			wantEvent(t, tenant, "app", "Contested")
			asked := time.Now()
			apply(t, other, service("calm")+fixed("calm-v1", "calm", "v1"))
			wantEvent(t, other, "calm", "Created")
			t.Logf("the Event of another tenant came %v after its Service", time.Since(asked))
			time.Sleep(time.Until(began.Add(30 * time.Second)))
			took := time.Since(began)
			writes := writesOf(t, since, "destinationrules", "app")
			t.Logf("in %v: %d reverts, %d writes of Outrigger's; counted by its metric since before: %v, before: %v", took, reverts.Load(), writes,
				samples(scrapeLeader(t), "outrigger_routing_writes_total"), before)
			if writes < test.least || writes > int(took/time.Second)+2 || test.most < 20 && writes > test.most {
				t.Errorf("%d writes in %v, want %d to %d", writes, took, test.least, test.most)
			}
			if got := samples(scrapeLeader(t), "outrigger_contested_objects")["kind=DestinationRule manager="+reverterManager]; got < 1 {
				t.Errorf("the metric counts %v contested DestinationRules", got)
			}
			if !strings.Contains(eventNote(t, tenant, "app", "Contested"), reverterManager) {
				t.Errorf("the Event does not name the field manager: %s", eventNote(t, tenant, "app", "Contested"))
			}
		})
	}
}

// Another client takes every caBundle away as soon as it is there. Both replicas run, one of them repairs, once a second.
func TestAContestedCABundleIsRepairedByOneReplica(t *testing.T) {
	needIstio(t)
	waitForPodsOfOutrigger(t, 2)
	const webhook = "outrigger-sidecar-injector"
	since, began := noted(t), time.Now()
	stop := make(chan struct{})
	reverts := startReverter(t, &admissionregistrationv1.MutatingWebhookConfigurationList{}, func(object client.Object) (bool, error) {
		select {
		case <-stop:
			return false, nil
		default:
		}
		hook := object.(*admissionregistrationv1.MutatingWebhookConfiguration)
		if hook.Name != webhook || len(hook.Webhooks) == 0 || len(hook.Webhooks[0].ClientConfig.CABundle) == 0 {
			return false, nil
		}
		return true, kube.Patch(context.Background(), hook, client.RawPatch(types.JSONPatchType, []byte(`[{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]`)), client.FieldOwner(reverterManager))
	})
	if err := kube.Patch(t.Context(), &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: webhook}},
		client.RawPatch(types.JSONPatchType, []byte(`[{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]`)), client.FieldOwner(reverterManager)); err != nil && !apierrors.IsInvalid(err) { // invalid where the reverter has begun by itself
		t.Fatal(err)
	}
	time.Sleep(30 * time.Second)
	took := time.Since(began)
	writes := writesOf(t, since, "mutatingwebhookconfigurations", webhook)
	t.Logf("in %v: %d reverts, %d writes of both replicas", took, reverts.Load(), writes)
	// The first write of each replica answers nobody, the others are one a second. A replica that is slow hands over to the other
	// one, at the earliest when the object was wrong for two seconds.
	if repaired := int(reverts.Load()); repaired < 10 || repaired > int(took/time.Second)+6 || writes > 2*repaired {
		t.Errorf("%d repairs by %d writes in %v, want about one a second, by one replica", repaired, writes, took)
	}
	close(stop)
	eventually(t, "the caBundle is repaired when the other client stops", func() error {
		hook := &admissionregistrationv1.MutatingWebhookConfiguration{}
		if err := kube.Get(t.Context(), client.ObjectKey{Name: webhook}, hook); err != nil {
			return err
		}
		for _, entry := range hook.Webhooks {
			if len(entry.ClientConfig.CABundle) == 0 {
				return errors.New("an entry has no caBundle")
			}
		}
		return nil
	})
}

// 150 Services are exposed, each for a host of its own. 20 of them get another one.
func TestHostChangesReconcileFewServices(t *testing.T) {
	needIstio(t)
	ns := namespace(t, "outrigger.dev/routing=enabled")
	const services, changes = 150, 20
	var all strings.Builder
	for i := range services {
		all.WriteString(service(fmt.Sprintf("app%03d", i)))
	}
	all.WriteString(fixed("app000-v1", "app000", "v1"))
	apply(t, ns, all.String())
	list := &corev1.ServiceList{}
	if err := kube.List(t.Context(), list, client.InNamespace(ns)); err != nil {
		t.Fatal(err)
	}
	expose := func(object *corev1.Service, host string) {
		t.Helper()
		text := fmt.Sprintf(`{"metadata": {"annotations": {"outrigger.dev/expose": "true", "outrigger.dev/hosts": %q}}}`, host)
		if err := kube.Patch(t.Context(), object, client.RawPatch(types.MergePatchType, []byte(text))); err != nil {
			t.Fatal(err)
		}
	}
	for i := range list.Items {
		expose(&list.Items[i], list.Items[i].Name+".example.com")
	}
	quiet(t, ns)
	reconciles := func() float64 {
		sum := 0.0
		for labels, value := range samples(scrapeLeader(t), "controller_runtime_reconcile_total") {
			if strings.Contains(labels, "controller=routing") {
				sum += value
			}
		}
		return sum
	}
	before := reconciles()
	gateway := func(hosts ...string) string {
		return fmt.Sprintf(`{"spec": {"selector": {"istio": "ingressgateway"}, "servers": [{"port": {"number": 443, "name": "http", "protocol": "HTTP"}, "hosts": ["%s"]}]}}`, strings.Join(hosts, `", "`))
	}
	theirs := &networkingv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "theirs"}}
	for i := range changes {
		expose(&list.Items[i], fmt.Sprintf("new%03d.example.com", i))
		if err := kube.Patch(t.Context(), theirs.DeepCopy(), client.RawPatch(types.ApplyPatchType, []byte(`{"apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": {"name": "theirs"}, `+
			strings.TrimPrefix(gateway(fmt.Sprintf("their%d.example.org", i)), "{"))), client.FieldOwner(reverterManager), client.ForceOwnership); err != nil {
			t.Fatal(err)
		}
	}
	quiet(t, ns)
	got := reconciles() - before
	t.Logf("%d host changes of Services and %d of a Gateway at %d exposed Services: %v reconciles", changes, changes, services, got)
	if got > 12*changes {
		t.Errorf("%v reconciles for %d changes, want at most %d", got, changes, 12*changes)
	}
}
