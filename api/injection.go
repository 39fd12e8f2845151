package api

// Labels and annotations of Istio that decide about injection. Outrigger invents none of its own here.
const (
	// LabelInjection on a Namespace: "enabled" selects its pods, any other value deselects them.
	LabelInjection = "istio-injection"
	// LabelRevision on a Namespace or pod names the Istio revision or tag that is to inject.
	LabelRevision = "istio.io/rev"
	// KeySidecarInject as a label of a pod: "true" or "false". The annotation of the same name is Istio's older form.
	KeySidecarInject = "sidecar.istio.io/inject"
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

	InjectUnreadableChoice   InjectReason = "UnreadableChoice"
	InjectMisspelledKey      InjectReason = "MisspelledKey"
	InjectMisplacedKey       InjectReason = "MisplacedKey"
	InjectUnknownKey         InjectReason = "UnknownKey"
	InjectForeignSidecar     InjectReason = "ForeignSidecar"
	InjectRunsAsProxyUser    InjectReason = "RunsAsProxyUser"
	InjectJobWillNotComplete InjectReason = "JobWillNotComplete"
	InjectForeignProxy       InjectReason = "ForeignProxy"

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
		{InjectIgnoredNamespace, "Skipped: pods of kube-system, kube-public, kube-node-lease and local-path-storage are never injected."},
		{InjectWindowsPod, "Skipped, where spec.os.name is windows, or a warning, where only the nodeSelector says so: Istio's sidecar is for Linux."},
		{InjectOptedOut, "Skipped: the pod's label or annotation sidecar.istio.io/inject is false."},
		{InjectNeverSelector, "Skipped: neverInjectSelector of Istio's configuration selects the pod."},
		{InjectPolicyDisabled, "Skipped: the policy of Istio's configuration is disabled, and the pod does not opt in."},
		{InjectPolicyInvalid, "Skipped: the policy of Istio's configuration is neither enabled nor disabled."},
		{InjectAlready, "Skipped: the pod has already what it would be given."},
		{InjectEphemeral, "Skipped: the request adds an ephemeral container to a pod that runs, and a running pod gets no sidecar."},
		{InjectPodExists, "Skipped: the request changes or deletes a pod that exists, and only a new pod gets a sidecar."},
		{InjectNoIstioConfiguration, "Denied: the ConfigMaps that Istio's configuration is read from are not there."},
		{InjectIstioConfigurationForbidden, "Denied: the ConfigMaps that Istio's configuration is read from may not be read."},
		{InjectIstioConfigurationRefused, "Denied: Istio's configuration does not parse or does not render, and there is no earlier one that did."},
		{InjectIstioConfigurationWarning, "Warning: a part of Istio's configuration that may never be used does not render."},
		{InjectInvalidAnnotation, "Denied: an annotation's value is not valid."},
		{InjectUnknownTemplate, "Denied: the annotation inject.istio.io/templates names a template that is not there."},
		{InjectTemplateFailed, "Denied: a template does not render for this pod, or what it renders is not a pod."},
		{InjectUnsafeValue, "Denied: a value would change the structure of what a template renders."},
		{InjectInvalidResult, "Denied: injection would make a pod that Kubernetes refuses, for example with one container name twice."},
		{InjectTooLarge, "Denied: the pod has more containers, volumes, templates or elements of lists than are allowed."},
		{InjectUnreadableChoice, "Warning: sidecar.istio.io/inject, or another choice between two words, is neither true nor false, so it counts as absent."},
		{InjectMisspelledKey, "Warning: a label or annotation, or the value of istio-injection, looks like one that decides about injection, and is not read."},
		{InjectMisplacedKey, "Warning: a label or annotation stands where it is not read: on another object, or as the other of the two."},
		{InjectUnknownKey, "Warning: Outrigger has no such label or annotation under its domain."},
		{InjectForeignSidecar, "Warning: the pod has another mesh's sidecar, and two of them redirect the same traffic."},
		{InjectRunsAsProxyUser, "Warning: a container runs as the proxy's user, whose traffic passes by the proxy."},
		{InjectJobWillNotComplete, "Warning: the pod is to end, but its sidecar is an ordinary container and never does."},
		{InjectForeignProxy, "Warning: the pod claims to be injected, and its container istio-proxy is not what an injector gives it. With guardRails.action=Deny it is refused."},
		{InjectError, "Failed: something that Outrigger needs did not answer."},
		{InjectPanic, "Failed: a fault of Outrigger itself."},
		{InjectBadRequest, "Failed: the request is not an admission review, or too large."},
		{InjectOverloaded, "Failed: too many reviews of the pod's namespace were waiting."},
		{InjectAbandoned, "Failed: the caller's timeout expired, or the caller disconnected, before the review was done."},
	}
}
