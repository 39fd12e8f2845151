// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/diagnose"
	"outrigger.dev/outrigger/routing"
)

func checkCommand() *cobra.Command {
	var from clusterFlags
	c := &checker{}
	command := &cobra.Command{
		Use:   "check",
		Short: "Check that a pod gets its sidecar from an installed Outrigger",
		Long: `Reads the webhook object and has the API server create a pod that requests a sidecar, in a dry run that leaves nothing
behind. This includes the connection from the API server to Outrigger. The pod must be allowed in the namespace. If you have no
permission to create pods there, a note says that this was not checked.

With --direct, the command also calls the webhook itself as the API server does: at the address and with the caBundle of the
webhook object. That works only inside the cluster. The chart runs both as "helm test", and --direct --create=false
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
				if err := l.checkNamespaceExists(command.Context(), l.namespace); err != nil {
					return err
				}
			}
			c.choose(l, from.configFile != "")
			c.flags = from.kube.selecting()
			return c.retry(command.Context(), command.OutOrStdout())
		},
	}
	from.register(command, true)
	flags := command.Flags()
	flags.BoolVar(&c.direct, "direct", false, "also call the webhook itself; works only inside the cluster")
	flags.BoolVar(&c.create, "create", true, "have the API server create a pod in the namespace, in a dry run")
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
	live      *live // nil = do not check for paths that bypass the versions
	namespace string
	config    api.Config
	warnings  bytes.Buffer // of the API server
	flags     diagnose.ClusterFlags
}

// choose selects the release: that of the configuration file if one is given, or else that of the revision.
func (c *checker) choose(l *live, isGiven bool) {
	c.client, c.live, c.namespace, c.config = l.client, l, l.namespace, l.config
	if isGiven {
		return
	}
	var known bool
	if c.config, known = l.installed(c.revision); !known {
		c.config = l.config
		c.config.Istio.Revision = c.revision // its settings may not be readable; its objects have fixed names
	}
}

const checkInterval = 500 * time.Millisecond

// retry checks until no check fails or the time has elapsed, and prints the last findings.
func (c *checker) retry(ctx context.Context, out io.Writer) error {
	deadline := time.Now().Add(c.patience)
	for {
		findings := c.findings(ctx)
		failed, run := diagnose.CountFailed(findings)
		if failed > 0 && ctx.Err() == nil && time.Now().Add(checkInterval).Before(deadline) {
			select {
			case <-ctx.Done():
			case <-time.After(checkInterval):
			}
			continue
		}
		if failed > 0 && c.direct {
			findings = append(findings, c.replicas(ctx)...)
		}
		for i := range findings {
			findings[i].Text = c.flags.CompleteText(findings[i].Text)
		}
		printFindings(findings, out)
		if failed > 0 {
			return fmt.Errorf("%d of %d checks failed", failed, run)
		}
		return nil
	}
}

// printFindings writes a line for each finding.
func printFindings(findings []diagnose.Finding, out io.Writer) {
	s := styleOf(out)
	mark := map[string]func(string) string{diagnose.CheckOK: s.good, diagnose.CheckFailed: s.bad, diagnose.CheckWarning: s.warn, diagnose.CheckNote: s.note}
	for _, f := range findings {
		_, _ = fmt.Fprintf(out, "%s %s\n", mark[f.State](fmt.Sprintf("%-7s", f.State)), f.Text) // nothing to do if stdout is closed
	}
}

// findings makes each check once. It omits checks that depend on a failed one.
func (c *checker) findings(ctx context.Context) []diagnose.Finding {
	name := c.config.WebhookConfigurationName()
	object := &admissionregistrationv1.MutatingWebhookConfiguration{}
	switch err := c.client.Get(ctx, client.ObjectKey{Name: name}, object); {
	case apierrors.IsNotFound(err):
		return []diagnose.Finding{diagnose.Failed("MutatingWebhookConfiguration %s does not exist, so the API server does not call Outrigger", name)}
	case isForbidden(err) && c.direct:
		return []diagnose.Finding{diagnose.Failed("no permission to read MutatingWebhookConfiguration %s: %v", name, err)}
	case isForbidden(err):
		return append([]diagnose.Finding{diagnose.Note("no permission to read MutatingWebhookConfiguration %s", name), c.created(ctx)}, c.exposure(ctx)...)
	case err != nil:
		return []diagnose.Finding{diagnose.Failed("MutatingWebhookConfiguration %s: %v", name, err)}
	}
	findings := []diagnose.Finding{diagnose.CheckTrust(object, time.Now())}
	if len(object.Webhooks) == 0 {
		return findings
	}
	if c.direct && findings[0].State == diagnose.CheckOK {
		findings = append(findings, c.called(ctx, object.Webhooks[0]))
	}
	if c.create {
		findings = append(findings, c.created(ctx))
		findings = append(findings, c.exposure(ctx)...)
	}
	if !c.direct { // the chart's ServiceAccount has no permission to read what routes depend on
		findings = append(findings, c.bypasses(ctx)...)
	}
	return append(findings, c.meshHosts(ctx)...)
}

func (c *checker) pod(namespace string) *corev1.Pod {
	return diagnose.CheckPod(namespace, c.config.Istio.Revision)
}

// created has the API server create a pod in a dry run.
func (c *checker) created(ctx context.Context) diagnose.Finding {
	c.warnings.Reset()
	pod := c.pod(c.namespace)
	if err := c.client.Create(ctx, pod, client.DryRunAll); err != nil {
		if !c.direct && isForbidden(err) { // the chart grants its own ServiceAccount the permission
			if why := mayCreatePods(ctx, c.client, c.namespace); why != "" {
				return diagnose.Note("%s was not checked: %s; the ClusterRole edit, bound there, grants it", diagnose.DescribeCheckPod(pod), why)
			}
		}
		return diagnose.Failed("%s is refused: %v", diagnose.DescribeCheckPod(pod), err)
	}
	if finding, called := diagnose.CheckCreated(pod, c.warnings.String()); called {
		return finding
	}
	namespace, object := &corev1.Namespace{}, &admissionregistrationv1.MutatingWebhookConfiguration{}
	if c.client.Get(ctx, client.ObjectKey{Name: c.namespace}, namespace) != nil || c.client.Get(ctx, client.ObjectKey{Name: c.config.WebhookConfigurationName()}, object) != nil {
		namespace, object = nil, nil
	}
	return diagnose.CheckNotCalled(ctx, c.pod(c.namespace), namespace, object)
}

// exposure checks that the policy on exposure is active. It returns no finding if the release manages no routes or exposes nothing.
func (c *checker) exposure(ctx context.Context) []diagnose.Finding {
	if !c.config.Routing.Enabled || c.config.Routing.Expose == api.ExposeDisabled {
		return nil
	}
	name := c.config.ExposurePolicyName()
	policy, binding := &admissionregistrationv1.ValidatingAdmissionPolicy{}, &admissionregistrationv1.ValidatingAdmissionPolicyBinding{}
	err := c.client.Get(ctx, client.ObjectKey{Name: name}, policy)
	if apierrors.IsNotFound(err) {
		policy, err = nil, nil
	}
	if err == nil && policy != nil {
		if err = c.client.Get(ctx, client.ObjectKey{Name: name}, binding); apierrors.IsNotFound(err) {
			binding, err = nil, nil
		}
	}
	switch {
	case isForbidden(err):
		return []diagnose.Finding{diagnose.Note("no permission to read the ValidatingAdmissionPolicy %s and its binding, so it is unknown whether exposing a Service requires permission", name)}
	case err != nil:
		return []diagnose.Finding{diagnose.Failed("ValidatingAdmissionPolicy %s: %v", name, err)}
	}
	return []diagnose.Finding{diagnose.CheckExposurePolicy(name, policy, binding)}
}

// bypasses checks for objects that route past the versions of the Services in the namespace. It returns no finding if the release
// manages no routes.
func (c *checker) bypasses(ctx context.Context) []diagnose.Finding {
	if c.live == nil || !c.config.Routing.Enabled {
		return nil
	}
	unknown := func(err error) []diagnose.Finding {
		return []diagnose.Finding{diagnose.Note("paths that bypass the versions are unknown: %v", err)}
	}
	s := c.live.snapshot(c.namespace, false)
	var services corev1.ServiceList
	if err := s.List(ctx, &services, client.InNamespace(c.namespace)); err != nil {
		return unknown(err)
	}
	var out []diagnose.Finding
	sources := c.live.sources(s)
	for i := range services.Items {
		observed, _, err := sources.Gather(ctx, client.ObjectKeyFromObject(&services.Items[i]))
		if err != nil {
			return unknown(err)
		}
		if observed != nil { // nil while it is being deleted
			out = append(out, diagnose.CheckBypasses(routing.Plan(*observed, c.live.now()).Problems)...)
		}
	}
	return out
}

// meshHosts checks for hosts that an earlier release bound to the mesh.
func (c *checker) meshHosts(ctx context.Context) []diagnose.Finding {
	if !c.config.Routing.Enabled {
		return nil // such a release has no permission to read routes
	}
	var list networkingv1.VirtualServiceList
	err := c.client.List(ctx, &list, client.MatchingLabels{api.LabelManagedBy: api.ManagedBy})
	switch {
	case meta.IsNoMatchError(err) || isUnreadable(err):
		return nil
	case err != nil:
		return []diagnose.Finding{diagnose.Note("cannot list the hosts that leave the mesh: %v", err)}
	}
	return diagnose.CheckMeshHosts(list.Items, c.config.Routing.ClusterDomain)
}

// replicas returns notes about pods of the installation that are not ready, or none if they cannot be listed.
func (c *checker) replicas(ctx context.Context) []diagnose.Finding {
	var pods corev1.PodList
	if c.live == nil || c.client.List(ctx, &pods, client.InNamespace(c.live.systemNamespace), client.HasLabels{"app.kubernetes.io/name"}) != nil {
		return nil
	}
	return diagnose.CheckReplicas(c.live.systemNamespace, pods.Items)
}
