// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"outrigger.dev/outrigger/internal/diagnose"
)

//go:embed pages static
var files embed.FS

// view is what every page shows around its content.
type view struct {
	Title          string
	Path           string // of the page, with its query
	Section        string // of the navigation: services, injection
	FormToken      string
	Scope, Cluster string
	ReadOnly       bool
	Failure        diagnose.Text // why the cluster cannot be read; empty if it can
	Since          time.Time     // since when
	ReadAt         time.Time     // when the data on the page was read
	Outdated       diagnose.Text // why the details on the page cannot be read again although the cluster can be read; empty if they are current
	Frozen         string
	NotRunning     string
	Notes          []string // what could not be read

	isOutside bool // there is no session, so the page shows nothing of the cluster
}

// IsInside reports whether the page belongs to a session.
func (v view) IsInside() bool { return !v.isOutside }

type refusedPage struct {
	view
	Why string
}

type failedPage struct {
	view
	Why diagnose.Text
}

// view returns what every page of a session shows.
func (s *Server) view(r *http.Request, title string) view {
	now := s.readings.current()
	out := view{
		Title: title, Path: r.URL.RequestURI(), FormToken: sessionOf(r.Context()).formToken, Scope: s.Scope, Cluster: s.Cluster, ReadOnly: s.ReadOnly,
		Failure: now.failure, Since: now.since,
	}
	if now.report != nil {
		out.ReadAt, out.Frozen, out.NotRunning, out.Notes = now.report.At, now.report.Frozen, now.report.NotRunning, now.report.Notes
	}
	return out
}

// setAge sets the age of the details on the page.
func (v *view) setAge(old outdated) {
	if old.read.IsZero() {
		return
	}
	v.ReadAt = old.read
	if len(v.Failure) == 0 {
		v.Outdated = old.failure
	}
}

// pages are the parsed templates, by the name of their file.
type pages struct{ byName map[string]*template.Template }

// shared are the files that define templates for several pages.
var shared = []string{"pages/layout.html", "pages/parts.html", "pages/actions.html"}

func parsePages(options Options) (*pages, error) {
	names, err := fs.Glob(files, "pages/*.html")
	if err != nil {
		return nil, err
	}
	base, err := template.New("").Option("missingkey=error").Funcs(functions).Funcs(template.FuncMap{
		"command": func(text string) commandView { return commandOf(text, options.Flags) },
		"isPast":  func(at time.Time) bool { return !at.After(options.Now()) },
	}).ParseFS(files, shared...)
	if err != nil {
		return nil, err
	}
	out := &pages{map[string]*template.Template{}}
	for _, name := range names {
		one, err := base.Clone()
		if err != nil {
			return nil, err
		}
		if out.byName[path.Base(name)], err = one.ParseFS(files, name); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// functions are the functions that templates can call.
var functions = template.FuncMap{
	"weightBar":    weightBar,
	"routeDrawing": routeDrawing,
	"canaryTrack":  canaryTrack,
	"versionClass": versionClass,
	"shareBars":    shareBars,
	"servicePath": func(namespace, name string) string {
		return "/services/" + url.PathEscape(namespace) + "/" + url.PathEscape(name)
	},
	"workloadPath": workloadPath,
	"isoTime":      func(at time.Time) string { return at.UTC().Format(time.RFC3339) },
	"clockTime":    diagnose.ClockTime,
	"join":         strings.Join,
	"sentence":     sentence,
	"visible":      visible,
	"plain":        func(text string) string { return visible(sentence(text)) },
	"sentences":    sentences,
	"asSentences":  asSentences,
	"parts":        diagnose.SplitCommands,
	"plural":       plural,
	"matchText":    matchText,
	"cells":        cells,
	"isName":       func(text string) bool { return !strings.Contains(text, " ") },
	"flow":         flow,
	"windowText":   windowText,
	"label":        func(name string) string { return inputs[name] },
}

func plural(count int, one, many string) string {
	if count == 1 {
		return fmt.Sprintf("%d %s", count, one)
	}
	return fmt.Sprintf("%d %s", count, many)
}

// workloadPath returns the page that explains a workload, "Deployment/web".
func workloadPath(namespace, workload string) string {
	kind, name, _ := strings.Cut(workload, "/")
	return "/injection/" + url.PathEscape(namespace) + "/" + url.PathEscape(kind) + "/" + url.PathEscape(name)
}

// firstWord matches a lowercase word at the beginning of a text, but not a name with other characters, such as service/web, v2, or
// outrigger.dev/canary.
var firstWord = regexp.MustCompile(`^[a-z]+[,:;.]?(?: |$)`)

// sentence capitalizes a text, because errors and reasons begin with a lowercase letter. A text that begins with a command is unchanged.
func sentence(text string) string {
	if parts := diagnose.SplitCommands(text); len(parts) == 0 || parts[0].IsCommand {
		return text
	}
	return capitalized(text)
}

// asSentences capitalizes the messages of problems of injection. Those about routes are sentences, and can begin with a version.
func asSentences(problems []diagnose.ProblemStatus) []diagnose.ProblemStatus {
	out := slices.Clone(problems)
	for i := range out {
		out[i].Message = sentence(out[i].Message)
	}
	return out
}

// sentences capitalizes a diagnose.Text, unless it begins with a command.
func sentences(text diagnose.Text) diagnose.Text {
	if len(text) == 0 || text[0].IsCommand {
		return text
	}
	out := slices.Clone(text)
	out[0].Text = capitalized(out[0].Text)
	return out
}

func capitalized(text string) string {
	if !firstWord.MatchString(text) {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// render writes a page. A template that fails is a bug, and shows nothing of the page.
func (s *Server) render(w http.ResponseWriter, r *http.Request, status int, name string, data any) {
	var text bytes.Buffer
	page := s.pages.byName[name]
	if page == nil {
		http.Error(w, "unknown page "+name, http.StatusInternalServerError)
		return
	}
	if err := page.ExecuteTemplate(&text, "layout", data); err != nil {
		http.Error(w, "the page "+name+" cannot be shown: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(visiblePage(text.Bytes())) // nothing to do if the browser has disconnected
	}
}

// fail shows an error as a page.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	status, known := http.StatusBadGateway, &Error{}
	if errors.As(err, &known) {
		status = known.Status
	}
	s.render(w, r, status, "failed.html", failedPage{s.view(r, http.StatusText(status)), diagnose.TextOf(err)})
}

func (s *Server) unknown(w http.ResponseWriter, r *http.Request) {
	s.fail(w, r, &Error{http.StatusNotFound, fmt.Errorf("the dashboard has no page %s", r.URL.Path)})
}

// static serves an embedded file.
func (s *Server) static(w http.ResponseWriter, r *http.Request, name string) {
	text, err := files.ReadFile("static/" + name)
	if err != nil || r.Method != http.MethodGet {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", mime.TypeByExtension(path.Ext(name)))
	_, _ = w.Write(text) //nolint:gosec // an embedded file; nothing to do if the browser has disconnected
}
