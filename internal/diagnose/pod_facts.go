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
	Pods       []corev1.Pod // the running pods
	Entries    []Entry
	Blind      bool           // the user has no permission to read the webhook objects
	Endpoints  map[string]int // number of ready endpoints by Service, "namespace/name", and by URL of an entry
	DryRun     DryRun
	Report     inject.Report // Outrigger's decision, whether or not its webhook matches
	Unknown    string        // why Outrigger's decision is unknown
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

// InjectPath is the URL path of the chart's webhook object.
const InjectPath = "/inject"

// Injector returns the entry that is called first for the pod, or nil if none matches or the API server refuses the pod.
func (s *PodFacts) Injector() *Entry {
	at := slices.IndexFunc(s.Entries, func(e Entry) bool { return e.Matches }) // in the order of the API server
	if at < 0 || s.broken() != nil {
		return nil
	}
	return &s.Entries[at]
}
