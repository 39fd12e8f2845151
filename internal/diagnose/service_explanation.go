// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

// Paragraph is a heading with rows of cells.
type Paragraph struct {
	Heading string
	Rows    [][]string
}

// Paragraphs explains a Service: whether routes are requested, its settings, its workloads, the default and why, where requests go,
// what is written, and what is wrong.
func (s ServiceExplanation) Paragraphs() []Paragraph {
	out := []Paragraph{
		{"Service " + s.Namespace + "/" + s.Name, [][]string{{"State", s.State + ": " + cmp.Or(s.Skipped, stateMeanings[s.State])}, {"Routing", s.Routing},
			{"Versions", "the values of the pods' label " + s.VersionLabel}, {"Default", s.defaultText}}},
		{"Settings", settingRows(s.Settings)},
		{"Workloads", workloadRows(s.Workloads)},
		{"Where requests go", s.ruleRows()},
		{"Canary", s.canary},
		{"Routes by caller", pathRows(s.Routes)},
		{"From outside", gatewayRows(s.Gateways)},
		{"Objects", objectRows(s.Objects)},
		{"Not written yet", s.dueRows()},
		{"Would be written (routing=observe)", rowsOf(s.Unwritten)},
		{"Problems", rowsOf(ProblemLines(s.Problems))},
	}
	return slices.DeleteFunc(out, func(p Paragraph) bool { return len(p.Rows) == 0 })
}

// whyRouted returns which label decides whether routes are managed.
func whyRouted(observed routing.Observed, gaps Gaps) string {
	service, namespace := observed.Service, observed.Namespace
	for _, place := range []struct {
		labels map[string]string
		where  string
	}{{service.Labels, "the Service"}, {namespace.Labels, "namespace " + namespace.Name}} {
		switch word := api.RoutingMode(place.labels[api.LabelRouting]); {
		case word.IsWritten():
			return fmt.Sprintf("%s, by label %s on %s", word, api.LabelRouting, place.where)
		case word != api.RoutingUnset:
			return fmt.Sprintf("observe, since the label %s=%s on %s is invalid", api.LabelRouting, word, place.where)
		}
	}
	switch word := InjectionOf(namespace); {
	case gaps.HidesIntent(observed):
		return "unknown, since you have no permission to read Namespace " + namespace.Name
	case observed.Intent.Wanted:
		return fmt.Sprintf("on, since namespace %s is labeled for injection (%s)", namespace.Name, word)
	case !observed.Existing.IsEmpty():
		return "kept, since objects exist; no label requests them"
	}
	return "off: namespace " + namespace.Name + " has no label that requests routes. To change that: outrigger enable " + namespace.Name
}

func describeDefault(reading routing.Reading) string {
	if reading.Default == "" {
		return "none is recorded"
	}
	if defaultReasons[reading.By] == "" {
		return reading.Default
	}
	if reading.StandIn != "" {
		return reading.Default + ", whose workload was deleted; " + reading.StandIn + " receives its traffic"
	}
	return reading.Default + ", because " + whyDefault(reading)
}

// whyDefault returns how the default was chosen, or "" if that is not recorded. A default without a fixed version is a workload.
func whyDefault(reading routing.Reading) string {
	if reading.By == routing.ByFirst && strings.Contains(reading.Default, "/") {
		return "it was the first workload when the default was recorded"
	}
	return defaultReasons[reading.By]
}

// defaultReasons explains how a default was chosen, by the recorded reason.
var defaultReasons = map[string]string{
	routing.ByFirst: "it was the first version when the default was recorded",
	routing.ByOld:   "it received traffic before Outrigger was installed",
	routing.ByUser:  "an annotation decided it (default-version or weights)",
	routing.ByLeft:  "the workloads of all other versions were deleted",
	routing.ByGone:  "the default before had no ready pod for too long",
}

// settingsOf returns Outrigger's labels and annotations on the Service and its Namespace.
func settingsOf(observed routing.Observed) []Setting {
	var out []Setting
	for _, object := range []struct {
		kind string
		metav1.ObjectMeta
	}{{"Service", observed.Service.ObjectMeta}, {"Namespace", observed.Namespace.ObjectMeta}} {
		for _, values := range []map[string]string{object.Labels, object.Annotations} {
			for _, key := range slices.Sorted(maps.Keys(values)) {
				if strings.HasPrefix(key, api.Domain+"/") {
					out = append(out, Setting{On: object.kind, Key: key, Value: values[key]})
				}
			}
		}
	}
	return out
}

func settingRows(settings []Setting) [][]string {
	var out [][]string
	for _, s := range settings {
		out = append(out, []string{s.On, s.Key, s.Value})
	}
	return out
}

// workloadsOf returns the workloads behind the Service with their versions, those without pods last.
func workloadsOf(observed routing.Observed) []WorkloadStatus {
	var out []WorkloadStatus
	seen := map[routing.WorkloadRef]bool{}
	for _, group := range observed.Pods {
		seen[group.Workload] = true
		out = append(out, WorkloadStatus{group.Workload.String(), group.Version, group.Ready, group.Pods, isFixed(observed, group.Workload)})
	}
	for _, w := range observed.Workloads {
		if !seen[w.WorkloadRef] && routing.Selects(observed.Service.Spec.Selector, w.Labels) {
			out = append(out, WorkloadStatus{Workload: w.String(), Version: w.Labels[observed.Intent.VersionLabel], Fixed: isFixed(observed, w.WorkloadRef)})
		}
	}
	return out
}

func isFixed(observed routing.Observed, ref routing.WorkloadRef) bool {
	at := slices.IndexFunc(observed.Workloads, func(w routing.Workload) bool { return w.WorkloadRef == ref })
	return at >= 0 && observed.Workloads[at].Selector[observed.Intent.VersionLabel] != ""
}

func workloadRows(workloads []WorkloadStatus) [][]string {
	var out [][]string
	for _, w := range workloads {
		version, pods, track := w.Version, fmt.Sprintf("%d of %d pods ready", w.Ready, w.Pods), "rolling: its version may change in place"
		if version == "" {
			version = "no version"
		}
		if w.Pods == 0 {
			pods = "no pods"
		}
		switch kind, _, _ := strings.Cut(w.Workload, "/"); {
		case w.Fixed:
			track = "fixed: its selector contains the version"
		case kind == "Pod" || kind == "WorkloadEntry":
			track = "no workload: its version does not change"
		}
		out = append(out, []string{w.Workload, version, pods, track})
	}
	return out
}

func (s ServiceExplanation) ruleRows() [][]string {
	if s.isHidden {
		return [][]string{{"unknown"}}
	}
	var out [][]string
	for _, rule := range s.Rules {
		var to []string
		for _, share := range rule.To {
			switch {
			case share.Version == "":
				to = append(to, "every pod")
			case len(rule.To) == 1:
				to = append(to, share.Version)
			default:
				to = append(to, fmt.Sprintf("%s=%d", share.Version, share.Weight))
			}
		}
		row := []string{rule.MatchText(len(s.Rules) == 1), "->", strings.Join(to, " ")}
		for _, m := range rule.Mirror {
			row = append(row, "copied to "+routing.ReadMirror(m).String())
		}
		out = append(out, row)
	}
	if len(out) == 0 {
		out = append(out, []string{"all requests", "->", "every pod (no VirtualService routes)"})
	}
	return out
}

// pathRows returns which VirtualServices route, if Outrigger does not write all of them.
func pathRows(routes []PathStatus) [][]string {
	var out [][]string
	for _, r := range routes {
		by := "no VirtualService"
		switch {
		case r.Outrigger:
			by = r.Object
		case r.Object != "":
			by = r.Object + ", which Outrigger does not write"
		}
		where := "callers in the mesh"
		if r.At != "mesh" {
			where = "callers at gateway " + r.At
		}
		out = append(out, []string{where, r.Shares, by})
	}
	return out
}

func gatewayRows(gateways []GatewayStatus) [][]string {
	var out [][]string
	for _, g := range gateways {
		row := []string{"gateway " + g.Name, "port " + g.PortText(), strings.Join(g.Hosts, ","), cmp.Or(g.URL, "-")}
		if g.Certificate != "" {
			row = append(row, "certificate: "+g.Certificate)
		}
		out = append(out, row)
	}
	return out
}

func objectRows(objects []ObjectStatus) [][]string {
	var out [][]string
	for _, o := range objects {
		has := "hosts " + strings.Join(o.Hosts, ",")
		if o.Kind == "DestinationRule" {
			has = "subsets " + cmp.Or(strings.Join(o.Subsets, ","), "-")
		}
		out = append(out, []string{o.Kind + " " + o.Name, has})
	}
	return out
}

// rowsOf returns a row for each line.
func rowsOf(lines []string) [][]string {
	var out [][]string
	for _, line := range lines {
		out = append(out, []string{line})
	}
	return out
}

func (s ServiceExplanation) dueRows() [][]string {
	out := rowsOf(s.Due)
	if s.ChangesAt != nil {
		out = append(out, []string{fmt.Sprintf("next change in %v", max(s.ChangesAt.Sub(s.now).Round(time.Second), time.Second))})
	}
	return out
}
