// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/hack/install"
	"outrigger.dev/outrigger/test/dashboard"
)

// shop creates a namespace with Services in several states, as the pictures show them: a canary in progress, a split, a mistake, a route
// of somebody else, and pods without a sidecar.
func shop(t *testing.T) (ns string) {
	t.Helper()
	needIstio(t)
	needIngress(t)
	ns = "shop"
	namespaceOf(t, ns, nil)
	apply(t, ns, fixed("legacy", "legacy", "v1")) // before the label, so that its pods have no sidecar
	readyPods(t, ns, "app=legacy", 2)
	kubectl(t, "label", "namespace", ns, injected)
	for _, name := range []string{"cart", "catalog", "checkout", "search"} {
		apply(t, ns, service(name)+fixed(name+"-v1", name, "v1"))
		wantRoutes(t, ns, name, "v1=100")
		apply(t, ns, fixed(name+"-v2", name, "v2"))
		readyPods(t, ns, "app="+name, 4)
	}
	apply(t, ns, service("legacy")+service("ratings")+fixed("ratings-v1", "ratings", "v1"))
	annotate(t, ns, "cart", "outrigger.dev/weights=v1=70,v2=30")
	wantRoutes(t, ns, "cart", "v1=70 v2=30")
	annotate(t, ns, "catalog", "outrigger.dev/weights=v1=9O,v2=10")
	wantEvent(t, ns, "catalog", "InvalidAnnotation")
	annotate(t, ns, "search", "outrigger.dev/match=v2=header:end-user:jason", "outrigger.dev/mirror=v2=10")
	annotate(t, ns, "checkout", "outrigger.dev/expose=true", "outrigger.dev/hosts=shop.example.com", "outrigger.dev/match=v2=cookie:beta:true")
	canaryMetrics.set(ns, "v1", "0.001")
	canaryMetrics.set(ns, "v2", "0.002")
	cli(t, "canary", "checkout", "v2", "-n", ns, "--steps", "20@30m,50,100", "--check", "error-rate<1%")
	wantRoutes(t, ns, "checkout", "cookie=: v2=100; v1=80 v2=20")
	return ns
}

// namespaceOf creates a namespace with a name that readers of a picture see.
func namespaceOf(t *testing.T, name string, labels map[string]string) {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	if err := kube.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = cluster.Kubectl(context.Background(), nil, "delete", "namespace", name, "--wait=false") })
}

// pictured takes a picture for the README, which "make screenshots" copies.
func pictured(t *testing.T, tab *dashboard.Tab, name string, height int) {
	t.Helper()
	root, err := install.Root()
	if err != nil {
		t.Fatal(err)
	}
	tab.Look(dashboard.Look{Width: 1180, Height: height})
	tab.Screenshot(filepath.Join(root, "bin", "screenshots", name+".png"))
	tab.Look(dashboard.Looks["light"])
}

// Every page shows what the commands print of a namespace with a canary in progress, and has no accessibility violation.
func TestDashboardShowsANamespace(t *testing.T) {
	dashboard.Need(t)
	t.Parallel()
	ns := shop(t)
	metricsFrom, args := canaryMetrics.URL, []string(nil)
	if address := localAddress(t); address != "" {
		namespaceOf(t, "monitoring", nil)
		prometheusIn(t, "monitoring", address)
		metricsFrom, args = "Service monitoring/prometheus", []string{"--config", configReading(t, "http://prometheus.monitoring:9090")}
	}
	tab := startDashboard(t, ns, args...).Open()
	tab.WantText("#live-status", "Live")

	tab.WantText("#services", "cart routed v1 70% 2/2 v2 30% 2/2", "checkout routed v1 80% 2/2 v2 20% 2/2", "v2 progressing step 1 of 3, 20%", "1 problem")
	looked(t, tab, "overview")
	pictured(t, tab, "dashboard-overview", 660)
	tab.Fill("#q", "cat")
	tab.Click("form.search button")
	tab.WantPath("/?q=cat")
	if shown := tab.Text("#services tbody th"); !strings.Contains(shown, "catalog") || strings.Contains(shown, "cart") {
		t.Errorf("a search for cat shows %s", shown)
	}
	tab.Go(tab.URL("/?problems=1"))
	if shown := tab.Text("#services tbody th"); !strings.Contains(shown, "catalog") || strings.Contains(shown, "cart") {
		t.Errorf("Services with problems are %s", shown)
	}

	tab.Click(`a[href="/services/shop/catalog"]`)
	tab.WantText("#problems", "InvalidAnnotation", "v1=9O,v2=10", "Example: kubectl annotate service")
	looked(t, tab, "service-with-a-problem")

	tab.Go(tab.URL("/services/shop/search"))
	tab.WantText("#routes svg.wide", "end-user=jason", "all other requests", "mirror 10%")
	looked(t, tab, "service-with-rules")

	tab.Go(tab.URL("/services/shop/checkout"))
	tab.WantText("#routes svg.wide", "Callers in the mesh", "shop/checkout", "shop.example.com", "cookie beta=true", "80%", "canary, step 1 of 3")
	tab.WantText("#canary", "v2 progressing", "step 1 of 3, 20%", "error-rate", "Next step")
	tab.WantText("#timeline", "CanaryStarted")
	tab.WantText("#versions", "Deployment/checkout-v1", "registry.example/app:1", "2 of 2")
	tab.WantText("#metrics", "In the minute before", "read from "+metricsFrom, "v1 66.7/s 0.1% 12ms 180ms", "v2 16.7/s 0.2% 14ms 195ms")
	tab.Click("#objects summary")
	tab.WantText("#objects pre", "kind: DestinationRule")
	tab.Click("#explanation summary")
	tab.WantText("#explanation", "Where requests go", "cookie beta=true")
	looked(t, tab, "service-with-everything-open")
	tab.Go(tab.URL("/services/shop/checkout"))
	tab.WantText("#metrics", "66.7/s")
	looked(t, tab, "service")
	pictured(t, tab, "dashboard-service", 1180)

	tab.Go(tab.URL("/injection"))
	tab.WantText("#coverage", "Deployment/legacy", "missing", "NoSidecar", "kubectl rollout restart deployment/legacy -n shop")
	looked(t, tab, "injection")
	tab.Click("#coverage tbody a")
	tab.WantText("h1", "Deployment legacy")
	tab.WantText("#explanation", "Matching webhooks")
	looked(t, tab, "explain")

	tab.Go(tab.URL("/services/shop/nobody"))
	tab.WantText("main", "no Service")
	looked(t, tab, "not-found")
}

// Many Services are shown in pages. A search and the filter look at all of them, and every page is live.
func TestDashboardOfSeveralPages(t *testing.T) {
	dashboard.Need(t)
	t.Parallel()
	needIstio(t)
	ns := namespace(t, injected)
	var all strings.Builder
	for i := range 70 { // 50 are on a page
		all.WriteString(service(fmt.Sprintf("svc-%03d", i)))
	}
	apply(t, ns, all.String())
	tab := startDashboard(t, ns).Open()
	tab.WantText("#summary", "70 Services, 0 problems")
	tab.WantText("nav.pages", "Page 1 of 2")
	if rows := tab.Count("#services tbody tr"); rows != 50 {
		t.Errorf("the first page has %d rows", rows)
	}
	tab.Click(`nav.pages a[rel="next"]`)
	tab.WantPath("/?page=2")
	tab.WantText("nav.pages", "Page 2 of 2")
	if rows := tab.Count("#services tbody tr"); rows != 20 {
		t.Errorf("the second page has %d rows", rows)
	}
	looked(t, tab, "overview-page-2")

	dashboard.Eval[bool](tab, `window.same = true`)
	annotate(t, ns, "svc-060", "outrigger.dev/weights=v1=9O")
	tab.WantText(`#services tbody tr:has(a[href$="/svc-060"])`, "1 problem")
	tab.WantText("#summary", "70 Services, 1 problem")
	if !dashboard.Eval[bool](tab, `window.same === true`) {
		t.Error("a live update loaded the page again")
	}

	tab.Fill("#q", "svc-06")
	tab.Click("form.search button")
	tab.WantPath("/?q=svc-06")
	tab.WantText("#summary", "10 of 70 Services, 1 problem")
	tab.Go(tab.URL("/?problems=1"))
	tab.WantText("#summary", "1 of 70 Services, 1 problem")
	tab.WantText("#services tbody th", "svc-060")
	annotate(t, ns, "svc-001", "outrigger.dev/weights=v1=9O")
	tab.WantText("#summary", "2 of 70 Services, 2 problems")
	tab.WantText("#services tbody th", "svc-001")
}

// Two tabs show the same. What one has previewed is not written after the other has changed the Service.
func TestDashboardInTwoTabs(t *testing.T) {
	dashboard.Need(t)
	t.Parallel()
	needIstio(t)
	ns := twoVersions(t)
	one := startDashboard(t, ns).Open()
	two := one.Another()
	path := "/services/" + ns + "/app"
	two.Go(one.URL(path))
	two.WantText("#versions", "v1 default 100%")
	two.Click("#objects summary")
	dashboard.Eval[bool](two, `(document.querySelector("#explanation summary").focus(), scrollTo(0, 200), window.same = true)`)

	act(t, one, ns, "shift", map[string]string{"#weight-0": "60", "#weight-1": "40"})
	three := one.Another()
	act(t, three, ns, "shift", map[string]string{"#weight-0": "90", "#weight-1": "10"})
	confirm(three)
	routesNow(t, ns, "app", "v1=90 v2=10")

	one.Click("#confirm button")
	one.WantText("#since", "Nothing was written", "the preview was out of date")
	one.WantText("#traffic", "v1 90% 60%", "v2 10% 40%")
	looked(t, one, "outdated-preview")
	routesNow(t, ns, "app", "v1=90 v2=10")

	// The second tab has followed without being loaded again, and is where its user left it.
	two.WantText("#versions", "v1 default 90%", "v2 10%")
	two.WantText("#routes svg.wide", "90%", "10%")
	if !dashboard.Eval[bool](two, `window.same && scrollY > 0 && document.activeElement === document.querySelector("#explanation summary") && document.querySelector("#objects details").open`) {
		t.Error("a live update reloaded the page, or changed the focus, the scroll position, or what is open")
	}
}
