// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"encoding/json"
	"flag"
	"math/rand"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
)

var states = flag.String("states", "", "write everything that the clusters of TestReplay went through to this file, for test/oracle")

// tape is what one simulated cluster went through, and what is right about it. test/oracle hands all of it to Istio's own
// discovery server, in every order in which istiod may come to see it.
type tape struct {
	Name string
	// Lag is the propagation delay: what two watches of istiod show may be apart by less than that.
	Lag   time.Duration
	Calls map[string]probe // by name
	// Moments are in the order of time; each stands until the next.
	Moments []moment
}

// probe is a call that is made in every state.
type probe struct {
	Gateway   bool // made at the ingress gateway, else by a sidecar of the Service's namespace
	Elsewhere bool // by a sidecar of the namespace "other"
	Host      string
	Port      int
	Path      string
	Headers   map[string]string
}

// moment is everything that istiod reads, after a single write or event.
type moment struct {
	At      time.Time
	Service *corev1.Service
	Pods    []PodGroup
	Objects Objects // ours and foreign
	// May holds the versions that somebody sent a call to, by the call's name. A call that is not in it may also be refused.
	May map[string][]string
	// Empty is true if a call may find no ready pod though there is one, now and for one propagation.
	Empty bool
	// Settled holds where each call goes as soon as istiod has seen everything, as "v1=90 v2=10"; nil while nobody says so.
	Settled map[string]string
}

// recorder drives a cluster and records its tape.
type recorder struct {
	*cluster
	tape    tape
	may     map[string][]string
	loosed  time.Time // when something happened after which a call may find no pod for one propagation
	settled map[string]string
}

func newRecorder(t *testing.T, name string) *recorder {
	c := newCluster(t)
	r := &recorder{cluster: c, may: map[string][]string{}, tape: tape{Name: name, Lag: c.settings.PropagationDelay, Calls: map[string]probe{}}}
	c.watch = r.note
	r.call("mesh", probe{Host: "app.demo.svc.cluster.local", Port: 8080})
	return r
}

// call makes a call from now on.
func (r *recorder) call(name string, p probe) { r.tape.Calls[name] = p }

// lead says which versions a call may reach from now on. Without versions nobody says so: it may also be refused.
func (r *recorder) lead(call string, versions ...string) {
	r.settled = nil
	if len(versions) == 0 {
		delete(r.may, call)
		return
	}
	r.may[call] = versions
}

// loose allows calls to find no ready pod for one propagation from now on.
func (r *recorder) loose() { r.loosed = r.now }

// lands says where each call goes when everything is seen: lands("mesh", "v1=90 v2=10", …).
func (r *recorder) lands(pairs ...string) {
	r.settle()
	r.settled = map[string]string{}
	for pair := range slices.Chunk(pairs, 2) {
		r.settled[pair[0]] = pair[1]
	}
	r.note()
	r.settled = nil
}

// namesEarly reports whether a route names a subset before the propagation delay, as it may where that protects nothing.
func (r *recorder) namesEarly() bool {
	for _, early := range r.early {
		if early {
			return true
		}
	}
	return false
}

// note records the cluster as it is, unless it is as it was.
func (r *recorder) note() {
	r.t.Helper()
	now := moment{At: r.now, Service: r.service, Pods: r.groups(), Objects: Objects{
		DestinationRules: slices.Concat(r.existing.DestinationRules, r.foreign.DestinationRules),
		VirtualServices:  slices.Concat(r.existing.VirtualServices, r.foreign.VirtualServices),
		Gateways:         slices.Concat(r.existing.Gateways, r.foreign.Gateways),
	}.sorted(), May: r.may, Empty: r.empty || r.now.Equal(r.loosed) || r.namesEarly(), Settled: r.settled}
	var copied moment // what the cluster holds goes on changing
	if err := json.Unmarshal(bytesOf(r.t, now), &copied); err != nil {
		r.t.Fatal(err)
	}
	if n := len(r.tape.Moments); n > 0 {
		was := r.tape.Moments[n-1]
		was.At = copied.At
		if reflect.DeepEqual(bytesOf(r.t, was), bytesOf(r.t, copied)) {
			return
		}
	}
	r.tape.Moments = append(r.tape.Moments, copied)
}

// serving makes a cluster at rest: fixed Deployments app-VERSION, the first of them the default.
func (r *recorder) serving(versions ...string) {
	r.t.Helper()
	for _, version := range versions {
		r.fixed("app-"+version, version, 2)
		r.watch = nil // how it came to be is another case's
		r.ready()
		r.advance(10 * time.Minute)
	}
	r.watch = r.note
	r.lead("mesh", versions[0])
	r.lands("mesh", versions[0])
}

// starting gives pods the time that they need in any ordinary case: more than the propagation delay.
func (r *recorder) starting(names ...string) {
	r.t.Helper()
	r.advance(3 * time.Second)
	r.ready(names...)
	r.advance(time.Minute)
}

// All that routing has to live through, each from the first write to the last. The checks of the simulated cluster hold
// here, too; with -states the tapes are written down.
func TestReplay(t *testing.T) {
	var tapes []tape
	for _, test := range []struct {
		name string
		play func(*recorder)
	}{
		{"two versions are created together", playTutorial},
		{"a version is added", playAdd},
		{"a version is added beside a lone rolling workload, and goes", playPin},
		{"shares are shifted", playShift},
		{"a share waits for its version", playPending},
		{"a header leads to another version", playHeader},
		{"a version is promoted", playPromote},
		{"versions are removed", playRemove},
		{"a workload is renamed", playRename},
		{"a lone workload rolls out, is undone, and rolls out again", playRollout},
		{"a lone workload rolls out while Outrigger is away", playRolloutAway},
		{"a workload rolls out beside another", playRolloutBeside},
		{"a lone StatefulSet rolls out up to a partition, is undone, and rolls out", playPartition},
		{"a StatefulSet rolls out up to a partition beside another", playPartitionBeside},
		{"a DaemonSet rolls out, alone and beside another", playDaemonSet},
		{"a named share rolls out", playNamedRollout},
		{"blue to green by the selector", playBlueGreen},
		{"the default is deleted and comes back", playDefaultGone},
		{"the default is deleted for good", playDefaultMoved},
		{"the default is deleted and two are left", playHold},
		{"an outage of the default", playOutage},
		{"a foreign VirtualService is put and taken away", playForeignRoute},
		{"foreign DestinationRules are put and taken away", playForeignRules},
		{"routing is disabled and enabled", playDisabled},
		{"installed beside live versions", playInstalledBeside},
		{"installed beside one that serves and one that does not", playInstalledBesideOne},
		{"exposed to everybody, under names, and no longer", playExposure},
		{"an earlier release bound exposed hosts to the mesh", playCombined},
		{"ports are added, renamed, changed and removed", playPorts},
		{"the Service is created again", playServiceAgain},
		{"Outrigger is away while everything changes", playAway},
		{"copies go to a version, which is removed", playMirror},
		{"callers are kept with their version", playSticky},
		{"conditions of every kind", playConditions},
		{"the user's own rules are put and taken away", playDelegate},
		{"a policy is inherited, and no longer", playInherited},
		{"a path is rewritten", playRewrite},
		{"the next version stands in during an outage", playNext},
		{"every version stands in during an outage", playEvery},
		{"subsets alone, and routes again", playSubsetsOnly},
		{"only observed, and routes again", playObserved},
		{"the Service is exported to less, and to all", playExport},
		{"the tutorial's files are applied over ours, and deleted", playFilesOverOurs},
		{"a VirtualService is applied over ours, and uses our Gateway", playRouteOverOurs},
		{"ours are replaced with their annotations, and remembered", playReplaced},
		{"ours are replaced with their annotations while Outrigger is away", playReplacedAway},
		{"a canary succeeds, and the next one is aborted", playCanary},
		{"anything at all", playAnything},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRecorder(t, test.name)
			test.play(r)
			r.advance(5 * time.Minute)
			tapes = append(tapes, r.tape)
		})
	}
	if *states == "" {
		return
	}
	if err := os.WriteFile(*states, bytesOf(t, tapes), 0o600); err != nil {
		t.Fatal(err)
	}
}

func playTutorial(r *recorder) {
	r.fixed("app-v1", "v1", 1)
	r.fixed("app-v2", "v2", 1)
	r.lead("mesh", "v1")
	r.advance(8 * time.Second) // two sidecars start
	r.ready()
	r.advance(time.Minute)
	r.lands("mesh", "v1")
}

func playAdd(r *recorder) {
	r.serving("v1")
	r.fixed("app-v2", "v2", 2)
	r.starting()
	r.fixed("app-1.2.3", "1.2.3", 1)
	r.starting()
	r.lands("mesh", "v1")
}

func playPin(r *recorder) {
	r.rolling("app", "v1", 2)
	r.lead("mesh", "v1")
	r.starting()
	r.advance(10 * time.Minute)
	r.rolling("next", "v2", 2)
	r.starting()
	r.lands("mesh", "v1")
	r.remove("next")
	r.advance(time.Second)
	r.gone("next")
	r.advance(10 * time.Minute)
	r.lands("mesh", "v1")
}

func playShift(r *recorder) {
	r.serving("v1", "v2")
	for _, to := range []struct{ weights, lands string }{
		{"v1=90,v2=10", "v1=90 v2=10"}, {"v1=1,v2=1", "v1=50 v2=50"}, {"v2=1", "v2"}, {"v1=2,v2=1", "v1=67 v2=33"},
	} {
		r.lead("mesh", "v1", "v2")
		r.annotate("weights=" + to.weights)
		r.advance(time.Minute)
		r.lands("mesh", to.lands)
	}
	r.lead("mesh", "v1", "v2")
	r.annotate("weights-")
	r.advance(2 * time.Second)
	r.lead("mesh", "v1")
	r.lands("mesh", "v1")
}

func playPending(r *recorder) {
	r.serving("v1")
	r.annotate("weights=v1=50,v2=50")
	r.advance(time.Minute)
	r.fixed("app-v2", "v2", 4)
	r.advance(3 * time.Second)
	r.lead("mesh", "v1", "v2")
	r.run("app-v2", "v2", 4, 3)
	r.advance(time.Minute)
	r.lands("mesh", "v1=50 v2=50")
	// It is deleted with its pods: the default receives their share once they terminate.
	r.loose()
	r.remove("app-v2")
	r.advance(3 * time.Second)
	r.gone("app-v2")
	r.advance(5 * time.Minute)
	r.lands("mesh", "v1")
	// It comes back, and is scaled to 0: the default receives its share before its pods terminate.
	r.fixed("app-v2", "v2", 2)
	r.starting()
	r.lands("mesh", "v1=50 v2=50")
	r.scale("app-v2", 0)
	r.advance(3 * time.Second)
	r.run("app-v2", "v2", 0, 0)
	r.advance(5 * time.Minute)
	r.lands("mesh", "v1")
}

func playHeader(r *recorder) {
	r.call("jason", probe{Host: "app.demo.svc.cluster.local", Port: 8080, Headers: map[string]string{"End-User": "jason"}})
	r.call("other", probe{Host: "app.demo.svc.cluster.local", Port: 8080, Headers: map[string]string{"end-user": "jasons"}})
	r.serving("v1", "v2")
	r.lead("jason", "v1", "v2")
	r.lead("other", "v1")
	r.annotate("match=v2=header:end-user:jason")
	r.advance(2 * time.Second)
	r.lead("jason", "v2")
	r.lands("mesh", "v1", "jason", "v2", "other", "v1")
	r.lead("jason", "v1", "v2")
	r.annotate("match-")
	r.advance(time.Minute)
	r.lands("mesh", "v1", "jason", "v1", "other", "v1")
}

func playPromote(r *recorder) {
	r.serving("v1", "v2")
	r.lead("mesh", "v1", "v2")
	r.annotate("default-version=v2")
	r.advance(2 * time.Second)
	r.lead("mesh", "v2")
	r.advance(time.Minute)
	r.lands("mesh", "v2")
}

func playRemove(r *recorder) {
	r.call("jason", probe{Host: "app.demo.svc.cluster.local", Port: 8080, Headers: map[string]string{"end-user": "jason"}})
	r.serving("v1", "v2", "v3")
	r.annotate("match=v2=header:end-user:jason")
	r.lead("jason", "v1", "v2")
	r.advance(time.Minute)
	r.lands("mesh", "v1", "jason", "v2")
	r.remove("app-v3") // nobody names it
	r.gone("app-v3")
	r.advance(5 * time.Minute)
	r.lands("mesh", "v1", "jason", "v2")
	r.annotate("match-")
	r.lead("jason", "v1", "v2")
	r.advance(5 * time.Second)
	r.remove("app-v2")
	r.gone("app-v2")
	r.lead("jason", "v1")
	r.advance(5 * time.Minute)
	r.lands("mesh", "v1", "jason", "v1")
}

func playRename(r *recorder) {
	r.rolling("app", "v1", 2)
	r.lead("mesh", "v1")
	r.starting()
	r.rolling("app-renamed", "v1", 2)
	r.starting()
	r.remove("app")
	r.advance(time.Second)
	r.gone("app")
	r.advance(10 * time.Minute)
	r.lands("mesh", "v1")
}

// roll replaces the pods of a Deployment one by one, as the default strategy does.
func (r *recorder) roll(name, from, to string, pods int) {
	r.template(name, to)
	for i := 1; i <= pods; i++ {
		r.run(name, to, i, i-1)
		r.advance(3 * time.Second)
		r.run(name, to, i, i)
		r.advance(time.Second)
		r.run(name, from, pods-i, pods-i)
		r.advance(time.Second)
	}
}

func playRollout(r *recorder) {
	r.rolling("app", "v1", 3)
	r.lead("mesh", "v1")
	r.starting()
	r.lead("mesh", "v1", "v2")
	r.template("app", "v2")
	r.run("app", "v2", 1, 0)
	r.advance(3 * time.Second)
	r.run("app", "v2", 1, 1)
	r.advance(time.Second)
	r.run("app", "v1", 2, 2)
	r.advance(time.Hour) // paused, or held by a partition
	r.template("app", "v1")
	r.run("app", "v1", 3, 3)
	r.advance(time.Second)
	r.run("app", "v2", 0, 0)
	r.advance(5 * time.Minute)
	r.lands("mesh", "v1")
	r.lead("mesh", "v1", "v2")
	r.roll("app", "v1", "v2", 3)
	r.advance(5 * time.Minute)
	r.lands("mesh", "v2")
}

// away lets time and the cluster go on without a plan.
func (r *recorder) away(d time.Duration, what func()) {
	r.note()
	r.now = r.now.Add(d)
	what()
	r.note()
}

func playRolloutAway(r *recorder) {
	r.rolling("app", "v1", 2)
	r.lead("mesh", "v1")
	r.starting()
	r.lead("mesh", "v1", "v2")
	r.away(10*time.Second, func() { r.template("app", "v2"); r.run("app", "v2", 1, 0) })
	r.away(3*time.Second, func() { r.run("app", "v2", 1, 1) })
	r.away(time.Second, func() { r.run("app", "v1", 1, 1) })
	r.away(time.Second, func() { r.run("app", "v2", 2, 1) })
	r.away(3*time.Second, func() { r.run("app", "v2", 2, 2) })
	r.away(time.Second, func() { r.run("app", "v1", 0, 0) })
	r.away(time.Minute, func() {})
	r.advance(10 * time.Minute) // back again
	r.lands("mesh", "v2")
}

// replace rolls out as a StatefulSet or a DaemonSet does: a pod goes before the next one comes. It ends with the pods that
// a partition holds back.
func (r *recorder) replace(name, from, to string, pods, held int) {
	r.template(name, to)
	for i := 1; i <= pods-held; i++ {
		r.run(name, from, pods-i, pods-i)
		r.advance(time.Second)
		r.run(name, to, i, i-1)
		r.advance(3 * time.Second)
		r.run(name, to, i, i)
		r.advance(time.Second)
	}
}

// loosely lives through a rollout beside others: calls may find no pod for one propagation at each of its steps.
func (r *recorder) loosely(rollout func()) {
	r.t.Helper()
	r.empty = true
	rollout()
	r.advance(5 * time.Second)
	r.empty = false
}

func playPartition(r *recorder) {
	r.kinds["db"] = "StatefulSet"
	r.rolling("db", "v1", 3)
	r.lead("mesh", "v1")
	r.starting()
	r.lead("mesh", "v1", "v2")
	r.replace("db", "v1", "v2", 3, 2)
	r.advance(time.Hour)
	r.lands("mesh", "v1=66.7 v2=33.3")
	r.template("db", "v1") // undone
	r.run("db", "v2", 0, 0)
	r.advance(time.Second)
	r.run("db", "v1", 3, 2)
	r.advance(3 * time.Second)
	r.run("db", "v1", 3, 3)
	r.advance(10 * time.Minute)
	r.lead("mesh", "v1")
	r.lands("mesh", "v1")
	r.lead("mesh", "v1", "v2")
	r.replace("db", "v1", "v2", 3, 0)
	r.advance(10 * time.Minute)
	r.lead("mesh", "v2")
	r.lands("mesh", "v2")
}

func playPartitionBeside(r *recorder) {
	r.kinds["db"] = "StatefulSet"
	r.rolling("db", "v1", 4)
	r.lead("mesh", "v1")
	r.starting()
	r.fixed("next", "v9", 1)
	r.starting()
	r.lands("mesh", "v1")
	r.lead("mesh", "v1", "v2")
	r.loosely(func() { r.replace("db", "v1", "v2", 4, 3) })
	r.advance(time.Hour)
	r.lands("mesh", "v1=75 v2=25")
	r.loosely(func() { r.replace("db", "v1", "v2", 4, 0) })
	r.advance(10 * time.Minute)
	r.lead("mesh", "v2")
	r.lands("mesh", "v2")
}

func playDaemonSet(r *recorder) {
	r.kinds["agent"] = "DaemonSet"
	r.rolling("agent", "v1", 3)
	r.lead("mesh", "v1")
	r.starting()
	r.lead("mesh", "v1", "v2")
	r.replace("agent", "v1", "v2", 3, 0)
	r.advance(10 * time.Minute)
	r.lead("mesh", "v2")
	r.lands("mesh", "v2")
	// A node comes and goes beside another workload.
	r.fixed("next", "v9", 1)
	r.starting()
	r.run("agent", "v2", 4, 3)
	r.advance(3 * time.Second)
	r.run("agent", "v2", 4, 4)
	r.advance(time.Minute)
	r.run("agent", "v2", 3, 3)
	r.advance(time.Minute)
	r.lands("mesh", "v2")
	r.lead("mesh", "v2", "v3")
	r.loosely(func() { r.replace("agent", "v2", "v3", 3, 0) })
	r.advance(10 * time.Minute)
	r.lead("mesh", "v3")
	r.lands("mesh", "v3")
}

func playRolloutBeside(r *recorder) {
	r.rolling("app", "v1", 4)
	r.fixed("next", "v9", 1)
	r.annotate("default-version=v1")
	r.lead("mesh", "v1")
	r.advance(8 * time.Second)
	r.ready()
	r.advance(10 * time.Minute)
	r.lands("mesh", "v1")
	r.lead("mesh", "v1", "v2")
	r.loosely(func() { r.roll("app", "v1", "v2", 4) })
	r.advance(10 * time.Minute)
	r.lands("mesh", "v2")
}

func playNamedRollout(r *recorder) {
	r.rolling("stable", "v1", 4)
	r.lead("mesh", "v1")
	r.starting()
	r.rolling("canary", "v2", 4)
	r.starting()
	r.lead("mesh", "v1", "v2")
	r.annotate("weights=v1=75,v2=25")
	r.advance(time.Minute)
	r.lands("mesh", "v1=75 v2=25")
	r.lead("mesh", "v1", "v2", "v3")
	r.loosely(func() { r.roll("canary", "v2", "v3", 4) })
	r.lead("mesh", "v1", "v3")
	r.fixed("other", "v2", 4)
	r.starting()
	r.lands("mesh", "v1=75 v3=25")
}

func playBlueGreen(r *recorder) {
	r.service.Spec.Selector["slot"] = "blue"
	r.serving("v1")
	r.service.Spec.Selector = map[string]string{"app": "app", "slot": "green"}
	r.gone("app-v1")
	r.remove("app-v1")
	r.fixed("green", "v2", 2)
	r.workloads[deploymentRef("green")].Created = r.now.Add(-time.Hour)
	r.ready()
	r.lead("mesh", "v1", "v2")
	r.loose()
	r.advance(5 * time.Second)
	r.lead("mesh", "v2")
	r.advance(time.Hour)
	r.lands("mesh", "v2")
}

func playDefaultGone(r *recorder) {
	r.serving("v1", "v2")
	r.remove("app-v1")
	r.lead("mesh", "v1", "v2")
	r.loose()
	r.advance(time.Second)
	r.gone("app-v1") // a fast end
	r.advance(time.Minute)
	r.lands("mesh", "v2")
	r.fixed("app-v1", "v1", 2)
	r.lead("mesh", "v1", "v2")
	r.advance(3 * time.Second)
	r.ready()
	r.advance(time.Minute)
	r.lands("mesh", "v1")
}

func playDefaultMoved(r *recorder) {
	r.serving("v1", "v2")
	r.loose()
	r.remove("app-v1")
	r.lead("mesh", "v1", "v2")
	r.advance(30 * time.Second)
	r.gone("app-v1")
	r.advance(10 * time.Minute)
	r.lead("mesh", "v2")
	r.fixed("app-v1", "v1", 2)
	r.starting()
	r.lands("mesh", "v2")
}

func playHold(r *recorder) {
	r.serving("v1", "v2", "v3")
	r.empty = true
	r.remove("app-v1")
	r.gone("app-v1")
	r.advance(time.Hour)
	r.lands("mesh", "none")
	r.lead("mesh", "v1", "v2")
	r.remove("app-v3")
	r.gone("app-v3")
	r.advance(5 * time.Second)
	r.empty = false
	r.advance(10 * time.Minute)
	r.lands("mesh", "v2")
}

func playOutage(r *recorder) {
	r.serving("v1", "v2")
	r.empty = true
	r.run("app-v1", "v1", 2, 0)
	r.advance(time.Hour)
	r.lands("mesh", "none")
	r.run("app-v1", "v1", 0, 0) // scaled to 0
	r.advance(time.Hour)
	r.run("app-v1", "v1", 2, 2)
	r.advance(5 * time.Second)
	r.empty = false
	r.advance(time.Minute)
	r.lands("mesh", "v1")
}

func playForeignRoute(r *recorder) {
	r.serving("v1", "v2")
	theirs := foreignRoute("v2")
	theirs.CreationTimestamp = metav1.NewTime(r.now)
	r.lead("mesh", "v1", "v2")
	r.foreign.VirtualServices = []*networkingv1.VirtualService{theirs}
	r.advance(time.Minute)
	r.lands("mesh", "v2")
	r.remove("app-v2")
	r.gone("app-v2")
	r.empty = true // their route leads there
	r.advance(time.Hour)
	r.fixed("app-v2", "v2", 2)
	r.starting()
	r.empty = false
	// From the moment when it goes until ours is seen, no route is there at all: that is Istio's own answer to it.
	r.lead("mesh", "v1", "v2")
	r.foreign.VirtualServices = nil
	r.advance(5 * time.Second)
	r.lead("mesh", "v1")
	r.advance(time.Minute)
	r.lands("mesh", "v1")
}

func foreignRule(subsets ...*networkingapi.Subset) *networkingv1.DestinationRule {
	rule := &networkingv1.DestinationRule{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "mine"}}
	rule.Spec.Host, rule.Spec.Subsets = "app", subsets
	return rule
}

func playForeignRules(r *recorder) {
	r.serving("v1", "v2")
	policy := foreignRule()
	policy.Spec.TrafficPolicy = &networkingapi.TrafficPolicy{ConnectionPool: &networkingapi.ConnectionPoolSettings{Tcp: &networkingapi.ConnectionPoolSettings_TCPSettings{MaxConnections: 7}}}
	for _, rule := range []*networkingv1.DestinationRule{
		policy,
		foreignRule(&networkingapi.Subset{Name: "canary", Labels: map[string]string{"version": "v2"}}),
		foreignRule(&networkingapi.Subset{Name: "v1", Labels: map[string]string{"version": "v1"}}),
	} {
		r.foreign.DestinationRules = []*networkingv1.DestinationRule{rule}
		r.advance(5 * time.Minute)
		r.lands("mesh", "v1")
		r.foreign.DestinationRules = nil
		r.advance(5 * time.Minute)
		r.lands("mesh", "v1")
	}
}

func playDisabled(r *recorder) {
	r.serving("v1", "v2")
	r.lead("mesh", "v1", "v2")
	r.service.Labels[api.LabelRouting] = "disabled"
	r.advance(5 * time.Minute)
	r.lands("mesh", "v1=50 v2=50")
	delete(r.service.Labels, api.LabelRouting)
	r.advance(5 * time.Minute)
	r.lands("mesh", "v1=50 v2=50") // what flows, flows on
	r.annotate("default-version=v2")
	r.advance(5 * time.Second)
	r.lead("mesh", "v2")
	r.lands("mesh", "v2")
}

// beside makes a cluster in which two versions run and Outrigger does not yet look.
func (r *recorder) beside(readyOfV2 int) {
	r.namespace.Labels = nil
	r.fixed("app-v1", "v1", 2)
	r.run("app-v1", "v1", 2, 2)
	r.advance(time.Hour)
	r.fixed("app-v2", "v2", 2)
	r.run("app-v2", "v2", 2, readyOfV2)
}

func playInstalledBeside(r *recorder) {
	r.beside(2)
	r.lead("mesh", "v1", "v2")
	r.advance(10 * time.Minute)
	r.lands("mesh", "v1=50 v2=50")
	r.namespace.Labels = map[string]string{"istio-injection": "enabled"}
	r.advance(10 * time.Minute)
	r.lands("mesh", "v1=50 v2=50")
	r.annotate("weights=v1=30,v2=70")
	r.advance(time.Minute)
	r.lands("mesh", "v1=30 v2=70")
}

func playInstalledBesideOne(r *recorder) {
	r.beside(0)
	r.lead("mesh", "v1")
	r.advance(3 * time.Minute)
	r.namespace.Labels = map[string]string{"istio-injection": "enabled"}
	r.advance(10 * time.Second)
	r.starting()
	r.lands("mesh", "v1")
}

func playExposure(r *recorder) {
	r.call("gateway", probe{Gateway: true, Host: "a.example.com", Port: 80, Path: "/hello"})
	r.call("gateway b", probe{Gateway: true, Host: "b.example.com", Port: 80, Path: "/hello"})
	r.serving("v1", "v2")
	r.annotate("expose=true")
	r.advance(5 * time.Second)
	r.lead("gateway", "v1")
	r.lead("gateway b", "v1")
	r.lands("mesh", "v1", "gateway", "v1", "gateway b", "v1")
	r.lead("gateway b")
	r.annotate("hosts=a.example.com") // served all the while
	r.advance(time.Minute)
	r.lands("mesh", "v1", "gateway", "v1", "gateway b", "refused")
	r.annotate("hosts=a.example.com,b.example.com")
	r.advance(time.Minute)
	r.lead("gateway b", "v1")
	r.lands("mesh", "v1", "gateway", "v1", "gateway b", "v1")
	for _, hosts := range []string{"*.example.com", "a.example.com,*.example.com", "b.example.com,a.example.com"} {
		r.annotate("hosts=" + hosts) // Istio takes no name beside a wildcard that includes it
		r.advance(time.Minute)
		r.lands("mesh", "v1", "gateway", "v1", "gateway b", "v1")
	}
	r.lead("mesh", "v1", "v2")
	r.lead("gateway", "v1", "v2")
	r.lead("gateway b", "v1", "v2")
	r.annotate("weights=v1=80,v2=20")
	r.advance(time.Minute)
	r.lands("mesh", "v1=80 v2=20", "gateway", "v1=80 v2=20", "gateway b", "v1=80 v2=20")
	r.annotate("hosts-")
	r.advance(time.Minute)
	r.lands("mesh", "v1=80 v2=20", "gateway", "v1=80 v2=20", "gateway b", "v1=80 v2=20")
	r.lead("gateway")
	r.lead("gateway b")
	r.annotate("expose-")
	r.advance(time.Minute)
	r.lands("mesh", "v1=80 v2=20", "gateway", "refused", "gateway b", "refused")
}

// playCombined is an upgrade from a release that served mesh and gateway by one VirtualService.
func playCombined(r *recorder) {
	r.call("gateway", probe{Gateway: true, Host: "a.example.com", Port: 80, Path: "/hello/x"})
	r.call("gateway, jason", probe{Gateway: true, Host: "a.example.com", Port: 80, Path: "/hello/x", Headers: map[string]string{"end-user": "jason"}})
	r.serving("v1", "v2")
	r.advance(11 * time.Minute)
	r.lead("mesh", "v1", "v2")
	r.lead("gateway", "v1", "v2")
	r.lead("gateway, jason", "v2")
	loadCombined(r.t, r.cluster, "weights-and-path")
	r.advance(time.Minute)
	r.lands("mesh", "v1=90 v2=10", "gateway", "v1=90 v2=10", "gateway, jason", "v2")
}

func playPorts(r *recorder) {
	r.call("second", probe{Host: "app.demo.svc.cluster.local", Port: 9090})
	r.serving("v1", "v2")
	r.service.Spec.Ports = append(r.service.Spec.Ports, corev1.ServicePort{Name: "http-admin", Port: 9090})
	r.lead("second", "v1", "v2") // until the route has a rule for it, nobody says anything about it
	r.advance(5 * time.Second)
	r.lead("second", "v1")
	r.lands("mesh", "v1", "second", "v1")
	r.service.Spec.Ports[1].Name = "grpc-admin"
	r.advance(time.Minute)
	r.lands("mesh", "v1", "second", "v1")
	r.lead("second")
	r.service.Spec.Ports = r.service.Spec.Ports[:1]
	r.advance(time.Minute)
	r.lands("mesh", "v1")
}

func playServiceAgain(r *recorder) {
	r.serving("v1", "v2")
	r.lead("mesh", "v1", "v2")
	r.annotate("default-version=v2")
	r.advance(time.Minute)
	r.createService()
	r.advance(5 * time.Second)
	r.lead("mesh", "v1")
	r.advance(5 * time.Minute)
	r.lands("mesh", "v1")
}

func playAway(r *recorder) {
	r.serving("v1", "v2")
	r.away(time.Minute, func() { r.fixed("app-v3", "v3", 2) })
	r.away(10*time.Second, func() { r.ready() })
	r.away(time.Minute, func() { r.annotate("weights=v1=50,v3=50") })
	r.lead("mesh", "v1", "v3")
	r.advance(time.Minute)
	r.lands("mesh", "v1=50 v3=50")
}

func playMirror(r *recorder) {
	r.serving("v1", "v2")
	r.annotate("mirror=v2=50")
	r.advance(time.Minute)
	r.fixed("app-v3", "v3", 2)
	r.annotate("mirror=v3=100") // waits for it
	r.starting()
	r.remove("app-v3")
	r.gone("app-v3")
	r.advance(5 * time.Minute)
	r.annotate("mirror=v2=50")
	r.advance(5 * time.Second)
	r.remove("app-v2")
	r.annotate("mirror-")
	r.gone("app-v2")
	r.advance(5 * time.Minute)
	r.lands("mesh", "v1")
}

func playSticky(r *recorder) {
	host := "app.demo.svc.cluster.local"
	r.call("kept with v2", probe{Host: host, Port: 8080, Headers: map[string]string{"cookie": "a=b; ver=v2"}})
	r.serving("v1", "v2")
	r.lead("mesh", "v1", "v2")
	r.lead("kept with v2", "v1", "v2")
	r.annotate("weights=v1=50,v2=50", "sticky=cookie:ver:1h")
	r.advance(2 * time.Second)
	r.lead("kept with v2", "v2")
	r.advance(time.Minute)
	r.lands("mesh", "v1=50 v2=50", "kept with v2", "v2")
	r.lead("kept with v2", "v1", "v2")
	r.annotate("weights=v1=1")
	r.advance(time.Minute)
	r.lands("mesh", "v1", "kept with v2", "v1")
	r.annotate("weights-", "sticky-")
	r.advance(5 * time.Second)
	r.remove("app-v2")
	r.gone("app-v2")
	r.advance(5 * time.Minute)
	r.lands("mesh", "v1", "kept with v2", "v1")
}

func playConditions(r *recorder) {
	host := "app.demo.svc.cluster.local"
	r.call("cookie", probe{Host: host, Port: 8080, Headers: map[string]string{"Cookie": "x=1; beta=1; y=2"}})
	r.call("query", probe{Host: host, Port: 8080, Path: "/a?v=3&w=1"})
	r.call("prefix", probe{Host: host, Port: 8080, Headers: map[string]string{"x-c": "canary"}})
	r.serving("v1", "v2", "v3")
	for _, call := range []string{"cookie", "query", "prefix"} {
		r.lead(call, "v1", "v2", "v3")
	}
	r.annotate("match=v2=cookie:beta:1;v3=query:v:3;v2=header-prefix:x-c:can")
	r.advance(2 * time.Second)
	r.lead("cookie", "v2")
	r.lead("query", "v3")
	r.lead("prefix", "v2")
	r.advance(time.Minute)
	r.lands("mesh", "v1", "cookie", "v2", "query", "v3", "prefix", "v2")
	// Without its pods, what is led to v3 by a condition still is: only the user can say where else it is to go.
	r.remove("app-v3")
	r.empty = true
	r.gone("app-v3")
	r.advance(5 * time.Minute)
	for _, call := range []string{"cookie", "query", "prefix"} {
		r.lead(call, "v1", "v2", "v3")
	}
	r.annotate("match-")
	r.advance(5 * time.Second)
	r.empty = false
	r.advance(time.Minute)
	r.lands("mesh", "v1", "cookie", "v1", "query", "v1", "prefix", "v1")
}

func playDelegate(r *recorder) {
	r.call("theirs", probe{Host: "app.demo.svc.cluster.local", Port: 8080, Path: "/beta"})
	r.serving("v1", "v2")
	r.lead("theirs", "v1", "v2")
	extra := &networkingv1.VirtualService{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "app-extra", CreationTimestamp: metav1.NewTime(r.now)}}
	extra.Spec.Http = []*networkingapi.HTTPRoute{{
		Match: []*networkingapi.HTTPMatchRequest{{Uri: &networkingapi.StringMatch{MatchType: &networkingapi.StringMatch_Prefix{Prefix: "/beta"}}}},
		Route: []*networkingapi.HTTPRouteDestination{{Destination: &networkingapi.Destination{Host: "app.demo.svc.cluster.local", Subset: "v2"}}},
	}}
	r.foreign.VirtualServices = []*networkingv1.VirtualService{extra}
	r.advance(time.Minute)
	r.lands("mesh", "v1", "theirs", "v2")
	r.foreign.VirtualServices = nil
	r.advance(time.Minute)
	r.lands("mesh", "v1", "theirs", "v1")
}

func playInherited(r *recorder) {
	r.serving("v1", "v2")
	wild := foreignRule()
	wild.Spec.Host = "*.demo.svc.cluster.local"
	wild.Spec.TrafficPolicy = &networkingapi.TrafficPolicy{ConnectionPool: &networkingapi.ConnectionPoolSettings{Tcp: &networkingapi.ConnectionPoolSettings_TCPSettings{MaxConnections: 7}}}
	r.foreign.DestinationRules = []*networkingv1.DestinationRule{wild}
	r.advance(time.Minute)
	r.lands("mesh", "v1")
	r.foreign.DestinationRules = nil
	r.advance(time.Minute)
	r.lands("mesh", "v1")
}

func playRewrite(r *recorder) {
	r.call("gateway", probe{Gateway: true, Host: "a.example.com", Port: 80, Path: "/hello/x"})
	r.call("gateway, jason", probe{Gateway: true, Host: "a.example.com", Port: 80, Path: "/hello/x", Headers: map[string]string{"end-user": "jason"}})
	r.serving("v1", "v2")
	r.annotate("expose=true", "hosts=a.example.com", "path=/hello", "match=v2=header:end-user:jason;v2=source:v2")
	r.advance(5 * time.Second)
	r.lead("gateway", "v1")
	r.lead("gateway, jason", "v2")
	r.lands("mesh", "v1", "gateway", "v1", "gateway, jason", "v2")
	r.annotate("path-rewrite=/")
	r.advance(time.Minute)
	r.annotate("path-rewrite-")
	r.advance(time.Minute)
	r.lands("mesh", "v1", "gateway", "v1", "gateway, jason", "v2")
}

func playNext(r *recorder) {
	r.serving("v1", "v2", "v3")
	r.annotate("default-gone=next")
	r.advance(time.Minute)
	r.empty = true // until it stands in
	r.run("app-v1", "v1", 2, 0)
	r.lead("mesh", "v1", "v2")
	r.advance(40 * time.Second)
	r.empty = false
	r.advance(time.Minute)
	r.lands("mesh", "v2")
	r.lead("mesh", "v2")
	r.ready()
	r.advance(time.Hour)
	r.lands("mesh", "v2")
}

func playEvery(r *recorder) {
	r.serving("v1", "v2")
	r.annotate("default-gone=all")
	r.advance(time.Minute)
	r.empty = true
	r.run("app-v1", "v1", 2, 0)
	r.lead("mesh", "v1", "v2")
	r.advance(40 * time.Second)
	r.empty = false
	r.advance(time.Minute)
	r.lands("mesh", "v2")
}

func playSubsetsOnly(r *recorder) {
	r.serving("v1", "v2")
	r.lead("mesh", "v1", "v2")
	r.service.Labels[api.LabelRouting] = "subsets-only"
	r.advance(5 * time.Minute)
	r.lands("mesh", "v1=50 v2=50")
	r.service.Labels[api.LabelRouting] = "enabled"
	r.annotate("default-version=v2")
	r.advance(10 * time.Second)
	r.lead("mesh", "v2")
	r.advance(5 * time.Minute)
	r.lands("mesh", "v2")
}

func playObserved(r *recorder) {
	r.serving("v1", "v2")
	r.service.Labels[api.LabelRouting] = "observe"
	r.annotate("default-version=v2")
	r.advance(5 * time.Minute)
	r.lands("mesh", "v1")
	r.lead("mesh", "v1", "v2")
	r.service.Labels[api.LabelRouting] = "enabled"
	r.advance(10 * time.Second)
	r.lead("mesh", "v2")
	r.advance(5 * time.Minute)
	r.lands("mesh", "v2")
}

// What callers of other namespaces reach while that changes is not judged: the two objects follow the Service without a
// wait between them.
// Whoever is shown the Service meets all versions until the route is shown, too, and no missing cluster at any time.
func playExport(r *recorder) {
	r.call("elsewhere", probe{Elsewhere: true, Host: "app.demo.svc.cluster.local", Port: 8080})
	r.serving("v1", "v2")
	r.lead("elsewhere", "v1")
	r.lands("mesh", "v1", "elsewhere", "v1")
	for _, step := range []struct {
		to   string
		seen []string // by which calls
	}{
		{".", []string{"mesh"}}, {"other,.", []string{"mesh", "elsewhere"}}, {"third,.", []string{"mesh"}}, {"other", []string{"elsewhere"}},
		{".", []string{"mesh"}}, {"*", []string{"mesh", "elsewhere"}},
	} {
		r.service.Annotations[api.AnnotationExportTo] = step.to
		for _, call := range []string{"mesh", "elsewhere"} {
			r.lead(call)
		}
		r.advance(30 * time.Second)
		var lands []string
		for _, call := range step.seen {
			r.lead(call, "v1")
			lands = append(lands, call, "v1")
		}
		r.advance(5 * time.Minute)
		r.lands(lands...)
	}
}

// playAnything takes random steps. Nobody says where calls lead, but no route of ours may name what is not there; what
// others write is left out.
func playAnything(r *recorder) {
	r.call("gateway", probe{Gateway: true, Host: "a.example.com", Port: 80, Path: "/x"})
	r.call("jason", probe{Host: "app.demo.svc.cluster.local", Port: 8080, Headers: map[string]string{"end-user": "jason", "cookie": "a=b; ver=v2"}})
	random := rand.New(rand.NewSource(1))
	r.empty = true
	for range 40 {
		existing := copyObjects(r.existing)
		if what := step(r.cluster, random); strings.HasPrefix(what, "edit") {
			r.existing = existing
		}
		r.foreign, r.managedBy = Objects{}, ""
		r.advance(time.Duration(1+random.Intn(90)) * time.Second)
	}
}
