// SPDX-License-Identifier: Apache-2.0

package scenarios

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"outrigger.dev/outrigger/test/traffic"
	"outrigger.dev/outrigger/test/traffic/load"
)

// Scene is one scenario in a namespace of its own. Its record is drawn and checked when the test ends.
type Scene struct {
	*testing.T
	Namespace string
	Service   string
	Host      string // under which the gateway serves the Service; empty for any

	mu     sync.Mutex // for what follows
	record traffic.Record
	flows  []*flow
}

// The ways into the Service.
const (
	atGateway = "at the gateway"
	inMesh    = "in the mesh"
)

// begin creates the namespace. The claim says, in a sentence, what the scenario shows.
func begin(t *testing.T, outrigger bool, short, claim string, labels ...string) *Scene {
	t.Helper()
	name := strings.ReplaceAll(t.Name()[strings.LastIndex(t.Name(), "/")+1:], "_", " ")
	s := &Scene{T: t, Namespace: "traffic-" + short, Service: "web", Host: short + ".traffic.test"}
	s.record = traffic.Record{Name: name, File: short, Outrigger: outrigger, Claim: claim}
	s.run("kubectl", "create", "namespace", s.Namespace)
	t.Cleanup(func() {
		if t.Failed() {
			s.describe()
		}
		s.finish()
		s.afterwards("kubectl", "delete", "namespace", s.Namespace, "--wait=false")
	})
	s.run("kubectl", append([]string{"label", "namespace", s.Namespace, runLabel + "=" + cluster.Run, "istio-injection=enabled", "--overwrite"}, labels...)...)
	return s
}

// beginPair begins a run with Outrigger, or the same one without it, which the page shows next to it.
func beginPair(t *testing.T, outrigger bool, short, claim string) *Scene {
	t.Helper()
	if !outrigger {
		return begin(t, false, short+"-without", claim)
	}
	s := begin(t, true, short, claim)
	s.record.Beside = short + "-without"
	return s
}

// run runs a command and returns what it prints.
func (s *Scene) run(name string, args ...string) string {
	s.Helper()
	out, err := cluster.Command(root, nil, name, args...)
	if err != nil {
		s.Fatal(err)
	}
	return out
}

// kubectl runs kubectl in the namespace, and outrigger the command of that name.
func (s *Scene) kubectl(args ...string) string {
	s.Helper()
	return s.run("kubectl", append(args, "-n", s.Namespace)...)
}

func (s *Scene) outrigger(args ...string) string {
	s.Helper()
	return s.run("outrigger", append(args, "-n", s.Namespace)...)
}

// apply applies a manifest in the namespace.
func (s *Scene) apply(manifests ...string) {
	s.Helper()
	if _, err := cluster.Command(root, []byte(strings.Join(manifests, "\n---\n")), "kubectl", "apply", "-n", s.Namespace, "-f", "-"); err != nil {
		s.Fatal(err)
	}
}

// afterwards runs a command that restores something, also after an interrupt.
func (s *Scene) afterwards(name string, args ...string) {
	s.Helper()
	ctx, stop := context.WithTimeout(context.WithoutCancel(root), patience)
	defer stop()
	if _, err := cluster.Command(ctx, nil, name, args...); err != nil {
		s.Error(err)
	}
}

// step marks the time at which something is done.
func (s *Scene) step(text string, do func()) {
	s.Helper()
	s.mark(traffic.Step, text)
	do()
}

// decide does what sends traffic to these versions, and only to them once it returns. While it runs, the versions of the previous
// decision may answer, too.
func (s *Scene) decide(text string, versions []string, do func()) {
	s.Helper()
	s.decideFor("", text, versions, do)
}

// decideFor is decide for one way into the Service; way is empty for all.
func (s *Scene) decideFor(way, text string, versions []string, do func()) {
	s.Helper()
	s.permit(way, slices.Concat(s.permitted(way), versions))
	s.step(text, do)
	s.permit(way, versions)
}

// permit says which versions may answer from now on.
func (s *Scene) permit(way string, versions []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.record.Decisions = append(s.record.Decisions, traffic.Decision{At: time.Now(), Way: way, Versions: versions})
}

func (s *Scene) permitted(way string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range slices.Backward(s.record.Decisions) {
		if d.Way == way || d.Way == "" {
			return d.Versions
		}
	}
	return nil
}

func (s *Scene) mark(kind, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.record.Marks = append(s.record.Marks, traffic.Mark{At: time.Now(), Kind: kind, Text: text})
}

// note reports a check that passed, in the log and on the page.
func (s *Scene) note(format string, args ...any) {
	s.Helper()
	s.Logf(format, args...)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.record.Notes = append(s.record.Notes, fmt.Sprintf(format, args...))
}

// mayFail says why responses may fail in this run. Responses of unexpected versions are an error in any case.
func (s *Scene) mayFail(why string) { s.record.Lossy = why }

// eventually waits until a condition is met; the error says what is missing.
func (s *Scene) eventually(what string, condition func() error) {
	s.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := condition()
		if err == nil {
			return
		}
		if root.Err() != nil {
			s.Fatalf("interrupted while waiting: %s", what)
		}
		if time.Now().After(deadline) {
			s.Fatalf("did not happen within %s: %s: %v", patience, what, err)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// wantShare waits until a version has its share of the responses on each way that collect returns: a busy proxy may get its route
// later than the command expects.
func (s *Scene) wantShare(version string, share float64, collect func() map[string][]load.Response) {
	s.Helper()
	s.eventually(fmt.Sprintf("%.0f%% of the responses come from %s", 100*share, version), func() error {
		all := collect()
		var notes []string
		for _, way := range slices.Sorted(maps.Keys(all)) {
			counts := traffic.Count(all[way])
			got := counts.Versions[version]
			if away := traffic.Sigmas(got, counts.Total, share); away > 5 {
				return fmt.Errorf("%s, %s has %d of %d responses, %.1f standard deviations from %.0f%%: %s", way, version, got, counts.Total, away, 100*share, counts)
			}
			notes = append(notes, fmt.Sprintf("%s: %s, for a share of %.0f%% of %s", way, counts, 100*share, version))
		}
		for _, note := range notes {
			s.note("%s", note)
		}
		return nil
	})
}

// on leaves only one way of what collect returns.
func (s *Scene) on(way string, count int) func() map[string][]load.Response {
	return func() map[string][]load.Response { return map[string][]load.Response{way: s.collect(count)[way]} }
}

// everywhere is collect for wantShare.
func (s *Scene) everywhere(count int) func() map[string][]load.Response {
	return func() map[string][]load.Response { return s.collect(count) }
}

// finish ends the loads, checks the record, and draws it.
func (s *Scene) finish() {
	s.stopLoads()
	s.mu.Lock()
	r := &s.record
	slices.SortFunc(r.Marks, func(a, b traffic.Mark) int { return a.At.Compare(b.At) })
	s.mu.Unlock()
	for _, way := range r.Ways {
		s.Logf("%s: %s", way.Name, traffic.Count(way.Responses))
	}
	faults := r.FindFaults()
	for _, line := range faults.Lines {
		s.Log(line)
	}
	if len(faults.Wrong) > 0 {
		s.Errorf("responses came from versions that no decision sent traffic to: %v", faults.Wrong)
	}
	if faults.Failed > 0 && r.Lossy == "" {
		s.Errorf("%d responses failed", faults.Failed)
	}
	r.Passed = !s.Failed()
	if len(r.Ways) > 0 {
		if err := r.Draw(*pages); err != nil {
			s.Error(err)
		}
	}
	if err := r.Write(*pages); err != nil {
		s.Error(err)
	}
	records.Lock()
	defer records.Unlock()
	records.all = append(records.all, r)
}

var secretValue = regexp.MustCompile(`(?m)^.*(token|tls\.key).*$`)

// describe logs the state of the namespace, for the reader of a failure.
func (s *Scene) describe() {
	ctx, stop := context.WithTimeout(context.WithoutCancel(root), time.Minute)
	defer stop()
	for _, args := range [][]string{
		{"kubectl", "get", "pods,services,destinationrules,virtualservices,gateways.networking.istio.io", "-o", "wide"},
		{"kubectl", "get", "events", "--sort-by=.lastTimestamp"},
		{"outrigger", "status"},
	} {
		out, err := cluster.Command(ctx, nil, args[0], append(args[1:], "-n", s.Namespace)...)
		if err != nil {
			out = err.Error()
		}
		s.Logf("%s:\n%s", strings.Join(args, " "), secretValue.ReplaceAllString(out, "(omitted)"))
	}
}
