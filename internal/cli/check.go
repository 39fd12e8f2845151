// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/diagnose"
)

func checkCommand() *cobra.Command {
	var from clusterFlags
	c := &checker{}
	command := &cobra.Command{
		Use:   "check",
		Short: "Check that a pod gets its sidecar from an installed Outrigger",
		Long: `Reads the webhook object and has the API server create a pod that requests a sidecar, as a dry run that leaves nothing
behind. That includes the way from the API server to Outrigger. The pod must be allowed in the namespace; its name and
labels have no other meaning. If you have no permission to create pods there, a note says that this was not checked.

With --direct the command also calls the webhook itself, as the API server does: at the address and with the caBundle of the
webhook object. That works only from inside the cluster. The chart runs both as "helm test", and --direct --create=false
after every install and upgrade.

It also lists the objects that route past the versions of the Services in the namespace. Run it with the new version before
an upgrade, too: it lists the exposed hosts that an earlier release bound to the mesh.
It warns if everyone who may edit Services may also expose them (docs/understand/security.md).

The exit status is 1 if a check failed. Notes and warnings are not failures: if nothing could be checked, for example because
of missing permissions, the exit status is 0.`,
		Example: `  # Does a pod of namespace demo get its sidecar?
  outrigger check -n demo

  # The release for another revision
  outrigger check -n demo --revision canary`,
		Args: NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			if c.patience < 0 {
				return usagef("--timeout=%v: expected 0 or more, e.g. 1m", c.patience)
			}
			l, err := from.connect(command.Context(), &c.warnings)
			if err != nil {
				return err
			}
			if c.create {
				if err := l.mustExist(command.Context(), l.namespace); err != nil {
					return err
				}
			}
			if err := c.choose(command.Context(), l, from.configFile != ""); err != nil {
				return err
			}
			return c.untilWell(command.Context(), command.OutOrStdout())
		},
	}
	from.register(command, true)
	flags := command.Flags()
	flags.BoolVar(&c.direct, "direct", false, "also call the webhook itself; from inside the cluster")
	flags.BoolVar(&c.create, "create", true, "have the API server create a pod in the namespace, as a dry run")
	flags.StringVar(&c.revision, "revision", "", "Istio revision of the release, if --config does not set it")
	flags.DurationVar(&c.patience, "timeout", 0, "how long to retry failed checks")
	return command
}

// checker checks one release.
type checker struct {
	direct, create bool
	revision       string
	patience       time.Duration

	client    client.Client
	live      *live // nil = paths that bypass the versions are not looked for
	namespace string
	config    api.Config
	warnings  bytes.Buffer // of the API server
}

// choose finds the release that is meant: that of the file, else that of the revision.
func (c *checker) choose(ctx context.Context, l *live, isGiven bool) error {
	c.client, c.live, c.namespace, c.config = l.client, l, l.namespace, l.config
	if isGiven {
		return nil
	}
	configs, err := installations(ctx, l.client, l.installed, l.unread())
	if err != nil {
		return err
	}
	at := slices.IndexFunc(configs, func(config api.Config) bool {
		return api.WithRevision("", config.Istio.Revision) == api.WithRevision("", c.revision)
	})
	if at < 0 {
		c.config.Istio.Revision = c.revision // its settings may not be readable; its objects have fixed names
		return nil
	}
	c.config = configs[at]
	return nil
}

// untilWell checks until nothing fails or the time is over, and prints what the last round found.
func (c *checker) untilWell(ctx context.Context, out io.Writer) error {
	deadline := time.Now().Add(c.patience)
	for {
		findings := c.round(ctx)
		failures, checks := 0, 0
		for _, f := range findings {
			if f.State != diagnose.CheckNote {
				checks++
			}
			if f.State == diagnose.CheckFailed {
				failures++
			}
		}
		if failures > 0 && ctx.Err() == nil && time.Now().Add(checkInterval).Before(deadline) {
			select {
			case <-ctx.Done():
			case <-time.After(checkInterval):
			}
			continue
		}
		printed := findings
		if failures > 0 && c.direct {
			printed = slices.Concat(findings, c.replicas(ctx))
		}
		printFindings(printed, out)
		if failures > 0 {
			return fmt.Errorf("%d of %d checks failed", failures, checks)
		}
		return nil
	}
}

const checkInterval = 500 * time.Millisecond

// round checks once. What cannot hold any more is not checked.
func (c *checker) round(ctx context.Context) []diagnose.Finding {
	name := c.config.WebhookConfigurationName()
	object := &admissionregistrationv1.MutatingWebhookConfiguration{}
	err := c.client.Get(ctx, client.ObjectKey{Name: name}, object)
	switch {
	case apierrors.IsNotFound(err):
		return []diagnose.Finding{diagnose.Failed("MutatingWebhookConfiguration %s does not exist, so the API server does not call Outrigger", name)}
	case err != nil && isForbidden(err):
		if c.direct {
			return []diagnose.Finding{diagnose.Failed("no permission to read MutatingWebhookConfiguration %s: %v", name, err)}
		}
		return append([]diagnose.Finding{diagnose.Note("no permission to read MutatingWebhookConfiguration %s", name), c.created(ctx)}, c.exposure(ctx)...)
	case err != nil:
		return []diagnose.Finding{diagnose.Failed("MutatingWebhookConfiguration %s: %v", name, err)}
	case len(object.Webhooks) == 0:
		return []diagnose.Finding{diagnose.Failed("MutatingWebhookConfiguration %s has no entries, so the API server does not call Outrigger", name)}
	}
	findings := []diagnose.Finding{diagnose.CheckTrust(object, time.Now())}
	if c.direct && findings[0].State == diagnose.CheckOK {
		findings = append(findings, c.asked(ctx, object.Webhooks[0]))
	}
	if c.create {
		findings = append(findings, c.created(ctx))
		findings = append(findings, c.exposure(ctx)...)
	}
	if !c.direct { // the chart's own account may not read what routes depend on
		findings = append(findings, c.bypasses(ctx)...)
	}
	return append(findings, c.leavingMesh(ctx)...)
}

// asked sends a review to the webhook, trusting what the API server trusts and for the name that it asks for.
func (c *checker) asked(ctx context.Context, entry admissionregistrationv1.MutatingWebhook) diagnose.Finding {
	target, err := addressOf(entry.ClientConfig)
	if err != nil {
		return diagnose.Failed("entry %s: %v", entry.Name, err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(entry.ClientConfig.CABundle)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}
	caller := &http.Client{Transport: transport, Timeout: time.Duration(ptr.Deref(entry.TimeoutSeconds, 10)) * time.Second}
	uid := uuid.NewUUID()
	body, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "AdmissionReview"},
		Request: &admissionv1.AdmissionRequest{
			UID: uid, Namespace: metav1.NamespaceDefault, Operation: admissionv1.Create, DryRun: ptr.To(true),
			Kind: metav1.GroupVersionKind{Version: "v1", Kind: "Pod"}, Resource: metav1.GroupVersionResource{Version: "v1", Resource: "pods"},
			Object: runtime.RawExtension{Object: c.pod(metav1.NamespaceDefault)},
		},
	})
	if err != nil {
		return diagnose.Failed("%v", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return diagnose.Failed("%v", err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := caller.Do(request)
	if err != nil {
		return diagnose.Failed("the webhook does not answer at %s: %v", target, err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return diagnose.Failed("the answer of %s: %v", target, err)
	}
	if response.StatusCode == http.StatusUnauthorized && c.config.Webhook.ClientCA != "" {
		return diagnose.Note("%s: its certificate, until %s, verifies by the caBundle; it requires a client certificate (webhook.clientCA), which the API server must be configured to present", target, response.TLS.PeerCertificates[0].NotAfter.Format(time.RFC3339))
	}
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(text, &review); response.StatusCode != http.StatusOK || err != nil || review.Response == nil || review.Response.UID != uid {
		return diagnose.Failed("%s answers %s: %s", target, response.Status, api.Shorten(string(text), 300))
	}
	switch answer := review.Response; {
	case !answer.Allowed && answer.Result != nil && strings.HasPrefix(answer.Result.Message, string(api.InjectNoIstioConfiguration)):
		return diagnose.Note("%s answers, and has nothing to inject yet: %s", target, answer.Result.Message)
	case !answer.Allowed && answer.Result != nil:
		return diagnose.Failed("%s denies a pod that asks for a sidecar: %s", target, answer.Result.Message)
	case !bytes.Contains(answer.Patch, []byte(api.ProxyContainer)):
		return diagnose.Failed("%s gives no sidecar to a pod that asks for one: %s", target, strings.Join(answer.Warnings, "; "))
	}
	return diagnose.OK("%s: its certificate, until %s, verifies by the caBundle, and a pod gets its sidecar", target, response.TLS.PeerCertificates[0].NotAfter.Format(time.RFC3339))
}

// addressOf is where the API server sends its reviews.
func addressOf(to admissionregistrationv1.WebhookClientConfig) (string, error) {
	if to.URL != nil {
		return *to.URL, nil
	}
	if to.Service == nil {
		return "", errors.New("it has neither a url nor a service")
	}
	host := fmt.Sprintf("%s.%s.svc", to.Service.Name, to.Service.Namespace)
	target := url.URL{Scheme: "https", Host: net.JoinHostPort(host, strconv.Itoa(int(ptr.Deref(to.Service.Port, 443)))), Path: ptr.Deref(to.Service.Path, "")}
	return target.String(), nil
}

// askedKey is an annotation of the created pod. Outrigger does not know it and warns about it, which shows that Outrigger was
// called.
const askedKey = api.Domain + "/check"

// pod is one that asks for a sidecar of the release. It fits Pod Security's "restricted", and is never run.
func (c *checker) pod(namespace string) *corev1.Pod {
	pod := &corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}}
	pod.Namespace, pod.GenerateName = namespace, "outrigger-check-"
	pod.Labels = map[string]string{"sidecar.istio.io/inject": "true"}
	if api.WithRevision("", c.config.Istio.Revision) != "" {
		pod.Labels = map[string]string{"istio.io/rev": c.config.Istio.Revision}
	}
	pod.Annotations = map[string]string{askedKey: version}
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{
		RunAsNonRoot: ptr.To(true), RunAsUser: ptr.To[int64](65532), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	pod.Spec.Containers = []corev1.Container{{
		Name: "app", Image: "registry.k8s.io/pause:3.10",
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: ptr.To(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
	}}
	return pod
}

// created lets the API server create the pod.
func (c *checker) created(ctx context.Context) diagnose.Finding {
	c.warnings.Reset()
	pod := c.pod(c.namespace)
	what := fmt.Sprintf("a pod in namespace %s with the label %s", c.namespace, labelText(pod.Labels))
	if err := c.client.Create(ctx, pod, client.DryRunAll); err != nil {
		if !c.direct && isForbidden(err) { // the chart grants its own account the permission
			if unchecked := mayCreatePods(ctx, c.client, c.namespace); unchecked != "" {
				return diagnose.Note("%s was not checked: %s; the ClusterRole edit, bound there, grants it", what, unchecked)
			}
		}
		return diagnose.Failed("%s is refused: %v", what, err)
	}
	has := diagnose.HasSidecar(pod)
	asked := strings.Contains(c.warnings.String(), askedKey)
	switch {
	case has && asked:
		return diagnose.OK("the API server gives %s its sidecar, from Outrigger", what)
	case has:
		return diagnose.Note("%s gets its sidecar from an injector that is called before Outrigger, such as istiod's", what)
	case asked:
		return diagnose.Failed("Outrigger was called for %s and injected no sidecar: %s", what, strings.TrimSpace(c.warnings.String()))
	}
	return diagnose.Failed("%s gets no sidecar: Outrigger was not called. %s", what, c.whyNotAsked(ctx))
}

// labelText writes the one label.
func labelText(labels map[string]string) string {
	for key, value := range labels {
		return key + "=" + value
	}
	return ""
}
