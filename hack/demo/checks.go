// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// object is what the checks read of a DestinationRule, VirtualService or Gateway, or of a List of them.
type object struct {
	Kind     string   `json:"kind"`
	Items    []object `json:"items"`
	Metadata struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		Host     string            `json:"host"`
		Hosts    []string          `json:"hosts"`
		Gateways []string          `json:"gateways"`
		Selector map[string]string `json:"selector"`
		Subsets  []struct {
			Name string `json:"name"`
		} `json:"subsets"`
		Servers []struct {
			Port struct {
				Number int `json:"number"`
			} `json:"port"`
			Hosts []string `json:"hosts"`
		} `json:"servers"`
		HTTP []struct {
			Match []struct {
				Headers map[string]struct {
					Exact string `json:"exact"`
				} `json:"headers"`
			} `json:"match"`
			Route []struct {
				Destination struct {
					Subset string `json:"subset"`
				} `json:"destination"`
				Weight int `json:"weight"`
			} `json:"route"`
		} `json:"http"`
	} `json:"spec"`
}

// about reads an object out of YAML and passes it on.
func about(kind, name string, look func(object) error) check {
	return func(output string) error {
		var got object
		if err := yaml.Unmarshal([]byte(output), &got); err != nil {
			return fmt.Errorf("this is not YAML: %w", err)
		}
		all := append(got.Items, got)
		at := slices.IndexFunc(all, func(o object) bool { return o.Kind == kind && o.Metadata.Name == name })
		if at < 0 {
			return fmt.Errorf("there is no %s %s in it", kind, name)
		}
		return look(all[at])
	}
}

// subsets wants a DestinationRule to have exactly these, separated by spaces.
func subsets(name, want string) check {
	return about("DestinationRule", name, func(o object) error {
		var names []string
		for _, subset := range o.Spec.Subsets {
			names = append(names, subset.Name)
		}
		slices.Sort(names)
		return equal("the subsets of DestinationRule "+name, strings.Join(names, " "), want)
	})
}

// routes wants a VirtualService to send requests so: "v1=90 v2=10", rules separated by "; ", a rule for a header as
// "end-user=jason: v2=100", a destination without subset as "-".
func routes(name, want string) check {
	return about("VirtualService", name, func(o object) error {
		var rules []string
		for _, http := range o.Spec.HTTP {
			var to []string
			for _, route := range http.Route {
				subset, weight := route.Destination.Subset, route.Weight
				if subset == "" {
					subset = "-"
				}
				if weight == 0 && len(http.Route) == 1 {
					weight = 100 // a single destination needs no weight
				}
				to = append(to, fmt.Sprintf("%s=%d", subset, weight))
			}
			rule := strings.Join(to, " ")
			for _, match := range http.Match {
				for header, value := range match.Headers {
					if condition := header + "=" + value.Exact + ": "; !strings.HasPrefix(rule, condition) {
						rule = condition + rule
					}
				}
			}
			rules = append(rules, rule)
		}
		return equal("the routes of VirtualService "+name, strings.Join(rules, "; "), want)
	})
}

// gateway wants a Gateway for the ingress gateway's pods with one server.
func gateway(name string, port int, host string) check {
	return about("Gateway", name, func(o object) error {
		if len(o.Spec.Servers) != 1 {
			return fmt.Errorf("there are %d servers in Gateway %s, not 1", len(o.Spec.Servers), name)
		}
		server := o.Spec.Servers[0]
		got := fmt.Sprintf("%v %d %v", o.Spec.Selector, server.Port.Number, server.Hosts)
		return equal("selector, port and hosts of Gateway "+name, got, fmt.Sprintf("map[istio:ingressgateway] %d [%s]", port, host))
	})
}

// boundTo wants a VirtualService to be for these hosts at these gateways.
func boundTo(name, hosts, gateways string) check {
	return about("VirtualService", name, func(o object) error {
		got := strings.Join(o.Spec.Hosts, " ") + " at " + strings.Join(o.Spec.Gateways, " ")
		return equal("hosts and gateways of VirtualService "+name, got, hosts+" at "+gateways)
	})
}

// pods wants a table of pods as "kubectl get pods" prints it with this many rows, all Running and ready as said.
func pods(count int, ready string) check {
	return func(output string) error {
		rows := rowsOf(output)
		if len(rows) != count {
			return fmt.Errorf("there are %d pods, not %d", len(rows), count)
		}
		for _, row := range rows {
			if len(row) < 3 || row[1] != ready || row[2] != "Running" {
				return fmt.Errorf("pod %s is not %s Running", row[0], ready)
			}
		}
		return nil
	}
}

// rowsOf returns the words of each line below the heading.
func rowsOf(output string) [][]string {
	var rows [][]string
	for i, line := range strings.Split(strings.TrimSpace(output), "\n") {
		if words := strings.Fields(line); i > 0 && len(words) > 0 {
			rows = append(rows, words)
		}
	}
	return rows
}

func contains(want ...string) check {
	return func(output string) error {
		for _, text := range want {
			if !strings.Contains(output, text) {
				return fmt.Errorf("%q is not in what came back", text)
			}
		}
		return nil
	}
}

func lacks(unwanted string) check {
	return func(output string) error {
		if strings.Contains(output, unwanted) {
			return fmt.Errorf("%q is in what came back", unwanted)
		}
		return nil
	}
}

func equal(what, got, want string) error {
	if got != want {
		return fmt.Errorf("%s are %q, not %q", what, got, want)
	}
	return nil
}

// everyRow checks that each row of a table contains a word.
func everyRow(word string) check {
	return func(output string) error {
		rows := rowsOf(output)
		for _, row := range rows {
			if !strings.Contains(strings.Join(row, " "), word) {
				return fmt.Errorf("the row of %s lacks %s", row[0], word)
			}
		}
		if len(rows) == 0 {
			return fmt.Errorf("there is no row")
		}
		return nil
	}
}

func someRow(output string) error {
	if len(rowsOf(output)) == 0 {
		return fmt.Errorf("there is no row")
	}
	return nil
}
