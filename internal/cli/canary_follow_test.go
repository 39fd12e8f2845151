// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// watched follows the canary of app, while change is called before each further reading.
func (r *rollout) watched(w canaryWatch, change ...func()) error {
	w.live, w.service, w.out, w.notes, w.pause = r.live, "app", &r.out, &r.out, time.Millisecond
	r.out.Reset()
	read := 0
	w.live = &live{client: r.client, from: r.from, namespace: r.namespace, config: r.config, gaps: r.gaps, systemNamespace: r.systemNamespace, now: func() time.Time {
		if read++; read > 1 && len(change) > 0 {
			change[0]()
			change = change[1:]
		}
		return r.at
	}}
	ctx, cancel := context.WithTimeout(r.t.Context(), 10*time.Minute) // only a test that hangs waits for it
	defer cancel()
	return w.run(ctx)
}

const frozenAdvice = "To end it: helm upgrade outrigger charts/outrigger -n outrigger-system --reset-then-reuse-values --set routing.freeze=false. To follow the canary: outrigger status app -n demo --watch"

func TestWaitFollowsACanary(t *testing.T) {
	start := func(t *testing.T) *rollout {
		r := newRollout(t)
		r.mustCanary("app", "v2", "--steps=25@1m,100@1m")
		return r
	}
	t.Run("until it succeeds", func(t *testing.T) {
		r := start(t)
		pass := func() { r.after(time.Minute) }
		if err := r.watched(canaryWatch{version: "v2"}, func() {}, pass, func() {}, pass, pass); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff("canary v2 1/2 25%\ncanary v2 2/2 100%\ncanary v2 succeeded\n", r.out.String()); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
	t.Run("until it is aborted", func(t *testing.T) {
		r := start(t)
		err := r.watched(canaryWatch{}, func() {}, func() {
			r.setReady("app-v2", false)
			r.after(10 * time.Second)
		}, func() {}, func() { r.after(time.Minute) })
		if err == nil || err.Error() != "canary v2 of service app was aborted at 25%: 0 of 10 pods ready" {
			t.Error(err)
		}
		if diff := cmp.Diff("canary v2 1/2 25%\ncanary v2 1/2 25% failing  0 of 10 pods ready\ncanary v2 aborted at 25%: 0 of 10 pods ready\n", r.out.String()); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
	t.Run("until it is removed", func(t *testing.T) {
		r := start(t)
		err := r.watched(canaryWatch{}, func() {}, func() {
			r.annotate("app", "outrigger.dev/canary=")
			r.follow()
		})
		if err == nil || err.Error() != "canary v2 of service app was aborted: outrigger.dev/canary was removed" {
			t.Error(err)
		}
	})
	t.Run("until its Service is deleted", func(t *testing.T) {
		r := start(t)
		err := r.watched(canaryWatch{}, func() {}, func() {
			if err := r.client.Delete(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "app"}}); err != nil {
				t.Error(err)
			}
		})
		if err == nil || !strings.Contains(err.Error(), "demo/app") {
			t.Error(err)
		}
	})
	t.Run("until it is promoted and removed", func(t *testing.T) {
		r := start(t)
		if err := r.watched(canaryWatch{}, func() {}, func() {
			r.annotate("app", "outrigger.dev/canary=", "outrigger.dev/default-version=v2", "outrigger.dev/decided-at=2026-01-02T12:00:00Z")
			r.follow()
		}); err != nil {
			t.Error(err)
		}
	})
	t.Run("for a limited time", func(t *testing.T) {
		ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
		defer cancel()
		w := canaryWatch{service: "app", timeout: time.Minute, shown: "canary v2 1/2 25%"}
		err := w.interrupted(ctx)
		if err == nil || err.Error() != "service/app: the canary has not ended within 1m0s: canary v2 1/2 25%" {
			t.Error(err)
		}
	})
	t.Run("on a terminal", func(t *testing.T) {
		r := start(t)
		pass := func() { r.after(time.Minute) }
		if err := r.watched(canaryWatch{isTerminal: true}, func() {}, pass, pass, pass); err != nil {
			t.Error(err)
		}
		if got := r.out.String(); !strings.Contains(got, "\r\x1b[Kcanary v2 1/2 25% next in 1m0s") || !strings.HasSuffix(got, "\r\x1b[Kcanary v2 succeeded\n") {
			t.Errorf("%q", got)
		}
	})
	t.Run("that no controller records", func(t *testing.T) {
		r := newRollout(t)
		r.annotate("app", "outrigger.dev/canary=v2")
		later := func(by time.Duration) func() { return func() { r.at = r.at.Add(by) } }
		err := r.watched(canaryWatch{}, func() {}, later(recordTime), func() {}, later(time.Minute), func() {}, func() { r.annotate("app", "outrigger.dev/canary=") })
		if err == nil || err.Error() != "canary v2 of service app was aborted: outrigger.dev/canary was removed" {
			t.Error(err)
		}
		if got := r.out.String(); strings.Count(got, "canary v2 is not recorded yet. If this stays, Outrigger does not run") != 1 || strings.Contains(got, "1/4") {
			t.Errorf("%q", got)
		}
	})
	t.Run("that is frozen from the beginning on", func(t *testing.T) {
		r := newRollout(t)
		r.config.Routing.Freeze = true
		r.mustCanary("app", "v2", "--steps=25@1m,100@1m")
		err := r.watched(canaryWatch{version: "v2"})
		if err == nil || err.Error() != "service/app: routing is frozen (routing.freeze=true in namespace outrigger-system): canary v2 starts when the freeze ends. "+frozenAdvice {
			t.Error(err)
		}
		if got := r.out.String(); strings.Count(got, "\n") != 1 || !strings.HasPrefix(got, "canary v2 waits for ") || !strings.HasSuffix(got, "the end of routing.freeze\n") {
			t.Errorf("%q", got)
		}
	})
	t.Run("that is frozen later", func(t *testing.T) {
		r := start(t)
		r.configure("false")
		err := r.watched(canaryWatch{version: "v2"}, func() {}, func() { r.configure("true") })
		if err == nil || err.Error() != "service/app: routing is frozen (routing.freeze=true in namespace outrigger-system): canary v2 stays at 25% and continues when the freeze ends. "+frozenAdvice {
			t.Error(err)
		}
		if got := r.out.String(); got != "canary v2 1/2 25%\ncanary v2 1/2 25%  routes are frozen (routing.freeze)\n" {
			t.Errorf("%q", got)
		}
	})
	t.Run("that there is not", func(t *testing.T) {
		r := newRollout(t)
		if err := r.watched(canaryWatch{}); err == nil || err.Error() != "service app has no canary" {
			t.Error(err)
		}
	})
	t.Run("after another one", func(t *testing.T) {
		r := start(t)
		for _, object := range runningPods("app", "v3", 2, 2) {
			if err := r.client.Create(t.Context(), object); err != nil {
				t.Fatal(err)
			}
		}
		r.follow()
		r.annotate("app", "outrigger.dev/canary=v3", "outrigger.dev/canary-steps=100@1m") // the controller has yet to look
		pass := func() { r.after(time.Minute) }
		if err := r.watched(canaryWatch{version: "v3"}, func() {}, r.follow, func() {}, pass, pass); err != nil {
			t.Error(err)
		}
		if got := r.out.String(); !strings.HasSuffix(got, "canary v3 1/1 100%\ncanary v3 succeeded\n") || strings.Contains(got, "v2") {
			t.Errorf("%q", got)
		}
	})
}
