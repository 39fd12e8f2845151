// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	certutil "k8s.io/client-go/util/cert"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/diagnose"
	"outrigger.dev/outrigger/internal/process"
)

// answering is a webhook that gives one answer, and an entry that points to it and trusts it.
func answering(t *testing.T, answer func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse) (*httptest.Server, admissionregistrationv1.MutatingWebhook) {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.Request.DryRun == nil || !*review.Request.DryRun {
			http.Error(w, "no dry run", http.StatusBadRequest)
			return
		}
		response := answer(review.Request)
		if response == nil {
			http.Error(w, "the configuration is not known yet", http.StatusInternalServerError)
			return
		}
		response.UID = review.Request.UID
		_ = json.NewEncoder(w).Encode(admissionv1.AdmissionReview{Response: response}) // the client sees what is missing
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that do not trust it
	server.StartTLS()
	t.Cleanup(server.Close)
	return server, admissionregistrationv1.MutatingWebhook{Name: "namespace.sidecar-injector.outrigger.dev", ClientConfig: admissionregistrationv1.WebhookClientConfig{
		URL:      &server.URL,
		CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
	}}
}

func injecting(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	return &admissionv1.AdmissionResponse{Allowed: true, Patch: []byte(`[{"op":"add","path":"/spec/initContainers","value":[{"name":"istio-proxy"}]}]`)}
}

func otherCA(t *testing.T) []byte {
	t.Helper()
	bundle, _, err := certutil.GenerateSelfSignedCertKey("127.0.0.1", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return bundle
}

// The command connects as the API server does, and trusts no more than the API server.
func TestCheckCallsTheWebhook(t *testing.T) {
	for what, test := range map[string]struct {
		change      func(*httptest.Server, *admissionregistrationv1.MutatingWebhook)
		state, text string
	}{
		"it injects": {state: diagnose.CheckOK, text: "a pod gets its sidecar"},
		"another CA is published": {change: func(_ *httptest.Server, entry *admissionregistrationv1.MutatingWebhook) {
			entry.ClientConfig.CABundle = otherCA(t)
		}, state: diagnose.CheckFailed, text: "certificate signed by unknown authority"},
		"its certificate is for another name": {change: func(server *httptest.Server, entry *admissionregistrationv1.MutatingWebhook) {
			url := strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
			entry.ClientConfig.URL = &url
		}, state: diagnose.CheckFailed, text: "not localhost"},
		"nothing listens": {change: func(server *httptest.Server, _ *admissionregistrationv1.MutatingWebhook) { server.Close() }, state: diagnose.CheckFailed, text: "connection refused"},
		"it has no address": {change: func(_ *httptest.Server, entry *admissionregistrationv1.MutatingWebhook) {
			entry.ClientConfig.URL = nil
		}, state: diagnose.CheckFailed, text: "neither a url nor a service"},
	} {
		t.Run(what, func(t *testing.T) {
			server, entry := answering(t, func(request *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
				if !bytes.Contains(request.Object.Raw, []byte(`"istio.io/rev":"canary"`)) {
					return nil
				}
				return injecting(request)
			})
			if test.change != nil {
				test.change(server, &entry)
			}
			c := &checker{config: api.DefaultConfig()}
			c.config.Istio.Revision = "canary"
			checkFinding(t, c.called(t.Context(), entry), test.state, test.text)
		})
	}
}

// A webhook that requires a client certificate is not broken if its configuration says so.
func TestCheckOfAWebhookThatRequiresAClientCertificate(t *testing.T) {
	server, entry := answering(t, injecting)
	config := api.WebhookConfig{ClientCA: string(entry.ClientConfig.CABundle)}
	server.Config.Handler = process.KnownCallers(config, server.Config.Handler)
	c := &checker{config: api.DefaultConfig()}
	checkFinding(t, c.called(t.Context(), entry), diagnose.CheckFailed, "401")
	c.config.Webhook = config
	checkFinding(t, c.called(t.Context(), entry), diagnose.CheckNote, "webhook.clientCA")
}

func checkFinding(t *testing.T, got diagnose.Finding, state, text string) {
	t.Helper()
	if got.State != state || !strings.Contains(got.Text, text) {
		t.Errorf("%s: %s; want %s with %q", got.State, got.Text, state, text)
	}
}

// checkerWith returns a checker whose API server responds to creations as create does, and forbids reads if it has no objects.
func checkerWith(create func(*corev1.Pod) error, mayCreate bool, objects ...client.Object) *checker {
	c := &checker{config: api.DefaultConfig(), namespace: "demo", create: true}
	funcs := interceptor.Funcs{Create: func(_ context.Context, _ client.WithWatch, object client.Object, options ...client.CreateOption) error {
		if review, is := object.(*authorizationv1.SelfSubjectAccessReview); is {
			review.Status.Allowed = mayCreate
			return nil
		}
		if how := (&client.CreateOptions{}).ApplyOptions(options); len(how.DryRun) != 1 || object.GetNamespace() != "demo" {
			return errors.New("this would really create a pod, or one elsewhere")
		}
		return create(object.(*corev1.Pod))
	}}
	if len(objects) == 0 {
		funcs.Get = func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return forbidden
		}
	}
	c.client = fake.NewClientBuilder().WithObjects(objects...).WithInterceptorFuncs(funcs).Build()
	return c
}

func TestCheckHasAPodCreated(t *testing.T) {
	nothing := func(*corev1.Pod) error { return nil }
	var c *checker
	c = checkerWith(func(pod *corev1.Pod) error {
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, corev1.Container{Name: "istio-proxy"})
		_, _ = io.WriteString(&c.warnings, "UnknownKey: annotation outrigger.dev/check") // a buffer takes all
		return nil
	}, true)
	checkFinding(t, c.created(t.Context()), diagnose.CheckOK, "from Outrigger")
	c = checkerWith(func(*corev1.Pod) error { return errors.New("failed calling webhook") }, true)
	checkFinding(t, c.created(t.Context()), diagnose.CheckFailed, "is refused: failed calling webhook")
	c = checkerWith(nothing, true) // the Namespace cannot be read
	checkFinding(t, c.created(t.Context()), diagnose.CheckFailed, "Outrigger was not called. Either the namespace is excluded or labeled")
	c = checkerWith(nothing, true, demo("istio-injection=disabled"), webhookTrusting(nil))
	checkFinding(t, c.created(t.Context()), diagnose.CheckFailed, "Outrigger was not called. Namespace demo has the label istio-injection=disabled")
}

// Without permission to create pods, nothing is known about Outrigger. A refusal by admission is a failure, and so is a missing
// permission of the chart's ServiceAccount.
func TestCheckWithoutThePermissionToCreatePods(t *testing.T) {
	for what, test := range map[string]struct {
		mayCreate, direct bool
		state, text       string
	}{
		"no permission":                      {state: diagnose.CheckNote, text: "a pod in namespace demo with the label sidecar.istio.io/inject=true was not checked: you have no permission to create pods in namespace demo; the ClusterRole edit, bound there, grants it"},
		"refused by admission":               {mayCreate: true, state: diagnose.CheckFailed, text: "is refused: "},
		"no permission of the chart's hooks": {direct: true, state: diagnose.CheckFailed, text: "is refused: "},
	} {
		c := checkerWith(func(*corev1.Pod) error { return forbidden }, test.mayCreate)
		c.direct = test.direct
		checkFinding(t, c.created(t.Context()), test.state, test.text)
		if c.direct {
			continue // reading the webhook object fails first
		}
		err := c.retry(t.Context(), io.Discard)
		if want := map[string]string{diagnose.CheckNote: "", diagnose.CheckFailed: "1 of 1 checks failed"}[test.state]; err == nil && want != "" || err != nil && err.Error() != want {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
}

// The command retries until the webhook object exists, and reports what is missing when the timeout has elapsed.
func TestCheckRetries(t *testing.T) {
	_, entry := answering(t, injecting)
	object := &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "outrigger-sidecar-injector"}, Webhooks: []admissionregistrationv1.MutatingWebhook{entry}}
	looked := 0
	c := &checker{config: api.DefaultConfig(), direct: true, patience: time.Minute}
	c.client = fake.NewClientBuilder().WithObjects(object).WithInterceptorFuncs(interceptor.Funcs{
		Get: func(ctx context.Context, under client.WithWatch, key client.ObjectKey, into client.Object, options ...client.GetOption) error {
			if looked++; looked == 1 {
				key.Name = "not-yet"
			}
			return under.Get(ctx, key, into, options...)
		},
	}).Build()
	var out bytes.Buffer
	if err := c.retry(t.Context(), &out); err != nil || looked != 2 || strings.Count(out.String(), "ok ") != 2 {
		t.Errorf("after %d looks: %v\n%s", looked, err, out.String())
	}
	c.config.Istio.Revision, c.patience = "canary", 0
	out.Reset()
	err := c.retry(t.Context(), &out)
	if err == nil || err.Error() != "1 of 1 checks failed" || !strings.HasPrefix(out.String(), "FAILED  MutatingWebhookConfiguration outrigger-sidecar-injector-canary does not exist") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// The policy of the release's revision is read; a release that exposes nothing needs none.
func TestCheckReadsThePolicyOnExposure(t *testing.T) {
	policy := &admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "outrigger-exposure"}}
	for name, test := range map[string]struct {
		objects     []client.Object // none: not readable
		change      func(*api.Config)
		state, text string // an empty state: no finding
	}{
		"not bound":    {[]client.Object{policy}, func(*api.Config) {}, diagnose.CheckWarning, "ValidatingAdmissionPolicyBinding outrigger-exposure does not exist"},
		"a revision":   {[]client.Object{policy}, func(c *api.Config) { c.Istio.Revision = "canary" }, diagnose.CheckWarning, "ValidatingAdmissionPolicy outrigger-exposure-canary does not exist"},
		"not readable": {nil, func(*api.Config) {}, diagnose.CheckNote, "no permission to read"},
		"no routes":    {nil, func(c *api.Config) { c.Routing.Enabled = false }, "", ""},
		"no exposure":  {nil, func(c *api.Config) { c.Routing.Expose = api.ExposeDisabled }, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := checkerWith(nil, true, test.objects...)
			policy.ResourceVersion = ""
			test.change(&c.config)
			got := append(c.exposure(t.Context()), diagnose.Finding{})
			checkFinding(t, got[0], test.state, test.text)
		})
	}
}

func TestCheckFindsBypasses(t *testing.T) {
	vs := &networkingv1.VirtualService{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "inside"}}
	vs.Spec.Hosts = []string{"api.internal"}
	vs.Spec.Http = []*networkingapi.HTTPRoute{{Route: []*networkingapi.HTTPRouteDestination{{Destination: &networkingapi.Destination{Host: "app"}}}}}
	s := shop(t, vs)
	s.reconcile("app")
	c := &checker{client: s.client, live: s.live, namespace: "demo", config: s.config}
	found := c.bypasses(t.Context())
	if len(found) != 1 {
		t.Fatalf("found %v", found)
	}
	checkFinding(t, found[0], diagnose.CheckWarning, "VirtualService demo/inside")
	c.config.Routing.Enabled = false
	if found := c.bypasses(t.Context()); found != nil {
		t.Errorf("found %v without routing", found)
	}
}

// A check that fails inside the cluster says why replicas are not ready; that of a user does not.
func TestAFailedDirectCheckReportsReplicas(t *testing.T) {
	for direct, want := range map[bool]int{true: 1, false: 0} {
		c := &checker{config: api.DefaultConfig(), direct: direct, client: fake.NewClientBuilder().Build(), live: &live{systemNamespace: "outrigger-system", gaps: diagnose.Gaps{}}}
		var out bytes.Buffer
		if err := c.retry(t.Context(), &out); err == nil || err.Error() != "1 of 1 checks failed" {
			t.Errorf("%v; want one failure, of the webhook object that does not exist", err)
		}
		if got := strings.Count(out.String(), "note    namespace outrigger-system has no pod of Outrigger."); got != want {
			t.Errorf("--direct=%t prints\n%s", direct, out.String())
		}
	}
}
