// SPDX-License-Identifier: Apache-2.0

package scenarios

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"outrigger.dev/outrigger/test/traffic"
)

// exposure changes how the Service is exposed, while callers of one host go on.
func exposure(t *testing.T) {
	installed(t)
	s := begin(t, true, "exposure", "Hosts and paths are added and removed; callers of a host that stays notice nothing.")
	s.goLive([]string{"v1"}, service(), workload{name: "first", version: "v1", fixed: true}.manifest(), workload{name: "second", version: "v2", fixed: true}.manifest())
	other := "other." + s.Host
	s.step("second host", func() {
		s.kubectl("annotate", "service", "web", "outrigger.dev/hosts="+s.Host+","+other, "--overwrite")
		s.eventually("the second host answers", func() error { return s.status(other, "/hello", http.StatusOK) })
	})
	s.collect(100)
	s.step("path /hello", func() {
		s.kubectl("annotate", "service", "web", "outrigger.dev/path=/hello")
		s.eventually("another path has no route", func() error { return s.status(s.Host, "/else", http.StatusNotFound) })
	})
	s.collect(100)
	s.step("path rewrite", func() {
		s.kubectl("annotate", "service", "web", "outrigger.dev/path-rewrite=/rewritten")
	})
	s.collect(100)
	s.step("every path", func() {
		s.kubectl("annotate", "service", "web", "outrigger.dev/path-", "outrigger.dev/path-rewrite-")
		s.eventually("another path has a route", func() error { return s.status(s.Host, "/else", http.StatusOK) })
	})
	s.collect(100)
	s.step("one host", func() {
		s.kubectl("annotate", "service", "web", "outrigger.dev/hosts="+s.Host, "--overwrite")
		s.eventually("the second host has no route", func() error { return s.status(other, "/hello", http.StatusNotFound) })
	})
	s.collect(150)
}

// status returns an error unless the gateway answers with a status.
func (s *Scene) status(host, path string, want int) error {
	options := s.gatewayOptions(burst, 5)
	options.URL = cluster.Gateway.URL(path)
	options.Header.Set("Host", host)
	for _, r := range send(options) {
		if r.Status != want {
			return fmt.Errorf("status %d %s", r.Status, r.Error)
		}
	}
	return root.Err()
}

// foreign applies hand-written objects next to Outrigger's and over them, and deletes them again.
func foreign(t *testing.T) {
	installed(t)
	s := begin(t, true, "foreign", "Hand-written YAML decides at the gateway, and the mesh stays on v1. For a moment, there is no route: in the mesh when the YAML replaces Outrigger's VirtualService, and at the gateway when it is deleted.")
	s.mayFail("a deleted VirtualService leaves the host at the gateway without a route until Outrigger's is back")
	s.apply(service(), workload{name: "first", version: "v1", fixed: true}.manifest())
	s.ready()
	s.goLive([]string{"v1"}, workload{name: "second", version: "v2", fixed: true}.manifest())
	s.collect(50)

	beside := handWritten("own", s.Host, 50, 50)
	s.decideFor(atGateway, "files of other names", []string{"v1", "v2"}, func() { s.apply(beside) })
	s.wantFilesApplied()
	s.remove("files deleted", beside)

	over := handWritten("web", s.Host, 50, 50)
	s.permit(inMesh, []string{"v1", "v2"})
	s.decideFor(atGateway, "files of the same names", []string{"v1", "v2"}, func() {
		s.apply(over)
		s.eventually("Outrigger has its own objects beside them", func() error {
			if found := s.kubectl("get", "virtualservices", "-o", "name"); !strings.Contains(found, "/web-auto") {
				return fmt.Errorf("there are %q", found)
			}
			return nil
		})
		s.only(inMesh, "v1")
	})
	s.permit(inMesh, []string{"v1"})
	s.wantFilesApplied()
	s.eventually("Outrigger's marks are removed from the files", func() error {
		if owner := s.kubectl("get", "virtualservices,destinationrules", "web", "-o", "jsonpath={.items[*].metadata.ownerReferences}"); owner != "" {
			return errors.New(owner)
		}
		return nil
	})
	s.remove("files deleted", over)
}

// wantFilesApplied waits until the gateway does what the files say, and wants their shares from then on.
func (s *Scene) wantFilesApplied() {
	s.Helper()
	s.eventually("the gateway does what the files say", func() error {
		if counts := traffic.Count(s.collect(20)[atGateway]); counts.Versions["v2"] == 0 {
			return fmt.Errorf("got %s", counts)
		}
		return nil
	})
	s.wantShare("v2", 0.5, s.on(atGateway, 200))
}

// remove deletes hand-written objects, and waits until v1 answers all requests.
func (s *Scene) remove(text, files string) {
	s.Helper()
	s.decideFor(atGateway, text, []string{"v1"}, func() {
		if _, err := cluster.Command(root, []byte(files), "kubectl", "delete", "-n", s.Namespace, "-f", "-"); err != nil {
			s.Fatal(err)
		}
		s.only("", "v1")
	})
	s.collect(100)
}

// installing installs Outrigger while two versions share the requests of one Service, and one version serves another.
func installing(t *testing.T) {
	split := begin(t, false, "install-split", "Two versions serve when Outrigger is installed. It writes no route, and they keep their shares.")
	split.record.Name = "installing keeps a split that is live"
	single := begin(t, false, "install-single", "One version serves when Outrigger is installed. The one that comes later gets nothing in the mesh; at the gateway, a hand-written route that names no version sends it requests.")
	single.record.Name = "installing keeps a single version serving"
	first, second := workload{name: "first", version: "v1", fixed: true}.manifest(), workload{name: "second", version: "v2", fixed: true}.manifest()
	split.goLive([]string{"v1", "v2"}, service(), first, second)
	single.goLive([]string{"v1"}, service(), first)
	split.record.Outrigger, single.record.Outrigger = true, true
	split.wantShare("v2", 0.5, split.everywhere(500)) // also the time after which versions count as serving
	single.step("helm install", func() { split.step("helm install", func() { installed(t) }) })
	split.eventually("Outrigger knows the versions", func() error {
		if found := split.kubectl("get", "destinationrules", "web", "--ignore-not-found", "-o", "jsonpath={.spec.subsets[*].name}"); found != "v1 v2" {
			return fmt.Errorf("the DestinationRule has the subsets %q", found)
		}
		return nil
	})
	single.eventually("Outrigger has a route", func() error {
		if found := single.kubectl("get", "virtualservices", "web", "--ignore-not-found", "-o", "name"); found == "" {
			return errors.New("there is none")
		}
		return nil
	})
	single.permit(atGateway, []string{"v1", "v2"})
	single.step("v2 is created", func() {
		single.apply(second)
		single.ready()
	})
	split.wantShare("v2", 0.5, split.everywhere(500))
	if routes := split.kubectl("get", "virtualservices", "web", "--ignore-not-found", "-o", "name"); routes != "" {
		t.Errorf("installing wrote a route for a live split: %s", routes)
	}
	single.collect(100)
}

// uninstalling removes Outrigger while v1 serves one Service and v2 waits, and one version serves another.
func uninstalling(t *testing.T) {
	installed(t)
	two := begin(t, true, "uninstall-two", "v1 serves and v2 waits when Outrigger is removed. The route stays, because without it v2 would get requests.")
	two.record.Name = "uninstalling keeps two versions where they are"
	single := begin(t, true, "uninstall-single", "One version serves when Outrigger is removed, and goes on.")
	single.record.Name = "uninstalling keeps a single version serving"
	two.apply(service(), workload{name: "first", version: "v1", fixed: true}.manifest())
	two.ready()
	two.goLive([]string{"v1"}, workload{name: "second", version: "v2", fixed: true}.manifest())
	single.goLive([]string{"v1"}, service(), workload{name: "web", version: "v1"}.manifest())
	two.collect(100)
	single.step("helm uninstall", func() {
		two.step("helm uninstall", func() {
			two.run("helm", "uninstall", "outrigger", "-n", system, "--wait")
			two.eventually("no replica is left", func() error {
				if pods := two.replicas(); len(pods) > 0 {
					return fmt.Errorf("there are %q", pods)
				}
				return nil
			})
		})
	})
	two.collect(300)
	single.collect(50)
}
