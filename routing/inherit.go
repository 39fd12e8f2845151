// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"outrigger.dev/outrigger/api"
)

// policyEdited is the value of the annotation outrigger.dev/inherited-policy after another client changed a policy that we had
// copied: the policy then belongs to that client. Otherwise the value names the source of the policy and its hash:
// "istio-system/default 3f2a9c01".
const policyEdited = "edited"

// policyDecision is the trafficPolicy that our DestinationRule has.
type policyDecision struct {
	policy *networkingapi.TrafficPolicy // nil: we write none
	mark   string                       // where it is from, or policyEdited; empty if none is copied
}

// decidePolicy gives our DestinationRule the policy that callers had without it: Istio applies only the most specific rule, so
// ours would replace the policy of a rule for many hosts. A policy that another client wrote into ours is theirs.
func (s *facts) decidePolicy() (policyDecision, []finding) {
	from := s.shadowed()
	if existing := s.ours.destinationRule; existing != nil && existing.Spec.TrafficPolicy != nil && !policyIsOurs(existing, from) {
		if existing.Annotations[api.AnnotationInherited] != "" {
			// What we copied of it is still applied by us, so that leaving it out would remove it.
			return policyDecision{existing.Spec.TrafficPolicy.DeepCopy(), policyEdited}, nil
		}
		return policyDecision{}, nil
	}
	if from == nil || s.Intent.NoPolicy {
		return policyDecision{}, nil
	}
	return policyDecision{from.Spec.TrafficPolicy.DeepCopy(), policyMark(from)}, []finding{problemOf(from, "spec.host", from.Spec.Host, api.RoutePolicyInherited,
		fmt.Sprintf("Outrigger's DestinationRule for Service %s/%s is more specific, so Istio would ignore this policy. Outrigger copies it and keeps the copy up to date.", s.Service.Namespace, s.Service.Name),
		"To omit it: "+s.annotate(api.AnnotationInheritPolicy+"=false")+".")}
}

func policyMark(from *networkingv1.DestinationRule) string {
	return from.Namespace + "/" + from.Name + " " + api.ShortHash(canonical(from.Spec.TrafficPolicy))
}

// policyIsOurs reports whether the policy of our DestinationRule is as we copied it, or as its source is now, and no other client
// wrote it. Without the annotation, which Kiali removes when it saves, the managed fields decide.
func policyIsOurs(rule, from *networkingv1.DestinationRule) bool {
	ours, theirs := false, false
	for _, entry := range rule.ManagedFields {
		if entry.FieldsV1 != nil && bytes.Contains(entry.FieldsV1.GetRawBytes(), []byte(`"f:trafficPolicy"`)) {
			ours, theirs = ours || entry.Manager == api.FieldManager, theirs || entry.Manager != api.FieldManager
		}
	}
	mark := rule.Annotations[api.AnnotationInherited]
	isSame := from != nil && proto.Equal(rule.Spec.TrafficPolicy, from.Spec.TrafficPolicy)
	if mark == "" || theirs {
		return (ours || isSame && trustOf(rule) == blank) && !theirs
	}
	_, hash, _ := strings.Cut(mark, " ")
	return hash == api.ShortHash(canonical(rule.Spec.TrafficPolicy)) || isSame
}

// shadowed returns the DestinationRule whose policy would apply without ours, found as Istio does: in the Service's namespace,
// then in the root namespace; only the most specific host; of several for it the oldest with a policy. It is nil if there is
// none, or if another rule is for this host.
func (s *facts) shadowed() *networkingv1.DestinationRule {
	for _, namespace := range []string{s.Service.Namespace, s.RootNamespace} {
		var best []*networkingv1.DestinationRule
		for _, rule := range s.Foreign.DestinationRules {
			host := ResolveHost(rule.Spec.Host, rule.Namespace, s.Settings.ClusterDomain)
			if rule.Namespace != namespace || rule.Spec.WorkloadSelector != nil || !covers(host, s.host) || !exports(rule.Spec.ExportTo, rule.Namespace, s.Service.Namespace) {
				continue
			}
			if namespace == s.Service.Namespace && host == s.host {
				return nil // Istio merges it with ours; the policy is its own
			}
			if len(best) > 0 && moreSpecific(best[0].Spec.Host, rule.Spec.Host) {
				continue
			}
			if len(best) > 0 && moreSpecific(rule.Spec.Host, best[0].Spec.Host) {
				best = nil
			}
			best = append(best, rule)
		}
		if len(best) > 0 {
			slices.SortFunc(best, func(a, b *networkingv1.DestinationRule) int {
				return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
			})
			at := slices.IndexFunc(best, func(rule *networkingv1.DestinationRule) bool {
				return rule.Spec.TrafficPolicy != nil && canonical(rule.Spec.TrafficPolicy) != "{}"
			})
			if at < 0 {
				return nil
			}
			return best[at]
		}
	}
	return nil
}

// moreSpecific is Istio's order of hosts that include the same name: a name before wildcards, the longer before the
// shorter.
func moreSpecific(a, b string) bool {
	wildA, wildB := strings.Contains(a, "*"), strings.Contains(b, "*")
	if wildA != wildB {
		return wildB
	}
	return wildA && len(a) > len(b)
}

// noteWideDestinationRule notes a DestinationRule for many hosts in a caller's namespace: Istio looks there first, so those callers do
// not see our subsets.
func (s *reader) noteWideDestinationRule(rule *networkingv1.DestinationRule) {
	if rule.Namespace == s.Service.Namespace || rule.Spec.WorkloadSelector != nil || rule.Namespace == s.RootNamespace && !slices.Contains(rule.Spec.ExportTo, ".") {
		return
	}
	s.foreign.wide = append(s.foreign.wide, rule)
}

const namedAtMost = 5

// reportWideDestinationRules reports them in one Problem, because a mesh may have one in every namespace.
func (s *reader) reportWideDestinationRules() {
	if len(s.foreign.wide) == 0 {
		return
	}
	var names, namespaces []string
	for _, rule := range s.foreign.wide {
		names = append(names, rule.Namespace+"/"+rule.Name+" ("+rule.Spec.Host+")")
		namespaces = append(namespaces, rule.Namespace)
	}
	slices.Sort(names)
	slices.Sort(namespaces)
	more := ""
	if n := len(names) - namedAtMost; n > 0 {
		names, more = names[:namedAtMost], fmt.Sprintf(" and %d more", n)
	}
	s.report(api.RouteShadowedInNamespaces,
		fmt.Sprintf("Callers in %[3]d other namespace(s) use DestinationRule %[1]s%[2]s, which has no subsets. Routes to a version fail there.",
			strings.Join(names, ", "), more, len(slices.Compact(namespaces))),
		"Move it to the root namespace, or delete it.")
}
