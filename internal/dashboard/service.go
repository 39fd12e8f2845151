// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"

	"outrigger.dev/outrigger/internal/diagnose"
)

type servicePage struct {
	view
	Service  *Service
	Actions  actionsView
	Versions []versionRow
	Metrics  *metricsView
	Timeline []timelineEntry
	Next     *time.Time // when the route changes by itself; nil if it does not, or if the canary's next step shows it
}

// versionRow is a workload of a version. The first of a version has the version's share.
type versionRow struct {
	diagnose.VersionStatus
	Workload *Workload // nil for a version without one
	IsFirst  bool
	Class    string // the color of the version
	Default  bool
}

// timelineEntry is a decision, or Events that say the same about different objects.
type timelineEntry struct {
	At      time.Time
	Kind    string // decision, Normal, Warning
	Objects []string
	Reason  string
	Message string
	Count   int
}

// service shows a Service.
func (s *Server) service(w http.ResponseWriter, r *http.Request) {
	namespace, name := r.PathValue("namespace"), r.PathValue("name")
	one, old, err := detail(r.Context(), s, "service/"+namespace+"/"+name, func(ctx context.Context) (*Service, error) { return s.Data.Service(ctx, namespace, name) })
	if err != nil {
		s.fail(w, r, err)
		return
	}
	out := servicePage{view: s.view(r, name), Service: one, Versions: versionRows(one), Metrics: metricsViewOf(one, s.Now()), Timeline: timelineOf(one), Next: one.ChangesAt}
	if one.Canary != nil && one.Canary.IsProgressing() { // between its steps, only its checks are evaluated again
		out.Next = nil
	}
	out.Section = "services"
	out.Notes = one.Notes
	out.setAge(old)
	out.Actions = s.offers(r.Context(), one.Facts)
	s.render(w, r, http.StatusOK, "service.html", out)
}

// versionRows returns the versions in the order of status, with a row for each of their workloads.
func versionRows(s *Service) []versionRow {
	var out []versionRow
	for index, v := range s.Versions {
		rows := []versionRow{}
		for i := range s.Workloads {
			if s.Workloads[i].Version == v.Version {
				rows = append(rows, versionRow{VersionStatus: v, Workload: &s.Workloads[i]})
			}
		}
		if len(rows) == 0 {
			rows = append(rows, versionRow{VersionStatus: v})
		}
		rows[0].IsFirst = true
		for i := range rows {
			rows[i].Class = versionClass(s.Versions, index)
			rows[i].Default = v.Version != "" && v.Version == s.Default
		}
		out = append(out, rows...)
	}
	return out
}

// timelineOf returns the Events and the ends of decisions, newest first. What replaced a decision is not recorded: the list of past decisions
// has no repetitions, so the next one in it can be another.
func timelineOf(s *Service) []timelineEntry {
	out := eventEntries(s.Namespace, s.Events)
	for _, d := range s.History {
		at, err := time.Parse(time.RFC3339, d.Until)
		if err != nil {
			continue
		}
		was := "default " + d.Default
		switch {
		case d.TooLong:
			was += ", with weights too long to be recorded"
		case d.Weights != "":
			was += ", weights " + d.Weights
		}
		out = append(out, timelineEntry{At: at, Kind: "decision", Reason: "Decision", Message: "In effect until then: " + was})
	}
	slices.SortStableFunc(out, func(a, b timelineEntry) int { return cmp.Compare(b.At.UnixNano(), a.At.UnixNano()) })
	return out
}
