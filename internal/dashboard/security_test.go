// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestServesOnlyALoopbackAddress(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"0.0.0.0:80", "192.0.2.1:80", "localhost:80", ":80", "127.0.0.1"} {
		if _, err := New(Options{Address: bad}); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// Every path of the dashboard is refused to whom it does not belong.
func TestSecurityMatrix(t *testing.T) {
	t.Parallel()
	gets := []string{"/", "/?q=x", "/services/demo/web", "/injection", "/injection/demo/Deployment/web-v1", "/events?page=/", "/none"}
	const action = "/actions/demo/web/shift"
	for name, c := range map[string]struct {
		change func(*stage, *http.Request)
		status int
		posts  bool // only POSTs are refused
	}{
		"another Host":        {func(_ *stage, r *http.Request) { r.Host = "evil.example.com" }, http.StatusMisdirectedRequest, false},
		"another name for it": {func(_ *stage, r *http.Request) { r.Host = "localhost:4000" }, http.StatusMisdirectedRequest, false},
		"another port":        {func(_ *stage, r *http.Request) { r.Host = "127.0.0.1:4001" }, http.StatusMisdirectedRequest, false},
		"no cookie":           {func(_ *stage, r *http.Request) { r.Header.Del("Cookie") }, http.StatusUnauthorized, false},
		"another cookie":      {func(s *stage, r *http.Request) { r.Header.Set("Cookie", s.cookie.Name+"="+secret()) }, http.StatusUnauthorized, false},
		"an empty cookie":     {func(s *stage, r *http.Request) { r.Header.Set("Cookie", s.cookie.Name+"=") }, http.StatusUnauthorized, false},
		"a token as the cookie": {func(s *stage, r *http.Request) {
			token, _ := s.NewToken()
			r.Header.Set("Cookie", s.cookie.Name+"="+token)
		}, http.StatusUnauthorized, false},
		"a cross-site page":      {func(_ *stage, r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, http.StatusForbidden, false},
		"a page of another port": {func(_ *stage, r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-site") }, http.StatusForbidden, false},
		"another Origin":         {func(_ *stage, r *http.Request) { r.Header.Set("Origin", "http://evil.example.com") }, http.StatusForbidden, true},
		"Origin of another port": {func(_ *stage, r *http.Request) { r.Header.Set("Origin", "http://127.0.0.1:4001") }, http.StatusForbidden, true},
		"a hidden Origin":        {func(_ *stage, r *http.Request) { r.Header.Set("Origin", "null") }, http.StatusForbidden, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t).open()
			s.services["demo/web"] = web()
			s.Update(reportOf(web().ServiceStatus), nil)
			for _, path := range gets {
				if c.posts {
					break
				}
				r := s.request(http.MethodGet, path, nil)
				c.change(s, r)
				w := s.do(r)
				if w.Code != c.status || strings.Contains(w.Body.String(), "demo") {
					t.Errorf("GET %s: %d, want %d and nothing about the cluster:\n%s", path, w.Code, c.status, w.Body)
				}
			}
			r := s.request(http.MethodPost, action, url.Values{"form-token": {s.formToken}, "weight-v1": {"100"}})
			c.change(s, r)
			if w := s.do(r); w.Code != c.status || s.acted > 0 {
				t.Errorf("POST: %d, want %d; %d actions", w.Code, c.status, s.acted)
			}
		})
	}
}

// Browsers leave out port 80, which is HTTP's own, in Host and Origin.
func TestPort80(t *testing.T) {
	t.Parallel()
	for listens, hosts := range map[string]map[string]bool{
		"127.0.0.1:80":   {"127.0.0.1": true, "127.0.0.1:80": true, "localhost": false, "127.0.0.1:8080": false, "": false},
		"127.0.0.1:8080": {"127.0.0.1": false, "127.0.0.1:8080": true},
		"[::1]:80":       {"[::1]": true, "[::1]:80": true},
	} {
		s := newStage(t, func(o *Options) { o.Address = listens })
		for host, want := range hosts {
			r := s.request(http.MethodGet, "/", nil)
			r.Host = host
			if got := s.do(r).Code != http.StatusMisdirectedRequest; got != want {
				t.Errorf("%s, Host %q: %t", listens, host, got)
			}
		}
	}
	s := newStage(t, func(o *Options) { o.Address = "127.0.0.1:80" })
	for origin, want := range map[string]bool{"http://127.0.0.1": true, "http://127.0.0.1:4000": false, "http://localhost": false} {
		r := s.request(http.MethodPost, "/changes/x", url.Values{"form-token": {"token"}})
		r.Header.Set("Origin", origin)
		if why := s.checkForm(httptest.NewRecorder(), r, session{formToken: "token"}); (why == nil) != want {
			t.Errorf("Origin %s: %v", origin, why)
		}
	}
}

func TestPostNeedsTheFormTokenOfItsSession(t *testing.T) {
	t.Parallel()
	s := newStage(t).open()
	other := s.formToken
	s.open() // another browser
	for name, c := range map[string]struct {
		form url.Values
		path string
	}{
		"none":          {url.Values{"resource-version": {"7"}}, ""},
		"another":       {url.Values{"form-token": {secret()}}, ""},
		"other session": {url.Values{"form-token": {other}}, ""},
		"the cookie":    {url.Values{"form-token": {s.cookie.Value}}, ""},
		"in the query":  {url.Values{}, "?form-token=" + s.formToken},
	} {
		if w := s.do(s.request(http.MethodPost, "/actions/demo/web/shift"+c.path, c.form)); w.Code != http.StatusForbidden {
			t.Errorf("%s: %d, want 403", name, w.Code)
		}
	}
	if s.acted > 0 {
		t.Errorf("%d actions were passed on", s.acted)
	}
	s.services["demo/web"] = web()
	for _, origin := range []string{"", "http://" + address} {
		r := s.request(http.MethodPost, "/actions/demo/web/shift", url.Values{"form-token": {s.formToken}, "version": {"v2"}, "weight": {"100"}})
		if origin != "" {
			r.Header.Set("Origin", origin)
			r.Header.Set("Sec-Fetch-Site", "same-origin")
		}
		if w := s.do(r); w.Code != http.StatusSeeOther {
			t.Errorf("with the form token and Origin %q: %d\n%s", origin, w.Code, w.Body)
		}
	}
	if s.acted != 2 {
		t.Errorf("%d actions", s.acted)
	}
}

func TestATokenOpensTheDashboardOnceWithinAMinute(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		use    func(*stage) string // returns the token that the browser sends
		status int
	}{
		"new":       {func(s *stage) string { token, _ := s.NewToken(); return token }, http.StatusOK},
		"after 59s": {func(s *stage) string { token, _ := s.NewToken(); s.now = s.now.Add(59 * time.Second); return token }, http.StatusOK},
		"after 60s": {func(s *stage) string { token, _ := s.NewToken(); s.now = s.now.Add(60 * time.Second); return token }, http.StatusUnauthorized},
		"used": {func(s *stage) string {
			token, _ := s.NewToken()
			s.do(s.request(http.MethodGet, "/open?token="+token, nil))
			return token
		}, http.StatusUnauthorized},
		"replaced":       {func(s *stage) string { token, _ := s.NewToken(); s.NewToken(); return token }, http.StatusUnauthorized},
		"guessed":        {func(s *stage) string { s.NewToken(); return secret() }, http.StatusUnauthorized},
		"empty":          {func(s *stage) string { s.NewToken(); return "" }, http.StatusUnauthorized},
		"none was given": {func(*stage) string { return "" }, http.StatusUnauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			w := s.do(s.request(http.MethodGet, "/open?token="+c.use(s), nil))
			if w.Code != c.status {
				t.Fatalf("%d, want %d", w.Code, c.status)
			}
			if got := len(w.Result().Cookies()); (got == 1) != (c.status == http.StatusOK) {
				t.Errorf("%d cookies", got)
			}
		})
	}
}

func TestUsedTokenIsReportedAndItsCookieIsStrict(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	token, used := s.NewToken()
	select {
	case <-used:
		t.Fatal("used before it is")
	default:
	}
	r := s.request(http.MethodGet, "/open?token="+token, nil)
	r.Header.Set("Sec-Fetch-Site", "cross-site") // from a file
	w := s.do(r)
	<-used
	cookie := w.Result().Cookies()[0]
	if !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode || cookie.Name != "outrigger-4000" || cookie.MaxAge != 0 || cookie.Value == token {
		t.Errorf("cookie %+v", cookie)
	}
	if body := w.Body.String(); !strings.Contains(body, `http-equiv="refresh"`) || strings.Contains(body, token) {
		t.Errorf("the page does not go on, or contains the token:\n%s", body)
	}
}

// At most maxSessions browsers have a session; the oldest ends first.
func TestSessionsAreBounded(t *testing.T) {
	t.Parallel()
	s := newStage(t).open()
	first := s.cookie
	for range maxSessions {
		s.open()
	}
	s.page("/", http.StatusOK)
	s.cookie = first
	s.page("/", http.StatusUnauthorized)
}

func TestEveryResponseHasTheHeaders(t *testing.T) {
	t.Parallel()
	s := newStage(t).open()
	foreign := s.request(http.MethodGet, "/", nil)
	foreign.Host = "evil.example.com"
	for name, r := range map[string]*http.Request{
		"page": s.request(http.MethodGet, "/", nil), "none": s.request(http.MethodGet, "/none", nil), "static": s.request(http.MethodGet, "/static/live.js", nil),
		"style": s.request(http.MethodGet, "/static/style.css", nil), "open": s.request(http.MethodGet, "/open", nil), "refused": foreign,
		"post": s.request(http.MethodPost, "/actions/demo/web/shift", nil), "method": s.request(http.MethodDelete, "/", nil),
	} {
		w := s.do(r)
		for header, want := range map[string]string{
			"Content-Security-Policy": contentPolicy, "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin",
			"Cache-Control": "no-store", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got := w.Header().Get(header); got != want {
				t.Errorf("%s: %s: %q, want %q", name, header, got, want)
			}
		}
	}
	for _, word := range []string{"unsafe", "*", "http:", "data:", "blob:"} {
		if strings.Contains(contentPolicy, word) {
			t.Errorf("the policy allows %s: %s", word, contentPolicy)
		}
	}
	for _, word := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"} {
		if !strings.Contains(contentPolicy, word) {
			t.Errorf("the policy lacks %s", word)
		}
	}
}

// Files are served by their own names only.
func TestStaticServesOnlyEmbeddedFiles(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	for path, status := range map[string]int{
		"/static/live.js": 200, "/static/style.css": 200, "/static/favicon.svg": 200, "/static/": 404, "/static/../pages/layout.html": 404, "/static/%2e%2e/pages/layout.html": 404, "/static/none.js": 404,
	} {
		if w := s.do(s.request(http.MethodGet, path, nil)); w.Code != status {
			t.Errorf("%s: %d, want %d", path, w.Code, status)
		}
	}
}
