// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"errors"

	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
)

// Source holds the texts of Istio's configuration in the cluster, before parsing.
type Source struct {
	Config string // key "config" of ConfigMap istio-sidecar-injector[-REV]
	Values string // key "values" of the same
	Mesh   string // key "mesh" of ConfigMap istio[-REV]
	// Release is Istio's version, such as "1.31.1", from a label of the ConfigMap or a setting; empty if neither has it.
	Release  string
	Settings Settings
}

// Settings are Outrigger's settings, which override what the values say.
type Settings struct {
	Revision         string // Istio's revision; empty for the default one
	NativeSidecars   string // "auto", "enabled", "disabled"; empty = as the values and the release say
	Platform         string // "openshift" or empty = as the values say
	CompliancePolicy string // empty = as the values say
	// The most containers, of all three kinds together, and the most volumes that a pod may have; 0 for the defaults.
	MaxContainers, MaxVolumes int
}

// Request is the input of one decision, besides the configuration.
type Request struct {
	Pod       *corev1.Pod       // as received; it is not changed
	Namespace *corev1.Namespace // the pod's namespace; one with only a name if nothing else is known
	Path      string            // URL path of the webhook call, e.g. "/inject/cluster/c1/net/n1"; may be empty
	// Abandoned reports whether the caller stopped waiting. It is called between the steps of an injection, which then
	// ends with ErrAbandoned. Nil for a caller that always waits.
	Abandoned func() bool
	Shapes    Shapes // keeps parsed shapes between pods; nil to parse the output of every template

	size podSize // counted before decoding; larger than Pod shows if parts were left out
}

// ErrAbandoned is returned after Request.Abandoned reported true.
var ErrAbandoned = errors.New("the caller's timeout expired, or the caller disconnected")

// Result is the outcome of a review.
type Result string

// The outcomes are a closed set: they are values of a metric label.
const (
	Injected Result = "injected"
	Skipped  Result = "skipped"
	Denied   Result = "denied"
	Failed   Result = "failed"
)

// Report is a decision with its reason.
type Report struct {
	Result Result
	Reason api.InjectReason
	// Message is a sentence for users: why the pod was skipped, or what is wrong.
	Message string
	// Problems are caused by the user: those that deny the pod if it is Denied, otherwise warnings.
	Problems []api.InjectProblem
	// Templates are the names of the templates that were merged into the pod.
	Templates []string
}
