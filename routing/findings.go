// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"slices"
	"strings"

	"outrigger.dev/outrigger/api"
)

func (s *facts) serviceRef() api.ObjectRef {
	return api.ObjectRef{Kind: "Service", Namespace: s.Service.Namespace, Name: s.Service.Name}
}

// finding is what a rule reports besides its decision.
type finding struct {
	api.RouteProblem
	pending    *Pending    // the setting that is not in effect yet; nil for other Problems
	refused    *refusal    // the exposure annotation that cannot take effect; nil for other Problems
	superseded *Superseded // a setting without effect, in place of a Problem; nil for Problems
}

// problem returns a finding about the Service.
func (s *facts) problem(reason api.RouteReason, message, advice string) finding {
	return finding{RouteProblem: api.RouteProblem{Object: s.serviceRef(), Reason: reason, Message: message, Advice: advice}}
}

// problemAbout returns a finding about an annotation of the Service or, if the Service itself has none, of its Namespace.
func (s *facts) problemAbout(key, value string, reason api.RouteReason, message, advice string) finding {
	object := api.ObjectWith(key, s.Service, s.Namespace)
	if object.Kind == "Namespace" {
		message += AffectedService(s.Service.Name)
	}
	return finding{RouteProblem: api.RouteProblem{
		Object: object, Field: api.AnnotationField(key), Value: value, Reason: reason, Message: message, Advice: advice,
	}}
}

// problemOf returns a finding about an object.
func problemOf(object Object, field, value string, reason api.RouteReason, message, advice string) finding {
	return finding{RouteProblem: api.RouteProblem{
		Object: api.ObjectRef{Kind: KindOf(object), Namespace: object.GetNamespace(), Name: object.GetName()},
		Field:  field, Value: value, Reason: reason, Message: message, Advice: advice,
	}}
}

func (s *reader) report(reason api.RouteReason, message, advice string) {
	s.found = append(s.found, s.problem(reason, message, advice))
}

func (s *reader) reportAbout(key, value string, reason api.RouteReason, message, advice string) {
	s.found = append(s.found, s.problemAbout(key, value, reason, message, advice))
}

func (s *reader) reportForeign(object Object, field, value string, reason api.RouteReason, message, advice string) {
	s.found = append(s.found, problemOf(object, field, value, reason, message, advice))
}

// AffectedService is the end of a message about a Namespace: the Service to which it applies.
func AffectedService(name string) string { return " Affected Service: " + name + "." }

// annotate returns the command that writes annotations of the Service.
func (s *facts) annotate(pairs ...string) string {
	var words []string
	for _, pair := range pairs {
		words = append(words, api.ShellWord(pair))
	}
	return fmt.Sprintf("kubectl annotate service -n %s %s %s --overwrite", s.Service.Namespace, s.Service.Name, strings.Join(words, " "))
}

// disableRoutes returns the command that removes Outrigger's routes of the Service.
func (s *facts) disableRoutes() string {
	return fmt.Sprintf("kubectl label service -n %s %s %s=%s --overwrite", s.Service.Namespace, s.Service.Name, api.LabelRouting, api.RoutingDisabled)
}

// giveOtherName is the advice about an object, "Gateway shop/web", that has a name which one of our objects needs.
func giveOtherName(object string) string {
	kind, key, _ := strings.Cut(object, " ")
	namespace, name, _ := strings.Cut(key, "/")
	return fmt.Sprintf("Create it with another name, then kubectl delete %s -n %s %s.", ResourceOf(kind), namespace, name)
}

// deciding names the two commands that decide which versions have traffic.
func (s *facts) deciding(versions []string) string {
	if len(versions) == 0 {
		return ""
	}
	shares := make([]string, len(versions))
	for i, version := range versions {
		shares[i] = fmt.Sprintf("%s=%d", version, 100/len(versions))
	}
	advice := "Decide: " + s.annotate(api.AnnotationDefaultVersion+"="+versions[0])
	if len(versions) > 1 {
		advice += ", or " + s.annotate(api.AnnotationWeights+"="+strings.Join(shares, ","))
	}
	return advice + "."
}

// pending reports that an annotation is not in effect yet, since names in it cannot be followed. It reports nothing if none is
// missing.
func (s defaultDecision) pending(key string, missing []string, message string) []finding {
	if len(missing) == 0 {
		return nil
	}
	value := s.Intent.Texts[key]
	ready := "three quarters of the pods are"
	if !s.Intent.DecidedAt.IsZero() {
		ready = "one pod is"
	}
	advice := "It takes effect when " + ready + " ready; see kubectl get pods -n " + s.Service.Namespace + " -L " + s.Intent.VersionLabel + "."
	if example := s.corrected(key, value); example != "" {
		advice = "Example: " + s.annotate(key+"="+example) + "."
	}
	out := s.problemAbout(key, value, api.RoutePendingVersions, pendingText(missing)+message, advice)
	out.pending = &Pending{Key: key, Value: value, Missing: missing}
	return []finding{out}
}

// rolloutBesideOthers reports that a rolling workload changes its version while others are behind the Service.
func (s defaultDecision) rolloutBesideOthers(m meaning) (out []finding) {
	if s.alone(m) {
		return nil
	}
	for _, ref := range m.Tracks {
		if t, _ := s.trackOf(ref); len(t.groups) > 1 {
			out = append(out, s.problem(api.RouteRolloutBesideOthers, ref.String()+" changes its version while other workloads receive traffic; its share follows its ready pods while Outrigger runs.",
				"A rollout of a workload that is alone behind the Service needs nothing."))
		}
	}
	return out
}

// renamed reports the names that mean a workload which runs another version by now, and a default that waits.
func (s defaultDecision) renamed() (out []finding) {
	for _, name := range s.writtenNames() {
		m := s.meaningOf(name)
		if !s.hasPods(m) || len(m.Tracks) == 0 || slices.Contains(s.possible(m), name) {
			continue
		}
		var versions []string
		for _, group := range s.groupsOf(m) {
			versions = append(versions, group.Version)
		}
		slices.SortFunc(versions, CompareVersions)
		versions = slices.Compact(versions)
		out = append(out, s.problem(api.RouteVersionSucceeded, fmt.Sprintf("The name %s means %s, which now runs %s. The name follows that version.", name, m, strings.Join(versions, ", ")),
			"Write the current version into the annotation to keep it readable."))
	}
	if m := s.meaningOf(s.Intent.Default.Version); s.defaultPending() && (!s.isReady(m) || s.isGone(m)) {
		out = append(out, s.pending(api.AnnotationDefaultVersion, []string{s.notYet(s.Intent.Default.Version, m)}, "The default stays "+s.record.Default.String()+".")...)
	}
	return out
}
