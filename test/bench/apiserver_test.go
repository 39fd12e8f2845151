// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidwall/gjson"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"outrigger.dev/outrigger/hack/controlplane"
)

var (
	apiServer = flag.Bool("apiserver", false, "run TestPodsPerSecond, which starts a control plane")
	rounds    = flag.Int("rounds", 5, "how often TestPodsPerSecond measures each webhook")
	lasts     = flag.Duration("lasts", 4*time.Second, "how long each of its measurements takes")
)

// clients send creations at the same time, each the next one when the last is answered.
const clients = 8

// TestPodsPerSecond creates pods through a real API server (dry run, so nothing is stored) and prints how many per second
// pass with no webhook, with one that answers the constant patch of one of these pods, with Outrigger, and with Istio's
// handler. Each round measures all of them, one after the other, and the median of the rounds counts.
func TestPodsPerSecond(t *testing.T) {
	if !*apiServer {
		t.Skip("starts an API server and measures for minutes; run it with: make bench-apiserver")
	}
	ctx := t.Context()
	plane, err := controlplane.Start(ctx, controlplane.Options{Progress: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := plane.Stop(); err != nil {
			t.Error(err)
		}
	}()
	config := rest.CopyConfig(plane.Config)
	config.QPS, config.Burst = -1, -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	w := sizes[1].workloads[0]
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace, Labels: map[string]string{"istio-injection": "enabled"}}}
	if _, err := client.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().ServiceAccounts(w.namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: w.app}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	handlers := sides(t, false)
	handlers["constant"] = constant(t, handlers["outrigger"], sizes[1].reviews(t, replicas, 1)[0])
	names := []string{"none", "constant", "outrigger", "istio"}
	for _, how := range []change{replicas, distinct} {
		rates := map[string][]float64{}
		for range *rounds {
			for _, name := range names {
				rates[name] = append(rates[name], rateWith(ctx, t, client, handlers[name], w, how))
			}
		}
		for _, name := range names {
			slices.Sort(rates[name])
		}
		median := func(name string) float64 { return rates[name][len(rates[name])/2] }
		for _, name := range names {
			t.Logf("pods=%s by=%-9s %7.0f pods/s  %.2f of the constant patch", how, name, median(name), median(name)/median("constant"))
		}
	}
}

// constant returns a handler that answers every review with the patch that another one gives for this body.
func constant(t *testing.T, handler http.Handler, body []byte) http.Handler {
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, newRequest(t, "http://localhost", body))
	var answered admissionv1.AdmissionReview
	if err := json.Unmarshal(recorder.Body.Bytes(), &answered); err != nil || answered.Response == nil {
		t.Fatalf("HTTP %d: %s", recorder.Code, recorder.Body)
	}
	uid := string(answered.Response.UID)
	before, after, found := bytes.Cut(recorder.Body.Bytes(), []byte(uid))
	if !found {
		t.Fatalf("no uid %s in %s", uid, recorder.Body)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(slices.Concat(before, []byte(gjson.GetBytes(text, "request.uid").Str), after))
	})
}

// rateWith returns how many pods per second pass while the handler is the only webhook; nil for no webhook.
func rateWith(ctx context.Context, t *testing.T, client kubernetes.Interface, handler http.Handler, w workload, how change) float64 {
	if handler != nil {
		server := httptest.NewUnstartedServer(handler)
		server.EnableHTTP2 = true
		server.StartTLS()
		defer server.Close()
		webhook := webhookAt(server.URL, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
		api := client.AdmissionregistrationV1().MutatingWebhookConfigurations()
		if _, err := api.Create(ctx, webhook, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := api.Delete(ctx, webhook.Name, metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		}()
	}
	create := func(n int) (injected bool, err error) {
		pod := w.pod(n)
		if how == distinct {
			own := w
			own.app = fmt.Sprintf("%s-%05d", w.app, n)
			pod = own.pod(n)
			pod.Spec.ServiceAccountName = w.app // it must exist
		}
		pod.UID = ""
		made, err := client.CoreV1().Pods(w.namespace).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil {
			return false, err
		}
		return len(made.Spec.Containers)+len(made.Spec.InitContainers) > 1, nil
	}
	for since := time.Now(); ; time.Sleep(20 * time.Millisecond) { // until the API server has seen the change of webhooks
		injected, err := create(0)
		if err == nil && injected == (handler != nil) {
			break
		}
		if time.Since(since) > 30*time.Second {
			t.Fatalf("the API server does not use the webhooks: injected %v, %v", injected, err)
		}
	}
	var next, done atomic.Int64
	var running sync.WaitGroup
	begun := time.Now()
	for range clients {
		running.Go(func() {
			for time.Since(begun) < *lasts {
				if injected, err := create(int(next.Add(1))); err != nil || injected != (handler != nil) {
					t.Errorf("injected %v: %v", injected, err)
					return
				}
				done.Add(1)
			}
		})
	}
	running.Wait()
	return float64(done.Load()) / time.Since(begun).Seconds()
}

func webhookAt(url string, ca []byte) *admissionregistrationv1.MutatingWebhookConfiguration {
	address := url + "/inject"
	return &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "measured"},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name:         "measured.outrigger.dev",
			ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: &address, CABundle: ca},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
			}},
			NamespaceSelector:       &metav1.LabelSelector{MatchLabels: map[string]string{"istio-injection": "enabled"}},
			FailurePolicy:           new(admissionregistrationv1.Fail),
			SideEffects:             new(admissionregistrationv1.SideEffectClassNone),
			AdmissionReviewVersions: []string{"v1"},
		}},
	}
}
