// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"context"
	"net/http"

	"outrigger.dev/outrigger/internal/diagnose"
)

type injectionPage struct {
	view
	Report *diagnose.CoverageReport
}

type explainPage struct {
	view
	Explanation *Explanation
	Service     string // whose page has led here; empty for the page Injection
}

// injection shows the workloads without a sidecar, or with an outdated one.
func (s *Server) injection(w http.ResponseWriter, r *http.Request) {
	report, old, err := detail(r.Context(), s, "injection", s.Data.Injection)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	out := injectionPage{s.view(r, "Injection"), report}
	out.Section, out.Notes = "injection", report.Notes
	out.setAge(old)
	s.render(w, r, http.StatusOK, "injection.html", out)
}

// explain shows why a workload gets a sidecar or none.
func (s *Server) explain(w http.ResponseWriter, r *http.Request) {
	namespace, kind, name := r.PathValue("namespace"), r.PathValue("kind"), r.PathValue("name")
	one, old, err := detail(r.Context(), s, "explain/"+namespace+"/"+kind+"/"+name, func(ctx context.Context) (*Explanation, error) {
		return s.Data.Explain(ctx, namespace, kind, name)
	})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	out := explainPage{s.view(r, kind+"/"+name), one, r.URL.Query().Get("service")}
	out.Section, out.Notes = "injection", one.Notes
	out.setAge(old)
	s.render(w, r, http.StatusOK, "explain.html", out)
}
