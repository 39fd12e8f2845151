// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// LabelGatewayManaged marks a Service that Istio created for a Gateway.
const LabelGatewayManaged = "gateway.istio.io/managed"

// RouteIntentOf is RouteLimits.IntentOf with the default limits, for callers without a configuration, such as tests and examples.
func RouteIntentOf(service *corev1.Service, namespace *corev1.Namespace) (RouteIntent, []RouteProblem) {
	return DefaultRouteLimits().IntentOf(service, namespace, nil)
}

// IntentOf returns what the user requests. An annotation that is invalid, or that Istio or Envoy would reject, is a Problem, is
// listed in Bad, and is otherwise ignored. The annotations in recorded were accepted by an earlier release and are in effect, so
// only their syntax is checked. The Namespace may be nil. The Problems are sorted by the kind of object and key.
func (l RouteLimits) IntentOf(service *corev1.Service, namespace *corev1.Namespace, recorded map[string]bool) (RouteIntent, []RouteProblem) {
	r := newReading(service, namespace)
	r.limits, r.recorded = l, recorded
	intent := RouteIntent{VersionLabel: "version", Default: DefaultIntent{Policy: DefaultFirst}, Texts: map[string]string{}, Bad: map[string]bool{}}
	mode := r.mode()
	intent.Disabled = mode == RoutingDisabled
	intent.SubsetsOnly, intent.Observe = mode == RoutingSubsetsOnly, mode == RoutingObserve
	intent.Wanted = mode == RoutingEnabled || intent.SubsetsOnly || intent.Observe || mode == RoutingUnset && injects(r.namespace)
	r.each(&intent, AnnotationVersionLabel, func(text string) (err error) { intent.VersionLabel, err = parseLabelKey(text); return })
	r.each(&intent, AnnotationDefaultVersion, func(text string) (err error) { intent.Default, err = parseDefault(text); return })
	r.each(&intent, AnnotationWeights, func(text string) (err error) { intent.Weights, err = ParseWeights(text); return })
	r.each(&intent, AnnotationMatch, func(text string) (err error) { intent.Match, err = ParseMatches(text); return })
	r.covered(&intent)
	r.each(&intent, AnnotationMirror, func(text string) (err error) { intent.Mirror, err = parseMirror(text); return })
	r.each(&intent, AnnotationSticky, func(text string) (err error) { intent.Sticky, err = parseSticky(text); return })
	r.each(&intent, AnnotationDecidedAt, func(text string) (err error) { intent.DecidedAt, err = parseTime(text); return })
	intent.IgnoreUnversioned = r.choice(&intent, AnnotationUnversioned, "all", "ignore") == "ignore"
	intent.Drift = DriftMode(r.choice(&intent, AnnotationDrift, string(DriftAdopt), string(DriftRevert), string(DriftDetach)))
	intent.Deferred = r.choice(&intent, AnnotationEager, "true", "false") == "false"
	intent.NoPolicy = r.choice(&intent, AnnotationInheritPolicy, "true", "false") == "false"
	r.each(&intent, AnnotationSubsetRetention, func(text string) (err error) {
		intent.SubsetRetention, err = parseDuration(text, leastRetention)
		return
	})
	r.each(&intent, AnnotationUnreadyAfter, func(text string) (err error) { intent.UnreadyAfter, err = parseDuration(text, time.Second); return })
	if unready := r.choice(&intent, AnnotationUnreadyPolicy, "hold", string(UnreadyNext), string(UnreadyAll)); unready != "hold" {
		intent.Unready = UnreadyPolicy(unready)
	}
	intent.HoldDeleted = r.holds(&intent, AnnotationDefaultDeleted)
	intent.HoldScaledToZero = r.holds(&intent, AnnotationScaledToZero)
	r.canary(&intent)
	r.exposure(&intent)
	r.exportTo(&intent)
	if _, written := r.service.Annotations[AnnotationDefaultVersion]; written && !intent.Bad[AnnotationDefaultVersion] {
		intent.Default.OnService = true
	}
	r.idleCompanions(&intent)
	r.unread()
	slices.SortStableFunc(r.problems, func(a, b RouteProblem) int {
		return strings.Compare(a.Object.Kind+" "+a.Field, b.Object.Kind+" "+b.Field)
	})
	return intent, r.problems
}

// holds reports whether an annotation with the values move and hold is hold.
func (r *reading) holds(intent *RouteIntent, key string) bool {
	return r.choice(intent, key, "move", "hold") == "hold"
}

// choice reads an annotation that has one of these values. It returns "" if it is absent or invalid.
func (r *reading) choice(intent *RouteIntent, key string, values ...string) (chosen string) {
	r.each(intent, key, func(text string) error {
		if !slices.Contains(values, text) {
			last := len(values) - 1
			return fmt.Errorf("%q is neither %s nor %s", text, strings.Join(values[:last], ", "), values[last])
		}
		chosen = text
		return nil
	})
	return chosen
}

func injects(namespace *corev1.Namespace) bool {
	switch namespace.Labels[LabelInjection] {
	case "enabled":
		return true
	case "":
		return namespace.Labels[LabelRevision] != ""
	}
	return false
}

// reading goes through the annotations of one Service and its Namespace and collects what is wrong with them.
type reading struct {
	service   *corev1.Service
	namespace *corev1.Namespace
	keys      map[string]KeyDoc
	limits    RouteLimits
	recorded  map[string]bool // keys of which only the syntax is checked
	problems  []RouteProblem
}

func newReading(service *corev1.Service, namespace *corev1.Namespace) *reading {
	r := &reading{service: service, namespace: namespace, keys: map[string]KeyDoc{}}
	if namespace == nil {
		r.namespace = &corev1.Namespace{}
		r.namespace.Name = service.Namespace
	}
	for _, key := range RoutingKeys() {
		r.keys[key.Key] = key
	}
	return r
}

func (r *reading) serviceRef() ObjectRef {
	return ObjectRef{Kind: "Service", Namespace: r.service.Namespace, Name: r.service.Name}
}

func (r *reading) namespaceRef() ObjectRef {
	return ObjectRef{Kind: "Namespace", Name: r.namespace.Name}
}

// nearestMode returns the mode that an unknown value probably stands for.
func nearestMode(mode RoutingMode) RoutingMode {
	switch word := strings.ToLower(string(mode)); {
	case slices.Contains([]string{"off", "false", "no", "none", "disable"}, word) || nearly(word, string(RoutingDisabled)):
		return RoutingDisabled
	case slices.Contains([]string{"on", "true", "yes", "enable"}, word) || nearly(word, string(RoutingEnabled)):
		return RoutingEnabled
	case nearly(word, string(RoutingSubsetsOnly)):
		return RoutingSubsetsOnly
	}
	return RoutingObserve
}

// mode reads the label of the Service, or else of the Namespace. An unknown value behaves like observe: it changes nothing.
func (r *reading) mode() RoutingMode {
	for _, place := range []struct {
		ref    ObjectRef
		labels map[string]string
	}{{r.serviceRef(), r.service.Labels}, {r.namespaceRef(), r.namespace.Labels}} {
		switch mode := RoutingMode(place.labels[LabelRouting]); {
		case mode.IsWritten():
			return mode
		case mode != RoutingUnset:
			r.problems = append(r.problems, RouteProblem{
				Object: place.ref, Field: LabelField(LabelRouting), Value: string(mode), Reason: RouteInvalidAnnotation,
				Message: "Unknown routing mode. It behaves as observe: nothing is written or removed.",
				Advice:  "Values: " + r.keys[LabelRouting].Values + ". Example: " + labelCommand(place.ref, LabelRouting, string(nearestMode(mode))) + " --overwrite.",
			})
			return RoutingObserve
		}
	}
	return RoutingUnset
}

// each reads a key of the Service, or else of the Namespace if the key applies there. The Namespace's value does not replace an invalid
// one of the Service.
func (r *reading) each(intent *RouteIntent, key string, parse func(string) error) {
	text, ref, written := r.find(key)
	if !written {
		return
	}
	if err := r.refusalOf(key, text); err != nil {
		r.invalid(intent, key, text, ref, err)
		return
	}
	if err := parse(strings.TrimSpace(text)); err != nil {
		r.invalid(intent, key, text, ref, err)
		return
	}
	intent.Texts[key] = strings.TrimSpace(text)
}

// refusalOf is refusal for annotations that no earlier release accepted.
func (r *reading) refusalOf(key, text string) error {
	if r.recorded[key] {
		return nil
	}
	return r.refusal(key, text)
}

// maxReasonBytes is the length to which an error that quotes the annotation is shortened.
const maxReasonBytes = 500

func (r *reading) invalid(intent *RouteIntent, key, text string, ref ObjectRef, err error) {
	intent.Bad[key] = true
	effect := ". Ignored; the current route is unchanged."
	switch {
	case isExposureKey(key):
		effect = ". Nothing new is exposed, and an existing exposure is unchanged."
	case isCanaryKey(key):
		effect = ". No canary starts, and a running one stays at its step."
	}
	r.problems = append(r.problems, RouteProblem{
		Object: ref, Field: AnnotationField(key), Value: text, Reason: RouteInvalidAnnotation,
		Message: Shorten("Invalid value: "+err.Error(), maxReasonBytes) + effect,
		Advice:  "Write " + r.keys[key].Values + ".",
	})
}

// ObjectWith returns the object that an annotation of routing is read from for a Service: the Namespace, if the annotation applies
// there and the Service does not set it, else the Service. The Namespace may be nil.
func ObjectWith(key string, service *corev1.Service, namespace *corev1.Namespace) ObjectRef {
	r := newReading(service, namespace)
	if _, ref, written := r.find(key); written {
		return ref
	}
	return r.serviceRef()
}

func (r *reading) find(key string) (string, ObjectRef, bool) {
	doc := r.keys[key]
	if text, written := r.service.Annotations[key]; written && slices.Contains(doc.On, "Service") {
		return text, r.serviceRef(), true
	}
	text, written := r.namespace.Annotations[key]
	return text, r.namespaceRef(), written && slices.Contains(doc.On, "Namespace")
}

// exposure reads expose and the annotations that belong to it. It reads them even if nothing is exposed, to report their Problems.
func (r *reading) exposure(intent *RouteIntent) {
	wanted := false
	x := &Exposure{Hosts: []string{"*"}, GatewaySelector: map[string]string{"istio": "ingressgateway"}, GatewayPort: 80, Path: "/"}
	r.each(intent, AnnotationExpose, func(text string) (err error) { wanted, err = parseSwitch(text); return })
	r.each(intent, AnnotationHosts, func(text string) error { return keep(&x.Hosts)(parseHosts(text)) })
	r.each(intent, AnnotationGateway, func(text string) error { return keep(&x.Gateway)(parseGateway(text)) })
	r.each(intent, AnnotationGatewaySelector, func(text string) error { return keep(&x.GatewaySelector)(parseSelector(text)) })
	r.each(intent, AnnotationGatewayPort, func(text string) error { return keep(&x.GatewayPort)(parsePort(text)) })
	r.each(intent, AnnotationTLSCredential, func(text string) error { return keep(&x.TLSCredential)(parseCredential(text)) })
	r.each(intent, AnnotationHTTPSRedirect, func(text string) error { return keep(&x.HTTPSRedirect)(parseSwitch(text)) })
	r.https(intent, x)
	r.each(intent, AnnotationPath, func(text string) error { return keep(&x.Path)(parsePath(text)) })
	r.each(intent, AnnotationPathRewrite, func(text string) error { return keep(&x.PathRewrite)(parsePath(text)) })
	r.each(intent, AnnotationServicePort, func(text string) error { return keep(&x.ServicePort)(parsePortName(text)) })
	if x.ServicePort != "" && !r.hasPort(x.ServicePort) {
		r.unknownPort(intent, x)
	}
	x.AllowedHosts = r.allowedHosts(intent)
	if wanted {
		intent.Expose = x
	}
}

func (r *reading) hasPort(nameOrNumber string) bool {
	return slices.ContainsFunc(r.service.Spec.Ports, func(port corev1.ServicePort) bool { return IsPort(port, nameOrNumber) })
}

// IsPort reports whether a port of a Service has this name or number.
func IsPort(port corev1.ServicePort, nameOrNumber string) bool {
	return port.Name == nameOrNumber || strconv.Itoa(int(port.Port)) == nameOrNumber
}

// unknownPort reports a port that the Service does not have, and removes it from the exposure.
func (r *reading) unknownPort(intent *RouteIntent, x *Exposure) {
	var there []string
	for _, port := range r.service.Spec.Ports {
		there = append(there, strings.TrimSpace(fmt.Sprintf("%s %d", port.Name, port.Port)))
	}
	r.problems = append(r.problems, RouteProblem{
		Object: r.serviceRef(), Field: AnnotationField(AnnotationServicePort), Value: x.ServicePort, Reason: RouteInvalidAnnotation,
		Message: "The Service has no such port. Nothing new is exposed, and an existing exposure is unchanged.",
		Advice:  "Write one of " + strings.Join(there, ", ") + ".",
	})
	intent.Bad[AnnotationServicePort] = true
	delete(intent.Texts, AnnotationServicePort)
	x.ServicePort = ""
}

// keep returns a function that stores a value unless there is an error.
func keep[T any](at *T) func(T, error) error {
	return func(value T, err error) error {
		if err == nil {
			*at = value
		}
		return err
	}
}

// allowedHosts reads the Namespace's list. An invalid entry is reported and allows nothing. The list applies even if it exceeds a
// limit: without it, every host would be allowed, and with an empty list, existing exposures would end.
func (r *reading) allowedHosts(intent *RouteIntent) []string {
	text, written := r.namespace.Annotations[AnnotationAllowedHosts]
	if !written {
		return nil
	}
	if err := r.limits.checkText(AnnotationAllowedHosts, text); err != nil {
		r.invalid(intent, AnnotationAllowedHosts, text, r.namespaceRef(), err)
	}
	hosts := []string{}
	for _, item := range strings.Split(text, ",") {
		item = strings.ToLower(strings.TrimSpace(item))
		if item == "" {
			continue
		}
		if err := checkHost(item); err != nil {
			r.problems = append(r.problems, RouteProblem{
				Object: r.namespaceRef(), Field: AnnotationField(AnnotationAllowedHosts), Value: text, Reason: RouteInvalidAnnotation,
				Message: "Invalid host: " + Shorten(err.Error(), maxReasonBytes) + ". This item allows no host.",
				Advice:  "Write " + r.keys[AnnotationAllowedHosts].Values + ".",
			})
			continue
		}
		hosts = append(hosts, item)
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// unread reports unknown keys under outrigger.dev, and known ones on the wrong object.
func (r *reading) unread() {
	r.strangersOn(r.serviceRef(), r.service.Annotations)
	r.strangersOn(r.namespaceRef(), r.namespace.Annotations)
}

// maxUnread is how many unread keys of an object are reported. There may be thousands.
const maxUnread = 10

func (r *reading) strangersOn(ref ObjectRef, annotations map[string]string) {
	var listed, others int
	var next string // the first key that is not listed
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		if !strings.HasPrefix(key, Domain+"/") {
			continue
		}
		doc, known := r.keys[key]
		problem := RouteProblem{Object: ref, Field: AnnotationField(key), Value: annotations[key], Reason: RouteUnknownAnnotation}
		switch {
		case !known:
			problem.Message, problem.Advice = "Outrigger does not read this annotation.", r.nearest(key)
		case doc.Label:
			problem.Message, problem.Advice = "This is a label, not an annotation.", "Instead: "+labelCommand(ref, key, annotations[key])+"."
		case !slices.Contains(doc.On, ref.Kind):
			problem.Message, problem.Advice = "It has no effect on a "+ref.Kind+".", "Set it on the "+strings.Join(doc.On, " or ")+"."
		default:
			continue
		}
		switch {
		case listed < maxUnread:
			listed++
			r.problems = append(r.problems, problem)
		case others == 0:
			next = key
			fallthrough
		default:
			others++
		}
	}
	if others > 0 {
		r.problems = append(r.problems, RouteProblem{
			Object: ref, Field: AnnotationField(next), Value: annotations[next], Reason: RouteUnknownAnnotation,
			Message: fmt.Sprintf("The %s has %d more annotations under %s/, from this one on, that Outrigger does not read. They have no effect.", ref.Kind, others, Domain),
			Advice:  "Correct or remove them.",
		})
	}
}

func labelCommand(ref ObjectRef, key, value string) string {
	if ref.Namespace == "" {
		return fmt.Sprintf("kubectl label %s %s %s", strings.ToLower(ref.Kind), ref.Name, ShellWord(key+"="+value))
	}
	return fmt.Sprintf("kubectl label %s -n %s %s %s", strings.ToLower(ref.Kind), ref.Namespace, ref.Name, ShellWord(key+"="+value))
}

func (r *reading) nearest(key string) string {
	if known, found := NearestRoutingKey(key); found {
		return "Did you mean " + known.Key + "?"
	}
	return "Remove it, or see the list of annotations."
}

// generatedLabels are labels of pods that controllers generate. Their values change with every rollout, or differ for each pod,
// so they do not name versions.
var generatedLabels = map[string]bool{
	"pod-template-hash": true, "rollouts-pod-template-hash": true, "controller-revision-hash": true, "pod-template-generation": true,
	"statefulset.kubernetes.io/pod-name": true, "apps.kubernetes.io/pod-index": true,
	"job-name": true, "controller-uid": true, "batch.kubernetes.io/job-name": true, "batch.kubernetes.io/controller-uid": true,
	"batch.kubernetes.io/job-completion-index": true, "topology.kubernetes.io/region": true, "topology.kubernetes.io/zone": true,
}
