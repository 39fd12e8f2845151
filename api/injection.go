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
