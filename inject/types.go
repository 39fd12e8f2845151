// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"errors"

	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
)

// Source is Istio's configuration as it stands in the cluster, before parsing.
type Source struct {
	Config string // key "config" of ConfigMap istio-sidecar-injector[-REV]
	Values string // key "values" of the same
	Mesh   string // key "mesh" of ConfigMap istio[-REV]
	// Release is Istio's version where a label of the ConfigMap or a setting says it, e.g. "1.31.1"; else empty.
	Release  string
	Settings Settings
}

// Settings are our own settings that override what the values say.
type Settings struct {
	Revision         string // Istio's revision; empty for the default one
	NativeSidecars   string // "auto", "enabled", "disabled"; empty = as the values and the release say
	Platform         string // "openshift" or empty = as the values say
	CompliancePolicy string // empty = as the values say
	// The most containers, of all three kinds together, and the most volumes that a pod may have; 0 for the defaults.
	MaxContainers, MaxVolumes int
}

// Request is what one decision depends on, beside the configuration.
type Request struct {
	Pod       *corev1.Pod       // as received; never changed
	Namespace *corev1.Namespace // its namespace; one with only a name where nothing is known of it
	Path      string            // URL path of the webhook call, e.g. "/inject/cluster/c1/net/n1"; may be empty
	// Abandoned reports whether nobody waits for the answer any more. It is called between the steps of an injection,
	// which then ends with ErrAbandoned. Nil for a caller that always waits.
	Abandoned func() bool
	Shapes    Shapes // keeps parsed shapes between pods; nil to parse the output of every template

	size podSize // of the pod where it was counted before decoding, and larger than Pod shows
}

// ErrAbandoned is returned for a request whose Abandoned has reported true.
var ErrAbandoned = errors.New("the caller's timeout expired, or the caller disconnected")

// Result is the outcome in one word.
type Result string

// The outcomes. They are a closed set, used as a metric label.
const (
	Injected Result = "injected"
	Skipped  Result = "skipped"
	Denied   Result = "denied"
	Failed   Result = "failed"
)

// Report says what was decided and why.
type Report struct {
	Result Result
	Reason api.InjectReason
	// Message is the sentence for people: why it was skipped, or what is wrong.
	Message string
	// Problems are the user's doings: for Denied those that deny, else those worth a warning.
	Problems []api.InjectProblem
	// Templates are the names of the templates that were laid over the pod.
	Templates []string
}
