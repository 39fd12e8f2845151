// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// TokenLifetime is how long a token can be used.
const TokenLifetime = time.Minute

const (
	maxSessions   = 16       // the oldest session ends when another one begins
	maxFormBytes  = 64 << 10 // of an action
	contentPolicy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

// session is one browser.
type session struct {
	id        string // the value of its cookie
	formToken string // that its forms contain
}

// sessions are the browsers that have used a token, and the token that can be used next.
type sessions struct {
	mu      sync.Mutex
	open    []session
	token   string
	expires time.Time
	used    chan struct{}
}

// NewToken returns a token that opens the dashboard once, at /open?token=TOKEN, within TokenLifetime. used is closed when it has been
// used. Earlier tokens are no longer valid.
func (s *Server) NewToken() (token string, used <-chan struct{}) {
	s.sessions.mu.Lock()
	defer s.sessions.mu.Unlock()
	s.sessions.token, s.sessions.expires, s.sessions.used = secret(), s.Now().Add(TokenLifetime), make(chan struct{})
	return s.sessions.token, s.sessions.used
}

// secret returns 256 random bits, encoded as text.
func secret() string {
	bits := make([]byte, 32)
	_, _ = rand.Read(bits) // it never fails
	return base64.RawURLEncoding.EncodeToString(bits)
}

// redeem exchanges a token for a session. It returns false if the token is not the current one, was used, or has expired.
func (s *sessions) redeem(token string, now time.Time) (session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token == "" || !now.Before(s.expires) || !isEqual(token, s.token) {
		return session{}, false
	}
	s.token = ""
	close(s.used)
	if len(s.open) == maxSessions {
		s.open = s.open[1:]
	}
	opened := session{id: secret(), formToken: secret()}
	s.open = append(s.open, opened)
	return opened, true
}

// find returns the session of a cookie's value.
func (s *sessions) find(id string) (session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, is := session{}, false
	for _, candidate := range s.open {
		if isEqual(id, candidate.id) {
			found, is = candidate, true
		}
	}
	return found, is
}

func isEqual(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

type sessionKey struct{}

// sessionOf returns the session of a request that has passed guard.
func sessionOf(ctx context.Context) session {
	out, _ := ctx.Value(sessionKey{}).(session)
	return out
}

// refusal is the reason why a request is refused, with the HTTP status.
type refusal struct {
	status int
	why    string
}

// guard passes a request that belongs to a session to next, and answers every other request. The checks are, in this order:
//   - Host is the address that the dashboard listens on, which prevents DNS rebinding
//   - Sec-Fetch-Site, if present, does not name another origin
//   - the cookie belongs to a session, which begins with a token
//   - a POST has the dashboard's origin and the session's form token
func (s *Server) guard(w http.ResponseWriter, r *http.Request, next http.Handler) {
	setHeaders(w.Header())
	if r.Host != s.Address && r.Host != s.origin() {
		s.refuse(w, r, refusal{http.StatusMisdirectedRequest, fmt.Sprintf("The dashboard answers only at http://%s/.", s.Address)})
		return
	}
	if r.URL.Path == "/open" && r.Method == http.MethodGet { // the browser comes from a file, which is another origin
		s.open(w, r)
		return
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		s.refuse(w, r, refusal{http.StatusForbidden, "This request came from a page of another origin. Open the dashboard directly instead."})
		return
	}
	if name, is := strings.CutPrefix(r.URL.Path, "/static/"); is {
		s.static(w, r, name)
		return
	}
	one, is := session{}, false
	if cookie, err := r.Cookie(s.cookie); err == nil {
		one, is = s.sessions.find(cookie.Value)
	}
	if !is {
		s.refuse(w, r, refusal{http.StatusUnauthorized, "This browser has no session. " + s.howToOpen("To open one, ") + " The link is valid for a minute."})
		return
	}
	if r.Method == http.MethodPost {
		if why := s.checkForm(w, r, one); why != nil {
			s.refuse(w, r, *why)
			return
		}
	}
	next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), sessionKey{}, one)))
}

// EndLinks reports that the command no longer reads its standard input, so that the user gets a new link only from a new process.
func (s *Server) EndLinks() { s.noLinks.Store(true) }

// howToOpen returns how the user gets a new link, as a sentence that begins with its purpose.
func (s *Server) howToOpen(purpose string) string {
	if s.noLinks.Load() {
		return purpose + "restart outrigger dashboard: its standard input has ended, so it no longer reads Enter."
	}
	return purpose + "press Enter in the terminal in which outrigger dashboard runs."
}

// origin returns the host of the dashboard's URL as browsers write it: without port 80, which is HTTP's own.
func (s *Server) origin() string { return strings.TrimSuffix(s.Address, ":80") }

// checkForm returns why a POST is refused, or nil.
func (s *Server) checkForm(w http.ResponseWriter, r *http.Request, one session) *refusal {
	if origin := r.Header.Get("Origin"); origin != "" && origin != "http://"+s.origin() {
		return &refusal{http.StatusForbidden, "This request came from a page of another origin. Nothing was changed."}
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxFormBytes)
	if err := r.ParseForm(); err != nil {
		return &refusal{http.StatusBadRequest, "The form cannot be read: " + err.Error()}
	}
	if !isEqual(r.PostForm.Get("form-token"), one.formToken) {
		return &refusal{http.StatusForbidden, "This form does not belong to your session. Nothing was changed. Reload the page and try again."}
	}
	return nil
}

// setHeaders sets what every response has.
func setHeaders(h http.Header) {
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "same-origin") // with no-referrer, browsers send forms without their origin
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// open exchanges a token for the cookie. The page that it returns navigates to the list of Services: a redirect would be part of a
// navigation from a file, for which browsers send no SameSite=Strict cookie.
func (s *Server) open(w http.ResponseWriter, r *http.Request) {
	one, is := s.sessions.redeem(r.URL.Query().Get("token"), s.Now())
	if !is {
		s.refuse(w, r, refusal{http.StatusUnauthorized, fmt.Sprintf("This link was already used or has expired after %.0f s. %s", TokenLifetime.Seconds(), s.howToOpen("For a new one, "))})
		return
	}
	// Not Secure, because the dashboard serves plain HTTP.
	http.SetCookie(w, &http.Cookie{Name: s.cookie, Value: one.id, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode}) //nolint:gosec // see above
	s.render(w, r, http.StatusOK, "opened.html", s.view(r, "Opening"))
}

// refuse answers a request that does not pass guard. The page reveals nothing about the cluster.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, why refusal) {
	s.render(w, r, why.status, "refused.html", refusedPage{view{Title: http.StatusText(why.status), isOutside: true}, why.why})
}
