// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	cmclient "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned/typed/certmanager/v1"
	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"

	"outrigger.dev/outrigger/internal/contest"
)

// Options are what a Keeper needs to know.
type Options struct {
	Client kubernetes.Interface
	// Source is where the certificate comes from; SelfManaged if empty.
	Source Source
	// Namespace and SecretName name the Secret: of the CA, which must exist and may be empty, or of the certificate.
	Namespace, SecretName string
	// CABundle is what is published with FromSecret in place of the Secret's ca.crt, in PEM; may be empty.
	CABundle []byte
	// Certificates and CertificateName name the Certificate of CertManager.
	Certificates    cmclient.CertificatesGetter
	CertificateName string
	// RecordName names the ConfigMap of the namespace in whose annotation replicas record since when they see foreign CAs.
	// It must exist. Empty keeps that in memory.
	RecordName string
	// WebhookConfiguration is the name of the MutatingWebhookConfiguration whose entries get the caBundle.
	WebhookConfiguration string
	// Validator is the name of the ValidatingWebhookConfiguration whose entries get it too; empty if there is none.
	Validator string
	// Hosts are the DNS names and IP addresses that the serving certificate is for, the one the API server asks for first.
	Hosts []string
	// CADuration and LeafDuration say how long a CA and a serving certificate of our own are valid.
	CADuration, LeafDuration time.Duration
	// Overlap is how long a CA is published before something that it signed is served, while the old one may be: API
	// servers learn of it by a watch.
	Overlap time.Duration
	// Endpoint is the address of our own HTTPS server, e.g. "127.0.0.1:10250".
	Endpoint string
	// Metrics is where metrics are registered; nil for nowhere.
	Metrics prometheus.Registerer
	// Tell tells the user what must not stay as it is; nil for nowhere.
	Tell Teller
	Log  logr.Logger
	// Now is the clock; nil for the real one.
	Now func() time.Time
}

// Keeper keeps a serving certificate in memory and its CA published. It runs on every replica.
type Keeper struct {
	options Options
	source  source
	metrics *keeperMetrics

	serving  atomic.Pointer[tls.Certificate]
	verified atomic.Bool
	lastErr  atomic.Pointer[string] // of the last look; nil if it found nothing wrong

	mu        sync.Mutex // held by one reconcile at a time
	published trust      // what stood in the webhook object when it was last read or written
	since     sightings  // since when each CA stands there
	offered   sightings  // when the source last offered each CA
	records   ledger     // what is recorded of CAs
	recorded  bool       // the records of other replicas have been read once
	about     *admissionregistrationv1.MutatingWebhookConfiguration
	memory    memory
	repairs   *repairs
}

// New returns a Keeper that has no certificate until it is started.
func New(options Options) (*Keeper, error) {
	if len(options.Hosts) == 0 {
		return nil, errors.New("certificates: hosts is empty: it must name at least the DNS name of the webhook's Service")
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	from, err := sourceOf(options)
	if err != nil {
		return nil, err
	}
	contested, err := contest.Register(options.Metrics)
	if err != nil {
		return nil, fmt.Errorf("metric of contested objects: %w", err)
	}
	k := &Keeper{options: options, source: from, metrics: newKeeperMetrics(options.Metrics), repairs: newRepairs()}
	contested.Watch(k.repairs.contests)
	return k, nil
}

// NeedLeaderElection returns false: every replica serves a certificate.
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
// mismatch is a metric and an Event, because else a wrong caBundle would take out all replicas together.
func (k *Keeper) Verified() bool { return k.verified.Load() }

// Ready is Verified as a readiness check. The error says what is missing.
func (k *Keeper) Ready(*http.Request) error {
	if k.Verified() {
		return nil
	}
	if text := k.lastErr.Load(); text != nil {
		return errors.New(*text)
	}
	return errors.New("our own endpoint has not been verified against the published caBundle yet")
}

// Start keeps the certificate until the context ends. It returns no error of the cluster: it tries again.
func (k *Keeper) Start(ctx context.Context) error {
	wake := make(chan struct{}, 1)
	var watches sync.WaitGroup
	defer watches.Wait()
	for _, informer := range k.informers() {
		if _, err := informer.AddEventHandler(nudge(wake, k.sawObject)); err != nil {
			return fmt.Errorf("watching: %w", err)
		}
		watches.Go(func() { informer.RunWithContext(ctx) })
	}
	// A client that writes a webhook object all the time must not have us look at it as often.
	looks := rate.NewLimiter(looksPerSecond, looksPerSecond)
	for retry := firstRetry; ; {
		if looks.Wait(ctx) != nil {
			return nil
		}
		wait, err := k.reconcile(ctx)
		if ctx.Err() != nil {
			return nil
		}
		k.note(err)
		if err != nil {
			wait, retry = min(wait, retry), min(2*retry, lastRetry)
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

	looksPerSecond = 5
)

// reconcile brings the source, the webhook objects and the serving certificate up to date, and returns when to look again.
func (k *Keeper) reconcile(ctx context.Context) (time.Duration, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	object, readErr := k.readWebhook(ctx)
	offered, sourceErr := k.source.renew(ctx, k.published)
	publishAgain, publishErr := k.publish(ctx, offered.trusted, object)
	made := k.serve(offered.certificate)
	verifyErr := k.verify(ctx)
	found := state{failed: offered.trouble, refused: made.why, contested: k.repairs.contestedSentence(map[string]string{
		kindMutating: k.options.WebhookConfiguration, kindValidating: k.options.Validator,
	})}
	if err := errors.Join(readErr, sourceErr, publishErr); err != nil {
		found.failed = oneLine(err)
	}
	if verifyErr != nil {
		found.mismatch = oneLine(verifyErr)
	}
	told := k.tell(ctx, found)
	return k.wait(offered.again, publishAgain, made.again, told), errors.Join(readErr, sourceErr, publishErr, verifyErr)
}

// serve takes the offered certificate into service, if it is to be. The choice says why it is not.
func (k *Keeper) serve(offered *tls.Certificate) choice {
	made := choose(k.serving.Load(), offered, k.published, k.since, chooseOptions{
		host: k.options.Hosts[0], now: k.options.Now(), overlap: k.options.Overlap,
	})
	if !made.serve {
		return made
	}
	k.serving.Store(offered)
	k.options.Log.Info("another certificate is served", "why", made.why, "until", offered.Leaf.NotAfter.Format(time.RFC3339))
	return choice{}
}

// verify asks our own endpoint for its certificate and verifies it as the API server will. Without a certificate there is
// nothing to ask for; what is wrong then was found before.
func (k *Keeper) verify(ctx context.Context) error {
	serving := k.serving.Load()
	if serving == nil || len(k.published) == 0 {
		return nil
	}
	err := k.handshakes(ctx)
	roots, _ := k.published.verify(serving, k.options.Hosts[0], k.options.Now())
	k.metrics.record(serving, roots, err)
	if err != nil {
		return fmt.Errorf("verifying our own endpoint for host %s: %w", k.options.Hosts[0], err)
	}
	if !k.verified.Swap(true) {
		k.options.Log.Info("our own endpoint verifies against the published caBundle", "endpoint", k.options.Endpoint, "host", k.options.Hosts[0])
	}
	return nil
}

// handshakes has one with our own endpoint for every different caBundle.
func (k *Keeper) handshakes(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for _, bundle := range k.published {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(bundle)
		dialer := &tls.Dialer{
			NetDialer: &net.Dialer{},
			Config:    &tls.Config{RootCAs: roots, ServerName: k.options.Hosts[0], Time: k.options.Now, MinVersion: tls.VersionTLS12},
		}
		connection, err := dialer.DialContext(ctx, "tcp", k.options.Endpoint)
		if err != nil {
			return err
		}
		// The handshake is all that was wanted; what closing says does not matter.
		_ = connection.Close()
	}
	return nil
}

// tell tells the user what has changed, and returns when there may be something to tell by time alone.
func (k *Keeper) tell(ctx context.Context, found state) time.Time {
	if serving := k.serving.Load(); serving != nil {
		found.begins, found.ends = serving.Leaf.NotBefore, serving.Leaf.NotAfter
	}
	after, reason, note, again := k.memory.next(found, k.options.Now())
	if reason == "" || k.options.Tell == nil || k.about == nil {
		k.memory = after
		return again
	}
	err := k.options.Tell(ctx, Notice{
		About: corev1.ObjectReference{
			APIVersion: "admissionregistration.k8s.io/v1", Kind: "MutatingWebhookConfiguration", Name: k.about.Name, UID: k.about.UID,
		},
		Warning: reason != NoticeRecovered, Reason: reason, Note: note,
	})
	if err != nil {
		k.options.Log.Error(err, "an Event could not be written; it is tried again")
		return k.options.Now().Add(lastRetry)
	}
	k.memory = after
	return again
}

// wait returns how long nothing will be due.
func (k *Keeper) wait(times ...time.Time) time.Duration {
	now := k.options.Now()
	at := now.Add(longest)
	for _, next := range times {
		if !next.IsZero() && next.Before(at) {
			at = next
		}
	}
	return max(at.Sub(now), time.Second)
}

// note remembers an error for readiness, counts it, and logs it when it is another one than last time.
func (k *Keeper) note(err error) {
	if err == nil {
		k.lastErr.Store(nil)
		return
	}
	k.metrics.errors.Inc()
	text := oneLine(err)
	if last := k.lastErr.Swap(&text); last == nil || *last != text {
		k.options.Log.Error(err, "the certificate is not in order yet; it is tried again")
	}
}

// oneLine returns the text of joined errors as one sentence without its end.
func oneLine(err error) string {
	return strings.TrimSuffix(strings.ReplaceAll(err.Error(), "\n", "; "), ".")
}

type keeperMetrics struct {
	expiry   *prometheus.GaugeVec
	mismatch prometheus.Gauge
	errors   prometheus.Counter
}

func newKeeperMetrics(registerer prometheus.Registerer) *keeperMetrics {
	m := &keeperMetrics{
		expiry: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "outrigger_certificate_expiry_timestamp_seconds",
			Help: "Unix time at which the certificate expires. The label certificate is serving, or ca for the published CA that verifies it.",
		}, []string{"certificate"}),
		mismatch: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "outrigger_certificate_mismatch",
			Help: "1 if the published caBundle did not verify the served certificate at the last check, else 0.",
		}),
		errors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "outrigger_certificate_errors_total",
			Help: "Failed attempts to read, sign, publish, or verify a certificate.",
		}),
	}
	if registerer != nil {
		registerer.MustRegister(m.expiry, m.mismatch, m.errors)
	}
	return m
}

// record notes when the serving certificate and the last of its CAs end, and whether it was verified.
func (m *keeperMetrics) record(serving *tls.Certificate, roots []*x509.Certificate, err error) {
	m.expiry.WithLabelValues("serving").Set(float64(serving.Leaf.NotAfter.Unix()))
	var last time.Time
	for _, root := range roots {
		if root.NotAfter.After(last) {
			last = root.NotAfter
		}
	}
	if len(roots) > 0 {
		m.expiry.WithLabelValues("ca").Set(float64(last.Unix()))
	}
	m.mismatch.Set(0)
	if err != nil {
		m.mismatch.Set(1)
	}
}
