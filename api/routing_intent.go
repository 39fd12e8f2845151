// SPDX-License-Identifier: Apache-2.0

package api

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// LabelGatewayManaged marks a Service that Istio made for a Gateway.
const LabelGatewayManaged = "gateway.istio.io/managed"

// KeyDoc documents one label or annotation that a user may write for routing.
type KeyDoc struct {
	Key     string
	Label   bool     // a label; otherwise an annotation
	On      []string // the kinds it may stand on: "Namespace", "Service"; the Service's own wins
	Default string   // as one would write it; empty if unset means nothing
	Values  string   // what may be written
	Doc     string   // one or two sentences
}

// RoutingKeys returns every label and annotation of routing that a user may write, in the order of the reference.
func RoutingKeys() []KeyDoc {
	both, service, namespace := []string{"Namespace", "Service"}, []string{"Service"}, []string{"Namespace"}
	return []KeyDoc{
		{LabelRouting, true, both, "", "enabled, subsets-only, observe, disabled", "Whether routes are managed (enabled), only the DestinationRule with its subsets (subsets-only), nothing but a dry run (observe), or nothing (disabled). Without it, the Namespace's injection label starts routing but does not end it."},
		{AnnotationVersionLabel, false, both, "version", "the key of a label that you set, such as app.kubernetes.io/version", "The pod label whose values are the versions. With an existing route, a change takes effect when it moves no traffic. Labels that Kubernetes generates, such as pod-template-hash, are invalid."},
		{AnnotationDefaultVersion, false, both, string(DefaultFirst), "@first, @lowest, @highest, @all, or a version such as v1", "The version that receives all traffic that is not routed otherwise; @all prefers none."},
		{AnnotationWeights, false, service, "", "v1=90,v2=10", "How versions share requests: whole numbers that are not all 0."},
		{AnnotationMatch, false, service, "", "v2=header:end-user:jason;v2=header-prefix:x-canary:yes;v2=cookie:beta:1;v3=query:v:3;v2=source:v2", "Routes matching requests to a version; the first match wins. header is an exact value, header-prefix its beginning, cookie and query a value, and source the version of the calling pod. In a name or value, write ; as %3B and % as %25."},
		{AnnotationMirror, false, service, "", "v2=10", "Mirrors this percentage of unmatched HTTP requests; responses are discarded."},
		{AnnotationSticky, false, service, "", "cookie:NAME:TTL, for example cookie:version:1h", "Keeps a caller on the version it was given, with a cookie of this name and lifetime. HTTP only."},
		{AnnotationExpose, false, service, "false", "true, false", "Whether the Service is exposed at an ingress gateway."},
		{AnnotationHosts, false, service, "*", "host names, separated by commas", "The hosts that the Service is exposed for."},
		{AnnotationAllowedHosts, false, namespace, "", "host names, separated by commas, with *. wildcards", "The hosts that Services in the Namespace may be exposed for. If set, all others are refused."},
		{AnnotationGateway, false, both, "", "namespace/name", "An existing Gateway to use. Without it, Outrigger creates one."},
		{AnnotationGatewaySelector, false, both, "istio=ingressgateway", "key=value,key=value", "The labels of the ingress gateway's pods."},
		{AnnotationGatewayPort, false, both, "80", "a number from 1 to 65535 that Istio's proxy does not use itself", "The port of the ingress gateway. With tls-credential, the default is 443."},
		{AnnotationTLSCredential, false, service, "", "the name of a Secret, for example web-tls", "Serves HTTPS with the certificate in this Secret, which must be in the namespace of the ingress gateway's pods. It cannot be combined with gateway."},
		{AnnotationHTTPSRedirect, false, service, "false", "true, false", "Redirects HTTP requests on port 80 to HTTPS, with status 301. Requires tls-credential."},
		{AnnotationPath, false, service, "/", "a path that begins with /", "The path prefix that the gateway serves for the Service."},
		{AnnotationPathRewrite, false, service, "", "a path that begins with /", "Replaces that prefix before the Service sees the path. Callers in the mesh are not affected."},
		{AnnotationServicePort, false, service, "", "the name or number of a port of the Service", "The Service port that the gateway routes to. By default its first HTTP port."},
		{AnnotationUnversioned, false, both, "all", "all, ignore", "With ignore, a default route is written although pods without a version lose their traffic."},
		{AnnotationDrift, false, both, string(DriftAdopt), "adopt, revert, detach", "What happens to Outrigger's VirtualService when you edit it. adopt: edited weights apply if the Service has none; after any other edit it is yours. revert: edits are reverted. detach: it is yours."},
		{AnnotationEager, false, both, "true", "true, false", "With false, subsets and a route are written only when a second workload appears or you choose a version."},
		{AnnotationInheritPolicy, false, both, "true", "true, false", "Whether Outrigger's DestinationRule copies the policy of a wildcard DestinationRule that it would shadow."},
		{AnnotationSubsetRetention, false, both, "1m", "a duration from 10s on, such as 5m", "How long a subset stays after its last pod is gone and no route names it. By default the setting routing.subsetRetention."},
		{AnnotationUnreadyAfter, false, both, "30s", "a duration from 1s on, such as 2m", "How long a default version may have no ready pod before it is reported and default-gone applies. By default the setting routing.defaultGoneAfter."},
		{AnnotationUnreadyPolicy, false, both, "hold", "hold, next, all", "What happens when the default version has no ready pod. hold: the route stays. next: the next version, in the order of default-version, becomes the default. all: requests go to all ready pods. The former default does not return by itself."},
		{AnnotationDefaultDeleted, false, both, "move", "move, hold", "What happens when the workload of the default version is deleted with its pods. move: the one remaining version receives the traffic. hold: the route stays, and requests fail until the workload is back or you choose another version."},
		{AnnotationScaledToZero, false, both, "move", "move, hold", "What happens to the share of a version with a weight whose workload is scaled to 0. move: the default receives it until the version is ready again. hold: the share stays, as scale-from-zero autoscalers need it."},
		{AnnotationDecidedAt, false, service, "", "a time such as 2026-01-02T03:04:05Z", "When outrigger shift or promote last ran; they write it. From then on, a name means the workload that has the version at that time."},
	}
}

// RouteIntentOf returns what the user requests, within the default limits, and the Problems of the annotations.
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
	r.each(&intent, AnnotationWeights, func(text string) (err error) { intent.Weights, err = parseWeights(text); return })
	r.each(&intent, AnnotationMatch, func(text string) (err error) { intent.Match, err = parseMatches(text); return })
	r.covered(&intent)
	r.each(&intent, AnnotationMirror, func(text string) (err error) { intent.Mirror, err = parseMirror(text); return })
	r.each(&intent, AnnotationSticky, func(text string) (err error) { intent.Sticky, err = parseSticky(text); return })
	r.each(&intent, AnnotationDecidedAt, func(text string) (err error) { intent.DecidedAt, err = parseTime(text); return })
	r.each(&intent, AnnotationUnversioned, func(text string) (err error) { intent.IgnoreUnversioned, err = parseUnversioned(text); return })
	r.each(&intent, AnnotationDrift, func(text string) error { return keep(&intent.Drift)(parseDrift(text)) })
	r.each(&intent, AnnotationEager, func(text string) error {
		eager, err := parseSwitch(text)
		intent.Lazy = err == nil && !eager
		return err
	})
	r.each(&intent, AnnotationInheritPolicy, func(text string) error {
		inherits, err := parseSwitch(text)
		intent.NoPolicy = err == nil && !inherits
		return err
	})
	r.each(&intent, AnnotationSubsetRetention, func(text string) (err error) {
		intent.SubsetRetention, err = parseDuration(text, leastRetention)
		return
	})
	r.each(&intent, AnnotationUnreadyAfter, func(text string) (err error) { intent.UnreadyAfter, err = parseDuration(text, time.Second); return })
	r.each(&intent, AnnotationUnreadyPolicy, func(text string) (err error) { intent.Unready, err = parseUnready(text); return })
	intent.HoldDeleted = r.holds(&intent, AnnotationDefaultDeleted)
	intent.HoldScaledToZero = r.holds(&intent, AnnotationScaledToZero)
	r.exposure(&intent)
	r.exportTo(&intent)
	if _, written := r.service.Annotations[AnnotationDefaultVersion]; written && !intent.Bad[AnnotationDefaultVersion] {
		intent.Default.OnService = true
	}
	r.idleCompanions(&intent)
	r.strangers()
	slices.SortStableFunc(r.problems, func(a, b RouteProblem) int {
		return strings.Compare(a.Object.Kind+" "+a.Field, b.Object.Kind+" "+b.Field)
	})
	return intent, r.problems
}

// holds reports whether an annotation with the values move and hold says hold.
func (r *reading) holds(intent *RouteIntent, key string) (holds bool) {
	r.each(intent, key, func(text string) error {
		if holds = text == "hold"; !holds && text != "move" {
			return fmt.Errorf("%q is neither move nor hold", text)
		}
		return nil
	})
	return holds
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
	recorded  map[string]bool // keys that are held to the grammar alone
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

// nearestMode is the mode that an unknown value was probably meant to be.
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

// mode reads the label: the Service's own, else the Namespace's. An unknown value moves nothing: it behaves as observe.
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

// each reads a key of the Service, or else of the Namespace if it may have the key. The Namespace's value does not replace an
// invalid one of the Service.
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

// refusalOf is refusal, for annotations that are not recorded as accepted.
func (r *reading) refusalOf(key, text string) error {
	if r.recorded[key] {
		return nil
	}
	return r.refusal(key, text)
}

// maxReasonBytes is how much of an error that quotes the annotation is kept.
const maxReasonBytes = 500

func (r *reading) invalid(intent *RouteIntent, key, text string, ref ObjectRef, err error) {
	intent.Bad[key] = true
	effect := ". Ignored; the current route is unchanged."
	if isExposureKey(key) {
		effect = ". Nothing new is exposed, and an existing exposure is unchanged."
	}
	r.problems = append(r.problems, RouteProblem{
		Object: ref, Field: AnnotationField(key), Value: text, Reason: RouteInvalidAnnotation,
		Message: Shorten("Invalid value: "+err.Error(), maxReasonBytes) + effect,
		Advice:  "Write " + r.keys[key].Values + ".",
	})
}

// ObjectWith returns the object that an annotation of routing is read from for a Service: the Namespace, if the annotation applies
// there and the Service has none of its own, else the Service. The Namespace may be nil.
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

// exposure reads expose and the annotations that belong to it, also if nothing is exposed, so that their Problems are reported.
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

func (r *reading) hasPort(wish string) bool {
	return slices.ContainsFunc(r.service.Spec.Ports, func(port corev1.ServicePort) bool { return IsPort(port, wish) })
}

// IsPort reports whether a port of a Service is the one that is called by this name or number.
func IsPort(port corev1.ServicePort, wish string) bool {
	return port.Name == wish || strconv.Itoa(int(port.Port)) == wish
}

// unknownPort reports a port that the Service does not have, and takes it out.
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

// keep returns a function that stores a value unless it comes with an error.
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

// strangers reports unknown keys under outrigger.dev, and known ones on the wrong object.
func (r *reading) strangers() {
	r.strangersOn(r.serviceRef(), r.service.Annotations)
	r.strangersOn(r.namespaceRef(), r.namespace.Annotations)
}

// maxStrangers is how many unread keys of one object are listed: a user may write thousands of them.
const maxStrangers = 10

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
		case listed < maxStrangers:
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
		return fmt.Sprintf("kubectl label %s %s %s=%s", strings.ToLower(ref.Kind), ref.Name, key, value)
	}
	return fmt.Sprintf("kubectl label %s -n %s %s %s=%s", strings.ToLower(ref.Kind), ref.Namespace, ref.Name, key, value)
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

func parseLabelKey(text string) (string, error) {
	if faults := validation.IsQualifiedName(text); len(faults) > 0 {
		return "version", fmt.Errorf("%q is not the key of a label", text)
	}
	if generatedLabels[text] {
		return "version", fmt.Errorf("%q is generated by Kubernetes and changes with every rollout or pod", text)
	}
	return text, nil
}

func parseDefault(text string) (DefaultIntent, error) {
	switch policy := DefaultPolicy(text); policy {
	case DefaultFirst, DefaultLowest, DefaultHighest, DefaultAll:
		return DefaultIntent{Policy: policy}, nil
	}
	if strings.HasPrefix(text, "@") {
		return DefaultIntent{Policy: DefaultFirst}, unknownPolicy(text)
	}
	if err := checkVersion(text); err != nil {
		return DefaultIntent{Policy: DefaultFirst}, err
	}
	return DefaultIntent{Policy: DefaultLiteral, Version: text}, nil
}

// unknownPolicy says that a default is none of the policies, and which of them it was probably meant to be.
func unknownPolicy(text string) error {
	for _, policy := range []DefaultPolicy{DefaultFirst, DefaultLowest, DefaultHighest, DefaultAll} {
		if slips(strings.ToLower(text), string(policy)) <= 1 {
			return fmt.Errorf("unknown policy %q (did you mean %q?)", text, policy)
		}
	}
	return fmt.Errorf("unknown policy %q", text)
}

// checkVersion accepts what can be the value of a label, but not the empty one.
func checkVersion(text string) error {
	if text == "" {
		return errors.New("the version is empty")
	}
	if faults := validation.IsValidLabelValue(text); len(faults) > 0 {
		return fmt.Errorf("%q cannot be the value of a label, so no pod has this version", text)
	}
	return nil
}

// ParseWeights reads weights as the annotation has them, "v1=90,v2=10".
func ParseWeights(text string) ([]Weight, error) { return parseWeights(text) }

func parseWeights(text string) ([]Weight, error) {
	out, err := parseNumbers(text, "weight", 1<<24-1)
	if err == nil && !slices.ContainsFunc(out, func(w Weight) bool { return w.Weight > 0 }) {
		return nil, errors.New("all weights are 0")
	}
	return out, err
}

func parseMirror(text string) ([]Weight, error) { return parseNumbers(text, "percentage", 100) }

// parseNumbers reads a comma list of version=number, each version once, the numbers from 0 to most.
func parseNumbers(text, what string, most uint64) ([]Weight, error) {
	var out []Weight
	for _, item := range strings.Split(text, ",") {
		version, number, found := strings.Cut(strings.TrimSpace(item), "=")
		if !found {
			return nil, fmt.Errorf("%q is not of the form version=%s", strings.TrimSpace(item), what)
		}
		version, number = strings.TrimSpace(version), strings.TrimSpace(number)
		if err := checkVersion(version); err != nil {
			return nil, err
		}
		n, err := strconv.ParseUint(number, 10, 32)
		if err != nil || n > most {
			return nil, fmt.Errorf("the %s of %s, %q, is not a whole number from 0 to %d", what, version, number, most)
		}
		if slices.ContainsFunc(out, func(w Weight) bool { return w.Version == version }) {
			return nil, fmt.Errorf("version %s is named twice", version)
		}
		out = append(out, Weight{Version: version, Weight: int32(n)}) //nolint:gosec // at most most, which is small
	}
	return out, nil
}

// cookieLimit is how long browsers keep a cookie at most.
const cookieLimit = 400 * 24 * time.Hour

var stickyName = regexp.MustCompile(`^[-_.0-9A-Za-z]{1,64}$`)

func parseSticky(text string) (*Sticky, error) {
	kind, rest, _ := strings.Cut(text, ":")
	name, lasts, found := strings.Cut(rest, ":")
	if kind != "cookie" || !found {
		return nil, fmt.Errorf("%q is not of the form cookie:name:time", text)
	}
	if !stickyName.MatchString(name) || strings.HasPrefix(name, "__") {
		return nil, fmt.Errorf("%q cannot be the name of the cookie: at most 64 letters, digits, dots, dashes and underscores, not two underscores first", name)
	}
	ttl, err := time.ParseDuration(lasts)
	if err != nil || ttl < time.Second || ttl > cookieLimit || ttl%time.Second != 0 {
		return nil, fmt.Errorf("%q is not a time of whole seconds, from 1s to %d days, such as 30m or 24h", lasts, cookieLimit/(24*time.Hour))
	}
	return &Sticky{Cookie: name, TTL: ttl}, nil
}

func parseSwitch(text string) (bool, error) {
	switch text {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither true nor false", text)
}

func parseUnversioned(text string) (bool, error) {
	switch text {
	case "ignore":
		return true, nil
	case "all":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither all nor ignore", text)
}

func parseDrift(text string) (DriftMode, error) {
	switch mode := DriftMode(text); mode {
	case DriftAdopt, DriftRevert, DriftDetach:
		return mode, nil
	}
	return DriftAdopt, fmt.Errorf("%q is neither adopt, revert nor detach", text)
}

// parseHosts returns the hosts in lower case, sorted, without duplicates; "*" includes all others.
func parseHosts(text string) ([]string, error) {
	var out []string
	for _, item := range strings.Split(text, ",") {
		host := strings.ToLower(strings.TrimSpace(item))
		if err := checkHost(host); err != nil {
			return nil, err
		}
		out = append(out, host)
	}
	if slices.Contains(out, "*") {
		return []string{"*"}, nil
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func checkHost(host string) error {
	name := strings.TrimPrefix(host, "*.")
	if host == "*" {
		return nil
	}
	labels := strings.Split(name, ".")
	if _, err := strconv.Atoi(labels[len(labels)-1]); err == nil || len(validation.IsDNS1123Subdomain(name)) > 0 || len(host) > 253 {
		return fmt.Errorf("%q is not a host name", host)
	}
	for _, label := range labels {
		if len(validation.IsDNS1123Label(label)) > 0 {
			return fmt.Errorf("%q is not a host name", host)
		}
	}
	return nil
}

func parseGateway(text string) (string, error) {
	namespace, name, found := strings.Cut(text, "/")
	if !found || len(validation.IsDNS1123Label(namespace)) > 0 || len(validation.IsDNS1123Label(name)) > 0 {
		return "", fmt.Errorf("%q is not of the form namespace/name", text)
	}
	return text, nil
}

func parseSelector(text string) (map[string]string, error) {
	out := map[string]string{}
	for _, item := range strings.Split(text, ",") {
		key, value, found := strings.Cut(item, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if !found || len(validation.IsQualifiedName(key)) > 0 || len(validation.IsValidLabelValue(value)) > 0 {
			return nil, fmt.Errorf("%q is not a label of the form key=value", strings.TrimSpace(item))
		}
		if _, twice := out[key]; twice {
			return nil, fmt.Errorf("the label %s is given twice", key)
		}
		out[key] = value
	}
	return out, nil
}

func parsePort(text string) (uint32, error) {
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return 0, fmt.Errorf("%q is not a port", text)
	}
	return uint32(port), nil
}

func parsePortName(text string) (string, error) {
	if _, err := parsePort(text); err == nil {
		return text, nil
	}
	if faults := validation.IsDNS1123Label(text); len(faults) > 0 {
		return "", fmt.Errorf("%q is neither the name nor the number of a port", text)
	}
	return text, nil
}

func parsePath(text string) (string, error) {
	if !strings.HasPrefix(text, "/") || strings.ContainsAny(text, " \t?#") {
		return "", fmt.Errorf("%q is not a path", text)
	}
	return text, nil
}

func parseTime(text string) (time.Time, error) {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is not a time of RFC 3339", text)
	}
	return at, nil
}

// leastRetention is the longest that istiod holds a change back: a subset must outlast the route that named it.
const leastRetention = 10 * time.Second

func parseDuration(text string, least time.Duration) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < least {
		return 0, fmt.Errorf("%q is not a duration from %v on", text, least)
	}
	return d, nil
}

func parseUnready(text string) (UnreadyPolicy, error) {
	switch policy := UnreadyPolicy(text); policy {
	case "hold":
		return UnreadyHold, nil
	case UnreadyNext, UnreadyAll:
		return policy, nil
	}
	return UnreadyHold, fmt.Errorf("%q is neither hold, next nor all", text)
}
