// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"google.golang.org/protobuf/proto"
	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

// tape, probe and moment are what TestReplay of package routing writes down; see there.
type tape struct {
	Name    string
	Lag     time.Duration
	Calls   map[string]probe
	Moments []moment
}

type probe struct {
	Gateway   bool
	Elsewhere bool
	Host      string
	Port      int32
	Path      string
	Headers   map[string]string
}

type moment struct {
	At      time.Time
	Service *corev1.Service
	Pods    []routing.PodGroup
	Objects routing.Objects
	May     map[string][]string
	Empty   bool
	Settled map[string]string
}

// A view is what istiod may see at some time: what each of its watches shows has stood at the API server less than one lag
// before.
type view struct {
	service  *corev1.Service
	pods     []routing.PodGroup
	objects  routing.Objects
	from, to time.Time // when it may be what istiod sees; to is not part of it
}

// span is one state of what one watch shows.
type span struct {
	content  string // what istiod reads of it
	at       moment
	from, to time.Time
}

// The watches of istiod, and what each of them shows.
var watches = []func(moment) any{
	func(m moment) any { return []any{m.Service.Spec, exported(m.Service).Annotations} },
	func(m moment) any {
		var out []string
		for _, g := range m.Pods {
			out = append(out, fmt.Sprint(g.Workload, g.Version, g.Pods, g.Ready))
		}
		return out
	},
	func(m moment) any { return stripped(m.Objects).DestinationRules },
	func(m moment) any { return stripped(m.Objects).VirtualServices },
	func(m moment) any { return stripped(m.Objects).Gateways },
}

// exported leaves of a Service's annotations what istiod reads.
func exported(service *corev1.Service) *corev1.Service {
	service = service.DeepCopy()
	maps.DeleteFunc(service.Annotations, func(key, _ string) bool { return key != api.AnnotationExportTo })
	return service
}

// stripped leaves of the objects what istiod reads: names, specs, and who is older.
func stripped(o routing.Objects) routing.Objects {
	var out routing.Objects
	for _, rule := range o.DestinationRules {
		rule = rule.DeepCopy()
		strip(rule, "DestinationRule", &rule.TypeMeta)
		out.DestinationRules = append(out.DestinationRules, rule)
	}
	for _, vs := range o.VirtualServices {
		vs = vs.DeepCopy()
		strip(vs, "VirtualService", &vs.TypeMeta)
		out.VirtualServices = append(out.VirtualServices, vs)
	}
	for _, gateway := range o.Gateways {
		gateway = gateway.DeepCopy()
		strip(gateway, "Gateway", &gateway.TypeMeta)
		out.Gateways = append(out.Gateways, gateway)
	}
	ranked(out.DestinationRules)
	ranked(out.VirtualServices)
	ranked(out.Gateways)
	return out
}

func strip(o metav1.Object, kind string, types *metav1.TypeMeta) {
	*types = metav1.TypeMeta{APIVersion: "networking.istio.io/v1", Kind: kind}
	o.SetAnnotations(nil)
	o.SetLabels(nil)
	o.SetOwnerReferences(nil)
	o.SetResourceVersion("")
	o.SetUID("")
}

// ranked replaces times of creation by their order: only that counts, and equal states then look equal.
func ranked[T metav1.Object](objects []T) {
	var times []time.Time
	for _, o := range objects {
		times = append(times, o.GetCreationTimestamp().Time)
	}
	slices.SortFunc(times, time.Time.Compare)
	times = slices.CompactFunc(times, time.Time.Equal)
	for _, o := range objects {
		rank := slices.IndexFunc(times, o.GetCreationTimestamp().Time.Equal)
		o.SetCreationTimestamp(metav1.NewTime(time.Date(2026, 1, 1, 0, rank, 0, 0, time.UTC)))
	}
}

// spans cuts the tape into the states of one watch.
func (p tape) spans(t *testing.T, shows func(moment) any) []span {
	t.Helper()
	var out []span
	for _, m := range p.Moments {
		encoded, err := json.Marshal(shows(m))
		if err != nil {
			t.Fatal(err)
		}
		if n := len(out); n > 0 && out[n-1].content == string(encoded) {
			continue
		} else if n > 0 {
			out[n-1].to = m.At
		}
		out = append(out, span{content: string(encoded), at: m, from: m.At, to: p.end()})
	}
	return out
}

// end is well after the last event: what stands then stays.
func (p tape) end() time.Time { return p.Moments[len(p.Moments)-1].At.Add(time.Hour) }

// views are all combinations of what the watches may show at one time.
func (p tape) views(t *testing.T) []view {
	t.Helper()
	combinations := []view{{from: p.Moments[0].At, to: p.end()}}
	for kind, shows := range watches {
		var more []view
		for _, s := range p.spans(t, shows) {
			for _, v := range combinations {
				v.from, v.to = later(v.from, s.from), earlier(v.to, s.to.Add(p.Lag))
				if !v.from.Before(v.to) {
					continue
				}
				switch kind {
				case 0:
					v.service = s.at.Service
				case 1:
					v.pods = s.at.Pods
				case 2:
					v.objects.DestinationRules = s.at.Objects.DestinationRules
				case 3:
					v.objects.VirtualServices = s.at.Objects.VirtualServices
				case 4:
					v.objects.Gateways = s.at.Objects.Gateways
				}
				more = append(more, v)
			}
		}
		combinations = more
	}
	return combinations
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// player shows states to Istio's discovery server, each of them once.
type player struct {
	istio *Oracle
	book  *addressBook
	seen  map[string][]Outcome
}

func newPlayer(istio *Oracle) *player {
	return &player{istio: istio, book: newAddressBook(), seen: map[string][]Outcome{}}
}

// outcomes makes the tape's calls in a state; names are the calls' in order.
func (p *player) outcomes(t *testing.T, s view, calls map[string]probe) map[string]Outcome {
	t.Helper()
	documents, err := p.book.running(exported(s.service), "version", s.pods)
	if err != nil {
		t.Fatal(err)
	}
	objects := stripped(s.objects)
	made, err := documentsOf(slices.Concat(anys(objects.DestinationRules), anys(objects.VirtualServices), anys(objects.Gateways)))
	if err != nil {
		t.Fatal(err)
	}
	state := strings.Join(slices.Concat([]string{surroundings}, documents, made), "---\n")
	names := slices.Sorted(maps.Keys(calls))
	var requests []Call
	for _, name := range names {
		c := calls[name]
		call := Call{From: beside, Address: s.service.Spec.ClusterIP, Port: c.Port, Host: c.Host, Path: c.Path, Headers: c.Headers}
		switch {
		case c.Gateway:
			call.From, call.Address = ingress, ""
		case c.Elsewhere:
			call.From = elsewhere
		}
		requests = append(requests, call)
	}
	key := fmt.Sprint(state, requests)
	outcomes, known := p.seen[key]
	if !known {
		if outcomes, err = p.istio.Reach(state, requests); err != nil {
			t.Fatal(err)
		}
		p.seen[key] = outcomes
	}
	out := map[string]Outcome{}
	for i, name := range names {
		out[name] = outcomes[i]
	}
	return out
}

func anys[T any](list []T) []any {
	var out []any
	for _, one := range list {
		out = append(out, one)
	}
	return out
}

// faults says what is wrong in any state that istiod may come to see, and where calls go when it has seen everything.
func (p *player) faults(t *testing.T, recorded tape) (faults []string, states int) {
	t.Helper()
	report := func(text string) {
		if !slices.Contains(faults, text) {
			faults = append(faults, text)
		}
	}
	for _, v := range recorded.views(t) {
		states++
		outcomes := p.outcomes(t, v, recorded.Calls)
		for name, o := range outcomes {
			for _, fault := range recorded.judge(name, v, p.book, o) {
				report(fault)
			}
		}
	}
	for _, m := range recorded.Moments {
		if m.Settled == nil {
			continue
		}
		outcomes := p.outcomes(t, view{service: m.Service, pods: m.Pods, objects: m.Objects}, recorded.Calls)
		for name, want := range m.Settled {
			if got := p.book.text(outcomes[name]); got != want {
				report(fmt.Sprintf("%s, settled: call %q goes to %s, must go to %s", recorded.clock(m.At), name, got, want))
			}
		}
	}
	slices.Sort(faults)
	return faults, states
}

// clock is a time as minutes and seconds of the tape.
func (p tape) clock(at time.Time) string { return at.Sub(p.Moments[0].At).String() }

// judge says what is wrong with where a call goes in a view.
func (p tape) judge(call string, v view, book *addressBook, o Outcome) []string {
	var out []string
	when := fmt.Sprintf("from %s to %s", p.clock(v.from), p.clock(v.to))
	shares := book.shares(o.To)
	if mirrors := book.shares(o.Mirrors); mirrors["missing"] > 0 {
		out = append(out, fmt.Sprintf("%s: the copy of call %q finds no cluster", when, call))
	}
	for _, at := range p.criticalTimes(v) {
		may, refusable, empty := p.wordsAt(call, at)
		if o.Refused != "" && !refusable {
			out = append(out, fmt.Sprintf("%s: call %q is refused: %s", when, call, o.Refused))
		}
		if shares["missing"] > 0 && !empty && anyReady(v.pods) {
			out = append(out, fmt.Sprintf("%s: call %q finds no cluster: %s", when, call, sharesText(shares)))
		}
		if shares["none"] > 0 && !empty && !refusable && anyReady(v.pods) {
			out = append(out, fmt.Sprintf("%s: call %q finds no pod: %s", when, call, sharesText(shares)))
		}
		for version := range shares {
			if version != "missing" && version != "none" && !may[version] && !refusable {
				out = append(out, fmt.Sprintf("%s: call %q reaches %s, to which nobody sent it: %s", when, call, version, sharesText(shares)))
			}
		}
	}
	return slices.Compact(out)
}

func anyReady(groups []routing.PodGroup) bool {
	return slices.ContainsFunc(groups, func(g routing.PodGroup) bool { return g.Ready > 0 })
}

// criticalTimes are the times of a view at which the words that hold may be others than before.
func (p tape) criticalTimes(v view) []time.Time {
	last := v.to.Add(-time.Millisecond)
	out := []time.Time{v.from}
	for _, m := range p.Moments {
		for _, at := range []time.Time{m.At, m.At.Add(p.Lag)} {
			if at.After(v.from) && at.Before(last) {
				out = append(out, at)
			}
		}
	}
	return append(out, last)
}

// wordsAt says what held at some time within one lag before.
func (p tape) wordsAt(call string, at time.Time) (may map[string]bool, refusable, empty bool) {
	may = map[string]bool{}
	for i, m := range p.Moments {
		end := p.end()
		if i+1 < len(p.Moments) {
			end = p.Moments[i+1].At
		}
		if m.At.After(at) || !end.After(at.Add(-p.Lag)) {
			continue
		}
		versions, said := m.May[call]
		refusable, empty = refusable || !said, empty || m.Empty
		for _, version := range versions {
			may[version] = true
		}
	}
	return may, refusable, empty
}

// recorded is what package routing's tests write down, once for all tests here: the tapes of TestReplay, and the inputs
// that TestGeneratedInputs made up, with what came of them.
var recorded = sync.OnceValues(func() (out struct {
	tapes     []tape
	generated *txtar.Archive
}, err error,
) {
	folder, err := os.MkdirTemp("", "recorded-")
	if err != nil {
		return out, err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	tapes, generated := filepath.Join(folder, "tapes.json"), filepath.Join(folder, "generated.txtar")
	product, err := productFolder()
	if err != nil {
		return out, err
	}
	command := exec.Command("go", "test", "-count=1", "-run", "^(TestReplay|TestGeneratedInputs)$", "./routing",
		"-states", tapes, "-generated", generated, "-generations", "80")
	command.Dir = product
	command.Env = append(os.Environ(), "GOWORK=off")
	if output, err := command.CombinedOutput(); err != nil {
		return out, fmt.Errorf("go test ./routing: %w\n%s", err, output)
	}
	text, err := os.ReadFile(tapes)
	if err != nil {
		return out, err
	}
	if err := json.Unmarshal(text, &out.tapes); err != nil {
		return out, err
	}
	out.generated, err = txtar.ParseFile(generated)
	return out, err
})

// tapes lets routing live through its cases and returns their tapes.
func tapes(t *testing.T) []tape {
	t.Helper()
	all, err := recorded()
	if err != nil {
		t.Fatal(err)
	}
	return all.tapes
}

// Whatever happens, and in whatever order istiod's watches come to show it within the waiting times: no call finds a
// cluster missing, none ends at a version to which nobody sent it, none finds no pod while there is one.
func TestEveryIntermediateState(t *testing.T) {
	player := newPlayer(Start(t))
	for _, tape := range tapes(t) {
		t.Run(tape.Name, func(t *testing.T) {
			faults, states := player.faults(t, tape)
			t.Logf("%d states, %d seen so far", states, len(player.seen))
			for _, fault := range faults {
				t.Error(fault)
			}
		})
	}
}

// The check of every state can fail: each of these mistakes, made in what the planner wrote, is found.
func TestMistakesInStatesAreFound(t *testing.T) {
	player := newPlayer(Start(t))
	byName := map[string]tape{}
	for _, tape := range tapes(t) {
		byName[tape.Name] = tape
	}
	eachRoute := func(p *tape, change func(m *moment, vs *networkingv1.VirtualService)) {
		for i := range p.Moments {
			for _, vs := range p.Moments[i].Objects.VirtualServices {
				change(&p.Moments[i], vs)
			}
		}
	}
	for _, c := range []struct {
		mistake string
		tape    string
		make    func(*tape)
		want    string
	}{
		{"the route comes with the subset that it names", "a share waits for its version", func(p *tape) {
			hasSubset := func(m moment) bool {
				return slices.ContainsFunc(m.Objects.DestinationRules[0].Spec.Subsets, func(s *networkingapi.Subset) bool { return s.Name == "v2" })
			}
			isNamed := func(m moment) bool {
				return slices.ContainsFunc(m.Objects.VirtualServices[0].Spec.Http[0].Route, func(d *networkingapi.HTTPRouteDestination) bool { return d.Destination.Subset == "v2" })
			}
			at := slices.IndexFunc(p.Moments, isNamed)
			for i := range p.Moments {
				if i < at && hasSubset(p.Moments[i]) {
					p.Moments[i].Objects.VirtualServices = p.Moments[at].Objects.VirtualServices
				}
			}
		}, "finds no cluster"},
		{"the delay between them is shorter than what a watch lags", "installed beside one that serves and one that does not", func(p *tape) {
			p.Lag += time.Millisecond
		}, "finds no cluster"},
		{"a subset goes with the route that named it", "a version is promoted", func(p *tape) {
			for i := range p.Moments {
				named := map[string]bool{}
				for _, vs := range p.Moments[i].Objects.VirtualServices {
					for _, http := range vs.Spec.Http {
						for _, d := range http.Route {
							named[d.Destination.Subset] = true
						}
					}
				}
				for _, rule := range p.Moments[i].Objects.DestinationRules {
					rule.Spec.Subsets = slices.DeleteFunc(rule.Spec.Subsets, func(s *networkingapi.Subset) bool { return !named[s.Name] })
				}
			}
		}, "finds no cluster"},
		{"a lone workload is never pinned", "a version is added beside a lone rolling workload, and goes", func(p *tape) {
			eachRoute(p, func(_ *moment, vs *networkingv1.VirtualService) {
				for _, http := range vs.Spec.Http {
					for _, d := range http.Route {
						d.Destination.Subset = ""
					}
				}
			})
		}, "reaches v2, to which nobody sent it"},
		{"a new version gets a share", "a version is added", func(p *tape) {
			eachRoute(p, func(m *moment, vs *networkingv1.VirtualService) {
				if route := vs.Spec.Http[0].Route; len(m.Objects.DestinationRules[0].Spec.Subsets) > 1 {
					one := proto.CloneOf(route[0])
					one.Destination.Subset, one.Weight, route[0].Weight = "v2", 1, 99
					vs.Spec.Http[0].Route = append(route, one)
				}
			})
		}, "reaches v2, to which nobody sent it"},
		{"nothing stands in for a default that is gone", "the default is deleted for good", func(p *tape) {
			first := p.Moments[0].Objects.VirtualServices
			for i := range p.Moments {
				p.Moments[i].Objects.VirtualServices = first
			}
		}, "finds no pod"},
		{"what is exposed is not bound to its gateway", "exposed to everybody, under names, and no longer", func(p *tape) {
			eachRoute(p, func(_ *moment, vs *networkingv1.VirtualService) {
				for i, host := range vs.Spec.Hosts {
					if host == "a.example.com" {
						vs.Spec.Hosts[i] = "other.example.com"
					}
				}
			})
		}, "is refused"},
		{"a route is shown when its subsets are", "the Service is exported to less, and to all", func(p *tape) {
			eachRoute(p, func(m *moment, vs *networkingv1.VirtualService) {
				vs.Spec.ExportTo = m.Objects.DestinationRules[0].Spec.ExportTo
			})
		}, `call "elsewhere" finds no cluster`},
		{"a version has its share as soon as it is ready", "a share waits for its version", func(p *tape) {
			isReady := func(m moment) bool {
				return slices.ContainsFunc(m.Pods, func(g routing.PodGroup) bool { return g.Version == "v2" && g.Ready > 0 })
			}
			first := slices.IndexFunc(p.Moments, isReady)
			shared := slices.IndexFunc(p.Moments, func(m moment) bool { return len(m.Objects.VirtualServices[0].Spec.Http[0].Route) > 1 })
			for i := first; i < shared; i++ {
				p.Moments[i].Objects.VirtualServices = p.Moments[shared].Objects.VirtualServices
			}
		}, "finds no pod"},
		{"shares are not those that were asked for", "shares are shifted", func(p *tape) {
			eachRoute(p, func(_ *moment, vs *networkingv1.VirtualService) {
				for _, d := range vs.Spec.Http[0].Route {
					d.Weight = 0
				}
				vs.Spec.Http[0].Route[0].Weight = 1
			})
		}, "must go to v1=90 v2=10"},
	} {
		t.Run(c.mistake, func(t *testing.T) {
			mistaken := copied(t, byName[c.tape])
			if len(mistaken.Moments) == 0 {
				t.Fatalf("there is no tape %q", c.tape)
			}
			c.make(&mistaken)
			faults, _ := player.faults(t, mistaken)
			if !strings.Contains(strings.Join(faults, "\n"), c.want) {
				t.Errorf("no fault says %q; there are:\n%s", c.want, strings.Join(faults, "\n"))
			}
		})
	}
}

func copied(t *testing.T, original tape) tape {
	t.Helper()
	encoded, err := json.Marshal(original)
	if err != nil {
		t.Fatal(err)
	}
	var out tape
	if err := json.Unmarshal(encoded, &out); err != nil {
		t.Fatal(err)
	}
	return out
}
