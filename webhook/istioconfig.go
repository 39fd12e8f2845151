// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	istioclient "istio.io/client-go/pkg/clientset/versioned"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
)

// IstioOptions are the dependencies of an IstioConfiguration.
type IstioOptions struct {
	Client   kubernetes.Interface
	Metadata metadata.Interface    // for the CRD of ProxyConfig
	Istio    istioclient.Interface // for ProxyConfig resources
	// Namespace is Istio's namespace, where its ConfigMaps are.
	Namespace string
	// OwnNamespace and LastGoodName name Outrigger's ConfigMap that keeps the last good configuration. It must exist;
	// it may be empty.
	OwnNamespace, LastGoodName string
	// Release is Istio's release if a setting names it; if empty, it is read from the ConfigMap's labels.
	Release  string
	Settings inject.Settings
	// Events reports refused configurations on the ConfigMap, once for all replicas; nil reports none.
	Events  *Events
	Metrics *Metrics // nil counts nothing
	Log     logr.Logger
}

// IstioConfiguration is Istio's current configuration in the cluster: the two ConfigMaps, read together, with the facts of the
// cluster that injection depends on, nodes and ProxyConfig resources. An invalid configuration never replaces a valid one. It runs
// on every replica.
type IstioConfiguration struct {
	options IstioOptions
	wake    chan struct{}
	current atomic.Pointer[currentConfig]

	configured *source  // of the configured revision
	tag        *watched // Istio's default tag; nil if the setting names a revision
	crd        *watched
	nodes      *watched // nil if a setting decides whether sidecars are native

	// The rest belongs to the one goroutine of Start.
	from             *source  // the current one: configured, or tagged
	tagged           *source  // of the revision that the default tag names; nil if configured is used
	proxyConfigs     *watched // nil while there is no CRD
	stopProxyConfigs context.CancelFunc
	good             *inject.Config // of the last source that parsed
	seen             inject.Source  // the source last looked at, good or not
	seenProblem      api.InjectProblem
	keptRead         bool   // the ConfigMap LastGoodName was read for a last good one
	saved            bool   // the good source is the one in that ConfigMap
	saveErr          string // the last failure to save that was logged
	state            string // what was reported last
	unreported       *event // the Event that could not be written yet
	running          sync.WaitGroup
}

// source is the two ConfigMaps of one revision.
type source struct {
	revision       string
	injector, mesh *watched
	stop           context.CancelFunc
}

// currentConfig is what Current returns.
type currentConfig struct {
	config *inject.Config
	err    error
}

// NewIstioConfiguration returns a configuration that is unknown until it is started.
func NewIstioConfiguration(options IstioOptions) *IstioConfiguration {
	c := &IstioConfiguration{options: options, wake: make(chan struct{}, 1)}
	c.current.Store(&currentConfig{err: errors.New("the Istio configuration has not been read yet")})
	c.configured = c.sourceOf(options.Settings.Revision)
	c.from = c.configured
	if options.Settings.Revision == "" {
		c.tag = watchedBy(c, "MutatingWebhookConfiguration "+defaultTag, options.Client, options.Client.AdmissionregistrationV1().MutatingWebhookConfigurations(),
			&admissionregistrationv1.MutatingWebhookConfiguration{}, defaultTag, stripManagedFields)
	}
	crds := options.Metadata.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	c.crd = watchedBy(c, "CustomResourceDefinition "+proxyConfigCRD, options.Metadata, crds, &metav1.PartialObjectMetadata{}, proxyConfigCRD, nil)
	if native := options.Settings.NativeSidecars; native == "" || native == "auto" {
		c.nodes = watchedBy(c, "nodes", options.Client, options.Client.CoreV1().Nodes(), &corev1.Node{}, "", onlyKubelet)
	}
	return c
}

var stripManagedFields = cache.TransformStripManagedFields()

const (
	proxyConfigCRD = "proxyconfigs.networking.istio.io"
	// defaultTag is the object of Istio's tag "default"; its label istio.io/rev names the revision that is the default.
	defaultTag = "istio-revision-tag-default"
)

// sourceOf describes the watches of one revision's ConfigMaps.
func (c *IstioConfiguration) sourceOf(revision string) *source {
	configMap := func(name string) *watched {
		return watchedBy(c, "ConfigMap "+c.options.Namespace+"/"+name, c.options.Client, c.options.Client.CoreV1().ConfigMaps(c.options.Namespace),
			&corev1.ConfigMap{}, name, stripManagedFields)
	}
	return &source{
		revision: revision,
		injector: configMap(api.WithRevision("istio-sidecar-injector", revision)),
		mesh:     configMap(api.WithRevision("istio", revision)),
		stop:     func() {},
	}
}

// NeedLeaderElection returns false: every replica reviews pods.
func (c *IstioConfiguration) NeedLeaderElection() bool { return false }

// Current returns the configuration for decisions. If the cluster has no usable one, it denies pods with the reason. It returns an
// error while the cluster's configuration is unknown.
func (c *IstioConfiguration) Current() (*inject.Config, error) {
	now := c.current.Load()
	return now.config, now.err
}

// Ready is a readiness check. It succeeds once Istio's configuration was read, or is known to be absent.
func (c *IstioConfiguration) Ready(*http.Request) error {
	_, err := c.Current()
	return err
}

// Start follows the cluster until the context ends.
func (c *IstioConfiguration) Start(ctx context.Context) error {
	defer c.running.Wait()
	for _, w := range []*watched{c.configured.injector, c.configured.mesh, c.tag, c.crd, c.nodes} {
		if w == nil {
			continue
		}
		if err := c.follow(ctx, w); err != nil {
			return err
		}
	}
	for {
		wait := c.look(ctx)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-c.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

const (
	retryAfter = 5 * time.Second  // a failure
	idleAfter  = 10 * time.Minute // without events
)

// look applies the current configuration of the cluster, and returns when to look again without an event.
func (c *IstioConfiguration) look(ctx context.Context) time.Duration {
	source, problem, err := c.read(ctx)
	if err != nil {
		if c.good == nil {
			c.current.Store(&currentConfig{err: err})
		}
		return idleAfter // an event follows when it is known
	}
	wait := idleAfter
	if problem == nil {
		problem = c.take(source)
	}
	if err := c.fallBack(ctx, problem); err != nil {
		c.options.Log.Error(err, "the last good Istio configuration could not be read; it is tried again")
		c.current.Store(&currentConfig{err: err})
		return retryAfter
	}
	c.report(problem)
	if err := c.writeEvent(ctx); err != nil {
		c.options.Log.Error(err, "the refusal of Istio's configuration could not be recorded; it is tried again")
		wait = retryAfter
	}
	if problem == nil && !c.saved {
		if err := c.save(ctx, source); err != nil {
			wait = retryAfter
			if c.saveErr != err.Error() {
				c.saveErr = err.Error()
				c.options.Log.Error(err, "the good Istio configuration could not be kept; it is tried again")
			}
		}
	}
	if c.good == nil {
		c.current.Store(&currentConfig{config: inject.Unavailable(*problem)})
		return wait
	}
	facts, err := c.facts(ctx)
	if err != nil {
		c.current.Store(&currentConfig{err: err})
		return retryAfter
	}
	c.good = c.good.With(facts) // stays the same configuration, with its cached answers, unless a fact changes a decision
	c.current.Store(&currentConfig{config: c.good})
	return wait
}

// read returns Istio's current configuration, or the problem that it does not exist or may not be read. An error means that it is
// unknown.
func (c *IstioConfiguration) read(ctx context.Context) (inject.Source, *api.InjectProblem, error) {
	if err := c.choose(ctx); err != nil {
		return inject.Source{}, nil, err
	}
	var data [2]*corev1.ConfigMap
	for i, w := range []*watched{c.from.injector, c.from.mesh} {
		object, err := w.object()
		switch {
		case apierrors.IsForbidden(err):
			problem := c.forbidden(w)
			return inject.Source{}, &problem, nil
		case err != nil:
			return inject.Source{}, nil, err
		case object == nil:
			problem := c.missing(w)
			return inject.Source{}, &problem, nil
		}
		data[i] = object.(*corev1.ConfigMap)
	}
	source := inject.Source{
		Config:   data[0].Data["config"],
		Values:   data[0].Data["values"],
		Mesh:     data[1].Data["mesh"],
		Release:  c.options.Release,
		Settings: c.options.Settings,
	}
	source.Settings.Revision = c.from.revision
	if source.Release == "" {
		source.Release = inject.ReleaseOf(data[0].Labels)
	}
	return source, nil, nil
}

// choose decides which ConfigMaps are read: those of the setting; without a setting, and if there are none without a
// revision, those of the revision that Istio's default tag names.
func (c *IstioConfiguration) choose(ctx context.Context) error {
	c.from = c.configured
	if c.tag == nil {
		return nil
	}
	injector, err := c.configured.injector.object()
	if injector != nil || err != nil {
		return c.followTag(ctx, "") // read gets the same error and interprets it
	}
	tag, err := c.tag.object()
	if err != nil && !apierrors.IsForbidden(err) {
		return err
	}
	revision := ""
	if tag != nil {
		revision = tag.(*admissionregistrationv1.MutatingWebhookConfiguration).Labels[api.LabelRevision]
	}
	if revision == "default" {
		revision = "" // its ConfigMaps are those of configured
	}
	return c.followTag(ctx, revision)
}

// followTag reads the ConfigMaps of the revision from now on; those of the setting, if it is empty.
func (c *IstioConfiguration) followTag(ctx context.Context, revision string) error {
	if c.tagged != nil && c.tagged.revision != revision {
		c.tagged.stop()
		c.tagged = nil
	}
	if revision == "" {
		return nil
	}
	if c.tagged == nil {
		tagged := c.sourceOf(revision)
		ctx, tagged.stop = context.WithCancel(ctx)
		for _, w := range []*watched{tagged.injector, tagged.mesh} {
			if err := c.follow(ctx, w); err != nil {
				tagged.stop()
				return err
			}
		}
		c.tagged = tagged
	}
	c.from = c.tagged
	return nil
}

func (c *IstioConfiguration) missing(w *watched) api.InjectProblem {
	return api.InjectProblem{
		Object:  api.ObjectRef{Kind: "ConfigMap", Namespace: c.options.Namespace, Name: w.name},
		Reason:  api.InjectNoIstioConfiguration,
		Message: "it does not exist, so there is no Istio configuration to inject with.",
		Advice: fmt.Sprintf("Install Istio, or set where it is: the value istio.namespace (now %s) and the value revision (now %q) of Outrigger's chart.",
			c.options.Namespace, c.options.Settings.Revision),
	}
}

func (c *IstioConfiguration) forbidden(w *watched) api.InjectProblem {
	problem := api.InjectProblem{
		Object:  api.ObjectRef{Kind: "ConfigMap", Namespace: c.options.Namespace, Name: w.name},
		Reason:  api.InjectIstioConfigurationForbidden,
		Message: "Outrigger has no permission to read it.",
		Advice:  "Grant Outrigger's ServiceAccount the verbs list and watch on it, as its chart does unless rbac.create is false.",
	}
	if revision := c.from.revision; revision != "" && revision != "default" {
		problem.Advice = fmt.Sprintf("Allow it: helm upgrade outrigger charts/outrigger -n %s --reset-then-reuse-values --set istio.revisions={%s}", c.options.OwnNamespace, revision)
	}
	return problem
}

// take parses a source that differs from the last one. A valid one becomes the configuration. For an invalid one, it returns the
// problem.
func (c *IstioConfiguration) take(source inject.Source) *api.InjectProblem {
	if source == c.seen {
		if c.seenProblem.Reason == "" {
			return nil
		}
		return &c.seenProblem
	}
	config, problem := c.parse(source)
	c.seen, c.seenProblem = source, problem
	if config == nil {
		return &c.seenProblem
	}
	c.good, c.saved = config, false
	c.options.Metrics.loaded(source)
	return nil
}

// parse returns the configuration of a source, or nil and why it is refused.
func (c *IstioConfiguration) parse(source inject.Source) (*inject.Config, api.InjectProblem) {
	config, problems, err := inject.Parse(source)
	if err == nil && config != nil {
		for _, problem := range problems {
			c.options.Log.Info("a warning about Istio's configuration", "object", problem.Object.String(), "reason", problem.Reason, "message", problem.String())
		}
		return config, api.InjectProblem{}
	}
	injector := api.ObjectRef{Kind: "ConfigMap", Namespace: c.options.Namespace, Name: c.from.injector.name}
	if err == nil && len(problems) > 0 {
		refused := problems[0]
		if refused.Object.Name == "" {
			refused.Object = injector
		}
		return nil, refused
	}
	refused := api.InjectProblem{
		Object:  injector,
		Reason:  api.InjectIstioConfigurationRefused,
		Message: "it was refused.",
		Advice:  "Fix it. Until then, the last good configuration stays in use, if there was one.",
	}
	if err != nil {
		refused.Message = fmt.Sprintf("it was refused: %v.", err)
	}
	return nil, refused
}
