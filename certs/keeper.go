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
	"github.com/prometheus/client_golang/prometheus/promauto"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"outrigger.dev/outrigger/internal/contest"
)

// Options configure a Keeper.
type Options struct {
	Client kubernetes.Interface
	// Source is the source of the certificate. Empty means SelfManaged.
	Source Source
	// Namespace and SecretName identify the Secret: with SelfManaged that of the CA, which must exist and may be empty, otherwise
	// that of the certificate.
	Namespace, SecretName string
	// CABundle is published with FromSecret instead of the Secret's ca.crt. PEM; may be empty.
	CABundle []byte
	// Certificates and CertificateName identify the Certificate of CertManager.
	Certificates    cmclient.CertificatesGetter
	CertificateName string
	// RecordName is the name of the ConfigMap in whose annotation replicas record when they first saw foreign CAs. It must
	// exist. Empty keeps the records in memory.
	RecordName string
	// WebhookConfiguration is the name of the MutatingWebhookConfiguration whose entries get the caBundle.
	WebhookConfiguration string
	// Validator is the name of the ValidatingWebhookConfiguration whose entries get the caBundle, too; empty if there is none.
	Validator string
	// Hosts are the DNS names and IP addresses of the serving certificate. The first is the one that the API server calls.
	Hosts []string
	// CADuration and LeafDuration are the lifetimes of self-managed CAs and serving certificates.
	CADuration, LeafDuration time.Duration
	// Overlap is how long a CA is published before a certificate that it signed is served, so that the watches of all API servers
	// have delivered it. The old certificate is served meanwhile.
	Overlap time.Duration
	// Endpoint is the address of this replica's HTTPS server, for example "127.0.0.1:10250".
	Endpoint string
	// Metrics registers the metrics. Nil disables them.
	Metrics prometheus.Registerer
	// Report reports notices to the user. Nil disables it.
	Report Reporter
	Log    logr.Logger
	// Now returns the current time. Nil means time.Now.
	Now func() time.Time
}

// Keeper provides a serving certificate and keeps its CA published. It runs on every replica.
type Keeper struct {
	options Options
	source  source
	metrics *keeperMetrics

	serving  atomic.Pointer[tls.Certificate]
	verified atomic.Bool
	lastErr  atomic.Pointer[string] // of the last reconcile; nil if it succeeded

	mu        sync.Mutex        // held by one reconcile at a time
	published trust             // the caBundles of the webhook object when it was last read or written
	since     sightings         // when each of their CAs was first seen there
	offered   sightings         // when the source last offered each CA
	records   ledger            // what is recorded of CAs
	recorded  bool              // the records of the other replicas were read at least once
	about     metav1.ObjectMeta // the mutating webhook object, which Events are about
	reported  reported
	repairs   *repairs
}

// New returns a Keeper that has no certificate until it is started.
func New(options Options) (*Keeper, error) {
	if len(options.Hosts) == 0 {
		return nil, errors.New("certificates: hosts is empty: it must contain the DNS name of the webhook's Service")
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
		return nil, fmt.Errorf("registering the metric of contested objects: %w", err)
	}
	k := &Keeper{options: options, source: from, metrics: newKeeperMetrics(options.Metrics), repairs: newRepairs()}
	contested.Watch(k.repairs.contests)
	return k, nil
}

// NeedLeaderElection returns false: every replica serves a certificate.
func (k *Keeper) NeedLeaderElection() bool { return false }

// GetCertificate returns the serving certificate, for tls.Config. It returns an error before the first one is available.
func (k *Keeper) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	certificate := k.serving.Load()
	if certificate == nil {
		return nil, errors.New("there is no serving certificate yet")
	}
	return certificate, nil
}

// Verified reports whether this replica's endpoint was verified against the published caBundle at least once. It stays true: a
// later mismatch is reported by a metric and an Event, so that a wrong caBundle does not make all replicas unready at once.
func (k *Keeper) Verified() bool { return k.verified.Load() }

// Ready is a readiness check that succeeds once Verified is true. The error says what is missing.
func (k *Keeper) Ready(*http.Request) error {
	if k.Verified() {
		return nil
	}
	if text := k.lastErr.Load(); text != nil {
		return errors.New(*text)
	}
	return errors.New("the endpoint has not been verified against the published caBundle yet")
}

// Start maintains the certificate until the context ends. It retries errors of the cluster, and does not return them.
func (k *Keeper) Start(ctx context.Context) error {
	wake := make(chan struct{}, 1)
	var watches sync.WaitGroup
	defer watches.Wait()
	for _, informer := range k.informers() {
		if _, err := informer.AddEventHandler(k.wakeOn(wake)); err != nil {
			return fmt.Errorf("watching: %w", err)
		}
		watches.Go(func() { informer.RunWithContext(ctx) })
	}
	// Limits the work that a client causes which keeps writing a webhook object.
	limiter := rate.NewLimiter(reconcilesPerSecond, reconcilesPerSecond)
	for retry := firstRetry; ; {
		if limiter.Wait(ctx) != nil {
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
	maxWait    = 10 * time.Minute // between two reconciles

	reconcilesPerSecond = 5
)

// reconcile updates the source, the webhook objects, and the serving certificate, and returns how long to wait for the next time.
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
	reportAgain := k.report(ctx, found)
	return k.wait(offered.again, publishAgain, made.again, reportAgain), errors.Join(readErr, sourceErr, publishErr, verifyErr)
}

// serve starts serving the offered certificate if choose says so. Otherwise the choice says why not.
func (k *Keeper) serve(offered *tls.Certificate) choice {
	made := choose(k.serving.Load(), offered, k.published, k.since, chooseOptions{
		host: k.options.Hosts[0], now: k.options.Now(), overlap: k.options.Overlap,
	})
	if !made.serve {
		return made
	}
	k.serving.Store(offered)
	k.options.Log.Info("serving a new certificate", "why", made.why, "until", offered.Leaf.NotAfter.Format(time.RFC3339))
	return choice{}
}

// verify connects to this replica's endpoint and verifies its certificate as the API server does. Without a certificate it
// returns nil; the reason was reported before.
func (k *Keeper) verify(ctx context.Context) error {
	serving := k.serving.Load()
	if serving == nil || len(k.published) == 0 {
		return nil
	}
	err := k.handshakes(ctx)
	roots, _ := k.published.verify(serving, k.options.Hosts[0], k.options.Now())
	k.metrics.record(serving, roots, err)
	if err != nil {
		return fmt.Errorf("verifying the endpoint for host %s: %w", k.options.Hosts[0], err)
	}
	if !k.verified.Swap(true) {
		k.options.Log.Info("the endpoint is verified against the published caBundle", "endpoint", k.options.Endpoint, "host", k.options.Hosts[0])
	}
	return nil
}

// handshakes performs a TLS handshake with this replica's endpoint for each distinct caBundle.
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
		// Only the handshake matters, not how the connection is closed.
		_ = connection.Close()
	}
	return nil
}

// report reports a change to the user, and returns when another report may be due by time alone; zero if never.
func (k *Keeper) report(ctx context.Context, found state) time.Time {
	if serving := k.serving.Load(); serving != nil {
		found.notBefore, found.notAfter = serving.Leaf.NotBefore, serving.Leaf.NotAfter
	}
	after, reason, note, again := k.reported.next(found, k.options.Now())
	if reason == "" || k.options.Report == nil || k.about.Name == "" {
		k.reported = after
		return again
	}
	err := k.options.Report(ctx, Notice{
		About: corev1.ObjectReference{
			APIVersion: "admissionregistration.k8s.io/v1", Kind: kindMutating, Name: k.about.Name, UID: k.about.UID,
		},
		Warning: reason != NoticeRecovered, Reason: reason, Note: note,
	})
	if err != nil {
		k.options.Log.Error(err, "writing an Event failed and is retried")
		return k.options.Now().Add(lastRetry)
	}
	k.reported = after
	return again
}

// wait returns the time until the first of these, between a second and maxWait.
func (k *Keeper) wait(times ...time.Time) time.Duration {
	now := k.options.Now()
	return max(soonest(append(times, now.Add(maxWait))...).Sub(now), time.Second)
}

// note stores an error for the readiness check, counts it, and logs it if it differs from the last one.
func (k *Keeper) note(err error) {
	if err == nil {
		k.lastErr.Store(nil)
		return
	}
	k.metrics.errors.Inc()
	text := oneLine(err)
	if last := k.lastErr.Swap(&text); last == nil || *last != text {
		k.options.Log.Error(err, "updating the certificate failed and is retried")
	}
}

// oneLine returns the text of joined errors on one line, without a final period.
func oneLine(err error) string {
	return strings.TrimSuffix(strings.ReplaceAll(err.Error(), "\n", "; "), ".")
}

type keeperMetrics struct {
	expiry   *prometheus.GaugeVec
	mismatch prometheus.Gauge
	errors   prometheus.Counter
}

func newKeeperMetrics(registerer prometheus.Registerer) *keeperMetrics {
	metrics := promauto.With(registerer) // registers none for nil
	return &keeperMetrics{
		expiry: metrics.NewGaugeVec(prometheus.GaugeOpts{
			Name: "outrigger_certificate_expiry_timestamp_seconds",
			Help: "Unix time at which the certificate expires. The label certificate is serving, or ca for the published CA that verifies it.",
		}, []string{"certificate"}),
		mismatch: metrics.NewGauge(prometheus.GaugeOpts{
			Name: "outrigger_certificate_mismatch",
			Help: "1 if the published caBundle did not verify the served certificate at the last check, else 0.",
		}),
		errors: metrics.NewCounter(prometheus.CounterOpts{
			Name: "outrigger_certificate_errors_total",
			Help: "Failed attempts to read, sign, publish, or verify a certificate.",
		}),
	}
}

// record sets the metrics: when the serving certificate and the last of its CAs expire, and whether it was verified.
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
