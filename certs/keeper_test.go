// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	kubetesting "k8s.io/client-go/testing"
)

const (
	ownNamespace = "outrigger-system"
	webhookName  = "outrigger-sidecar-injector"
	ownHost      = "outrigger.outrigger-system.svc"
)

// cluster is a fake API server with the chart's objects in it, which refuses writes of a Secret that was changed meanwhile.
type cluster struct {
	*fake.Clientset
	mu      sync.Mutex
	version int // of the Secret
	writes  int // of the webhook object; also its version
	clock   time.Time
}

func newCluster() *cluster {
	entry := func(name string) admissionregistrationv1.MutatingWebhook {
		return admissionregistrationv1.MutatingWebhook{Name: name + ".sidecar-injector.outrigger.dev"}
	}
	c := &cluster{clock: start, version: 1, Clientset: fake.NewClientset(
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ownNamespace, Name: "ca", ResourceVersion: "1"}},
		&admissionregistrationv1.MutatingWebhookConfiguration{
			ObjectMeta: metav1.ObjectMeta{Name: webhookName},
			Webhooks:   []admissionregistrationv1.MutatingWebhook{entry("namespace"), entry("object")},
		},
	)}
	c.PrependReactor("update", "secrets", func(action kubetesting.Action) (bool, runtime.Object, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		secret := action.(kubetesting.UpdateAction).GetObject().(*corev1.Secret)
		if secret.ResourceVersion != strconv.Itoa(c.version) {
			return true, nil, apierrors.NewConflict(schema.GroupResource{Resource: "secrets"}, secret.Name, errors.New("changed meanwhile"))
		}
		c.version++
		secret.ResourceVersion = strconv.Itoa(c.version)
		return true, secret, c.Tracker().Update(corev1.SchemeGroupVersion.WithResource("secrets"), secret, ownNamespace)
	})
	// Each write of a webhook object gives it another version, which the fake API server does not do by itself.
	c.PrependReactor("*", "mutatingwebhookconfigurations", func(action kubetesting.Action) (bool, runtime.Object, error) {
		if verb := action.GetVerb(); verb != "patch" && verb != "update" {
			return false, nil, nil
		}
		handled, object, err := kubetesting.ObjectReaction(c.Tracker())(action)
		if err != nil {
			return handled, object, err
		}
		written := object.(*admissionregistrationv1.MutatingWebhookConfiguration)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.writes++
		written.ResourceVersion = strconv.Itoa(c.writes)
		return true, written, c.Tracker().Update(action.GetResource(), written, "")
	})
	return c
}

func (c *cluster) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.clock
}

func (c *cluster) advance(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clock = c.clock.Add(by)
}

func (c *cluster) bundles(t *testing.T) [][]byte {
	t.Helper()
	object, err := c.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(), webhookName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	for _, entry := range object.Webhooks {
		out = append(out, entry.ClientConfig.CABundle)
	}
	return out
}

// replica is a Keeper behind a real TLS server.
func (c *cluster) replica(t *testing.T, changes ...func(*Options)) *Keeper {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	options := Options{
		Client: c.Clientset, Namespace: ownNamespace, SecretName: "ca", WebhookConfiguration: webhookName,
		Hosts: []string{ownHost, "127.0.0.1"}, CADuration: 90 * time.Hour, LeafDuration: 24 * time.Hour, Overlap: time.Minute,
		Endpoint: listener.Addr().String(), Log: logr.Discard(), Now: c.now,
	}
	for _, change := range changes {
		change(&options)
	}
	keeper, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {}))
	server.Listener = tls.NewListener(listener, &tls.Config{GetCertificate: keeper.GetCertificate, MinVersion: tls.VersionTLS13})
	server.Start()
	t.Cleanup(server.Close)
	return keeper
}

// ca returns the bundle of a replica that manages its certificate itself.
func ca(k *Keeper) bundle { return k.source.(*selfManaged).held }

// look reconciles once and requires it to succeed.
func look(t *testing.T, keepers ...*Keeper) {
	t.Helper()
	for _, keeper := range keepers {
		if _, err := keeper.reconcile(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// trusted requires that every replica is trusted by every entry, as the API server would find it.
func (c *cluster) trusted(t *testing.T, keepers ...*Keeper) {
	t.Helper()
	for i, bundle := range c.bundles(t) {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(bundle)
		for j, keeper := range keepers {
			connection, err := tls.Dial("tcp", keeper.options.Endpoint, &tls.Config{RootCAs: roots, ServerName: ownHost, Time: c.now})
			if err != nil {
				t.Errorf("entry %d does not trust replica %d: %v", i, j, err)
				continue
			}
			_ = connection.Close()
		}
	}
}

func TestOneReplicaMakesPublishesAndVerifies(t *testing.T) {
	c := newCluster()
	keeper := c.replica(t)
	if keeper.Ready(nil) == nil {
		t.Error("ready before anything was done")
	}
	if _, err := keeper.GetCertificate(nil); err == nil {
		t.Error("a certificate before anything was done")
	}
	look(t, keeper)
	if err := keeper.Ready(nil); err != nil {
		t.Error(err)
	}
	c.trusted(t, keeper)
	c.ClearActions()
	look(t, keeper)
	for _, action := range c.Actions() {
		if action.GetVerb() != "get" {
			t.Errorf("a second look wrote: %s %s", action.GetVerb(), action.GetResource().Resource)
		}
	}
}

func TestReplicasThatStartAtOnceAgreeOnOneCA(t *testing.T) {
	c := newCluster()
	keepers := []*Keeper{c.replica(t), c.replica(t), c.replica(t)}
	var together sync.WaitGroup
	for _, keeper := range keepers {
		together.Go(func() {
			if _, err := keeper.reconcile(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	together.Wait()
	c.trusted(t, keepers...)
	if got := bytes.Count(c.bundles(t)[0], []byte("BEGIN CERTIFICATE")); got != 1 {
		t.Errorf("%d CAs are published, want 1", got)
	}
}

func TestTheServingCertificateIsRenewedWithoutARestart(t *testing.T) {
	c := newCluster()
	keeper := c.replica(t)
	look(t, keeper)
	before := keeper.serving.Load()
	c.advance(17 * time.Hour)
	look(t, keeper)
	if keeper.serving.Load() == before {
		t.Error("the certificate was not renewed")
	}
	c.trusted(t, keeper)
}

func TestAChangedCABundleIsPublishedAgain(t *testing.T) {
	c := newCluster()
	keeper := c.replica(t)
	look(t, keeper)
	object, err := c.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(), webhookName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	object.Webhooks[1].ClientConfig.CABundle = nil
	if _, err := c.AdmissionregistrationV1().MutatingWebhookConfigurations().Update(t.Context(), object, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	look(t, keeper)
	c.trusted(t, keeper)
}

// Two replicas go through a change of CA, looking one after the other and out of step. No entry ever distrusts one.
func TestAChangeOfCAHasNoGap(t *testing.T) {
	c := newCluster()
	a, b := c.replica(t), c.replica(t)
	look(t, a, b)
	first := ca(a).current.cert
	seen := map[string]bool{}
	for step := range 400 {
		c.advance(17 * time.Minute)
		if step%3 != 0 {
			look(t, a)
		}
		c.trusted(t, a, b)
		if step%2 == 0 {
			look(t, b)
		}
		c.trusted(t, a, b)
		seen[ca(a).current.cert.Subject.CommonName] = true
	}
	if len(seen) < 2 || ca(a).current.cert.Equal(first) {
		t.Errorf("the CA was not changed in %v", c.now().Sub(start))
	}
	if bytes.Contains(c.bundles(t)[0], certPEM(first)) {
		t.Error("the first CA is still published")
	}
}

func TestASpoiltOrEmptiedSecretGetsBackWhatTheReplicaHolds(t *testing.T) {
	for name, data := range map[string]map[string][]byte{
		"emptied": nil,
		"spoilt":  {keyCert: []byte("x"), keyKey: []byte("y")},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster()
			keeper := c.replica(t)
			look(t, keeper)
			before := ca(keeper).current.cert
			c.write(t, data)
			look(t, keeper)
			other := c.replica(t)
			look(t, other)
			if !ca(other).current.cert.Equal(before) {
				t.Error("another CA took the place of the one that is in use")
			}
			c.trusted(t, keeper, other)
		})
	}
}

// A running replica that may create Secrets recreates a deleted one; of several at once, one does.
func TestADeletedSecretIsRecreatedByAReplicaThatMay(t *testing.T) {
	c := newCluster()
	secrets := c.CoreV1().Secrets(ownNamespace)
	secret, err := secrets.Get(t.Context(), "ca", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	secret.Labels, secret.Annotations = map[string]string{"app.kubernetes.io/managed-by": "Helm"}, map[string]string{"meta.helm.sh/release-name": "outrigger"}
	if _, err := secrets.Update(t.Context(), secret, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	a, b := c.replica(t), c.replica(t)
	look(t, a, b)
	before := ca(a).current.cert
	if err := secrets.Delete(t.Context(), "ca", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.replica(t).reconcile(t.Context()); err == nil || !strings.Contains(err.Error(), "helm upgrade") {
		t.Errorf("a replica without a CA: %v; want what to do", err)
	}
	look(t, a, b)
	again, err := secrets.Get(t.Context(), "ca", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again.Data[keyCert], certPEM(before)) || again.Labels["app.kubernetes.io/managed-by"] != "Helm" || again.Annotations["meta.helm.sh/release-name"] != "outrigger" {
		t.Errorf("it is not the Secret that was deleted: %v %v", again.Labels, again.Annotations)
	}
	fresh := c.replica(t)
	look(t, fresh)
	if !ca(fresh).current.cert.Equal(before) {
		t.Error("another CA took the place of the one that is in use")
	}
	c.trusted(t, a, b, fresh)
}

// withoutCreate refuses to create Secrets, as an API server does with the rights of the chart.
func (c *cluster) withoutCreate() *cluster {
	c.PrependReactor("create", "secrets", func(kubetesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "ca", errors.New("not granted"))
	})
	return c
}

// With the rights of the chart, a replica may not create the Secret. The Event says what to do, and what helm upgrade
// creates empty gets the CA back.
func TestADeletedSecretIsFilledOnceItExistsAgain(t *testing.T) {
	c := newCluster().withoutCreate()
	var notices []Notice
	keeper := c.replica(t, func(o *Options) {
		o.Report = func(_ context.Context, n Notice) error { notices = append(notices, n); return nil }
	})
	look(t, keeper)
	before := ca(keeper).current.cert
	if err := c.CoreV1().Secrets(ownNamespace).Delete(t.Context(), "ca", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := keeper.reconcile(t.Context()); err == nil {
			t.Error("no error without the Secret")
		}
		c.advance(reportDelay)
	}
	if len(notices) != 1 || notices[0].Reason != NoticeFailed || !strings.Contains(notices[0].Note, "Secret outrigger-system/ca, which was deleted") || !strings.Contains(notices[0].Note, "helm upgrade") {
		t.Errorf("notices: %+v", notices)
	}
	if err := c.Tracker().Add(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ownNamespace, Name: "ca", ResourceVersion: strconv.Itoa(c.version)}}); err != nil {
		t.Fatal(err)
	}
	look(t, keeper)
	fresh := c.replica(t)
	look(t, fresh)
	if !ca(fresh).current.cert.Equal(before) {
		t.Error("another CA took the place of the one that is in use")
	}
	c.trusted(t, keeper, fresh)
}

func TestASpoiltSecretThatNobodyRemembersIsMadeAnew(t *testing.T) {
	c := newCluster()
	c.write(t, map[string][]byte{keyCert: []byte("x"), "note": []byte("of another client")})
	keeper := c.replica(t)
	look(t, keeper)
	c.trusted(t, keeper)
	secret, err := c.CoreV1().Secrets(ownNamespace).Get(t.Context(), "ca", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if string(secret.Data["note"]) != "of another client" {
		t.Error("a key of another client was removed from the Secret")
	}
}

func TestErrorsNameTheObject(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(context.Context, *cluster) error
		want  string
	}{
		"no Secret": {func(ctx context.Context, c *cluster) error {
			return c.CoreV1().Secrets(ownNamespace).Delete(ctx, "ca", metav1.DeleteOptions{})
		}, "Secret outrigger-system/ca"},
		"no webhook object": {func(ctx context.Context, c *cluster) error {
			return c.AdmissionregistrationV1().MutatingWebhookConfigurations().Delete(ctx, webhookName, metav1.DeleteOptions{})
		}, "MutatingWebhookConfiguration outrigger-sidecar-injector"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster()
			if err := test.spoil(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			keeper := c.replica(t)
			_, err := keeper.reconcile(t.Context())
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			if keeper.Verified() {
				t.Error("verified without a published caBundle")
			}
		})
	}
}

// What has been ready stays ready, and goes on serving, whatever is taken away.
func TestAReadyReplicaStaysReady(t *testing.T) {
	c := newCluster().withoutCreate()
	keeper := c.replica(t)
	look(t, keeper)
	if err := c.CoreV1().Secrets(ownNamespace).Delete(t.Context(), "ca", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.advance(20 * time.Hour)
	if _, err := keeper.reconcile(t.Context()); err == nil {
		t.Error("no error without the Secret")
	}
	if err := keeper.Ready(nil); err != nil {
		t.Error(err)
	}
	c.trusted(t, keeper)
	if leaf := keeper.serving.Load().Leaf; leaf.NotAfter.Before(c.now().Add(20 * time.Hour)) {
		t.Errorf("the serving certificate was not renewed from what is remembered; it ends at %v", leaf.NotAfter)
	}
}

// A CA that could not be published does not sign: what is served stays trusted by what is published.
func TestACAThatIsNotPublishedDoesNotSign(t *testing.T) {
	c := newCluster()
	keeper := c.replica(t)
	look(t, keeper)
	refused := true
	c.PrependReactor("patch", "mutatingwebhookconfigurations", func(kubetesting.Action) (bool, runtime.Object, error) {
		return refused, nil, errors.New("no luck")
	})
	data, err := (bundle{current: mustAuthority(t, start, 90*time.Hour)}).data()
	if err != nil {
		t.Fatal(err)
	}
	c.write(t, data)
	if _, err := keeper.reconcile(t.Context()); err == nil || !strings.Contains(err.Error(), "no luck") {
		t.Errorf("got %v, want the error of publishing", err)
	}
	c.trusted(t, keeper)
	refused = false
	look(t, keeper)
	c.trusted(t, keeper)
	if keeper.serving.Load().Leaf.CheckSignatureFrom(ca(keeper).current.cert) == nil {
		t.Error("the new CA signed what is served before API servers can have heard of it")
	}
	c.advance(time.Minute)
	look(t, keeper)
	c.trusted(t, keeper)
	if err := keeper.serving.Load().Leaf.CheckSignatureFrom(ca(keeper).current.cert); err != nil {
		t.Errorf("the new CA did not sign once it was published: %v", err)
	}
}

// Start does by itself what the tests above do by hand, woken by watches, and ends with its context.
func TestStartFollowsTheCluster(t *testing.T) {
	c := newCluster()
	keeper := c.replica(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- keeper.Start(ctx) }()
	eventually(t, keeper.Verified)
	c.spoilBundle(t)
	restored := func() bool {
		if bytes.Contains(c.bundles(t)[0], []byte("BEGIN CERTIFICATE")) {
			return true
		}
		c.spoilBundle(t) // the fake loses what happens between a list and its watch
		return false
	}
	eventually(t, restored)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func (c *cluster) spoilBundle(t *testing.T) {
	t.Helper()
	webhooks := c.AdmissionregistrationV1().MutatingWebhookConfigurations()
	patch := []byte(`[{"op":"add","path":"/webhooks/0/clientConfig/caBundle","value":"eA=="}]`)
	if _, err := webhooks.Patch(t.Context(), webhookName, types.JSONPatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// eventually waits for an observable effect.
func eventually(t *testing.T, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen within 20 s")
		}
	}
}
