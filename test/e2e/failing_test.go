// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-logr/logr"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"outrigger.dev/outrigger/hack/chart"
	"outrigger.dev/outrigger/inject"
	"outrigger.dev/outrigger/webhook"
)

// failing is a configuration that cannot be told, or whose reading is a fault of ours.
type failing struct {
	panics atomic.Bool
	asked  atomic.Int32
}

func (f *failing) Current() (*inject.Config, error) {
	f.asked.Add(1)
	if f.panics.Load() {
		panic("a fault of ours")
	}
	return nil, errors.New("the last good configuration is not known yet")
}

func (f *failing) Namespace(context.Context, string) *corev1.Namespace { return &corev1.Namespace{} }

// The webhook as it is, but for a configuration that fails: an error and a panic are HTTP 500, and the API server decides
// by the entry's failurePolicy, as it does where nobody answers.
func TestAnErrorOrAPanicLeavesThePodToThePolicy(t *testing.T) {
	t.Parallel()
	fault := &failing{}
	server := httptest.NewUnstartedServer((&webhook.Handler{Namespaces: fault, Config: fault, Log: logr.Discard()}).HTTP())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)

	ns := namespace(t, "istio.io/rev=failing")
	for _, policy := range []string{"Fail", "Ignore"} {
		object := webhookObject(t, chart.Values{"revision": "failing", "webhook": chart.Values{"url": server.URL + "/inject", "failurePolicy": policy}})
		for n := range object.Webhooks {
			object.Webhooks[n].ClientConfig.CABundle = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
		}
		if err := kube.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
		for _, panics := range []bool{false, true} {
			fault.panics.Store(panics)
			what := fmt.Sprintf("failurePolicy %s, panic %t", policy, panics)
			eventually(t, what, func() error { // the API server hears of the object after a moment
				before := fault.asked.Load()
				pod := appPod(ns, "asks-", nil)
				err := kube.Create(t.Context(), pod, client.DryRunAll)
				switch {
				case fault.asked.Load() == before:
					return errors.New("nobody was asked")
				case policy == "Ignore" && (err != nil || hasSidecar(pod)):
					return fmt.Errorf("%w, sidecar %t", err, hasSidecar(pod))
				case policy == "Fail" && (err == nil || !strings.Contains(err.Error(), `failed calling webhook "rev.namespace.sidecar-injector.outrigger.dev"`)):
					return fmt.Errorf("%w; want it refused, naming the webhook", err)
				}
				return nil
			})
			for _, optedOut := range []func(*corev1.Pod){
				func(p *corev1.Pod) { p.Labels = map[string]string{"sidecar.istio.io/inject": "false"} },
				func(p *corev1.Pod) { p.Spec.HostNetwork = true },
			} {
				if err := kube.Create(t.Context(), appPod(ns, "asks-not-", optedOut), client.DryRunAll); err != nil {
					t.Errorf("%s: a pod that asks for no sidecar: %v", what, err)
				}
			}
		}
		if err := kube.Delete(context.WithoutCancel(t.Context()), object); err != nil {
			t.Fatal(err)
		}
	}
}

// webhookObject is that of the chart with these values.
func webhookObject(t *testing.T, values chart.Values) *admissionregistrationv1.MutatingWebhookConfiguration {
	t.Helper()
	own, err := chart.Own()
	if err != nil {
		t.Fatal(err)
	}
	rendered, err := own.Render(values)
	if err != nil {
		t.Fatal(err)
	}
	for document := range strings.SplitSeq(rendered.Objects, "---\n") {
		if !strings.Contains(document, "kind: MutatingWebhookConfiguration") {
			continue
		}
		object := &admissionregistrationv1.MutatingWebhookConfiguration{}
		if err := yaml.UnmarshalStrict([]byte(document), object); err != nil {
			t.Fatal(err)
		}
		return object
	}
	t.Fatal("the chart makes no MutatingWebhookConfiguration")
	return nil
}
