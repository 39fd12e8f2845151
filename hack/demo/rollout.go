// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// rollout updates a Deployment whose selector does not contain the version, and watches the route meanwhile.
func rollout(ctx context.Context, s *stage) error {
	const (
		getPods  = "kubectl get pods -n " + shop + " -l app=orders -L version"
		getRoute = "kubectl get virtualservice orders -n " + shop + " -o custom-columns='NAME:.metadata.name,WRITTEN:.metadata.resourceVersion,HOSTS:.spec.hosts[*],TO:.spec.http[*].route[*].destination.host,SUBSET:.spec.http[*].route[*].destination.subset'"
	)
	s.say(`Most people have one Deployment and change its image and version label. The route of a single Deployment names no
		subset, so an update needs no change of the route, and also works while Outrigger is down.`)
	written := ""
	err := s.run(ctx,
		do("kubectl apply -f examples/springbootapp/rolling.yaml -n "+shop, contains("deployment.apps/orders created")).show("deployment"),
		until(getPods, pods(2, "2/2"), everyRow("v1")),
		until("kubectl get virtualservice orders -n "+shop+" -o yaml", routes("orders", "-=100")),
		do(getRoute, func(output string) (err error) {
			written, err = routeWritten(output)
			return err
		}),
		do(`kubectl patch deployment orders -n `+shop+` -p '{"spec":{"minReadySeconds":2}}'`, contains("patched")).show("patched"),
		do("sed 's/version: v1/version: v2/; s/:42/:43/' examples/springbootapp/rolling.yaml | kubectl apply -n "+shop+" -f -", contains("deployment.apps/orders configured")).show("deployment"),
	)
	if err != nil {
		return err
	}
	unchanged := do(getRoute, func(output string) error {
		now, err := routeWritten(output)
		if err != nil {
			return err
		}
		return equal("the resourceVersions of the route", now, written)
	})
	if err := follow(ctx, s, getPods, unchanged); err != nil {
		return err
	}
	err = s.run(ctx,
		until(getPods, pods(2, "2/2"), everyRow("v2")).show("orders"),
		until("kubectl get destinationrule orders -n "+shop+" -o yaml", about("DestinationRule", "orders", func(o object) error {
			for _, subset := range o.Spec.Subsets {
				if subset.Name == "v2" {
					return nil
				}
			}
			return fmt.Errorf("it has no subset v2 yet")
		})),
		unchanged,
	)
	if err == nil {
		s.right("v1 and v2 ran at the same time; the route was not written once")
	}
	return err
}

// routeWritten reads the resource version from the table of one route, which must name no subset.
func routeWritten(output string) (string, error) {
	rows := rowsOf(output)
	if len(rows) != 1 || len(rows[0]) != 5 {
		return "", fmt.Errorf("the table does not have exactly one route")
	}
	if subset := rows[0][4]; subset != "<none>" {
		return "", fmt.Errorf("the route names subset %s", subset)
	}
	return rows[0][1], nil
}

// follow looks at the pods until only v2 runs, and runs a command each time the set of versions has changed. It is an error if
// both versions never ran at the same time: then the rollout showed nothing.
func follow(ctx context.Context, s *stage, getPods string, look command) error {
	deadline := time.Now().Add(patience)
	seen, together := "v1 v1", false
	for seen != "v2 v2" {
		output, err := s.output(ctx, getPods)
		if err != nil {
			return err
		}
		if now := versionsOf(output); now != seen {
			seen = now
			together = together || strings.Contains(now, "v1") && strings.Contains(now, "v2")
			if s.verbose {
				s.command(getPods, output)
			}
			if err := s.run(ctx, look); err != nil {
				return err
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not within %v: the rollout is at %q", patience, seen)
		}
		time.Sleep(50 * time.Millisecond) // between two looks
	}
	if !together {
		return fmt.Errorf("v1 and v2 were never seen at the same time")
	}
	return nil
}

// versionsOf returns the sorted versions of a table of pods whose last column is the version.
func versionsOf(output string) string {
	var old, other []string
	for _, row := range rowsOf(output) {
		if version := row[len(row)-1]; version == "v1" {
			old = append(old, version)
		} else {
			other = append(other, version)
		}
	}
	return strings.Join(append(old, other...), " ")
}
