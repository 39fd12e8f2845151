// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"outrigger.dev/outrigger/internal/dashboard"
	"outrigger.dev/outrigger/internal/diagnose"
)

// Bad values get the message of the command line, and the form again with what was typed.
func TestDashboardRefusesBadInput(t *testing.T) {
	for name, c := range map[string]struct {
		action diagnose.Action
		values []string
		want   []string
	}{
		"too little":         {diagnose.ActionShift, []string{"version=v1", "weight=80", "version=v2", "weight=10"}, []string{"The weights v1=80 v2=10 sum to 90: add 10 to reach 100", `value="80"`}},
		"too much":           {diagnose.ActionShift, []string{"version=v1", "weight=100", "version=v2", "weight=10"}, []string{"The weights v1=100 v2=10 sum to 110: remove 10 to reach 100"}},
		"nothing":            {diagnose.ActionShift, []string{"version=v1", "weight=0", "version=v2", "weight="}, []string{"All weights are 0"}},
		"no number":          {diagnose.ActionShift, []string{"version=v1", "weight=<b>"}, []string{`The weight of v1, "<b>", is not a whole number`}},
		"below 0":            {diagnose.ActionShift, []string{"version=v1", "weight=-10", "version=v2", "weight=110"}, []string{`The weight of v1, "-10", is not a whole number`}},
		"twice":              {diagnose.ActionShift, []string{"version=v1", "weight=50", "version=v1", "weight=50"}, []string{"Version v1 is named twice"}},
		"no fields":          {diagnose.ActionShift, nil, []string{"Name at least one version with its weight"}},
		"one field too many": {diagnose.ActionShift, []string{"version=v1", "version=v2", "weight=100"}, []string{"2 versions and 1 weights"}},
		"a weight of none":   {diagnose.ActionShift, []string{"version=", "weight=100"}, []string{"The weight 100 has no version"}},
		"an unknown version": {diagnose.ActionPromote, []string{"version=v9"}, []string{`Service demo/app has no version v9; it has v1, v2. "Accept a version that has no pods yet" writes the name anyway`}},
		"an unknown policy":  {diagnose.ActionPromote, []string{"other=@hghest"}, []string{`did you mean "@highest"?`}},
		"no version":         {diagnose.ActionPromote, nil, []string{"Name a version"}},
		"steps that fall":    {diagnose.ActionCanary, []string{"version=v2", "steps=50,5"}, []string{`"Steps" = 50,5: `, `value="50,5"`}},
		"an unknown check":   {diagnose.ActionCanary, []string{"version=v2", "check=error-rate<1%"}, []string{`"Checks" = error-rate<1% needs metrics`}},
		"no number of undo":  {diagnose.ActionUndo, []string{"to=first"}, []string{`"Return to" = first: expected 1 for the last decision`}},
		"nothing to undo":    {diagnose.ActionUndo, nil, []string{"Service demo/app has no earlier decision to return to"}},
		"no canary":          {diagnose.ActionCanaryPause, nil, []string{"Service app has no canary. To start one: ", "<code>outrigger canary app VERSION -n demo</code>"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := browse(t)
			settings := &corev1.ConfigMap{ // which configure no metrics
				ObjectMeta: metav1.ObjectMeta{Namespace: defaultSystemNamespace, Name: "outrigger"},
				Data:       map[string]string{"config.yaml": "apiVersion: config.outrigger.dev/v1alpha1\nkind: Configuration\n"},
			}
			if err := b.client.Create(t.Context(), settings); err != nil {
				t.Fatal(err)
			}
			b.preview(c.action, c.values...)
			b.shows(http.StatusUnprocessableEntity, append(c.want, `id="problem"`)...)
			b.wrote(nil)
		})
	}
}

func TestDashboardPendingVersionsAndOtherServices(t *testing.T) {
	b := browse(t)
	b.preview(diagnose.ActionShift, "version=v1", "weight=50", "version=v3", "weight=50", "pending=on")
	b.shows(http.StatusOK, "v1=100 -> v1=50 v3=50 when v3 has a ready pod", "outrigger shift app v1=50 v3=50 --pending -n demo")
	b.preview(diagnose.ActionPromote, "version=v1", "other=v2", "all-services=on")
	b.shows(http.StatusOK, "outrigger promote app v2 --all-services -n demo", "kubectl annotate service -n demo app-internal ", "service/app-internal was read with resourceVersion ")
	b.confirm()
	b.shows(http.StatusOK, "service/app was changed.", "service/app-internal was changed.")
	if is := b.annotations("app-internal")["outrigger.dev/default-version"]; is != "v2" {
		t.Errorf("app-internal: %s", is)
	}
}

// Without the permission to change Services, or with --read-only, there is no action, and nothing is written by a form of one's own.
func TestDashboardWithoutActions(t *testing.T) {
	for name, c := range map[string]struct {
		open func(*testing.T) *browser
		want string
	}{
		"no permission": {func(t *testing.T) *browser { return browseAt(newRollout(t), false) }, "No permission to patch Service demo/app; the ClusterRole edit, bound in namespace demo, grants it"},
		"read-only":     {func(t *testing.T) *browser { return browse(t, func(o *dashboard.Options) { o.ReadOnly = true }) }, "he dashboard was started with --read-only"},
	} {
		t.Run(name, func(t *testing.T) {
			b := c.open(t)
			b.do(http.MethodGet, "/actions/demo/app/promote", nil)
			b.shows(http.StatusForbidden, c.want)
			b.do(http.MethodPost, "/actions/demo/app/promote", url.Values{"version": {"v2"}})
			b.shows(http.StatusForbidden)
			b.wrote(nil)
		})
	}
}

// A refusal by the API server is shown before anything could be confirmed.
func TestDashboardShowsWhatTheDryRunRefuses(t *testing.T) {
	r := newRollout(t)
	r.through(interceptor.Funcs{Patch: func(context.Context, client.WithWatch, client.Object, client.Patch, ...client.PatchOption) error {
		return forbidden
	}})
	b := browseAt(r, true)
	b.preview(diagnose.ActionPromote, "version=v2")
	b.shows(http.StatusOK, "Rejected: annotate service demo/app: ")
	b.hidesConfirm()
}

// After a write whose response is missing, the page and the command say what the Service shows, or that it is not known.
func TestWritesWithoutAResponse(t *testing.T) {
	lost := &url.Error{Op: "Patch", URL: "https://api", Err: context.DeadlineExceeded}
	for name, c := range map[string]struct {
		isMade, isUnreadable bool
		err                  error
		page, command        string // command is the beginning of the error; empty for none
	}{
		"made":                  {isMade: true, err: lost, page: "service/app was changed."},
		"made, with an error":   {isMade: true, err: apierrors.NewInternalError(errors.New("etcd is away")), page: "service/app was changed."},
		"not made yet":          {err: lost, page: "It is not known whether service/app was changed: annotate service demo/app: ", command: "it is not known whether service/app was changed: annotate service demo/app: "},
		"the server gave up":    {err: apierrors.NewTimeoutError("slow", 1), page: "It is not known whether service/app was changed: ", command: "it is not known whether service/app was changed: "},
		"the cluster is away":   {isMade: true, isUnreadable: true, err: lost, page: "It is not known whether service/app was changed: ", command: "it is not known whether service/app was changed: "},
		"an error, and unmade":  {err: apierrors.NewInternalError(errors.New("failed calling webhook")), page: "service/app was not changed: annotate", command: "annotate service demo/app: "},
		"refused":               {isUnreadable: true, err: forbidden, page: "service/app was not changed: ", command: "annotate service demo/app: "},
		"never sent to anybody": {isUnreadable: true, err: &unreachableError{"https://api", "kubectl", lost}, page: "service/app was not changed: ", command: "annotate service demo/app: "},
	} {
		t.Run(name, func(t *testing.T) {
			isWriting, hasWritten := false, false
			stage := func() *rollout {
				r := newRollout(t)
				isWriting, hasWritten = false, false
				r.through(interceptor.Funcs{
					Patch: func(ctx context.Context, cluster client.WithWatch, object client.Object, patch client.Patch, options ...client.PatchOption) error {
						if !isWriting {
							return cluster.Patch(ctx, object, patch, options...)
						}
						hasWritten = true
						if c.isMade {
							if err := cluster.Patch(ctx, object, patch, options...); err != nil {
								t.Error(err)
							}
						}
						return c.err
					},
					Get: func(ctx context.Context, cluster client.WithWatch, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
						if hasWritten && c.isUnreadable {
							return lost
						}
						return cluster.Get(ctx, key, object, options...)
					},
				})
				return r
			}
			b := browseAt(stage(), true)
			b.preview(diagnose.ActionShift, "version=v1", "weight=50", "version=v2", "weight=50")
			isWriting = true
			b.confirm()
			b.shows(http.StatusOK, c.page)

			r := stage()
			isWriting = true
			err := r.applyDecision(t.Context(), diagnose.Request{Action: diagnose.ActionShift, Service: "app", Weights: []string{"v1=50", "v2=50"}}, r.writing(dryRunNone))
			if c.command == "" != (err == nil) || err != nil && !strings.HasPrefix(err.Error(), c.command) {
				t.Errorf("the command: %v, want %q", err, c.command)
			}
		})
	}
}

// A form is bound to its session.
func TestDashboardRefusesForeignForms(t *testing.T) {
	b := browse(t)
	b.do(http.MethodGet, "/actions/demo/app/promote", nil)
	foreign := formToken.FindStringSubmatch(b.page)[1]
	b.login()
	for name, token := range map[string]string{"another session's": foreign, "none": "", "a guess": "guess"} {
		b.do(http.MethodPost, "/actions/demo/app/promote", url.Values{"form-token": {token}, "version": {"v2"}})
		if b.status != http.StatusForbidden {
			t.Errorf("%s: %d", name, b.status)
		}
	}
	b.preview(diagnose.ActionPromote, "version=v2")
	place := b.place
	b.do(http.MethodPost, place, url.Values{"form-token": {foreign}})
	b.shows(http.StatusForbidden)
	b.wrote(nil)
}

func TestDashboardActionsThatDoNotExist(t *testing.T) {
	b := browse(t)
	for path, want := range map[string]string{
		"/actions/demo/app/delete":                               `Unknown action "delete"`,
		"/actions/istio-system/app/promote":                      "This dashboard shows only namespace demo. For namespace istio-system: ",
		"/actions/demo/ap/promote":                               "Namespace demo has no Service ap; it has app, app-internal, other",
		"/actions/demo/%3Cscript%3Ealert(1)%3C%2Fscript%3E/undo": "Namespace demo has no Service <script>alert(1)</script>",
		"/changes/nosuch":                                        "The preview has expired",
	} {
		b.do(http.MethodGet, path, nil)
		b.shows(http.StatusNotFound, want)
	}
	b.preview(diagnose.ActionPromote, "version=v2")
	place, page := b.place, b.page
	if err := b.client.Delete(t.Context(), serviceOf("app", "app")); err != nil {
		t.Fatal(err)
	}
	b.confirm()
	b.shows(http.StatusNotFound, "Nothing was written: namespace demo has no Service app; it has app-internal, other")
	b.at, b.page = b.at.Add(10*time.Minute), page
	b.post(place)
	b.shows(http.StatusNotFound, "The preview has expired: previews are kept for 10m0s")
}
