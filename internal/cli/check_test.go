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

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
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

func denying(message string) func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	return func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return &admissionv1.AdmissionResponse{Result: &metav1.Status{Message: message}}
	}
}

func otherCA(t *testing.T) []byte {
	t.Helper()
	bundle, _, err := certutil.GenerateSelfSignedCertKey("127.0.0.1", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return bundle
}

// What the webhook answers, and what that says of it.
func TestCheckAsksTheWebhook(t *testing.T) {
	for what, test := range map[string]struct {
		answer func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse
		change func(*httptest.Server, *admissionregistrationv1.MutatingWebhook)
		state  string
		says   string
	}{
		"it injects": {answer: injecting, state: diagnose.CheckOK, says: "a pod gets its sidecar"},
		"it injects the pods of its revision": {answer: func(request *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
			if !bytes.Contains(request.Object.Raw, []byte(`"istio.io/rev":"canary"`)) {
				return denying("not of the revision")(request)
			}
			return injecting(request)
		}, state: diagnose.CheckOK},
		"Istio is not there yet": {answer: denying("NoIstioConfiguration: ConfigMap istio is missing"), state: diagnose.CheckNote, says: "ConfigMap istio is missing"},
		"it denies":              {answer: denying("TemplateFailed: template sidecar"), state: diagnose.CheckFailed, says: "TemplateFailed"},
		"it gives no sidecar": {answer: func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
			return &admissionv1.AdmissionResponse{Allowed: true, Warnings: []string{"PolicyDisabled"}}
		}, state: diagnose.CheckFailed, says: "PolicyDisabled"},
		"it has an error": {answer: func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse { return nil }, state: diagnose.CheckFailed, says: "500 Internal Server Error: the configuration is not known yet"},
		"another CA is published": {answer: injecting, change: func(_ *httptest.Server, entry *admissionregistrationv1.MutatingWebhook) {
			entry.ClientConfig.CABundle = otherCA(t)
		}, state: diagnose.CheckFailed, says: "certificate signed by unknown authority"},
		"its certificate is for another name": {answer: injecting, change: func(server *httptest.Server, entry *admissionregistrationv1.MutatingWebhook) {
			url := strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
			entry.ClientConfig.URL = &url
		}, state: diagnose.CheckFailed, says: "not localhost"},
		"nobody listens":    {answer: injecting, change: func(server *httptest.Server, _ *admissionregistrationv1.MutatingWebhook) { server.Close() }, state: diagnose.CheckFailed, says: "connection refused"},
		"it has no address": {answer: injecting, change: func(_ *httptest.Server, entry *admissionregistrationv1.MutatingWebhook) { entry.ClientConfig.URL = nil }, state: diagnose.CheckFailed, says: "neither a url nor a service"},
	} {
		t.Run(what, func(t *testing.T) {
			server, entry := answering(t, test.answer)
			if test.change != nil {
				test.change(server, &entry)
			}
			c := &checker{config: api.DefaultConfig()}
			if strings.Contains(what, "revision") {
				c.config.Istio.Revision = "canary"
			}
			if got := c.asked(t.Context(), entry); got.State != test.state || !strings.Contains(got.Text, test.says) {
				t.Errorf("%s: %s; want %s with %q", got.State, got.Text, test.state, test.says)
			}
		})
	}
}

func TestCheckAsksTheService(t *testing.T) {
	got, err := addressOf(admissionregistrationv1.WebhookClientConfig{Service: &admissionregistrationv1.ServiceReference{Namespace: "outrigger-system", Name: "outrigger", Path: new("/inject")}})
	if err != nil || got != "https://outrigger.outrigger-system.svc:443/inject" {
		t.Errorf("%s, %v", got, err)
	}
}

func TestCheckLooksAtTheCABundle(t *testing.T) {
	_, entry := answering(t, injecting)
	object := &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "outrigger-sidecar-injector"}, Webhooks: []admissionregistrationv1.MutatingWebhook{entry, entry}}
	if got := diagnose.CheckTrust(object, time.Now()); got.State != diagnose.CheckOK || !strings.Contains(got.Text, "2 entries, caBundle until 20") {
		t.Errorf("%s: %s", got.State, got.Text)
	}
	if got := diagnose.CheckTrust(object, time.Now().AddDate(100, 0, 0)); got.State != diagnose.CheckFailed || !strings.Contains(got.Text, "has expired") {
		t.Errorf("a hundred years later: %s: %s", got.State, got.Text)
	}
	for bundle, says := range map[string]string{"": "no replica has published one yet", "none": "there is no PEM block in it"} {
		object.Webhooks[1].ClientConfig.CABundle = []byte(bundle)
		if got := diagnose.CheckTrust(object, time.Now()); got.State != diagnose.CheckFailed || !strings.Contains(got.Text, says) {
			t.Errorf("caBundle %q: %s: %s", bundle, got.State, got.Text)
		}
	}
}

// What became of the pod that the API server was to create.
func TestCheckLetsAPodBeCreated(t *testing.T) {
	proxy := corev1.Container{Name: "istio-proxy"}
	for what, test := range map[string]struct {
		proxy  bool
		warned string
		err    error
		state  string
		says   string
	}{
		"injected by us":         {proxy: true, warned: "UnknownKey: annotation outrigger.dev/check", state: diagnose.CheckOK, says: "from Outrigger"},
		"injected by istiod":     {proxy: true, state: diagnose.CheckNote, says: "called before Outrigger"},
		"asked and not injected": {warned: "PolicyDisabled; outrigger.dev/check", state: diagnose.CheckFailed, says: "PolicyDisabled"},
		"not asked":              {state: diagnose.CheckFailed, says: "Outrigger was not called"},
		"refused":                {err: errors.New(`failed calling webhook "object.sidecar-injector.outrigger.dev"`), state: diagnose.CheckFailed, says: "failed calling webhook"},
	} {
		t.Run(what, func(t *testing.T) {
			c := &checker{config: api.DefaultConfig(), namespace: "demo", create: true}
			c.client = fake.NewClientBuilder().WithInterceptorFuncs(interceptor.Funcs{
				Create: func(_ context.Context, _ client.WithWatch, object client.Object, options ...client.CreateOption) error {
					pod := object.(*corev1.Pod)
					if how := (&client.CreateOptions{}).ApplyOptions(options); len(how.DryRun) != 1 || pod.Namespace != "demo" || pod.Labels["sidecar.istio.io/inject"] != "true" {
						return errors.New("this would really create a pod, or another one")
					}
					if test.proxy {
						pod.Spec.InitContainers = append(pod.Spec.InitContainers, proxy)
					}
					_, _ = io.WriteString(&c.warnings, test.warned) // a buffer takes all
					return test.err
				},
			}).Build()
			if got := c.created(t.Context()); got.State != test.state || !strings.Contains(got.Text, test.says) {
				t.Errorf("%s: %s; want %s with %q", got.State, got.Text, test.state, test.says)
			}
		})
	}
}

// It waits for what is not there yet, and says what is missing when it has waited long enough.
func TestCheckWaits(t *testing.T) {
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
	if err := c.untilWell(t.Context(), &out); err != nil || looked != 2 || strings.Count(out.String(), "ok ") != 2 {
		t.Errorf("after %d looks: %v\n%s", looked, err, out.String())
	}
	c.config.Istio.Revision, c.patience = "canary", 0
	out.Reset()
	err := c.untilWell(t.Context(), &out)
	if err == nil || err.Error() != "1 of 1 checks failed" || !strings.HasPrefix(out.String(), "FAILED  MutatingWebhookConfiguration outrigger-sidecar-injector-canary does not exist") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// A webhook that answers only who shows a client certificate is not broken; one that asks for none has no reason for a 401.
func TestCheckOfAWebhookThatAsksForACertificate(t *testing.T) {
	server, entry := answering(t, injecting)
	config := api.WebhookConfig{ClientCA: string(entry.ClientConfig.CABundle)}
	server.Config.Handler = process.KnownCallers(config, server.Config.Handler)
	c := &checker{config: api.DefaultConfig()}
	if got := c.asked(t.Context(), entry); got.State != diagnose.CheckFailed || !strings.Contains(got.Text, "401") {
		t.Errorf("it asks for a certificate unasked: %s: %s", got.State, got.Text)
	}
	c.config.Webhook = config
	if got := c.asked(t.Context(), entry); got.State != diagnose.CheckNote || !strings.Contains(got.Text, "webhook.clientCA") {
		t.Errorf("%s: %s", got.State, got.Text)
	}
}

// Before an upgrade the new version lists what leaves the mesh, and nothing of what it wrote itself or of others.
func TestCheckListsHostsThatLeaveTheMesh(t *testing.T) {
	route := func(name string, ours bool, gateways []string, hosts ...string) client.Object {
		vs := &networkingv1.VirtualService{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: name}}
		vs.Labels = map[string]string{api.LabelManagedBy: api.ManagedBy, api.LabelService: "app"}
		if ours {
			vs.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", Name: "app", UID: "1", Controller: new(true)}}
		}
		vs.Spec.Hosts, vs.Spec.Gateways = hosts, gateways
		return vs
	}
	scheme := runtime.NewScheme()
	if err := networkingv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c := &checker{config: api.DefaultConfig()}
	c.client = fake.NewClientBuilder().WithScheme(scheme).WithObjects(
		route("app", true, []string{"demo/app", "mesh"}, "app.demo.svc.cluster.local", "*.victim.svc.cluster.local", "a.example.com"),
		route("app-auto", true, nil, "app.demo.svc.cluster.local"),
		route("app-gateway", true, []string{"demo/app"}, "b.example.com"),
		route("theirs", false, nil, "c.example.com"),
	).Build()
	got := c.leavingMesh(t.Context())
	if len(got) != 1 || got[0].State != diagnose.CheckNote || !strings.Contains(got[0].Text, "VirtualService demo/app binds *.victim.svc.cluster.local, a.example.com to the mesh") || !strings.Contains(got[0].Text, "use app.demo instead") {
		t.Errorf("it says %v", got)
	}
}
