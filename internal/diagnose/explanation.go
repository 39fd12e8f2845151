// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"slices"
	"time"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
	"outrigger.dev/outrigger/routing"
)

// ServiceExplanation is the result of explain for a Service, in the form of -o json: its status, and the reasons.
type ServiceExplanation struct {
	Kind      string `json:"kind"` // Service
	Namespace string `json:"namespace"`
	ServiceStatus
	// Routing says which label decides whether routes are managed.
	Routing        string           `json:"routing"`
	VersionLabel   string           `json:"versionLabel"`
	DefaultBecause string           `json:"defaultBecause,omitempty"`
	Settings       []Setting        `json:"settings,omitempty"`
	Workloads      []WorkloadStatus `json:"workloads,omitempty"`
	Rules          []RuleStatus     `json:"rules,omitempty"` // in the order of the route; the last has no match
	Objects        []ObjectStatus   `json:"objects,omitempty"`
	ChangesAt      *time.Time       `json:"changesAt,omitempty"` // when something changes without a change in the cluster

	defaultText string
	canary      [][]string // what the canary does, and what happens to it next
	isHidden    bool       // the routes may not be read
	now         time.Time
}

// Setting is a label or annotation that the user set.
type Setting struct {
	On    string `json:"on"` // Service, Namespace or pod
	Key   string `json:"key"`
	Value string `json:"value"`

	kind string // label or annotation
}

// WorkloadStatus is a workload behind a Service.
type WorkloadStatus struct {
	Workload string `json:"workload"` // Deployment/app
	Version  string `json:"version"`  // empty for pods without one
	Ready    int    `json:"ready"`
	Pods     int    `json:"pods"`
	Fixed    bool   `json:"fixed"` // its selector holds the version; otherwise the version may change in place
}

// RuleStatus is a rule of the route: which requests it matches, and which versions receive them.
type RuleStatus struct {
	Match  string         `json:"match,omitempty"`
	To     []ShareStatus  `json:"to"`
	Mirror []MirrorStatus `json:"mirror,omitempty"` // versions that receive copies
}

// MatchText returns which requests the rule is about. isOnly is true for the only rule of a route.
func (r RuleStatus) MatchText(isOnly bool) string {
	switch {
	case r.Match != "":
		return r.Match
	case isOnly:
		return "all requests"
	}
	return "all other requests"
}

// MirrorStatus is a version that receives copies of requests.
type MirrorStatus struct {
	Version string  `json:"version"`
	Percent float64 `json:"percent"`
}

// ShareStatus is the share of a version in the requests of a rule.
type ShareStatus struct {
	Version string `json:"version,omitempty"` // empty: every pod
	Weight  int    `json:"weight"`
}

// ObjectStatus is one of Outrigger's objects for a Service.
type ObjectStatus struct {
	Kind    string   `json:"kind"`
	Name    string   `json:"name"`
	Subsets []string `json:"subsets,omitempty"`
	Hosts   []string `json:"hosts,omitempty"`
}

// ExplainService explains a Service, as data and as text.
func ExplainService(observed routing.Observed, problems []api.RouteProblem, around Surroundings, now time.Time) ServiceExplanation {
	reading, _ := routing.ReadInEffect(observed, now)
	status, ofNamespace, _ := StatusOf(observed, problems, around, now)
	status.Problems = append(ofNamespace, status.Problems...)
	out := ServiceExplanation{
		Kind: "Service", Namespace: observed.Service.Namespace, ServiceStatus: status, Routing: whyRouted(observed, around.Gaps),
		VersionLabel: observed.Intent.VersionLabel, DefaultBecause: whyDefault(reading),
		Workloads: workloadsOf(observed), Objects: objectsOf(observed.Existing), Settings: settingsOf(observed),
		defaultText: describeDefault(reading), canary: slices.Concat(canaryRows(status.Canary, observed, now), autoRows(status), supersededRows(status)),
		isHidden: around.Gaps.HidesRoutes(observed.Service.Namespace), now: now,
	}
	if status.State == StateUnknown {
		out.defaultText = "unknown"
	}
	if out.isHidden {
		reading.Rules = nil
	}
	for _, rule := range reading.Rules {
		r := RuleStatus{Match: rule.Match, To: sharesOf(rule.To)}
		for _, m := range rule.Mirror {
			r.Mirror = append(r.Mirror, MirrorStatus{m.Version, m.Percent})
		}
		out.Rules = append(out.Rules, r)
	}
	if next := routing.Plan(observed, now).Next; next.After(now) {
		next = next.UTC()
		out.ChangesAt = &next
	}
	return out
}

func sharesOf(shares []routing.ReadShare) []ShareStatus {
	out := []ShareStatus{}
	for _, share := range shares {
		out = append(out, ShareStatus{share.Version, share.Weight})
	}
	return out
}

func objectsOf(existing routing.Objects) []ObjectStatus {
	var out []ObjectStatus
	for _, rule := range existing.DestinationRules {
		o := ObjectStatus{Kind: "DestinationRule", Name: rule.Name, Hosts: []string{rule.Spec.Host}}
		for _, subset := range rule.Spec.Subsets {
			o.Subsets = append(o.Subsets, subset.GetName())
		}
		out = append(out, o)
	}
	for _, vs := range existing.VirtualServices {
		out = append(out, ObjectStatus{Kind: "VirtualService", Name: vs.Name, Hosts: vs.Spec.Hosts})
	}
	for _, gateway := range existing.Gateways {
		o := ObjectStatus{Kind: "Gateway", Name: gateway.Name}
		for _, server := range gateway.Spec.Servers {
			for _, host := range server.GetHosts() {
				if !slices.Contains(o.Hosts, host) { // a redirect has the hosts of HTTPS
					o.Hosts = append(o.Hosts, host)
				}
			}
		}
		out = append(out, o)
	}
	return out
}

// InjectionExplanation is the result of explain for a pod or a pod template, in the form of -o json.
type InjectionExplanation struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Sidecar   string `json:"sidecar"` // the outcome for a new pod, in a sentence
	// Pods is the number of running pods, and WithSidecar the number of those with a sidecar.
	Pods        int       `json:"pods"`
	WithSidecar int       `json:"withSidecar"`
	Settings    []Setting `json:"settings,omitempty"`
	// Entries lists the entries of the webhook objects in the order of the API server.
	Entries []EntryStatus `json:"entries,omitempty"`
	// Decision is Outrigger's decision, whether or not its webhook matches. It is nil if it is unknown.
	Decision *InjectionDecision `json:"decision,omitempty"`
	Change   []string           `json:"change"` // what to change, the first obstacle first
	NotKnown []string           `json:"notKnown,omitempty"`
	// Result is the response of the API server to a new pod. It is nil if no pod was created in a dry run.
	Result *PodResult `json:"result,omitempty"`
}

// PodResult is the response of the API server to a new pod.
type PodResult struct {
	Accepted bool     `json:"accepted"`
	Sidecar  bool     `json:"sidecar"`
	Refused  string   `json:"refused,omitempty"`  // the API server's message
	Failures []string `json:"failures,omitempty"` // why the workload's controller cannot create pods
}

// EntryStatus says whether an entry of a webhook object matches a pod, and why.
type EntryStatus struct {
	Injector string `json:"injector"`
	Object   string `json:"object"`
	Entry    string `json:"entry"`
	Matches  bool   `json:"matches"`
	Why      string `json:"why,omitempty"`
}

// InjectionDecision is Outrigger's decision about a pod.
type InjectionDecision struct {
	Result    string          `json:"result"`
	Reason    string          `json:"reason"`
	Message   string          `json:"message,omitempty"`
	Templates []string        `json:"templates,omitempty"`
	Problems  []ProblemStatus `json:"problems,omitempty"`
}

// Data returns the content of Paragraphs as data.
func (s *PodFacts) Data() InjectionExplanation {
	out := InjectionExplanation{
		Kind: s.Kind, Namespace: s.Namespace.Name, Name: s.Name, Sidecar: s.outcome(), Pods: len(s.Pods), WithSidecar: countSidecars(s.Pods),
		Settings: s.settings(), Change: s.advice(), NotKnown: slices.Clone(s.Notes),
	}
	out.Result = s.DryRun.data()
	for _, v := range s.Entries {
		out.Entries = append(out.Entries, EntryStatus{string(v.Injector), v.Object, v.Name, v.Matches, v.Why})
	}
	if s.Unknown != "" {
		out.NotKnown = append(out.NotKnown, s.Unknown)
		return out
	}
	out.Decision = &InjectionDecision{Result: string(s.Report.Result), Reason: string(s.Report.Reason), Templates: s.Report.Templates}
	if s.Report.Result != inject.Denied {
		out.Decision.Message = s.Report.Message
	}
	for _, p := range s.problems() {
		out.Decision.Problems = append(out.Decision.Problems, problemStatus(p))
	}
	return out
}
