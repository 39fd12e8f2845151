// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"strings"
	"testing"
)

// One object is named by NAME, TYPE/NAME, or TYPE NAME, with every word that kubectl has for the type.
func TestObjectsAreNamedAsInKubectl(t *testing.T) {
	show := func(name string, rest []string, err error) string {
		if err != nil {
			return "error"
		}
		return fmt.Sprint(name, rest)
	}
	for _, c := range []struct {
		what string
		read func(args []string) string
		want map[string]string
	}{
		{"shift", func(args []string) string { return show(shiftedService(args)) }, map[string]string{
			"web v1=1 v2=2": "web[v1=1 v2=2]", "svc/web v1=1": "web[v1=1]", "service/web v1=1": "web[v1=1]", "Services/web v1=1": "web[v1=1]",
			"svc web v1=1 v2=2": "web[v1=1 v2=2]", "service web v1=1": "web[v1=1]", "svc v1=1": "svc[v1=1]",
			"deploy/web v1=1": "error", "svc/ v1=1": "error", "a/b/c v1=1": "error",
		}},
		{"promote", func(args []string) string { return show(promotedService(args)) }, map[string]string{
			"web v2": "web[v2]", "svc/web v2": "web[v2]", "svc web v2": "web[v2]", "svc v2": "svc[v2]", "pod/web v2": "error",
		}},
		{"status", func(args []string) string { name, err := serviceTypes.parseOne(args); return show(name, nil, err) }, map[string]string{
			"web": "web[]", "svc/web": "web[]", "services web": "web[]", "svc": "svc[]", "web api": "error", "deploy web": "error", "svc web api": "error",
		}},
		{"enable", func(args []string) string { name, err := namespaceTypes.parseOne(args); return show(name, nil, err) }, map[string]string{
			"demo": "demo[]", "ns/demo": "demo[]", "namespace demo": "demo[]", "svc/demo": "error", "": "error",
		}},
		{"explain", func(args []string) string { kind, name, err := explained(args); return show(kind+"/"+name, nil, err) }, map[string]string{
			"web": "service/web[]", "deploy/web": "deploy/web[]", "deploy web": "deploy/web[]", "sts web": "sts/web[]", "a/b/c": "error", "deploy/web api": "error", "deploy a b": "error",
		}},
	} {
		for args, want := range c.want {
			if got := c.read(strings.Fields(args + " ")); got != want && args != "" {
				t.Errorf("%s %s: want %s, got %s", c.what, args, want, got)
			}
		}
	}
}
