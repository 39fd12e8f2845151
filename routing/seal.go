// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"maps"
	"slices"
	"strings"

	"outrigger.dev/outrigger/api"
)

// trust is whether the annotations with our record on one of our objects can be trusted.
type trust int

const (
	blank    trust = iota // none of our annotations is left
	unsealed              // as a release without the seal wrote them
	sealed                // as we wrote them
	broken                // changed by another client since
)

// seal returns a digest of our annotations on an object. Another client that edits one of them does not update it, so its edit is
// detected.
func seal(annotations map[string]string) string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(ownMarks(annotations))) {
		if key != api.AnnotationSeal {
			b.WriteString(key + "=" + annotations[key] + "\n")
		}
	}
	return api.ShortHash(b.String())
}

func trustOf(object Object) trust {
	annotations := object.GetAnnotations()
	switch written := annotations[api.AnnotationSeal]; {
	case len(ownMarks(annotations)) == 0:
		return blank
	case written == "":
		return unsealed
	case written == seal(annotations):
		return sealed
	}
	return broken
}

// sealAll seals what the plan has made; objects that stay as they are keep the seal that they have.
func (s *facts) sealAll(objects Objects, unsealed Object) {
	if s.Offline {
		return // nothing is recorded on what is printed
	}
	for _, object := range objects.All() {
		if !slices.Contains(s.observedObjects, object) && object != unsealed {
			annotations := object.GetAnnotations()
			annotations[api.AnnotationSeal] = seal(annotations)
		}
	}
}

// distrustEdited removes our annotations from the objects on which another client edited them: what that client wrote does not
// count as a decision. What they recorded is read from the other objects, or inferred again.
func (s *reader) distrustEdited() {
	s.distrusted = map[Object]Object{}
	for i, rule := range s.Existing.DestinationRules {
		s.Existing.DestinationRules[i] = distrust(s, rule)
	}
	for i, vs := range s.Existing.VirtualServices {
		s.Existing.VirtualServices[i] = distrust(s, vs)
	}
	for i, gateway := range s.Existing.Gateways {
		s.Existing.Gateways[i] = distrust(s, gateway)
	}
}

func distrust[T interface {
	Object
	DeepCopy() T
}](s *reader, object T) T {
	if trustOf(object) != broken && !s.isStranger(object) {
		return object
	}
	bare := object.DeepCopy()
	maps.DeleteFunc(bare.GetAnnotations(), func(key, _ string) bool { return slices.Contains(writtenKeys, key) })
	s.distrusted[bare] = object
	return bare
}

// restoreAdded treats subsets with our names as ours if the DestinationRule has no record. They count as added now.
func (s *reader) restoreAdded() {
	rule := s.ours.destinationRule
	if rule == nil || trustOf(rule) != blank {
		return
	}
	for _, subset := range rule.Spec.Subsets {
		if version, is := s.versionOf(subset); is && isNameOf(subset.Name, version) {
			s.ours.added[subset.Name] = s.now
		}
	}
}

// asObserved puts the observed objects in the place of copies without annotations that the plan leaves as they are.
func asObserved[T Object](s *facts, list []T) []T {
	out := slices.Clone(list)
	for i, object := range out {
		if original, is := s.distrusted[object].(T); is {
			out[i] = original
		}
	}
	return out
}

// asEarlier returns the annotations that an object must have. Of one that an earlier release wrote, it leaves out what that
// release did not know: those are written with the next change, so that an upgrade writes nothing for their sake alone.
func asEarlier(current, want Object) map[string]string {
	marks := want.GetAnnotations()
	if trustOf(current) != unsealed || current.GetAnnotations()[api.AnnotationSubsets] != "" || recordOf(current).Revision > 0 {
		return marks
	}
	out := maps.Clone(marks)
	for _, key := range []string{api.AnnotationSeal, api.AnnotationSubsets, api.AnnotationWritten} {
		if _, has := current.GetAnnotations()[key]; !has && (key != api.AnnotationWritten || KindOf(current) == "DestinationRule") {
			delete(out, key)
		}
	}
	if r := recordOf(want); !r.isZero() && current.GetAnnotations()[api.AnnotationRecord] != marks[api.AnnotationRecord] {
		was := r.asEarlier()
		was.VersionLabel = recordOf(current).VersionLabel
		out[api.AnnotationRecord] = was.text()
	}
	return out
}

// asEarlier is a record without what releases did not record that do not count its revisions.
func (r record) asEarlier() record {
	r.Revision, r.Unrouted, r.Canary = 0, false, canaryRecord{}
	r.Kept, r.Mirrors, r.LastValid, r.Absent, r.Gone, r.Detached, r.KeptHosts, r.History = nil, nil, nil, nil, "", nil, nil, nil
	return r
}
