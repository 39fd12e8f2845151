// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"istio.io/api/annotation"
	"istio.io/api/label"
)

// InjectKeyProblems returns a warning for each label and annotation of a Namespace, a pod, or a pod template that resembles one
// that controls injection but is misspelled, on the wrong kind of object, or unknown under outrigger.dev. It ignores all other
// keys. The warnings are sorted by key, labels first.
func InjectKeyProblems(object ObjectRef, labels, annotations map[string]string) []InjectProblem {
	var problems []InjectProblem
	for _, p := range []metadata{{object, labels, true}, {object, annotations, false}} {
		var keys []string
		for key := range p.entries {
			if concernsInjection(key) {
				keys = append(keys, key)
			}
		}
		slices.Sort(keys)
		for _, key := range keys[:min(len(keys), maxCheckedKeys)] {
			if problem, is := p.check(key, p.entries[key]); is {
				problems = append(problems, problem)
			}
		}
	}
	return problems
}

// UnreadableChoice is the warning about a choice between true and false that is neither.
func UnreadableChoice(object ObjectRef, field, value string) InjectProblem {
	return InjectProblem{
		Object: object, Field: field, Value: value, Reason: InjectUnreadableChoice,
		Message: "it is neither true nor false, so it counts as absent.", Advice: InjectUnreadableChoice.Advice(),
	}
}

// metadata is the labels or the annotations of an object.
type metadata struct {
	object  ObjectRef
	entries map[string]string
	labels  bool // otherwise annotations
}

// maxCheckedKeys is how many keys of an object are checked. Istio defines about 70.
const maxCheckedKeys = 100

// concernsInjection reports whether a key may be a misspelled key of Istio or Outrigger. It saves comparing ordinary keys.
func concernsInjection(key string) bool {
	for _, word := range []string{"istio", "inject", "sidecar", "outrigger"} {
		if strings.Contains(key, word) {
			return true
		}
	}
	return false
}

// check returns the problem of a key and its value; false if there is none.
func (p metadata) check(key, value string) (InjectProblem, bool) {
	problem := InjectProblem{Object: p.object, Field: AnnotationField(key), Value: value}
	if p.labels {
		problem.Field = LabelField(key)
	}
	if strings.HasPrefix(key, Domain+"/") {
		return p.outriggerKey(problem, key)
	}
	if message, advice := p.misplaced(key); message != "" {
		problem.Reason, problem.Message, problem.Advice = InjectMisplacedKey, message, advice
		return problem, true
	}
	if near := nearest(key, istioKeys); near != "" {
		problem.Reason, problem.Message, problem.Advice = InjectMisspelledKey, "nothing reads it; it looks like "+near+".", "Write "+near+"."
		return problem, true
	}
	return p.checkValue(problem, key, value)
}

// misplaced returns what is wrong with where a known key is, and what to do; "" if it is in the right place.
func (p metadata) misplaced(key string) (message, advice string) {
	asAnnotation := strings.Contains(key, "sidecar.istio.io/") && istioKeys[key] || key == annotation.InjectTemplates.Name || key == annotation.ProxyConfig.Name
	switch namespace := p.object.Kind == "Namespace"; {
	case namespace && key == KeySidecarInject:
		return "it is read on pods, not on a Namespace.", "Label the Namespace " + LabelInjection + "=enabled."
	case namespace && !p.labels && (key == LabelInjection || key == LabelRevision):
		return "it is read as a label, not as an annotation.", "Label the Namespace with it."
	case !namespace && key == LabelInjection:
		return "it is read on a Namespace, not on pods.", "Label the pod template " + KeySidecarInject + "=true."
	case !namespace && p.labels && key != KeySidecarInject && asAnnotation:
		return "it is read as an annotation, not as a label.", "Write it under metadata.annotations."
	}
	return "", ""
}

// checkValue checks the value of a key that is on the right object.
func (p metadata) checkValue(problem InjectProblem, key, value string) (InjectProblem, bool) {
	switch {
	case key == LabelInjection && p.labels && looksEnabled(value):
		problem.Reason = InjectMisspelledKey
		problem.Message = fmt.Sprintf("only enabled injects; with %q, pods of this Namespace get no sidecar.", value)
		problem.Advice = fmt.Sprintf("kubectl label namespace %s %s=enabled --overwrite", p.object.Name, LabelInjection)
		return problem, true
	case key == annotation.SidecarNativeSidecar.Name && !p.labels && value != "true" && value != "false",
		key == annotation.SidecarRewriteAppHTTPProbers.Name && !p.labels && !isBool(value):
		return UnreadableChoice(p.object, problem.Field, value), true
	}
	return problem, false
}

func isBool(text string) bool {
	_, err := strconv.ParseBool(text)
	return err == nil
}

// looksEnabled reports whether a value resembles "enabled" but is not.
func looksEnabled(value string) bool {
	lower := strings.ToLower(value)
	switch {
	case value == "enabled":
		return false
	case slices.Contains([]string{"true", "yes", "y", "on", "1", "inject"}, lower):
		return true
	}
	return lower != "" && editDistance(lower, "enabled") <= 2
}

// outriggerKey checks a key under outrigger.dev. For a Namespace, routing reports these keys.
func (p metadata) outriggerKey(problem InjectProblem, key string) (InjectProblem, bool) {
	if p.object.Kind == "Namespace" || key == AnnotationProbePorts && !p.labels {
		return problem, false
	}
	routingKeys := map[string]bool{}
	for _, known := range RoutingKeys() {
		if known.Key == key {
			problem.Reason = InjectMisplacedKey
			problem.Message = "it is read on a " + strings.Join(known.On, " or a ") + ", not on pods."
			problem.Advice = "Write it there."
			return problem, true
		}
		routingKeys[known.Key] = true
	}
	problem.Reason = InjectUnknownKey
	problem.Message, problem.Advice = "Outrigger has no such key.", InjectUnknownKey.Advice()
	if near := nearest(key, routingKeys); near != "" {
		problem.Advice = "It looks like " + near + ", which is read on a Service or a Namespace, not on pods."
	}
	return problem, true
}

// istioKeys are Istio's labels and annotations of pods and Namespaces.
var istioKeys = knownToIstio()

func knownToIstio() map[string]bool {
	known := map[string]bool{LabelInjection: true}
	for _, instance := range annotation.AllResourceAnnotations() {
		known[instance.Name] = true
	}
	for _, instance := range label.AllResourceLabels() {
		known[instance.Name] = true
	}
	// The injector, its template, or the agent reads these, but Istio does not document them.
	for _, name := range []string{"sidecar.istio.io/capNetBindService", "sidecar.istio.io/enableCoreDump", "prometheus.istio.io/scrape-targets", "prometheus.istio.io/secure-port"} {
		known[name] = true
	}
	return known
}

// nearest returns the known key with the smallest edit distance to an unknown one, at most 2; of several, the first in sort order. It
// returns "" if there is none, or if the key is known.
func nearest(key string, known map[string]bool) string {
	if known[key] {
		return ""
	}
	best, least := "", 3
	for _, candidate := range slices.Sorted(maps.Keys(known)) {
		if d := editDistance(strings.ToLower(key), strings.ToLower(candidate)); d < least {
			best, least = candidate, d
		}
	}
	return best
}

// editDistance returns the number of bytes that are inserted, removed, replaced, or swapped with their neighbor between two texts
// (optimal string alignment). If the lengths differ by more than 2, it returns 3.
func editDistance(a, b string) int {
	if len(a)-len(b) > 2 || len(b)-len(a) > 2 {
		return 3
	}
	// Rows of the table of distances between prefixes of a and b: the one before the last, the last, and the current one.
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			wrong := 1
			if a[i-1] == b[j-1] {
				wrong = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+wrong)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
