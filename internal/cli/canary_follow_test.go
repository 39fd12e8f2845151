// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/internal/diagnose"
)

// reaction is a change of the cluster that is made when a command has printed a text.
type reaction struct {
	to   string
	make func()
}

// reacting is an output with reactions, each of which is made once, in this order.
type reacting struct {
	out   *bytes.Buffer
	react []reaction
}

func (w *reacting) Write(text []byte) (int, error) {
	w.out.Write(text)
	for len(w.react) > 0 && strings.Contains(w.out.String(), w.react[0].to) {
		next := w.react[0].make
		w.react = w.react[1:]
		next()
	}
	return len(text), nil
}

// watched follows the canary of app, with reactions to what the command prints.
func (r *rollout) watched(w canaryWatch, react ...reaction) error {
	return r.watchedWith(w, func(int) {}, react...)
}

// watchedWith does the same, and calls reading with the number of each reading.
func (r *rollout) watchedWith(w canaryWatch, reading func(int), react ...reaction) error {
	r.out.Reset()
	out := &reacting{&r.out, react}
	w.service, w.out, w.notes, w.pause = "app", out, out, time.Millisecond
	number := 0
	w.live = &live{client: r.client, from: r.from, namespace: r.namespace, config: r.config, gaps: r.gaps, systemNamespace: r.systemNamespace, now: func() time.Time {
		number++
		reading(number)
		return r.at
	}}
	ctx, cancel := context.WithTimeout(r.t.Context(), 10*time.Minute) // only a test that hangs waits for it
	defer cancel()
	return w.run(ctx)
}

const frozenAdvice = "To end it: helm upgrade outrigger charts/outrigger -n outrigger-system --reset-then-reuse-values --set routing.freeze=false. To follow the canary: outrigger status app -n demo --watch"

func TestWaitFollowsACanary(t *testing.T) {
	start := func(t *testing.T) (*rollout, func()) {
		r := newRollout(t)
		r.mustCanary("app", "v2", "--steps=25@1m,100@1m")
		return r, func() { r.after(90 * time.Second) }
	}
	t.Run("until it succeeds", func(t *testing.T) {
		r, pass := start(t)
		if err := r.watched(canaryWatch{version: "v2"}, reaction{"1/2 25%\n", pass}, reaction{"2/2 100%\n", pass}); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff("canary v2 1/2 25%\ncanary v2 2/2 100%\ncanary v2 succeeded\n", r.out.String()); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
	t.Run("until it is aborted", func(t *testing.T) {
		r, pass := start(t)
		err := r.watched(canaryWatch{}, reaction{"1/2 25%\n", func() {
			r.setReady("app-v2", false)
			r.after(10 * time.Second)
		}}, reaction{"1/2 25% failing  0 of 10 pods ready\n", pass})
		if err == nil || err.Error() != "canary v2 of service app was aborted at 25%: 0 of 10 pods ready" {
			t.Error(err)
		}
		if got := r.out.String(); !strings.HasPrefix(got, "canary v2 1/2 25%\n") || !strings.HasSuffix(got, "canary v2 aborted at 25%: 0 of 10 pods ready\n") {
			t.Errorf("%q", got)
		}
	})
	t.Run("until it is removed", func(t *testing.T) {
		r, _ := start(t)
		err := r.watched(canaryWatch{}, reaction{"1/2 25%\n", func() {
			r.annotate("app", "outrigger.dev/canary=")
			r.follow()
		}})
		if err == nil || !regexp.MustCompile(`^canary v2 of service app was aborted( at 25%)?: outrigger.dev/canary was removed$`).MatchString(err.Error()) {
			t.Error(err)
		}
	})
	t.Run("until its Service is deleted", func(t *testing.T) {
		r, _ := start(t)
		err := r.watched(canaryWatch{}, reaction{"1/2 25%\n", func() {
			if err := r.client.Delete(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "app"}}); err != nil {
				t.Error(err)
			}
		}})
		if err == nil || !strings.Contains(err.Error(), "demo/app") {
			t.Error(err)
		}
	})
	t.Run("until it is promoted and removed", func(t *testing.T) {
		r, _ := start(t)
		if err := r.watched(canaryWatch{}, reaction{"1/2 25%\n", func() {
			r.annotate("app", "outrigger.dev/canary=", "outrigger.dev/default-version=v2", "outrigger.dev/decided-at=2026-01-02T12:00:00Z")
			r.follow()
		}}); err != nil {
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
		r, pass := start(t)
		if err := r.watched(canaryWatch{isTerminal: true}, reaction{"1/2 25% next in 1m0s", pass}, reaction{"2/2 100% next in ", pass}); err != nil {
			t.Error(err)
		}
		if got := r.out.String(); !strings.Contains(got, "\r\x1b[Kcanary v2 1/2 25% next in 1m0s") || !strings.HasSuffix(got, "\r\x1b[Kcanary v2 succeeded\n") {
			t.Errorf("%q", got)
		}
	})
	t.Run("that no controller records", func(t *testing.T) {
		r := newRollout(t)
		r.annotate("app", "outrigger.dev/canary=v2")
		err := r.watchedWith(canaryWatch{version: "v2"}, func(number int) {
			switch number {
			case 3, 6:
				r.at = r.at.Add(time.Minute)
			case 9:
				r.annotate("app", "outrigger.dev/canary=")
			}
		})
		if err == nil || err.Error() != "canary v2 of service app was aborted: outrigger.dev/canary was removed" {
			t.Error(err)
		}
		if got := r.out.String(); strings.Count(got, "canary v2 is not recorded yet. If this does not change, Outrigger is not running") != 1 || strings.Contains(got, "1/4") {
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
		r, _ := start(t)
		r.configure("false")
		err := r.watched(canaryWatch{version: "v2"}, reaction{"1/2 25%\n", func() { r.configure("true") }})
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
		r, pass := start(t)
		for _, object := range runningPods("app", "v3", 2, 2) {
			if err := r.client.Create(t.Context(), object); err != nil {
				t.Fatal(err)
			}
		}
		r.follow()
		r.annotate("app", "outrigger.dev/canary=v3", "outrigger.dev/canary-steps=100@1m") // the controller has yet to look
		if err := r.watchedWith(canaryWatch{version: "v3"}, func(number int) {
			if number == 3 {
				r.follow()
			}
		}, reaction{"canary v3 1/1 100%\n", pass}); err != nil {
			t.Error(err)
		}
		if got := r.out.String(); !strings.HasSuffix(got, "canary v3 1/1 100%\ncanary v3 succeeded\n") || strings.Contains(got, "v2") {
			t.Errorf("%q", got)
		}
	})
}

// Steps that are recorded between two readings are also printed, each once and in order.
func TestWaitSkipsNoStep(t *testing.T) {
	t.Parallel()
	r := newRollout(t)
	r.mustCanary("app", "v2", "--steps=5@1m,25@1m,50@1m,100@1m")
	if err := r.watched(canaryWatch{version: "v2"}, reaction{"1/4 5%\n", func() { r.after(10 * time.Minute) }}); err != nil {
		t.Error(err)
	}
	want := "canary v2 1/4 5%\ncanary v2 2/4 25%\ncanary v2 3/4 50%\ncanary v2 4/4 100%\ncanary v2 succeeded\n"
	if diff := cmp.Diff(want, r.out.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A retry that the controller refuses is not reported as the abort of the previous canary.
func TestWaitReportsARefusedRetry(t *testing.T) {
	t.Parallel()
	aborted := func(t *testing.T) *rollout {
		r := newRollout(t)
		r.mustCanary("app", "v2", "--steps=25@1m,100@1m")
		r.setReady("app-v2", false)
		r.after(time.Minute)
		r.is("v2 aborted at 25%: 0 of 10 pods ready", "v1=100")
		r.setReady("app-v2", true)
		return r
	}
	retry := func(t *testing.T, r *rollout, args ...string) diagnose.Change {
		request, err := parsedCanary(append([]string{"app"}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		change, err := r.applyChange(t.Context(), request, r.writing(dryRunNone))
		if err != nil {
			t.Fatal(err)
		}
		return change
	}
	for name, c := range map[string]struct {
		args []string
		then func(r *rollout, at time.Time) // after the command has written, with the clock of the controller
		want string
	}{
		"the clock is ahead": {[]string{"--retry"}, func(r *rollout, at time.Time) { r.at = at },
			"outrigger.dev/decided-at=2026-01-05T12:01:00Z: Invalid value: the time was more than 24h in the future when it was first read. It has no effect, even when that time comes. Correct the clock "},
		"the clock is ahead, with a version": {[]string{"v2", "--retry"}, func(r *rollout, at time.Time) { r.at = at }, "outrigger.dev/decided-at=2026-01-05T12:01:00Z: Invalid value: "},
		"another client removes the decision": {[]string{"--retry"}, func(r *rollout, _ time.Time) { r.annotate("app", "outrigger.dev/decided-at=") },
			"another client removed the annotation outrigger.dev/decided-at"},
		"another client replaces the decision": {[]string{"--retry"}, func(r *rollout, _ time.Time) { r.annotate("app", "outrigger.dev/decided-at=2026-01-01T00:00:00Z") },
			"another client set the annotation outrigger.dev/decided-at=2026-01-01T00:00:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			r := aborted(t)
			at := r.at
			r.at = at.Add(72 * time.Hour)
			change := retry(t, r, c.args...)
			c.then(r, at)
			r.follow()
			err := r.watched(canaryWatch{version: change.Request.Version, change: change})
			if err == nil || !strings.HasPrefix(err.Error(), "canary v2 of service app was not retried: "+c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if strings.Contains(r.out.String(), "aborted") {
				t.Errorf("printed:\n%s", r.out.String())
			}
		})
	}
	t.Run("but the abort of a retry is one", func(t *testing.T) {
		r := aborted(t)
		change := retry(t, r, "--retry")
		r.follow()
		fail := func() { r.setReady("app-v2", false); r.after(time.Minute) }
		if err := r.watched(canaryWatch{change: change}, reaction{"1/2 25%\n", fail}); err == nil || err.Error() != "canary v2 of service app was aborted at 25%: 0 of 10 pods ready" {
			t.Error(err)
		}
	})
}
