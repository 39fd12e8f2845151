// SPDX-License-Identifier: Apache-2.0

package api

// Labels and annotations of Istio that decide about injection. Outrigger invents none of its own here.
const (
	// LabelInjection on a Namespace: "enabled" selects its pods, any other value deselects them.
	LabelInjection = "istio-injection"
	// LabelRevision on a Namespace or pod names the Istio revision or tag that is to inject.
	LabelRevision = "istio.io/rev"
	// KeySidecarInject as a label of a pod: "true" or "false". The annotation of the same name is Istio's older form.
	KeySidecarInject = "sidecar.istio.io/inject"
	// AnnotationProbePorts is what "outrigger inject" writes on a pod or a template whose probes or hooks named a port: the names, as
	// JSON by the path that replaced them. Injection resolves a name to its number, and uninject restores it. The webhook does not
	// write it, because its pods equal istiod's.
	AnnotationProbePorts = Domain + "/probe-ports"
	// AnnotationStatus marks an injected pod; Istio's format.
	AnnotationStatus = "sidecar.istio.io/status"
)

// InjectReason is the closed set of words that say why a pod was injected, skipped, denied, or failed.
type InjectReason string

// The reasons of injection.
const (
	InjectOptedIn        InjectReason = "OptedIn"
	InjectAlwaysSelector InjectReason = "AlwaysInjectSelector"
	InjectPolicyEnabled  InjectReason = "PolicyEnabled"

	InjectHostNetwork      InjectReason = "HostNetwork"
	InjectIgnoredNamespace InjectReason = "IgnoredNamespace"
	InjectWindowsPod       InjectReason = "WindowsPod"
	InjectOptedOut         InjectReason = "OptedOut"
	InjectNeverSelector    InjectReason = "NeverInjectSelector"
	InjectPolicyDisabled   InjectReason = "PolicyDisabled"
	InjectPolicyInvalid    InjectReason = "PolicyInvalid"
	InjectAlready          InjectReason = "AlreadyInjected"
	InjectEphemeral        InjectReason = "EphemeralContainers"
	InjectPodExists        InjectReason = "PodExists"

	InjectNoIstioConfiguration        InjectReason = "NoIstioConfiguration"
	InjectIstioConfigurationForbidden InjectReason = "IstioConfigurationForbidden"
	InjectIstioConfigurationRefused   InjectReason = "IstioConfigurationRefused"
	InjectIstioConfigurationWarning   InjectReason = "IstioConfigurationWarning"
	InjectInvalidAnnotation           InjectReason = "InvalidAnnotation"
	InjectUnknownTemplate             InjectReason = "UnknownTemplate"
	InjectTemplateFailed              InjectReason = "TemplateFailed"
	InjectUnsafeValue                 InjectReason = "UnsafeValue"
	InjectInvalidResult               InjectReason = "InvalidResult"
	InjectTooLarge                    InjectReason = "TooLarge"

	InjectUnreadableChoice    InjectReason = "UnreadableChoice"
	InjectMisspelledKey       InjectReason = "MisspelledKey"
	InjectMisplacedKey        InjectReason = "MisplacedKey"
	InjectUnknownKey          InjectReason = "UnknownKey"
	InjectForeignSidecar      InjectReason = "ForeignSidecar"
	InjectRunsAsProxyUser     InjectReason = "RunsAsProxyUser"
	InjectJobWillNotComplete  InjectReason = "JobWillNotComplete"
	InjectRequestExceedsLimit InjectReason = "RequestExceedsLimit"
	InjectUnknownProbePort    InjectReason = "UnknownProbePort"
	InjectForeignProxy        InjectReason = "ForeignProxy"

	InjectError      InjectReason = "Error"
	InjectPanic      InjectReason = "Panic"
	InjectBadRequest InjectReason = "BadRequest"
	InjectOverloaded InjectReason = "Overloaded"
	InjectAbandoned  InjectReason = "Abandoned"
)

// The most containers and volumes that a pod may have by default. Only absurd pods have more: etcd takes 1.5 MB.
const (
	DefaultMaxContainers = 5000
	DefaultMaxVolumes    = 5000
)

// InjectReasonDoc is one reason of injection with the sentence that explains it.
type InjectReasonDoc struct {
	Reason InjectReason
	Doc    string
}

// InjectReasons returns every reason of injection: why injected, why skipped, why denied, what is worth a warning, and
// what failed.
func InjectReasons() []InjectReasonDoc {
	return []InjectReasonDoc{
		{InjectOptedIn, "Injected: the pod's label or annotation sidecar.istio.io/inject is true."},
		{InjectAlwaysSelector, "Injected: alwaysInjectSelector of Istio's configuration selects the pod."},
		{InjectPolicyEnabled, "Injected: the pod was selected, and the policy of Istio's configuration is enabled."},
		{InjectHostNetwork, "Skipped: the pod is on the host's network, which a sidecar would redirect for the whole node."},
		{InjectIgnoredNamespace, "Skipped: pods of kube-system, kube-public, kube-node-lease, and local-path-storage are never injected. As a warning: a Namespace is labeled for injection, but webhook.excludedNamespaces lists it."},
		{InjectWindowsPod, "Skipped, where spec.os.name is windows, or a warning, where only the nodeSelector says so: Istio's sidecar is for Linux."},
		{InjectOptedOut, "Skipped: the pod's label or annotation sidecar.istio.io/inject is false."},
		{InjectNeverSelector, "Skipped: neverInjectSelector of Istio's configuration selects the pod."},
		{InjectPolicyDisabled, "Skipped: the policy of Istio's configuration is disabled, and the pod does not opt in."},
		{InjectPolicyInvalid, "Skipped: the policy of Istio's configuration is neither enabled nor disabled."},
		{InjectAlready, "Skipped: the pod already has what injection would give it."},
		{InjectEphemeral, "Skipped: the request adds an ephemeral container to a running pod, and only new pods are injected."},
		{InjectPodExists, "Skipped: the request updates or deletes an existing pod, and only new pods are injected."},
		{InjectNoIstioConfiguration, "Denied: the ConfigMaps with Istio's configuration do not exist."},
		{InjectIstioConfigurationForbidden, "Denied: Outrigger has no permission to read the ConfigMaps with Istio's configuration."},
		{InjectIstioConfigurationRefused, "Denied: Istio's configuration is invalid, and there is no earlier valid one."},
		{InjectIstioConfigurationWarning, "Warning: a part of Istio's configuration that may never be used does not render."},
		{InjectInvalidAnnotation, "Denied: the value of an annotation is invalid."},
		{InjectUnknownTemplate, "Denied: the annotation inject.istio.io/templates names a template that does not exist."},
		{InjectTemplateFailed, "Denied: a template does not render for this pod, or what it renders is not a pod."},
		{InjectUnsafeValue, "Denied: a value would change the structure of what a template renders."},
		{InjectInvalidResult, "Denied: injection would create a pod that Kubernetes rejects, for example with a duplicate container name."},
		{InjectTooLarge, "Denied: the pod has too many containers, volumes, templates, or list elements, or too large a container."},
		{InjectUnreadableChoice, "Warning: sidecar.istio.io/inject, or another switch, is neither true nor false, so it is ignored."},
		{InjectMisspelledKey, "Warning: a label, an annotation, or the value of istio-injection is not recognized, but resembles one that controls injection."},
		{InjectMisplacedKey, "Warning: a label or annotation is on an object where it has no effect, or is a label where an annotation is needed, or the reverse."},
		{InjectUnknownKey, "Warning: Outrigger does not read this key under outrigger.dev/."},
		{InjectForeignSidecar, "Warning: the pod has another mesh's sidecar, and both redirect the same traffic."},
		{InjectRunsAsProxyUser, "Warning: a container runs as the proxy's user or group, so its traffic bypasses the proxy. Init containers that complete before the proxy starts are not reported."},
		{InjectJobWillNotComplete, "Warning: the pod is meant to complete, but its sidecar is an ordinary container that keeps running."},
		{InjectRequestExceedsLimit, "Warning: the proxy requests more CPU or memory than its limit, usually because of an annotation, so the API server rejects the pod."},
		{InjectUnknownProbePort, "Warning: a probe or hook names a port that its container does not have, so it always fails."},
		{InjectForeignProxy, "Warning: the pod claims to be injected, but injection would not give it that container istio-proxy. Denied with guardRails.action=Deny."},
		{InjectError, "Failed: something that Outrigger needs did not respond."},
		{InjectPanic, "Failed: a bug in Outrigger."},
		{InjectBadRequest, "Failed: the request is not an AdmissionReview, or is too large."},
		{InjectOverloaded, "Failed: too many reviews of the pod's namespace were waiting."},
		{InjectAbandoned, "Failed: the caller's timeout expired, or the caller disconnected, before the review was done."},
	}
}
