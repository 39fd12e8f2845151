// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/inject"
	"outrigger.dev/outrigger/routing"
)

// PodFacts are the facts that decide about the sidecar of a pod.
type PodFacts struct {
	Kind, Name string      // of the object that has the pod
	Pod        *corev1.Pod // as it is created
	Namespace  *corev1.Namespace
	Pods       []corev1.Pod // that run now
	Entries    []Entry
	Blind      bool           // the webhook objects may not be read
	Endpoints  map[string]int // of our Services, "namespace/name", and of the URLs of entries, how many are ready
	DryRun     DryRun
	Report     inject.Report // what Outrigger decides, asked or not
	Unknown    string        // why it is not known what Outrigger decides
	Owner      routing.WorkloadRef
	Owned      bool
	Notes      []string
}

// webhookName is the name of the chart's webhook object, without a revision.
const webhookName = "outrigger-sidecar-injector"

// Path returns the URL path of the matching entry of Outrigger.
func (s *PodFacts) Path() string {
	for _, entry := range s.Entries {
		if entry.Injector == Outrigger && entry.Matches && entry.Webhook.ClientConfig.Service != nil && entry.Webhook.ClientConfig.Service.Path != nil {
			return *entry.Webhook.ClientConfig.Service.Path
		}
	}
	return InjectPath
}

// Matching returns the first matching entry of an injector, or nil if none matches.
func (s *PodFacts) Matching(whose Injector) *Entry {
	at := slices.IndexFunc(s.Entries, func(v Entry) bool { return v.Injector == whose && v.Matches })
	if at < 0 {
		return nil
	}
	return &s.Entries[at]
}

// DryRun is the response of the cluster to a new pod, as opposed to the decision about it.
type DryRun struct {
	// created says that the API server accepts the pod in a dry run, and sidecar whether it then has one.
	Created, Sidecar bool
	Refused          string // the message of the API server, if it refuses the pod
	Unchecked        string // why there was no dry run
	Failures         []PodFailure
}

// PodFailure is the reason why the controller of a workload cannot create pods.
type PodFailure struct {
	From    string // "ReplicaFailure", the condition; "FailedCreate", an Event
	Message string
}

// rows returns the last paragraph of an explanation.
func (r DryRun) rows() [][]string {
	var out [][]string
	for _, failure := range r.Failures {
		out = append(out, []string{failure.From, failure.Message})
	}
	switch {
	case r.Refused != "":
		out = append(out, []string{"dry run", "the API server refuses the pod: " + r.Refused})
	case r.Created && r.Sidecar:
		out = append(out, []string{"dry run", "the API server accepts the pod, with a sidecar"})
	case r.Created:
		out = append(out, []string{"dry run", "the API server accepts the pod, without a sidecar"})
	case r.Unchecked != "":
		out = append(out, []string{"dry run", "not made: " + r.Unchecked})
	}
	return out
}

// data returns the content of rows as data, or nil if there is none.
func (r DryRun) data() *PodResult {
	if !r.Created && r.Refused == "" && len(r.Failures) == 0 {
		return nil
	}
	out := &PodResult{Accepted: r.Created, Sidecar: r.Sidecar, Refused: r.Refused}
	for _, failure := range r.Failures {
		out.Failures = append(out.Failures, failure.From+": "+failure.Message)
	}
	return out
}

// InjectPath is where the chart's webhook object sends pods.
const InjectPath = "/inject"
