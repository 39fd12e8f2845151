// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"outrigger.dev/outrigger/internal/diagnose"
)

// Actions reads the facts that actions need, and writes changes, with the user's permissions. diagnose.ChangeOf decides what to write.
type Actions interface {
	// Denied returns why the user may not change a Service, or "".
	Denied(ctx context.Context, namespace, service string) (string, error)
	// Facts reads what an action depends on, and returns notes about what could not be read.
	Facts(ctx context.Context, namespace, service string) (diagnose.ActionFacts, []string, error)
	// Write writes the annotations of a Service if its resourceVersion is still the one that was read. Otherwise, it returns a *Changed
	// error. In a dry run, the API server validates the change and writes nothing.
	Write(ctx context.Context, service diagnose.Forecast, isDryRun bool) error
	// Pending returns what a change waits for, or nothing if it is applied.
	Pending(ctx context.Context, change diagnose.Change) (diagnose.Text, error)
}

// Changed is the error of a write to a Service that another client has changed or deleted since it was read.
type Changed struct{ Err error }

// Error returns the text of the API server.
func (c *Changed) Error() string { return c.Err.Error() }

// Unwrap returns the error of the API server.
func (c *Changed) Unwrap() error { return c.Err }

// The states of a change:
//
//	form ── POST /actions/… ──> preview ── POST /changes/ID ──> written (or failed)
//	  ^                           │  ^
//	  └── invalid, refused ───────┘  └── changed since: a new preview, which lists the differences
//
// Each arrow is a redirect, so that a browser can reload every page.

// actionsView are the actions of a Service, as the template "actions" shows them.
type actionsView struct {
	Offers      []offerView
	Unavailable []unavailableView
}

type offerView struct {
	Verb        diagnose.Action
	Title, Link string
}

// unavailableView lists actions that are unavailable for the same reason.
type unavailableView struct {
	Titles []string
	Reason diagnose.Text
}

// offers returns the actions that the user can take on a Service, and why the others are unavailable. The facts need no other Services.
func (s *Server) offers(ctx context.Context, facts diagnose.ActionFacts) actionsView {
	namespace, service := facts.Main.Service.Namespace, facts.Main.Service.Name
	all := func(reason string) actionsView {
		out := actionsView{}
		for _, action := range diagnose.Actions() {
			out.add(namespace, service, diagnose.Offer{Action: action, Unavailable: diagnose.Sentences(reason)})
		}
		return out
	}
	if why := s.noActions(); why != "" {
		return all(why)
	}
	denied, err := s.Actions.Denied(ctx, namespace, service)
	if err != nil {
		return all("cannot determine whether you may change the Service: " + err.Error())
	}
	out := actionsView{}
	for _, offer := range diagnose.OffersOf(facts, denied, inputs) {
		out.add(namespace, service, offer)
	}
	return out
}

func (v *actionsView) add(namespace, service string, offer diagnose.Offer) {
	title := actionTexts[offer.Action].title
	if len(offer.Unavailable) == 0 {
		v.Offers = append(v.Offers, offerView{offer.Action, title, actionPath(namespace, service, offer.Action)})
		return
	}
	at := slices.IndexFunc(v.Unavailable, func(a unavailableView) bool { return a.Reason.Equal(offer.Unavailable) })
	if at < 0 {
		v.Unavailable, at = append(v.Unavailable, unavailableView{Reason: offer.Unavailable}), len(v.Unavailable)
	}
	v.Unavailable[at].Titles = append(v.Unavailable[at].Titles, title)
}

func actionPath(namespace, service string, action diagnose.Action) string {
	return "/actions/" + url.PathEscape(namespace) + "/" + url.PathEscape(service) + "/" + string(action)
}

// noActions returns why there are no actions at all, or "".
func (s *Server) noActions() string {
	if s.ReadOnly || s.Actions == nil {
		return "the dashboard was started with --read-only"
	}
	return ""
}

// actionOf returns the action of a path, and an error for one that does not exist or that the user may not take.
func (s *Server) actionOf(r *http.Request) (diagnose.Action, error) {
	action := diagnose.Action(r.PathValue("verb"))
	if !slices.Contains(diagnose.Actions(), action) {
		return action, &Error{http.StatusNotFound, fmt.Errorf("unknown action %q: expected one of %v", action, diagnose.Actions())}
	}
	if why := s.noActions(); why != "" {
		return action, &Error{http.StatusForbidden, fmt.Errorf("actions are not available: %s", why)}
	}
	denied, err := s.Actions.Denied(r.Context(), r.PathValue("namespace"), r.PathValue("name"))
	if err == nil && denied != "" {
		err = &Error{http.StatusForbidden, errors.New(denied)}
	}
	return action, err
}

type actionPage struct {
	view
	Form actionForm
}

// actionForm shows the form of an action. The query of the URL sets its initial values.
func (s *Server) actionForm(w http.ResponseWriter, r *http.Request) {
	action, err := s.actionOf(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	facts, notes, err := s.Actions.Facts(r.Context(), r.PathValue("namespace"), r.PathValue("name"))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.showForm(w, r, http.StatusOK, formOf(action, facts, r.URL.Query()), notes)
}

func (s *Server) showForm(w http.ResponseWriter, r *http.Request, status int, form actionForm, notes []string) {
	page := actionPage{view: s.view(r, form.Title+": "+form.Service), Form: form}
	page.Section, page.Notes = "services", notes
	s.render(w, r, status, "action.html", page)
}

// previewAction computes the change that a form requests, validates it with a server-side dry run, and keeps it for changePage. For a
// request that is invalid or has no effect, it shows the form again.
func (s *Server) previewAction(w http.ResponseWriter, r *http.Request) {
	action, err := s.actionOf(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	namespace, service := r.PathValue("namespace"), r.PathValue("name")
	facts, notes, err := s.Actions.Facts(r.Context(), namespace, service)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	request, err := requestOf(action, service, r.PostForm)
	if err == nil {
		var change diagnose.Change
		if change, err = diagnose.ChangeOf(request, facts); err == nil {
			s.redirectTo(w, r, s.keep(r.Context(), change, notes, nil))
			return
		}
	}
	form := formOf(action, facts, r.PostForm)
	form.Problem = diagnose.TextOf(err)
	s.showForm(w, r, http.StatusUnprocessableEntity, form, notes)
}

// keep validates a change with a server-side dry run, and keeps it as a preview.
func (s *Server) keep(ctx context.Context, change diagnose.Change, notes, differences []string) *preview {
	out := &preview{change: change, notes: notes, differences: differences}
	for _, service := range change.Writes() {
		if err := s.Actions.Write(ctx, service, true); err != nil {
			out.refusal = err.Error()
			break
		}
	}
	s.previews.add(out, s.Now())
	return out
}

func (s *Server) redirectTo(w http.ResponseWriter, r *http.Request, p *preview) {
	http.Redirect(w, r, "/changes/"+p.id, http.StatusSeeOther) //nolint:gosec // the server generates the id
}

// changePage is a preview, or the result of a change.
type changePage struct {
	view
	Namespace, Service, Heading string
	ID                          string
	Traffic                     []diagnose.TrafficChange
	About                       []diagnose.Text
	Changed                     []string // since the preview that this one replaces
	Command                     string
	Kubectl                     []string
	Versions                    []readVersion
	Refusal                     string // of the API server
	IsCurrent                   bool   // there is nothing to write
	Form                        string // the path of the form with the values of the change
	Outcome                     *outcomeView
}

// readVersion is the version of a Service that a change is about.
type readVersion struct{ Service, ResourceVersion string }

// outcomeView is the result of a change: what was written, and whether that is applied.
type outcomeView struct {
	Writes    []diagnose.WriteResult
	IsWritten bool          // at least one Service was written
	IsFailed  bool          // at least one Service was not written
	Pending   diagnose.Text // what the change waits for; empty if it is applied
	Unknown   diagnose.Text // why that is unknown
}

// CanBeConfirmed reports whether the page has a button that runs the change.
func (p changePage) CanBeConfirmed() bool { return p.Outcome == nil && p.Refusal == "" && !p.IsCurrent }

// changePage shows a preview, or the result of a change.
func (s *Server) changePage(w http.ResponseWriter, r *http.Request) {
	kept, err := s.previewOf(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	change := kept.change
	heading := headingOf(change.Request)
	page := changePage{
		view: s.view(r, heading+": "+change.Request.Service), Namespace: change.Namespace, Service: change.Request.Service,
		Heading: heading, ID: kept.id, Traffic: change.Traffic(), About: change.Notes(), Changed: kept.differences,
		Command: change.Request.Command(change.Namespace), Kubectl: change.Commands(), Refusal: kept.refusal, IsCurrent: len(change.Writes()) == 0,
		Form: formPath(change.Namespace, change.Request),
	}
	page.Section, page.Notes = "services", kept.notes
	for _, service := range change.Writes() {
		page.Versions = append(page.Versions, readVersion{service.Observed.Service.Name, service.ResourceVersion()})
	}
	if done := kept.result(); done != nil {
		page.Outcome = s.outcomeOf(r.Context(), kept, *done)
	}
	s.render(w, r, http.StatusOK, "change.html", page)
}

// outcomeOf returns the result of a change. Once the change is applied, it does not read the cluster again.
func (s *Server) outcomeOf(ctx context.Context, kept *preview, done outcome) *outcomeView {
	out := &outcomeView{Writes: done.writes}
	change := kept.change
	change.Forecasts = slices.Clone(change.Forecasts)
	for _, result := range done.writes {
		if result.IsWritten() {
			out.IsWritten = true
			continue
		}
		out.IsFailed = true
		change.Forecasts = slices.DeleteFunc(change.Forecasts, func(f diagnose.Forecast) bool { return f.Observed.Service.Name == result.Service })
	}
	if !out.IsWritten || kept.applied.Load() {
		return out
	}
	pending, err := s.Actions.Pending(ctx, change)
	switch {
	case err != nil:
		out.Unknown = diagnose.TextOf(err)
	case len(pending) > 0:
		out.Pending = pending
	default:
		kept.applied.Store(true)
	}
	return out
}

func (s *Server) previewOf(r *http.Request) (*preview, error) {
	if why := s.noActions(); why != "" {
		return nil, &Error{http.StatusForbidden, fmt.Errorf("actions are not available: %s", why)}
	}
	kept := s.previews.get(r.PathValue("id"), s.Now())
	if kept == nil {
		return nil, &Error{http.StatusNotFound, fmt.Errorf("the preview has expired: previews are kept for %v. A change that you did not confirm was not written. Open the action again", previewLifetime)}
	}
	return kept, nil
}

const (
	recheckTimeout = 30 * time.Second // for reading what a change depends on
	writeTimeout   = 30 * time.Second // for the write of one Service
)

// confirmChange writes the change of a preview, even if the browser does not wait for the response. If the Service has changed since the preview, it shows a new preview that lists the
// differences. It writes once even if the form is sent twice.
func (s *Server) confirmChange(w http.ResponseWriter, r *http.Request) {
	kept, err := s.previewOf(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	kept.running.Lock()
	defer kept.running.Unlock()
	if kept.result() != nil {
		s.redirectTo(w, r, kept)
		return
	}
	ctx := context.WithoutCancel(r.Context())
	next, err := s.recheck(ctx, kept)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if next == nil {
		next, err = s.write(ctx, kept)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if next == nil {
		next = kept
	}
	s.redirectTo(w, r, next)
}

// recheck returns a new preview if the change would no longer have the effect that the kept one shows, or nil.
func (s *Server) recheck(ctx context.Context, kept *preview) (*preview, error) {
	ctx, cancel := context.WithTimeout(ctx, recheckTimeout)
	defer cancel()
	request := kept.change.Request
	facts, notes, err := s.Actions.Facts(ctx, kept.change.Namespace, request.Service)
	if err != nil {
		return nil, fmt.Errorf("nothing was written: %w", err)
	}
	change, err := diagnose.ChangeOf(request, facts)
	if err != nil {
		return nil, &Error{http.StatusConflict, fmt.Errorf("nothing was written, because the Service has changed since the preview: %w", err)}
	}
	if differences := change.DifferencesFrom(kept.change); len(differences) > 0 || kept.refusal != "" {
		return s.keep(ctx, change, notes, differences), nil
	}
	return nil, nil // nothing has changed
}

// write writes the Services of a preview. It returns a new preview if the first write fails because another client has changed the Service.
func (s *Server) write(ctx context.Context, kept *preview) (*preview, error) {
	results := diagnose.WriteAll(kept.change.Writes(), func(service diagnose.Forecast) error {
		ctx, cancel := context.WithTimeout(ctx, writeTimeout)
		defer cancel()
		return s.Actions.Write(ctx, service, false)
	})
	if changed := (*Changed)(nil); len(results) > 0 && errors.As(results[0].Err, &changed) {
		if next, err := s.recheck(ctx, kept); next != nil || err != nil {
			return next, err
		}
	}
	kept.finish(&outcome{results})
	return nil, nil // kept has the result
}
