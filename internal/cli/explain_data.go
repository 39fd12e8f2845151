// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"slices"
	"time"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
	"outrigger.dev/outrigger/routing"
)

// serviceExplanation is what explain says of a Service, in the form of -o json: what status says of it, and why.
type serviceExplanation struct {
	Kind      string `json:"kind"` // Service
	Namespace string `json:"namespace"`
	serviceStatus
	// Routing says which label decides whether routes are kept.
	Routing        string `json:"routing"`
	VersionLabel   string `json:"versionLabel"`
	DefaultBecause string `json:"defaultBecause,omitempty"`
	// Said are the labels and annotations by which somebody said something.
	Said      []saidWord       `json:"said,omitempty"`
	Workloads []workloadStatus `json:"workloads,omitempty"`
	Rules     []ruleStatus     `json:"rules,omitempty"` // in the order of the route; the last has no match
	Objects   []objectStatus   `json:"objects,omitempty"`
	ChangesAt *time.Time       `json:"changesAt,omitempty"` // when time alone changes something
}

type saidWord struct {
	On    string `json:"on"` // Service, Namespace or pod
	Key   string `json:"key"`
	Value string `json:"value"`
}

type workloadStatus struct {
	Workload string `json:"workload"` // Deployment/app
	Version  string `json:"version"`  // empty for pods without one
	Ready    int    `json:"ready"`
	Pods     int    `json:"pods"`
	Fixed    bool   `json:"fixed"` // its selector holds the version; otherwise the version may change in place
}

type ruleStatus struct {
	Match  string         `json:"match,omitempty"`
	To     []shareStatus  `json:"to"`
	Mirror []mirrorStatus `json:"mirror,omitempty"` // who is sent copies
}

type mirrorStatus struct {
	Version string  `json:"version"`
	Percent float64 `json:"percent"`
}

type shareStatus struct {
	Version string `json:"version,omitempty"` // empty: every pod
	Weight  int    `json:"weight"`
}

type objectStatus struct {
	Kind    string   `json:"kind"`
	Name    string   `json:"name"`
	Subsets []string `json:"subsets,omitempty"`
	Hosts   []string `json:"hosts,omitempty"`
}

// serviceData puts into fields what explanationOf tells in words.
func serviceData(observed routing.Observed, problems []api.RouteProblem, around surroundings, now time.Time) serviceExplanation {
	reading, _ := routing.ReadInEffect(observed, now)
	status, ofNamespace := statusOf(observed, problems, around, now)
	status.Problems = append(ofNamespace, status.Problems...)
	out := serviceExplanation{
		Kind: "Service", Namespace: observed.Service.Namespace, serviceStatus: status, Routing: wantedBecause(observed, around.gaps),
		VersionLabel: observed.Intent.VersionLabel, DefaultBecause: because[reading.By],
		Workloads: workloadsOf(observed), Objects: objectsOf(observed.Standing),
	}
	for _, row := range wordRows(observed) {
		out.Said = append(out.Said, saidWord{row[0], row[1], row[2]})
	}
	if around.gaps.hideRoutes(observed.Service.Namespace) {
		reading.Rules = nil
	}
	for _, rule := range reading.Rules {
		told := ruleStatus{Match: rule.Match, To: sharesOf(rule.To)}
		for _, m := range rule.Mirror {
			told.Mirror = append(told.Mirror, mirrorStatus{m.Version, m.Percent})
		}
		out.Rules = append(out.Rules, told)
	}
	if next := routing.Plan(observed, now).Next; next.After(now) {
		next = next.UTC()
		out.ChangesAt = &next
	}
	return out
}

func sharesOf(shares []routing.ReadShare) []shareStatus {
	out := []shareStatus{}
	for _, share := range shares {
		out = append(out, shareStatus{share.Version, share.Weight})
	}
	return out
}

func objectsOf(standing routing.Objects) []objectStatus {
	var out []objectStatus
	for _, rule := range standing.DestinationRules {
		o := objectStatus{Kind: "DestinationRule", Name: rule.Name, Hosts: []string{rule.Spec.Host}}
		for _, subset := range rule.Spec.Subsets {
			o.Subsets = append(o.Subsets, subset.GetName())
		}
		out = append(out, o)
	}
	for _, vs := range standing.VirtualServices {
		out = append(out, objectStatus{Kind: "VirtualService", Name: vs.Name, Hosts: vs.Spec.Hosts})
	}
	for _, gateway := range standing.Gateways {
		o := objectStatus{Kind: "Gateway", Name: gateway.Name}
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

// injectionExplanation is what explain says of a pod or a pod template, in the form of -o json.
type injectionExplanation struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Sidecar   string `json:"sidecar"` // what becomes of a new pod, in a sentence
	// Pods are how many pods run, and WithSidecar how many of them have one.
	Pods        int        `json:"pods"`
	WithSidecar int        `json:"withSidecar"`
	Said        []saidWord `json:"said,omitempty"`
	// Asked are the entries of the webhook objects in the order of the API server.
	Asked []askedEntry `json:"asked,omitempty"`
	// Decision is Outrigger's own, asked or not; nil where it is not known.
	Decision *decisionStatus `json:"decision,omitempty"`
	Change   []string        `json:"change"` // what to change, the first obstacle first
	NotKnown []string        `json:"notKnown,omitempty"`
	// Result is what the API server makes of a new pod; nil where that was not asked.
	Result *podResult `json:"result,omitempty"`
}

type podResult struct {
	Accepted bool     `json:"accepted"`
	Sidecar  bool     `json:"sidecar"`
	Refused  string   `json:"refused,omitempty"`  // the API server's message
	Failures []string `json:"failures,omitempty"` // why the workload's controller cannot create pods
}

type askedEntry struct {
	Injector string `json:"injector"`
	Object   string `json:"object"`
	Entry    string `json:"entry"`
	Asked    bool   `json:"asked"`
	Why      string `json:"why,omitempty"`
}

type decisionStatus struct {
	Result    string          `json:"result"`
	Reason    string          `json:"reason"`
	Message   string          `json:"message,omitempty"`
	Templates []string        `json:"templates,omitempty"`
	Problems  []problemStatus `json:"problems,omitempty"`
}

// data puts into fields what paragraphs tells in words.
func (s *injectionStory) data() injectionExplanation {
	out := injectionExplanation{
		Kind: s.object.Kind, Namespace: s.namespace.Name, Name: s.object.Name, Sidecar: s.outcome(), Pods: len(s.pods),
		Change: s.advice(), NotKnown: slices.Clone(s.notes),
	}
	for i := range s.pods {
		if hasSidecar(&s.pods[i]) {
			out.WithSidecar++
		}
	}
	for _, word := range s.words() {
		out.Said = append(out.Said, saidWord{word.where, word.key, word.value})
	}
	out.Result = s.real.data()
	for _, v := range s.entries {
		out.Asked = append(out.Asked, askedEntry{string(v.injector), v.object, v.entry, v.asked, v.why})
	}
	if s.unknown != "" {
		out.NotKnown = append(out.NotKnown, s.unknown)
		return out
	}
	out.Decision = &decisionStatus{Result: string(s.report.Result), Reason: string(s.report.Reason), Templates: s.report.Templates}
	if s.report.Result != inject.Denied {
		out.Decision.Message = s.report.Message
	}
	for _, p := range s.problems() {
		out.Decision.Problems = append(out.Decision.Problems, problemStatus{p.Object.String(), p.Field, p.Value, string(p.Reason), p.Message, p.Advice})
	}
	return out
}
