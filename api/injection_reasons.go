// SPDX-License-Identifier: Apache-2.0

package api

import "slices"

// InjectReasonDoc documents a reason of injection.
type InjectReasonDoc struct {
	Reason InjectReason
	Doc    string // what happened to the pod, in one sentence
	Advice string // what to change, in one sentence, unless the Problem has its own advice
}

// InjectReasons returns every reason of injection: injected, skipped, denied, warnings, and failures.
func InjectReasons() []InjectReasonDoc { return slices.Clone(injectReasons) }

// Advice returns in one sentence what to change about a pod with this reason.
func (r InjectReason) Advice() string {
	for _, doc := range injectReasons {
		if doc.Reason == r {
			return doc.Advice
		}
	}
	return ""
}

var injectReasons = []InjectReasonDoc{
	{InjectOptedIn, "Injected: the pod's label or annotation sidecar.istio.io/inject is true.",
		"Nothing to do."},
	{InjectAlwaysSelector, "Injected: alwaysInjectSelector of Istio's configuration selects the pod.",
		"Nothing to do. To exclude the pod, set the label sidecar.istio.io/inject=false on it."},
	{InjectPolicyEnabled, "Injected: the pod was selected, and the policy of Istio's configuration is enabled.",
		"Nothing to do. To exclude the pod, set the label sidecar.istio.io/inject=false on it."},
	{InjectHostNetwork, "Skipped: the pod is on the host's network, which a sidecar would redirect for the whole node.",
		"Remove hostNetwork from the pod's spec, or do without a sidecar."},
	{InjectIgnoredNamespace, "Skipped: pods of kube-system, kube-public, kube-node-lease, and local-path-storage are never injected. As a warning: a Namespace is labeled for injection, but webhook.excludedNamespaces lists it.",
		"Create the pod in another namespace."},
	{InjectWindowsPod, "Skipped, where spec.os.name is windows, or a warning, where only the nodeSelector says so: Istio's sidecar is for Linux.",
		"Nothing to do for a Windows pod. For another pod, change spec.os.name or the nodeSelector."},
	{InjectOptedOut, "Skipped: the pod's label or annotation sidecar.istio.io/inject is false.",
		"Remove sidecar.istio.io/inject from the pod template, or set it to true."},
	{InjectNeverSelector, "Skipped: neverInjectSelector of Istio's configuration selects the pod.",
		"Set the label sidecar.istio.io/inject=true on the pod template, or change neverInjectSelector in ConfigMap istio-sidecar-injector."},
	{InjectPolicyDisabled, "Skipped: the policy of Istio's configuration is disabled, and the pod does not opt in.",
		"Set the label sidecar.istio.io/inject=true on the pod template, or set policy to enabled in ConfigMap istio-sidecar-injector."},
	{InjectPolicyInvalid, "Skipped: the policy of Istio's configuration is neither enabled nor disabled.",
		"Set policy to enabled or disabled in ConfigMap istio-sidecar-injector."},
	{InjectAlready, "Skipped: the pod already has what injection would give it.",
		"Nothing to do."},
	{InjectEphemeral, "Skipped: the request adds an ephemeral container to a running pod, and only new pods are injected.",
		"Restart the workload; its new pods get the sidecar."},
	{InjectPodExists, "Skipped: the request updates or deletes an existing pod, and only new pods are injected.",
		"Remove all operations except CREATE from the rules of the webhook object; helm upgrade restores them."},
	{InjectNoIstioConfiguration, "Denied: the ConfigMaps with Istio's configuration do not exist.",
		"Install Istio with the ConfigMaps istio and istio-sidecar-injector, or set the chart values istio.namespace and revision to where they are."},
	{InjectIstioConfigurationForbidden, "Denied: Outrigger has no permission to read the ConfigMaps with Istio's configuration.",
		"Add the revision to istio.revisions of Outrigger's chart."},
	{InjectIstioConfigurationRefused, "Denied: Istio's configuration is invalid, and there is no earlier valid one.",
		"Fix ConfigMap istio-sidecar-injector or istio; an Event on it names the place."},
	{InjectIstioConfigurationWarning, "Warning: a part of Istio's configuration that may never be used does not render.",
		"Fix the template, or ignore this if no pod uses it."},
	{InjectInvalidAnnotation, "Denied: the value of an annotation is invalid.",
		"Correct the annotation on the pod template."},
	{InjectUnknownTemplate, "Denied: the annotation inject.istio.io/templates names a template that does not exist.",
		"Name templates of Istio's configuration in inject.istio.io/templates, or remove the annotation."},
	{InjectTemplateFailed, "Denied: a template does not render for this pod, or what it renders is not a pod.",
		"Change what the message names: the annotation that the template reads, or the template."},
	{InjectUnsafeValue, "Denied: a value would change the structure of what a template renders.",
		"Remove the character that the message names from the value."},
	{InjectInvalidResult, "Denied: injection would create a pod that Kubernetes rejects, for example with a duplicate container name.",
		"Rename or remove what the message names, in the pod template or in Istio's template."},
	{InjectTooLarge, "Denied: the pod has too many containers, volumes, templates, or list elements, or too large a container.",
		"Reduce what the message names, or raise the setting that it names."},
	{InjectUnreadableChoice, "Warning: sidecar.istio.io/inject, or another switch, is neither true nor false, so it is ignored.",
		`Set it to "true" or "false", in quotes and in lowercase.`},
	{InjectMisspelledKey, "Warning: a label, an annotation, or the value of istio-injection is not recognized, but resembles one that controls injection.",
		"Write it as the message says."},
	{InjectMisplacedKey, "Warning: a label or annotation is on an object where it has no effect, or is a label where an annotation is needed, or the reverse.",
		"Move it to where the message says."},
	{InjectUnknownKey, "Warning: Outrigger does not read this key under outrigger.dev/.",
		"Correct or remove it; docs/reference/annotations.md lists all keys."},
	{InjectForeignSidecar, "Warning: the pod has another mesh's sidecar, and both redirect the same traffic.",
		"Have only one mesh inject the pod."},
	{InjectRunsAsProxyUser, "Warning: a container runs as the proxy's user or group, so its traffic bypasses the proxy. Init containers that complete before the proxy starts are not reported.",
		"Give the container another runAsUser and runAsGroup."},
	{InjectJobWillNotComplete, "Warning: the pod is meant to complete, but its sidecar is an ordinary container that keeps running.",
		"Set the annotation sidecar.istio.io/nativeSidecar=true on the pod template."},
	{InjectRequestExceedsLimit, "Warning: the proxy requests more CPU or memory than its limit, usually because of an annotation, so the API server rejects the pod.",
		"Raise the limit of the proxy, or lower its request."},
	{InjectUnknownProbePort, "Warning: a probe or hook names a port that its container does not have, so it always fails.",
		"Use the number of the port, or the name of a port of the container."},
	{InjectForeignProxy, "Warning: the pod claims to be injected, but injection would not give it that container istio-proxy. Denied with guardRails.action=Deny.",
		"Remove the annotation sidecar.istio.io/status and the container istio-proxy, so that the pod is injected."},
	{InjectError, "Failed: something that Outrigger needs did not respond.",
		"Check Outrigger's pods and log; the pod is created when they respond."},
	{InjectPanic, "Failed: a bug in Outrigger.",
		"Report the bug with the lines of Outrigger's log about it."},
	{InjectBadRequest, "Failed: the request is not an AdmissionReview, or is too large.",
		"Have only the API server call the webhook, and keep the pod below the API server's size limit."},
	{InjectOverloaded, "Failed: too many reviews of the pod's namespace were waiting.",
		"Workloads retry. Find out what creates so many pods in the namespace."},
	{InjectAbandoned, "Failed: the caller's timeout expired, or the caller disconnected, before the review was done.",
		"Workloads retry. If it happens often, see the alert OutriggerSlow."},
}
