// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"slices"
	"strings"
	"time"
)

// sameMoment is how far apart the Events of one decision of the controller can be.
const sameMoment = 10 * time.Second

// group is a set of Events that say the same about different objects.
type group struct {
	timelineEntry
	text    string   // the message without the object that it begins with
	related []string // the objects that the messages begin with
	seen    []string // the objects of the Events, to distinguish a repetition from an Event about another object
}

// eventEntries returns the Events, newest first, as entries. Outrigger records a step of a canary for the Service and for each workload, and
// a change of weights for each VirtualService: those that say the same at the same moment are one entry that names all objects.
func eventEntries(namespace string, events []Event) []timelineEntry {
	var groups []*group
	for _, e := range events {
		e.Message = withoutObject(namespace, e)
		if at := slices.IndexFunc(groups, func(g *group) bool { return g.includes(e) }); at >= 0 {
			groups[at].add(e)
			continue
		}
		one := &group{timelineEntry: timelineEntry{At: e.At, Kind: e.Kind, Reason: e.Reason, Count: e.Count}}
		one.add(e)
		groups = append(groups, one)
	}
	var out []timelineEntry
	for _, g := range groups {
		slices.Sort(g.related)
		slices.SortFunc(g.Objects, serviceFirst)
		g.Message = strings.Join(g.related, ", ") + g.text
		out = append(out, g.timelineEntry)
	}
	return out
}

// withoutObject returns the message of an Event without the object at its beginning, which the entry names: "Service demo/web: ".
func withoutObject(namespace string, e Event) string {
	kind, name, _ := strings.Cut(e.Object, " ")
	return strings.TrimPrefix(e.Message, kind+" "+namespace+"/"+name+": ")
}

// serviceFirst orders objects: the Service, then the others by name.
func serviceFirst(a, b string) int {
	isService := func(object string) bool { return strings.HasPrefix(object, "Service ") }
	if isService(a) != isService(b) {
		if isService(a) {
			return -1
		}
		return 1
	}
	return strings.Compare(a, b)
}

// split returns the object at the beginning of an Event's message, and the rest. The object is empty if the message begins with another text.
func split(e Event) (object, rest string) {
	if rest, is := strings.CutPrefix(e.Message, e.Related); is && e.Related != "" && (rest == "" || strings.HasPrefix(rest, ":")) {
		return e.Related, rest
	}
	return "", e.Message
}

// includes reports whether an Event says the same as the group about another object. The Service's Event about an aborted canary contains
// advice after the text of the workload's Event.
func (g *group) includes(e Event) bool {
	object, rest := split(e)
	isSame := rest == g.text || object == "" && rest != "" && g.text != "" && (strings.HasPrefix(rest, g.text+" ") || strings.HasPrefix(g.text, rest+" "))
	return isSame && e.Reason == g.Reason && (object == "") == (len(g.related) == 0) && !slices.Contains(g.seen, identity(e)) && g.At.Sub(e.At).Abs() <= sameMoment
}

func identity(e Event) string { return e.Object + " " + e.Related }

func (g *group) add(e Event) {
	object, rest := split(e)
	if object != "" {
		g.related = append(g.related, object)
	}
	if !slices.Contains(g.Objects, e.Object) {
		g.Objects = append(g.Objects, e.Object)
	}
	if len(rest) > len(g.text) {
		g.text = rest
	}
	if e.Kind == "Warning" {
		g.Kind = e.Kind
	}
	g.Count, g.seen = max(g.Count, e.Count), append(g.seen, identity(e))
}
