// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"outrigger.dev/outrigger/internal/diagnose"
)

// pageSize is how many Services a page of the Overview shows.
const pageSize = 50

type overviewPage struct {
	view
	Query        string // the search
	OnlyProblems bool
	Namespaces   []overviewNamespace // of this page
	Services     int                 // that match
	Of           int                 // all
	Problems     int                 // of the Services and Namespaces that match
	Page, Pages  int
	Previous     string // the path of the page before; empty if there is none
	Next         string
	Certificates []diagnose.CertificateStatus // that are not ready
	IsReading    bool                         // the cluster is being read for the first time: Of are read so far
}

// overviewNamespace is a namespace with those of its Services that a page shows.
type overviewNamespace struct {
	diagnose.NamespaceStatus
	IsContinued bool // the page before shows its first Services
}

// overview shows the Services of all namespaces.
func (s *Server) overview(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	page, _ := strconv.Atoi(query.Get("page")) // anything but a number selects the first page
	out := overviewPage{view: s.view(r, "Services"), Query: strings.TrimSpace(query.Get("q")), OnlyProblems: query.Get("problems") != "", Page: page}
	out.Section = "services"
	report := s.readings.current().report
	out.IsReading = report == nil || report.IsPart
	if report == nil {
		report = &diagnose.StatusReport{}
	}
	out.fill(report)
	s.render(w, r, http.StatusOK, "overview.html", out)
}

// fill sets the fields of the page from a report.
func (p *overviewPage) fill(report *diagnose.StatusReport) {
	for _, c := range report.Certificates {
		if !c.Ready {
			p.Certificates = append(p.Certificates, c)
		}
	}
	var matching []overviewNamespace
	for _, n := range report.Namespaces {
		p.Of += len(n.Services)
		found := overviewNamespace{NamespaceStatus: n}
		found.Services = nil
		for _, service := range n.Services {
			if p.matches(n, service) {
				p.Problems += len(service.Problems)
				found.Services = append(found.Services, service)
			}
		}
		p.Services += len(found.Services)
		isAll := p.Query == "" && !p.OnlyProblems
		if len(found.Services) > 0 || isAll || p.OnlyProblems && len(n.Problems) > 0 && p.isNamed(n.Name) {
			p.Problems += len(n.Problems)
			matching = append(matching, found)
		}
	}
	p.Pages = max(1, (p.Services+pageSize-1)/pageSize)
	p.Page = min(max(p.Page, 1), p.Pages)
	p.Namespaces = pageOf(matching, p.Page, p.Pages)
	if p.Page > 1 {
		p.Previous = p.pathOf(p.Page - 1)
	}
	if p.Page < p.Pages {
		p.Next = p.pathOf(p.Page + 1)
	}
}

// matches reports whether a Service matches the search.
func (p *overviewPage) matches(n diagnose.NamespaceStatus, service diagnose.ServiceStatus) bool {
	if p.OnlyProblems && len(service.Problems) == 0 {
		return false
	}
	return p.isNamed(n.Name + "/" + service.Name)
}

// isNamed reports whether a name contains each word of the search.
func (p *overviewPage) isNamed(name string) bool {
	for _, word := range strings.Fields(p.Query) {
		if !strings.Contains(name, word) {
			return false
		}
	}
	return true
}

// pageOf returns the Services of a page. A namespace without Services is where its Services would be.
func pageOf(namespaces []overviewNamespace, page, pages int) []overviewNamespace {
	var out []overviewNamespace
	first, last := (page-1)*pageSize, page*pageSize
	at := 0
	for _, n := range namespaces {
		begin, end := at, at+len(n.Services)
		at = end
		if begin == end {
			if first <= begin && (begin < last || page == pages) {
				out = append(out, n)
			}
			continue
		}
		from, to := max(first, begin), min(last, end)
		if from >= to {
			continue
		}
		n.IsContinued = from > begin
		n.Services = n.Services[from-begin : to-begin]
		out = append(out, n)
	}
	return out
}

// pathOf returns the path of a page with the same search.
func (p *overviewPage) pathOf(page int) string {
	query := url.Values{"page": {strconv.Itoa(page)}}
	if p.Query != "" {
		query.Set("q", p.Query)
	}
	if p.OnlyProblems {
		query.Set("problems", "1")
	}
	return "/?" + query.Encode()
}
