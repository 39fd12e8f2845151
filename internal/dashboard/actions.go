// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
)

// Actions previews and runs what a user chooses for a Service. Errors that the user can fix should be of type *Error.
type Actions interface {
	// Missing returns the permission that the user lacks to change the Services of a namespace, such as "patch Services in namespace demo"; empty if none.
	Missing(ctx context.Context, namespace string) (string, error)
	// Preview returns the effect of an action, after a dry run by the API server. It writes nothing.
	Preview(ctx context.Context, a Action) (*Preview, error)
	// Run writes an action, unless the Service is not as it was in the preview.
	Run(ctx context.Context, a Action) (*Outcome, error)
}

// Action is what a user chose on the page of a Service.
type Action struct {
	Namespace, Service string
	Verb               string     // one of Verbs
	Fields             url.Values // of the form
	ResourceVersion    string     // of the Service that the user has seen in the preview; empty for a preview
}

// Verbs are the actions.
var Verbs = []string{"shift", "promote", "canary", "pause", "resume", "abort", "retry", "undo"}

// Preview is the effect of an action.
type Preview struct {
	Action          Action
	Effects         []string // what changes in traffic
	Command         string   // the kubectl command that does the same
	DryRun          string   // what the API server answered
	ResourceVersion string   // of the Service
	Notes           []string
}

// Outcome is what an action wrote.
type Outcome struct{ Lines []string }

type previewPage struct {
	view
	Preview *Preview
}

// act previews an action, or runs it with the resourceVersion that was previewed.
func (s *Server) act(w http.ResponseWriter, r *http.Request) {
	a := Action{Namespace: r.PathValue("namespace"), Service: r.PathValue("name"), Verb: r.PathValue("verb"), ResourceVersion: r.PostForm.Get("resource-version"), Fields: url.Values{}}
	for name, values := range r.PostForm {
		if name != "form-token" && name != "resource-version" {
			a.Fields[name] = values
		}
	}
	switch {
	case s.ReadOnly:
		s.fail(w, r, &Error{http.StatusForbidden, errors.New("the dashboard runs with --read-only; nothing was changed")})
		return
	case !slices.Contains(Verbs, a.Verb):
		s.unknown(w, r)
		return
	}
	if a.ResourceVersion == "" {
		preview, err := s.Actions.Preview(r.Context(), a)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		s.render(w, r, http.StatusOK, "preview.html", previewPage{s.view(r, a.Verb+" "+a.Service), preview})
		return
	}
	if _, err := s.Actions.Run(r.Context(), a); err != nil {
		s.fail(w, r, err)
		return
	}
	http.Redirect(w, r, "/services/"+url.PathEscape(a.Namespace)+"/"+url.PathEscape(a.Service), http.StatusSeeOther)
}
