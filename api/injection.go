// SPDX-License-Identifier: Apache-2.0

package api

// Labels and annotations that control injection. Except for AnnotationProbePorts, they are Istio's.
const (
	// LabelInjection on a Namespace: "enabled" selects its pods, any other value deselects them.
	LabelInjection = "istio-injection"
	// LabelRevision on a Namespace or pod names the Istio revision or tag that injects its pods.
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

// InjectReason is why a pod was injected, skipped, or denied, why a user is warned, or why a review failed. The set is closed.
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

// The default limits of containers and volumes of a pod. The API server stores no pod that has many more: etcd accepts 1.5 MB.
const (
	DefaultMaxContainers = 5000
	DefaultMaxVolumes    = 5000
)
