// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"outrigger.dev/outrigger/api"
)

// Weights apply as a whole or not at all: see docs/decisions/0018-wrong-input-moves-nothing.md. A value of the
// weights annotation is in one of these states:
//
//	pending    a version whose share would grow is not ready; the shares in effect stay, or provisional ones are in effect
//	in effect  recorded, and kept however its versions fare from then on
//	replaced   a later value, or the default alone, is in effect
//
// The shares in effect are recorded with what their names mean, so that neither a restart, nor the deletion of one of the
// objects, nor another text with the same names changes them.

// effectiveWeight is one item of the weights in effect.
type effectiveWeight struct {
	name   string
	weight int32
	bound  meaning // what the name means, where that is not simply the version
}

func (w effectiveWeight) meaning() meaning {
	if w.bound.isZero() {
		return meaning{Version: w.name}
	}
	return w.bound
}

// effectiveWeights are weights in effect. In a record they are "v1=90,v2=10 Deployment/canary".
type effectiveWeights []effectiveWeight

// MarshalText and UnmarshalText are for JSON.
func (weights effectiveWeights) MarshalText() ([]byte, error) {
	items := make([]string, len(weights))
	for i, w := range weights {
		items[i] = strings.TrimSpace(fmt.Sprintf("%s=%d %s", w.name, w.weight, w.bound))
	}
	return []byte(strings.Join(items, ",")), nil
}

// UnmarshalText is the reverse of MarshalText.
func (weights *effectiveWeights) UnmarshalText(text []byte) error {
	*weights = nil
	for _, item := range strings.Split(string(text), ",") {
		numbers, bound, _ := strings.Cut(item, " ")
		name, number, _ := strings.Cut(numbers, "=")
		weight, err := strconv.ParseInt(number, 10, 32)
		if err != nil || name == "" || weight < 0 {
			return fmt.Errorf("%q is not a weight in effect", item)
		}
		*weights = append(*weights, effectiveWeight{name, int32(weight), parseMeaning(bound)})
	}
	return nil
}

// String writes weights in the annotation's syntax.
func (weights effectiveWeights) String() string {
	items := make([]string, len(weights))
	for i, w := range weights {
		items[i] = fmt.Sprintf("%s=%d", w.name, w.weight)
	}
	return strings.Join(items, ",")
}

func sameWeights(a, b effectiveWeights) bool {
	return slices.EqualFunc(a, b, func(x, y effectiveWeight) bool {
		return x.name == y.name && x.weight == y.weight && x.meaning().equal(y.meaning())
	})
}

// writtenWeights are those of the annotation, with what their names mean now.
func (s defaultDecision) writtenWeights() effectiveWeights {
	return s.bound(s.Intent.Weights, s.meaningOf)
}

func (s *facts) bound(weights []api.Weight, meaningOf func(string) meaning) effectiveWeights {
	var out effectiveWeights
	for _, w := range weights {
		item := effectiveWeight{name: w.Version, weight: w.Weight}
		if m := meaningOf(w.Version); !m.equal(meaning{Version: w.Version}) {
			item.bound = m
		}
		out = append(out, item)
	}
	return out
}

// weightsDecision is the decision about the weights that are written.
type weightsDecision struct {
	inEffect effectiveWeights // empty: the default has everything
	adopted  bool             // they were set on our VirtualService and apply until the Service decides about shares
	first    bool             // they are provisional
	missing  []string         // why what is written is pending; empty if it is in effect
}

// decideWeights decides which weights are in effect from now on. The decision that it returns has them in its record.
func (s defaultDecision) decideWeights() (defaultDecision, []finding) {
	if s.record.Canary.isActive() {
		return s, nil // decideCanary has decided them
	}
	decided, next := s.weightsDecision(), s
	next.record.Weights, next.record.Adopted, next.record.Provisional = decided.inEffect, decided.adopted, decided.first
	if len(decided.missing) == 0 {
		if !s.invalid[api.AnnotationWeights] && next.endsFailure() {
			next.record.Failed, next.record.FailedChoice = meaning{}, ""
		}
		return next, nil
	}
	return next, next.pendingWeights(decided)
}

func (s defaultDecision) weightsDecision() weightsDecision {
	current := weightsDecision{inEffect: s.record.Weights, adopted: s.record.Adopted, first: s.record.Provisional}
	if len(current.inEffect) == 0 && len(s.Intent.Weights) > 0 {
		current.inEffect = s.weightsOfOldRoute()
	}
	if s.invalid[api.AnnotationWeights] && (len(current.inEffect) > 0 || len(s.ours.routes()) > 0) {
		return current
	}
	if len(s.Intent.Weights) == 0 {
		return s.withoutWeights(current)
	}
	written := s.writtenWeights()
	now := s.sharesOf(current.inEffect)
	if current.first {
		now = nil // every version must be ready
	}
	missing := s.unreadyGrowth(written, now)
	switch {
	case sameWeights(written, current.inEffect) && !current.first, len(missing) == 0:
		return weightsDecision{inEffect: written}
	case len(current.inEffect) == 0 && len(s.ours.routes()) == 0:
		return s.withoutRoute(written, missing)
	}
	current.missing = missing
	return current
}

// withoutWeights gives everything to the default once it can receive it. Adopted shares apply until the Service sets shares that
// can be followed.
func (s defaultDecision) withoutWeights(current weightsDecision) weightsDecision {
	// Weights that were written and removed meanwhile never took effect.
	decided := s.isChanged(api.AnnotationDefaultVersion, api.AnnotationDecidedAt) || s.isNew
	switch {
	case len(current.inEffect) == 0, s.defaultPending(), current.adopted && !decided:
		return current // reported with the default
	}
	current.adopted = false
	all := effectiveWeights{{name: s.nameable(s.current()), weight: 1, bound: s.current()}}
	if current.missing = s.unreadyGrowth(all, s.sharesOf(current.inEffect)); len(current.missing) > 0 {
		return current
	}
	return weightsDecision{}
}

// withoutRoute decides for a Service that has no route yet. The default has everything, unless its weight is 0, or others are ready
// and it is not: then the ready ones share in proportion. If the weight of the default is 0 and no other version is ready, the
// versions with a weight receive their final shares.
func (s defaultDecision) withoutRoute(written effectiveWeights, missing []string) weightsDecision {
	positive := slices.DeleteFunc(slices.Clone(written), func(w effectiveWeight) bool { return w.weight == 0 })
	here := slices.DeleteFunc(slices.Clone(positive), func(w effectiveWeight) bool { return !s.isReady(w.meaning()) })
	isDefaultZero := s.isDefaultZero(written)
	switch {
	case s.current().All:
	case len(here) > 0 && (isDefaultZero || !s.hasReady(s.current())):
		return weightsDecision{inEffect: here, first: true, missing: missing}
	case isDefaultZero:
		return weightsDecision{inEffect: positive, first: true, missing: missing}
	}
	return weightsDecision{missing: missing}
}

// isDefaultZero reports whether the weights give the default 0.
func (s defaultDecision) isDefaultZero(written effectiveWeights) bool {
	return slices.ContainsFunc(written, func(w effectiveWeight) bool { return w.weight == 0 && overlap(w.meaning(), s.current()) })
}

// weightsOfOldRoute reads the shares of a route by a release that did not record the weights in effect. They count as in effect.
// It is nil if all goes to the default, or if another client edited the route.
func (s defaultDecision) weightsOfOldRoute() effectiveWeights {
	var vs *networkingv1.VirtualService
	for _, route := range s.ours.routes() {
		if vs == nil && !slices.Contains(s.edited, route.Name) {
			vs = route
		}
	}
	if vs == nil || s.renewed || s.reselected || !s.isRecorded {
		return nil
	}
	_, to, _, uneven := s.digest(vs)
	ours := slices.Concat(s.possible(s.record.Default), s.possible(s.gone.standIn))
	if uneven || !slices.ContainsFunc(to, func(p portion) bool { return !slices.Contains(ours, p.version) }) {
		return nil
	}
	var out effectiveWeights
	for _, p := range to {
		if p.version == "" {
			return nil
		}
		out = append(out, effectiveWeight{name: p.version, weight: int32(p.weight)}) //nolint:gosec // read from an int32
	}
	return out
}

// unreadyGrowth returns the versions whose share would grow and that are not ready for it.
func (s defaultDecision) unreadyGrowth(written effectiveWeights, now []share) []string {
	var portions []portion
	for _, sh := range now {
		portions = append(portions, sh.to...)
	}
	total, sum := 0, 0
	for _, p := range portions {
		total += p.weight
	}
	for _, w := range written {
		sum += int(w.weight)
	}
	var missing []string
	for _, w := range written {
		has := 0
		for _, p := range portions {
			if s.routesTo(p, w.meaning()) {
				has += p.weight
			}
		}
		if grows(int(w.weight), sum, has, total) && !s.isReadyForMore(w.meaning()) {
			missing = append(missing, s.notYet(w.name, w.meaning()))
		}
	}
	return missing
}

// grows reports whether want of sum is more than has of total. Less than one percent is the rounding of a route, unless
// there was nothing before.
func grows(want, sum, has, total int) bool {
	if has == 0 || total == 0 {
		return want > 0
	}
	return 100*float64(want)/float64(sum) >= 100*float64(has)/float64(total)+1
}

// routesTo reports whether a share of the route belongs to m.
func (s defaultDecision) routesTo(p portion, m meaning) bool {
	if p.version == "" {
		return m.All || s.alone(m)
	}
	return m.All || slices.Contains(s.possible(m), p.version)
}

// isReadyForMore reports whether m may receive more than now: enough of its pods are ready, and proxies know them and one of its
// subsets.
func (s defaultDecision) isReadyForMore(m meaning) bool {
	return s.isReady(m) && s.isSeenReady(m) && s.usableNow(m)
}

// impliedDefault returns the default that weights imply at first sight and at the end of a split: the version with the greatest
// weight, if all could take effect.
func (s defaultDecision) impliedDefault() meaning {
	var greatest effectiveWeight
	for _, w := range s.writtenWeights() {
		if w.weight > 0 && !s.isReady(w.meaning()) {
			return meaning{}
		}
		if w.weight > greatest.weight {
			greatest = w
		}
	}
	if greatest.weight == 0 {
		return meaning{}
	}
	return greatest.meaning()
}

// pendingWeights reports what weights wait for, and what happens until then.
func (s defaultDecision) pendingWeights(decided weightsDecision) []finding {
	var all []portion
	for _, sh := range s.sharesOf(decided.inEffect) {
		all = append(all, sh.to...)
	}
	key, message := api.AnnotationWeights, "Weights take effect as a whole"
	if len(s.Intent.Weights) == 0 {
		key, message = api.AnnotationDefaultVersion, "The Service no longer has weights, and the default cannot take their share yet"
	}
	message += "; until then the route is " + sharesLine(asRead(normalised(all))) + "."
	if decided.first {
		message += " " + s.provisionalNote()
	}
	return s.pending(key, decided.missing, message)
}

// provisionalNote returns why the first route omits the default.
func (s defaultDecision) provisionalNote() string {
	why := "had no ready pod when that was written"
	if s.isDefaultZero(s.writtenWeights()) {
		why = "has the weight 0"
	}
	note := "The default, " + s.current().String() + ", " + why + " and gets none."
	if !slices.ContainsFunc(s.record.Weights, func(w effectiveWeight) bool { return s.isReady(w.meaning()) }) {
		note += " No other version is ready; requests fail until one is."
	}
	return note
}

// pendingText names what is missing, as a sentence that others follow.
func pendingText(missing []string) string {
	text := "Pending: " + strings.Join(missing, ", ")
	if !strings.HasSuffix(text, "?") {
		text += "."
	}
	return text + " "
}

func asRead(portions []portion) []ReadShare {
	var out []ReadShare
	for _, p := range portions {
		out = append(out, ReadShare{p.version, p.weight})
	}
	return out
}

// corrected is what an annotation was probably meant to say, with the versions that are there; empty if no name in it is
// close to one of them.
func (s defaultDecision) corrected(key, value string) string {
	if value == "" {
		return ""
	}
	known, found := s.knownVersions(), false
	near := func(name string) string {
		candidate, is := api.NearestVersion(name, known)
		if !is || s.hasPods(s.meaningOf(name)) {
			return name
		}
		found = true
		return candidate
	}
	text := s.Intent.Renamed(key, near)
	if key == api.AnnotationWeights && api.CheckWeights(text) != nil {
		return "" // a version would be named twice
	}
	if !found {
		return ""
	}
	return text
}
