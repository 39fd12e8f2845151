// SPDX-License-Identifier: Apache-2.0

package scenarios

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"outrigger.dev/outrigger/test/traffic"
	"outrigger.dev/outrigger/test/traffic/load"
)

// journey is what a reader of the quick start types, with two Deployments and no file about routes.
func journey(t *testing.T) {
	installed(t)
	s := begin(t, true, "journey", "Two Deployments, one label, one annotation: all traffic goes to v1 until you choose v2.")
	s.Service, s.Host = "springbootapp", ""
	s.createExample()
	s.kubectl("annotate", "service", "springbootapp", "outrigger.dev/expose=true")
	s.apply(client("client", true))
	s.kubectl("wait", "--for=condition=Ready", "pod/client", "--timeout=2m")
	s.eventually("the gateway answers", func() error { return s.answers(s.viaGateway(5)) })

	s.eventually("v1 answers", func() error { return s.allFrom("v1", 20) })
	s.wantAll("v1", 1000)
	s.outrigger("shift", "springbootapp", "v1=90", "v2=10", "--wait")
	s.wantShares("v2", 0.1, 1000)
	s.kubectl("annotate", "service", "springbootapp", "outrigger.dev/match=v2=header:end-user:jason")
	s.eventually("the header chooses v2", func() error { return s.allFrom("v2", 20, "end-user=jason") })
	s.wantAll("v2", 100, "end-user=jason")
	s.wantShares("v2", 0.1, 500)
	s.outrigger("promote", "springbootapp", "v2", "--wait")
	s.eventually("v2 answers", func() error { return s.allFrom("v2", 20) })
	s.wantAll("v2", 200)
	s.outrigger("undo", "springbootapp", "--wait")
	s.wantShares("v2", 0.1, 500)

	if text := s.outrigger("explain", "deployment/springbootapp-v1"); !strings.Contains(text, "injected into new pods") || strings.Contains(text, "by istiod") {
		t.Errorf("explain does not say that Outrigger injects:\n%s", text)
	}
}

// createExample creates the example's file as the quick start does; only the name of the image differs.
func (s *Scene) createExample() {
	s.Helper()
	text, err := os.ReadFile(filepath.Join(cluster.Root, "examples", "springbootapp", "app.yaml"))
	if err != nil {
		s.Fatal(err)
	}
	manifest := strings.ReplaceAll(string(text), "xjk27400861/springbootapp", cluster.App)
	if _, err := cluster.Command(root, []byte(manifest), "kubectl", "create", "-n", s.Namespace, "-f", "-"); err != nil {
		s.Fatal(err)
	}
	s.kubectl("wait", "--for=condition=Available", "deployment", "--all", "--timeout=2m")
	s.wantPods("app=springbootapp", 2, "2/2")
}

// wantPods compares the column READY of kubectl, which counts native sidecars, too.
func (s *Scene) wantPods(selector string, count int, ready string) {
	s.Helper()
	s.eventually(fmt.Sprintf("%d pods %s are %s", count, selector, ready), func() error {
		var found []string
		for line := range strings.Lines(s.kubectl("get", "pods", "-l", selector, "--no-headers")) {
			if fields := strings.Fields(line); len(fields) > 2 && fields[1] == ready && fields[2] == "Running" {
				found = append(found, fields[0])
			}
		}
		if len(found) != count {
			return fmt.Errorf("they are %q", found)
		}
		return nil
	})
	s.note("%d pods with %s are %s", count, selector, ready)
}

// ways sends a number of requests on each way.
func (s *Scene) ways(total uint64, header ...string) (map[string][]load.Response, error) {
	gateway, err := s.viaGateway(total, header...)
	if err != nil {
		return nil, err
	}
	mesh, err := s.inMesh(total, header...)
	return map[string][]load.Response{atGateway: gateway, inMesh: mesh}, err
}

// allFrom returns an error unless a version sent all responses.
func (s *Scene) allFrom(version string, total uint64, header ...string) error {
	all, err := s.ways(total, header...)
	if err != nil {
		return err
	}
	for way, responses := range all {
		if counts := traffic.Count(responses); counts.Versions[version] != int(total) {
			return fmt.Errorf("%s: %s", way, counts)
		}
	}
	return nil
}

func (s *Scene) wantAll(version string, total uint64, header ...string) {
	s.Helper()
	if err := s.allFrom(version, total, header...); err != nil {
		s.Errorf("want %d responses from %s with the headers %v: %v", total, version, header, err)
		return
	}
	s.note("%d of %d responses are from %s at the gateway, and %d of %d in the mesh %s", total, total, version, total, total, strings.Join(header, " "))
}

// wantShares waits until a version has its share of a number of new requests on each way, of which none may fail.
func (s *Scene) wantShares(version string, share float64, total uint64) {
	s.Helper()
	s.wantShare(version, share, func() map[string][]load.Response {
		all, err := s.ways(total)
		if err != nil {
			s.Error(err)
		}
		for way, responses := range all {
			if counts := traffic.Count(responses); counts.Failed > 0 {
				s.Errorf("%s: %s", way, counts)
			}
		}
		return all
	})
}
