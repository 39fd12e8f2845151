// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"outrigger.dev/outrigger/hack/install"
	"outrigger.dev/outrigger/test/dashboard"
)

// startDashboard starts the dashboard of a namespace with the administrator's permissions.
func startDashboard(t *testing.T, ns string, args ...string) *dashboard.Command {
	t.Helper()
	return dashboard.Start(t, outrigger.Binary, cluster.Kubeconfig, append([]string{"-n", ns}, args...)...)
}

// looked checks a page in all looks: axe-core finds no violation, nothing is wider than the window, and a picture is kept.
func looked(t *testing.T, tab *dashboard.Tab, name string) {
	t.Helper()
	root, err := install.Root()
	if err != nil {
		t.Fatal(err)
	}
	t.Run(name, func(t *testing.T) {
		defer tab.In(t)()
		tab.Screenshots(root, name)
		for _, look := range []string{"light", "dark", "360"} {
			t.Run(look, func(t *testing.T) {
				defer tab.In(t)()
				dashboard.NeedAxe(t)
				tab.Look(dashboard.Looks[look])
				for _, violation := range tab.Audit() {
					t.Error(violation)
				}
			})
		}
		tab.Look(dashboard.Looks["light"])
	})
}

// act opens the form of an action from the page of a Service, fills it, and returns at the preview.
func act(t *testing.T, tab *dashboard.Tab, ns, verb string, fields map[string]string) {
	t.Helper()
	tab.Go(tab.URL("/services/" + ns + "/app"))
	tab.WantElement(`#actions a[data-action="` + verb + `"]`)
	tab.Click(`#actions a[data-action="` + verb + `"]`)
	tab.WantElement("#action-form")
	for field, value := range fields {
		tab.Fill(field, value)
	}
	tab.Click("#action-form button.primary")
	tab.WantElement("#dry-run, #problem")
}

// confirm runs what is previewed, and waits until it is applied.
func confirm(tab *dashboard.Tab) {
	tab.Click("#confirm button")
	tab.WantText("#outcome", "was changed", "Applied.")
}

// Each action shows its command and effect, writes nothing before it is confirmed, and does what the command does.
func TestDashboardActs(t *testing.T) {
	dashboard.Need(t)
	t.Parallel()
	needIstio(t)
	ns := twoVersions(t)
	canaryMetrics.set(ns, "v1", "0.001")
	canaryMetrics.set(ns, "v2", "0.001")
	tab := startDashboard(t, ns).Open()

	// A mistake is named beside the form, and nothing is written.
	act(t, tab, ns, "shift", map[string]string{"#weight-0": "70", "#weight-1": "20"})
	tab.WantText("#problem", "sum to 90", "add 10")
	looked(t, tab, "action-with-a-problem")

	// A slider takes from the other version what it gives to its own.
	tab.Fill(".weight:nth-of-type(2) input[type=range]", "25")
	tab.WantText("output.sum", "Sum: 100")
	if got := dashboard.Eval[string](tab, `document.querySelector("#weight-0").value`); got != "75" {
		t.Errorf("beside a weight of 25, the other is %s", got)
	}
	looked(t, tab, "action")
	tab.Click("#action-form button.primary")
	tab.WantText("#traffic", "v1 100% 75%", "v2 0% 25%")
	tab.WantText("#commands", "outrigger shift app v1=75 v2=25 -n "+ns, "kubectl annotate service")
	tab.WantText("#dry-run", "Accepted")
	// The copied text is the command as the server sent it, although each of its words is an element.
	if got, want := dashboard.Eval[string](tab, `document.querySelector("#command:has(span)").textContent`), "outrigger shift app v1=75 v2=25 -n "+ns; !strings.HasPrefix(got, want+" --kubeconfig=") && got != want {
		t.Errorf("the command to copy is %q, want %q", got, want)
	}
	looked(t, tab, "preview")
	routesNow(t, ns, "app", "v1=100")
	confirm(tab)
	routesNow(t, ns, "app", "v1=75 v2=25")
	looked(t, tab, "result")

	act(t, tab, ns, "undo", nil)
	confirm(tab)
	routesNow(t, ns, "app", "v1=100")

	act(t, tab, ns, "promote", map[string]string{"#version": "v2"})
	tab.WantText("#commands", "outrigger promote app v2 -n "+ns)
	confirm(tab)
	routesNow(t, ns, "app", "v2=100")

	act(t, tab, ns, "canary", map[string]string{"#version": "v1", "#setting-steps": "10@30m,100", "#setting-check": "error-rate<1%"})
	confirm(tab)
	wantRoutes(t, ns, "app", "v1=10 v2=90")
	act(t, tab, ns, "canary-pause", nil)
	confirm(tab)
	tab.Go(tab.URL("/services/" + ns + "/app"))
	tab.WantText("#canary", "paused")
	act(t, tab, ns, "canary-resume", nil)
	confirm(tab)
	act(t, tab, ns, "canary-abort", nil)
	confirm(tab)
	wantRoutes(t, ns, "app", "v2=100")
	act(t, tab, ns, "canary-retry", nil)
	confirm(tab)
	wantRoutes(t, ns, "app", "v1=10 v2=90")
	act(t, tab, ns, "canary-promote", nil)
	confirm(tab)
	wantRoutes(t, ns, "app", "v1=100")
}

// Every page can be used with the keyboard alone, and without JavaScript.
func TestDashboardByKeyboard(t *testing.T) {
	dashboard.Need(t)
	t.Parallel()
	needIstio(t)
	ns := namespace(t, injected)
	apply(t, ns, service("app")+fixed("app-v1", "app", "v1"))
	wantRoutes(t, ns, "app", "v1=100")
	tab := startDashboard(t, ns).Open()
	tab.WantText("#services", "app")
	tab.Press("\t")
	tab.Want("the first stop is the link to the content, and is visible", `document.activeElement.matches("a.skip") && document.activeElement.getBoundingClientRect().width > 50`)
	tab.Press("\r")
	tab.Want("the link leads to the content", `location.hash === "#main" && document.activeElement.id === "main"`)
	for range 20 {
		tab.Press("\t")
		if outlined := dashboard.Eval[string](tab, `getComputedStyle(document.activeElement).outlineStyle`); outlined == "none" && dashboard.Eval[string](tab, `document.activeElement.tagName`) != "BODY" {
			t.Errorf("the focus on %s is invisible", dashboard.Eval[string](tab, `document.activeElement.outerHTML`))
		}
		if dashboard.Eval[bool](tab, fmt.Sprintf(`document.activeElement.matches('a[href="/services/%s/app"]')`, ns)) {
			tab.Press("\r")
			tab.WantPath("/services/" + ns + "/app")
			return
		}
	}
	t.Error("the Tab key does not lead to the Service")
}

func TestDashboardWithoutJavaScript(t *testing.T) {
	dashboard.Need(t)
	t.Parallel()
	needIstio(t)
	ns := twoVersions(t)
	tab := dashboard.NewTab(t)
	tab.WithoutScripts()
	startDashboard(t, ns).OpenIn(tab)
	tab.Click(`a[href="/services/` + ns + `/app"]`)
	tab.WantText("#routes svg.wide", "all requests")
	act(t, tab, ns, "shift", map[string]string{"#weight-0": "50", "#weight-1": "50"})
	tab.Click("#confirm button")
	tab.WantText("#outcome", "was changed")
	wantRoutes(t, ns, "app", "v1=50 v2=50")
	if dashboard.Eval[bool](tab, `[...document.querySelectorAll("button[data-copy]")].some(button => button.checkVisibility())`) {
		t.Error("a button that needs JavaScript is shown without it")
	}
}

// A user who may only view sees everything, and why there are no actions.
func TestDashboardForViewers(t *testing.T) {
	dashboard.Need(t)
	t.Parallel()
	needIstio(t)
	ns := twoVersions(t)
	viewer := accountWith(t, ns, "viewer", rbacv1.RoleRef{Kind: "ClusterRole", Name: "view"}, "list", "services")
	command := dashboard.Start(t, outrigger.Binary, kubeconfig(t, viewer.impersonateIn), "-n", ns)
	tab := command.Open()
	tab.WantText("#services", "app routed v1 100% 2/2 v2 0% 2/2")
	tab.Go(tab.URL("/services/" + ns + "/app"))
	tab.WantText("#actions", "No permission to patch Service "+ns+"/app", "the ClusterRole edit, bound in namespace "+ns+", grants it")
	if count := tab.Count("#actions a[data-action]"); count > 0 {
		t.Errorf("a viewer is offered %d actions", count)
	}
	looked(t, tab, "service-for-a-viewer")

	// The page of an action says the same, and a form that is sent nevertheless changes nothing.
	tab.Go(tab.URL("/actions/" + ns + "/app/promote"))
	tab.WantText("main", "No permission to patch Service")

	readOnly := startDashboard(t, ns, "--read-only").Open()
	readOnly.WantText("header", "read-only")
	readOnly.Go(readOnly.URL("/services/" + ns + "/app"))
	readOnly.WantElement("#versions")
	if count := readOnly.Count("[data-action]"); count > 0 {
		t.Errorf("%d actions are offered with --read-only", count)
	}
}

// A file opens the dashboard once. A browser without its cookie sees nothing.
func TestDashboardOpensOnce(t *testing.T) {
	dashboard.Need(t)
	t.Parallel()
	needIstio(t)
	ns := namespace(t, injected)
	apply(t, ns, service("secret-app"))
	command := startDashboard(t, ns)
	link := command.Link()
	first := dashboard.NewTab(t)
	first.Go(link)
	first.WantText("#services", "secret-app")
	for name, address := range map[string]string{"a used link": link, "no cookie": command.URL, "a guess": command.URL + "/open?token=" + url.QueryEscape(strings.Repeat("a", 43))} {
		other := dashboard.NewTab(t)
		other.Go(address)
		other.WantText("main", "outrigger dashboard")
		if text := other.Text("body"); strings.Contains(text, "secret-app") || strings.Contains(text, ns) {
			t.Errorf("%s shows %s", name, text)
		}
		if name == "no cookie" {
			looked(t, other, "refused")
		}
	}
	second := command.Open() // by a new file
	second.WantText("#services", "secret-app")
}

// The page says that the API server cannot be reached, keeps what it knew, and goes on when it can.
func TestDashboardWhileTheAPIServerIsAway(t *testing.T) {
	dashboard.Need(t)
	t.Parallel()
	needIstio(t)
	ns := twoVersions(t)
	by, err := newLink(cluster.Config.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = by.listener.Close() })
	tab := dashboard.Start(t, outrigger.Binary, kubeconfig(t, func(config *clientcmdapi.Config) {
		for _, c := range config.Clusters {
			c.Server = by.URL()
		}
	}), "-n", ns).Open()
	tab.WantText("#services", "app routed v1 100% 2/2 v2 0% 2/2")
	restore := by.cut(t, reset)
	annotate(t, ns, "app", "outrigger.dev/weights=v1=80,v2=20")
	wantRoutes(t, ns, "app", "v1=80 v2=20")
	tab.WantText("#notices .unavailable", "has been unavailable since", "This page shows data from")
	tab.WantText("#services", "app routed v1 100% 2/2 v2 0% 2/2")
	looked(t, tab, "unavailable")
	restore()
	tab.WantText("#services", "app routed v1 80% 2/2 v2 20% 2/2")
	tab.Want("the notice is gone", `document.querySelector("#notices .unavailable") === null`)
}
