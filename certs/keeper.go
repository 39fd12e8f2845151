package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// Options are what a Keeper needs to know.
type Options struct {
	Client kubernetes.Interface
	// Namespace and SecretName name the Secret of the CA. It must exist; it may be empty.
	Namespace, SecretName string
	// WebhookConfiguration is the name of the MutatingWebhookConfiguration whose entries get the caBundle.
	WebhookConfiguration string
	// Validator is the name of the ValidatingWebhookConfiguration whose entries get it too; empty if there is none.
	Validator string
	// Hosts are the DNS names and IP addresses that the serving certificate is for, the one the API server asks for first.
	Hosts []string
	// CADuration and LeafDuration say how long a CA and a serving certificate are valid.
	CADuration, LeafDuration time.Duration
	// Endpoint is the address of our own HTTPS server, e.g. "127.0.0.1:10250".
	Endpoint string
	// Metrics is where metrics are registered; nil for nowhere.
	Metrics prometheus.Registerer
	Log     logr.Logger
	// Now is the clock; nil for the real one.
	Now func() time.Time
}

// Keeper keeps a serving certificate in memory and its CA published. It runs on every replica.
type Keeper struct {
	options Options
	metrics *keeperMetrics

	serving  atomic.Pointer[tls.Certificate]
	verified atomic.Bool

	mu      sync.Mutex // held by one reconcile at a time
	held    bundle     // the last bundle that was read or written
	lastErr string     // the last error that was logged
}

// New returns a Keeper that has no certificate until it is started.
func New(options Options) (*Keeper, error) {
	if len(options.Hosts) == 0 {
		return nil, errors.New("certificates: hosts is empty: it must name at least the DNS name of the webhook's Service")
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	return &Keeper{options: options, metrics: newKeeperMetrics(options.Metrics)}, nil
}

// NeedLeaderElection returns false: every replica signs its own certificate.
func (k *Keeper) NeedLeaderElection() bool { return false }

// GetCertificate returns the serving certificate; it fits tls.Config.
func (k *Keeper) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	certificate := k.serving.Load()
	if certificate == nil {
		return nil, errors.New("there is no serving certificate yet")
	}
	return certificate, nil
}

// Verified returns whether our own endpoint has once been reached with the published caBundle. It stays true: a later
// mismatch is a metric, because else a wrong caBundle would take out all replicas together.
func (k *Keeper) Verified() bool { return k.verified.Load() }

// Ready is Verified as a readiness check.
func (k *Keeper) Ready(*http.Request) error {
	if !k.Verified() {
		return errors.New("our own endpoint has not been verified against the published caBundle yet")
	}
	return nil
}

// Start keeps the certificate until the context ends. It returns no error of the cluster: it tries again.
func (k *Keeper) Start(ctx context.Context) error {
	wake := make(chan struct{}, 1)
	var watches sync.WaitGroup
	defer watches.Wait()
	informers := []cache.SharedIndexInformer{k.secretInformer(), k.webhookInformer()}
	if k.options.Validator != "" {
		informers = append(informers, k.validatorInformer())
	}
	for _, informer := range informers {
		if _, err := informer.AddEventHandler(nudge(wake)); err != nil {
			return fmt.Errorf("watching: %w", err)
		}
		watches.Go(func() { informer.RunWithContext(ctx) })
	}
	for retry := firstRetry; ; {
		wait, err := k.reconcile(ctx)
		if ctx.Err() != nil {
			return nil
		}
		k.tell(err)
		if err != nil {
			wait, retry = retry, min(2*retry, lastRetry)
		} else {
			retry = firstRetry
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

const (
	firstRetry = 200 * time.Millisecond
	lastRetry  = 30 * time.Second
	longest    = 10 * time.Minute // between two looks
)

func nudge(wake chan<- struct{}) cache.ResourceEventHandler {
	send := func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { send() },
		UpdateFunc: func(any, any) { send() },
		DeleteFunc: func(any) { send() },
	}
}

// reconcile brings Secret, webhook object and serving certificate up to date, and returns when to look again.
func (k *Keeper) reconcile(ctx context.Context) (time.Duration, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	saveErr := k.renewBundle(ctx)
	if k.held.current == nil {
		return 0, saveErr
	}
	published, publishErr := k.publish(ctx)
	if publishErr == nil {
		publishErr = k.noteNextPublished(ctx, published)
	}
	publishErr = errors.Join(publishErr, k.publishToValidator(ctx))
	signErr := k.renewServing(published)
	verifyErr := k.verify(ctx, published)
	k.metrics.record(k.held, k.serving.Load())
	if err := errors.Join(saveErr, publishErr, signErr); err != nil || verifyErr == nil {
		return k.wait(), err
	}
	return 0, verifyErr
}

// renewBundle reads the Secret, takes the steps that are due, and writes it. Of two replicas that write at once the
// second gets a conflict and takes what the first wrote.
func (k *Keeper) renewBundle(ctx context.Context) error {
	secrets := k.options.Client.CoreV1().Secrets(k.options.Namespace)
	for range 5 {
		secret, err := secrets.Get(ctx, k.options.SecretName, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("reading Secret %s/%s: %w", k.options.Namespace, k.options.SecretName, err)
		}
		wanted, why, err := k.wanted(secret)
		if err != nil {
			return err
		}
		if why == "" {
			k.held = wanted
			return nil
		}
		err = k.save(ctx, secret, wanted)
		if apierrors.IsConflict(err) {
			continue
		}
		if err != nil {
			return err
		}
		k.options.Log.Info("the CA changed", "secret", k.options.SecretName, "why", why)
		k.held = wanted
		return nil
	}
	return fmt.Errorf("writing Secret %s/%s: others write it all the time", k.options.Namespace, k.options.SecretName)
}

// wanted returns the bundle that the Secret must hold, and why it must be written; "" if it holds it.
func (k *Keeper) wanted(secret *corev1.Secret) (bundle, string, error) {
	why := ""
	read, err := parseBundle(secret.Data)
	if err != nil || read.current == nil && k.held.current != nil {
		if read, why = k.held, "the Secret was emptied; what this replica holds is written back"; err != nil {
			why = "the Secret cannot be read: " + err.Error()
		}
	}
	now := k.options.Now()
	for {
		due, reason := dueStep(read, now)
		if due == nothing {
			return read, why, nil
		}
		if read, err = read.take(due, now, k.options.CADuration, k.options.LeafDuration); err != nil {
			return bundle{}, "", err
		}
		if why != "" {
			why += "; "
		}
		why += reason
	}
}

func (k *Keeper) save(ctx context.Context, secret *corev1.Secret, b bundle) error {
	data, err := b.data()
	if err != nil {
		return err
	}
	changed := secret.DeepCopy()
	if changed.Data == nil {
		changed.Data = map[string][]byte{}
	}
	for _, key := range []string{keyCert, keyKey, keyNextCert, keyNextKey, keyNextPublished, keyOldCerts, keyOldUntil} {
		delete(changed.Data, key)
	}
	maps.Copy(changed.Data, data)
	if _, err := k.options.Client.CoreV1().Secrets(k.options.Namespace).Update(ctx, changed, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("writing Secret %s/%s: %w", k.options.Namespace, k.options.SecretName, err)
	}
	return nil
}

// publish writes the trusted CAs into every entry of the webhook object, and returns the caBundle that stands there now.
func (k *Keeper) publish(ctx context.Context) ([]byte, error) {
	webhooks := k.options.Client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	object, err := webhooks.Get(ctx, k.options.WebhookConfiguration, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading MutatingWebhookConfiguration %s: %w", k.options.WebhookConfiguration, err)
	}
	if len(object.Webhooks) == 0 {
		return nil, fmt.Errorf("MutatingWebhookConfiguration %s has no entries", k.options.WebhookConfiguration)
	}
	trusted := k.held.trusted(k.options.Now())
	patch, err := bundlePatch(object.Webhooks, trusted)
	if err != nil || patch == nil {
		return trusted, err
	}
	if _, err := webhooks.Patch(ctx, object.Name, types.JSONPatchType, patch, metav1.PatchOptions{}); err != nil {
		return nil, fmt.Errorf("writing the caBundle of MutatingWebhookConfiguration %s: %w", object.Name, err)
	}
	k.options.Log.Info("the caBundle was published", "mutatingWebhookConfiguration", object.Name)
	return trusted, nil
}

// bundlePatch returns the JSON patch that writes the caBundle where it differs; nil if it differs nowhere. The name of
// each entry is tested, so that a list that changed meanwhile is never written by position.
func bundlePatch(entries []admissionregistrationv1.MutatingWebhook, bundle []byte) ([]byte, error) {
	type operation struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value"`
	}
	var operations []operation
	for i, entry := range entries {
		if bytes.Equal(entry.ClientConfig.CABundle, bundle) {
			continue
		}
		operations = append(operations,
			operation{"test", fmt.Sprintf("/webhooks/%d/name", i), entry.Name},
			operation{"add", fmt.Sprintf("/webhooks/%d/clientConfig/caBundle", i), bundle})
	}
	if operations == nil {
		return nil, nil
	}
	return json.Marshal(operations)
}

// noteNextPublished writes into the Secret that the next CA is published: from then on its time runs.
func (k *Keeper) noteNextPublished(ctx context.Context, published []byte) error {
	if k.held.next == nil || !k.held.nextPublished.IsZero() || !bytes.Contains(published, certPEM(k.held.next.cert)) {
		return nil
	}
	secret, err := k.options.Client.CoreV1().Secrets(k.options.Namespace).Get(ctx, k.options.SecretName, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("reading Secret %s/%s: %w", k.options.Namespace, k.options.SecretName, err)
	}
	standing, err := parseBundle(secret.Data)
	if err != nil || standing.next == nil || !standing.nextPublished.IsZero() || !standing.next.cert.Equal(k.held.next.cert) {
		return nil //nolint:nilerr // another replica changed it meanwhile, or spoilt it; the next look deals with that
	}
	noted := k.held
	noted.nextPublished = k.options.Now()
	if err := k.save(ctx, secret, noted); err != nil {
		return err
	}
	k.held = noted
	return nil
}

// renewServing signs a new serving certificate when one is due. A CA that is not published yet signs only where there
// is nothing to serve otherwise.
func (k *Keeper) renewServing(published []byte) error {
	var leaf *x509.Certificate
	if serving := k.serving.Load(); serving != nil {
		leaf = serving.Leaf
	}
	now := k.options.Now()
	is, why := due(leaf, k.held.current, k.options.Hosts, now)
	if !is {
		return nil
	}
	if leaf != nil && now.Before(leaf.NotAfter) && !bytes.Contains(published, certPEM(k.held.current.cert)) {
		return nil
	}
	certificate, err := k.held.current.issue(k.options.Hosts, now, k.options.LeafDuration)
	if err != nil {
		return err
	}
	k.serving.Store(certificate)
	k.options.Log.Info("a serving certificate was signed", "why", why, "until", certificate.Leaf.NotAfter)
	return nil
}

// verify asks our own endpoint for its certificate and verifies it as the API server will.
func (k *Keeper) verify(ctx context.Context, published []byte) error {
	if published == nil {
		k.metrics.verified.Set(0)
		return nil // that it could not be read has been told
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(published)
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	dialer := &tls.Dialer{
		NetDialer: &net.Dialer{},
		Config:    &tls.Config{RootCAs: roots, ServerName: k.options.Hosts[0], Time: k.options.Now, MinVersion: tls.VersionTLS12},
	}
	connection, err := dialer.DialContext(ctx, "tcp", k.options.Endpoint)
	if err != nil {
		k.metrics.verified.Set(0)
		return fmt.Errorf("verifying our own endpoint %s for host %s: %w", k.options.Endpoint, k.options.Hosts[0], err)
	}
	k.metrics.verified.Set(1)
	if !k.verified.Swap(true) {
		k.options.Log.Info("our own endpoint verifies against the published caBundle", "endpoint", k.options.Endpoint, "host", k.options.Hosts[0])
	}
	// The handshake is all that was wanted; what closing says does not matter.
	_ = connection.Close()
	return nil
}

// wait returns how long nothing will be due.
func (k *Keeper) wait() time.Duration {
	now := k.options.Now()
	at := now.Add(longest)
	if next := k.held.nextChange(); !next.IsZero() && next.Before(at) {
		at = next
	}
	if serving := k.serving.Load(); serving != nil {
		if next := renewal(serving.Leaf); next.Before(at) {
			at = next
		}
	}
	return max(at.Sub(now), time.Second)
}

// tell logs an error when it is another one than last time, and counts each.
func (k *Keeper) tell(err error) {
	if err == nil {
		k.lastErr = ""
		return
	}
	k.metrics.errors.Inc()
	if text := err.Error(); text != k.lastErr {
		k.lastErr = text
		k.options.Log.Error(err, "the certificate is not in order yet; it is tried again")
	}
}

func (k *Keeper) secretInformer() cache.SharedIndexInformer {
	client := k.options.Client.CoreV1().Secrets(k.options.Namespace)
	return informerOf(k.options.Client, &corev1.Secret{}, k.options.SecretName,
		func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return client.List(ctx, o) },
		client.Watch)
}

func (k *Keeper) webhookInformer() cache.SharedIndexInformer {
	client := k.options.Client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	return informerOf(k.options.Client, &admissionregistrationv1.MutatingWebhookConfiguration{}, k.options.WebhookConfiguration,
		func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return client.List(ctx, o) },
		client.Watch)
}

// informerOf watches one object by its name, which is all that our rights allow.
func informerOf(client kubernetes.Interface, object runtime.Object, name string,
	list func(context.Context, metav1.ListOptions) (runtime.Object, error),
	watching func(context.Context, metav1.ListOptions) (watch.Interface, error),
) cache.SharedIndexInformer {
	selector := fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
	listWatch := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = selector
			return list(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = selector
			return watching(ctx, o)
		},
	}
	return cache.NewSharedIndexInformer(cache.ToListWatcherWithWatchListSemantics(listWatch, client), object, 0, cache.Indexers{})
}

type keeperMetrics struct {
	expiry   *prometheus.GaugeVec
	verified prometheus.Gauge
	errors   prometheus.Counter
}

func newKeeperMetrics(registerer prometheus.Registerer) *keeperMetrics {
	m := &keeperMetrics{
		expiry: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "outrigger_certificate_expiry_timestamp_seconds",
			Help: "When the certificate ends, in seconds since 1970; certificate is ca or serving.",
		}, []string{"certificate"}),
		verified: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "outrigger_certificate_verified",
			Help: "1 if our own endpoint verified against the published caBundle the last time, else 0.",
		}),
		errors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "outrigger_certificate_errors_total",
			Help: "Failed attempts to read, sign, publish or verify.",
		}),
	}
	if registerer != nil {
		registerer.MustRegister(m.expiry, m.verified, m.errors)
	}
	return m
}

func (m *keeperMetrics) record(b bundle, serving *tls.Certificate) {
	m.expiry.WithLabelValues("ca").Set(float64(b.current.cert.NotAfter.Unix()))
	if serving != nil {
		m.expiry.WithLabelValues("serving").Set(float64(serving.Leaf.NotAfter.Unix()))
	}
}
