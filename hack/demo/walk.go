package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

const (
	shop   = "springistiodemo"
	byHand = "byhand"
)

// steps are the journey, in its order.
var steps = []struct {
	title string
	walk  func(context.Context, *stage) error
}{
	{"Before: a cluster with Istio", cluster},
	{"1. Install Outrigger", installation},
	{"2. Label a namespace", label},
	{"3. Create the application", application},
	{"4. Get routes without another file", firstRoutes},
	{"5. Expose the application", exposure},
	{"6. Shift traffic", shift},
	{"7. Roll out in place, as most people do", rollout},
	{"8. Stop injection", labelOff},
	{"9. Inject by hand, without the webhook", withoutWebhook},
	{"10. Ask what was done, what was not, and why", telling},
}

// walk takes the steps until one fails.
func walk(ctx context.Context, s *stage) error {
	for _, step := range steps {
		s.heading(step.title)
		if err := step.walk(ctx, s); err != nil {
			return fmt.Errorf("step %q: %w", step.title, err)
		}
	}
	return nil
}

// all runs steps of a story until one fails.
func all(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func cluster(ctx context.Context, s *stage) error {
	s.say(`etcd, kube-apiserver, controllers and scheduler are real. Pods on node-1 become Running, but nothing runs in
		them (kwok plays its kubelet); pods on "local" run as processes of this machine. Istio's CRDs and its two ConfigMaps come
		from Istio's own charts; istiod itself does not run, so Outrigger alone injects.`)
	return all(
		func() error { return s.do(ctx, "kubectl get nodes", contains("node-1", "local")) },
		func() error {
			return s.do(ctx, "kubectl get configmaps -n istio-system", contains("istio-sidecar-injector"))
		},
	)
}

func installation(ctx context.Context, s *stage) error {
	s.say(`The chart is the one that everybody installs. local-node.yaml only says that its pods belong on the node "local"
		and at which address the API server reaches them; in your own cluster you leave it out.`)
	const ours = "kubectl get pods -n outrigger-system"
	return all(
		func() error {
			return s.do(ctx, "helm install outrigger charts/outrigger -n outrigger-system --create-namespace -f local-node.yaml --wait --timeout 2m", contains("STATUS: deployed"))
		},
		func() error { return s.until(ctx, ours, pods(2, "1/1")) },
		func() error {
			return s.do(ctx, "kubectl get mutatingwebhookconfigurations", contains("outrigger-sidecar-injector"))
		},
		func() error {
			return s.do(ctx, "kubectl get destinationrules,virtualservices,gateways.networking.istio.io -A", contains("No resources found"))
		},
		func() error { s.right("two replicas serve, and installing has changed nothing"); return nil },
	)
}

func label(ctx context.Context, s *stage) error {
	return all(
		func() error { return s.do(ctx, "kubectl create namespace "+shop, contains("created")) },
		func() error {
			return s.do(ctx, "kubectl label namespace "+shop+" istio-injection=enabled", contains("labeled"))
		},
		func() error {
			return s.do(ctx, "kubectl get ns "+shop+" --show-labels", contains("istio-injection=enabled"))
		},
		func() error { s.right("this is all that a namespace needs"); return nil },
	)
}

func application(ctx context.Context, s *stage) error {
	s.say(`One Service and two ordinary Deployments, with the labels app and version. No sidecar, no DestinationRule, no
		VirtualService and no Gateway is written in the file.`)
	return all(
		func() error {
			return s.do(ctx, "kubectl create -f examples/springbootapp/app.yaml -n "+shop, contains("service/springbootapp created"))
		},
		func() error { return s.until(ctx, "kubectl get pods -n "+shop, pods(2, "2/2")) },
		func() error {
			return s.do(ctx, "kubectl get pods -n "+shop+" -o custom-columns='POD:.metadata.name,VERSION:.metadata.labels.version,INIT:.spec.initContainers[*].name,CONTAINERS:.spec.containers[*].name,IMAGES:.spec.containers[*].image'", everyRow("istio-proxy"))
		},
		func() error { s.right("every pod came up with the sidecar, 2/2"); return nil },
	)
}

// everyRow wants a word in each row of a table.
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

func firstRoutes(ctx context.Context, s *stage) error {
	s.say(`Outrigger has seen the version labels of the pods: a subset for each, and a route that sends everything to v1. v2
		runs and gets nothing until someone says so.`)
	return all(
		func() error {
			return s.until(ctx, "kubectl get destinationrule,virtualservice springbootapp -n "+shop+" -o yaml",
				subsets("springbootapp", "v1 v2"), routes("springbootapp", "v1=100"))
		},
		func() error {
			return s.until(ctx, "kubectl get events -n "+shop+" --field-selector involvedObject.kind=Service,involvedObject.name=springbootapp -o custom-columns=REASON:.reason,MESSAGE:.message", someRow)
		},
		func() error { s.right("subsets v1 and v2; all traffic to v1"); return nil },
	)
}

func someRow(output string) error {
	if len(rowsOf(output)) == 0 {
		return fmt.Errorf("there is no row")
	}
	return nil
}

func exposure(ctx context.Context, s *stage) error {
	s.say(`First Istio's ingress gateway, from Istio's own chart, at node port 31380. The chart leaves its pod's image at "auto":
		it is the injector, here Outrigger, that makes a proxy of it.`)
	err := all(
		func() error {
			return s.do(ctx, "helm install istio-ingressgateway istio/gateway -n istio-system -f istio/gateway-values.yaml", contains("STATUS: deployed"))
		},
		func() error {
			return s.until(ctx, "kubectl get pods -n istio-system -l istio=ingressgateway", pods(1, "1/1"))
		},
		func() error {
			return s.do(ctx, "kubectl get pods -n istio-system -l istio=ingressgateway -o custom-columns='POD:.metadata.name,CONTAINERS:.spec.containers[*].name,IMAGES:.spec.containers[*].image'", contains("istio-proxy", "proxyv2"), lacks("auto"))
		},
		func() error {
			return s.do(ctx, "kubectl get svc istio-ingressgateway -n istio-system", contains("80:31380/TCP"))
		},
	)
	if err != nil {
		return err
	}
	s.say("Then one annotation, and nothing else.")
	return all(
		func() error {
			return s.do(ctx, "kubectl annotate svc springbootapp outrigger.dev/expose=true -n "+shop, contains("annotated"))
		},
		func() error {
			return s.until(ctx, "kubectl get gateways.networking.istio.io springbootapp -n "+shop+" -o yaml", gateway("springbootapp", 80, shop+"/*"))
		},
		func() error {
			return s.until(ctx, "kubectl get virtualservice springbootapp-gateway -n "+shop+" -o yaml",
				boundTo("springbootapp-gateway", "*", shop+"/springbootapp"), routes("springbootapp-gateway", "v1=100"))
		},
		func() error {
			s.right("http://<node>:31380/hello answers from v1 only (on a real node: nothing runs in these pods)")
			return nil
		},
	)
}

func shift(ctx context.Context, s *stage) error {
	const get = "kubectl get virtualservice springbootapp -n " + shop + " -o yaml"
	const getBoth = "kubectl get virtualservices -n " + shop + " -o yaml"
	s.say(`One request in ten goes to v2. The command writes one annotation, which one can as well write by hand; --wait returns
		when every proxy has had time to take the route over.`)
	err := all(
		func() error {
			return s.do(ctx, "outrigger shift springbootapp v1=90 v2=10 -n "+shop+" --wait", contains("v1=100 -> v1=90 v2=10", "springbootapp annotated", "applied (waited "))
		},
		func() error {
			return s.do(ctx, getBoth, routes("springbootapp", "v1=90 v2=10"), routes("springbootapp-gateway", "v1=90 v2=10"))
		},
		func() error {
			return s.do(ctx, "outrigger status springbootapp -n "+shop, contains("90", "10", ":31380"))
		},
		func() error { s.right("90 to 10, for callers in the mesh and through the gateway"); return nil },
	)
	if err != nil {
		return err
	}
	s.say("Jason tests v2: his requests carry the header end-user.")
	err = all(
		func() error {
			return s.do(ctx, "kubectl annotate svc springbootapp outrigger.dev/match=v2=header:end-user:jason outrigger.dev/weights- -n "+shop, contains("annotated"))
		},
		func() error { return s.until(ctx, get, routes("springbootapp", "end-user=jason: v2=100; v1=100")) },
		func() error { s.right("jason gets v2, everybody else v1"); return nil },
	)
	if err != nil {
		return err
	}
	s.say("v2 is good: it becomes the version that serves.")
	return all(
		func() error {
			return s.do(ctx, "outrigger promote springbootapp v2 -n "+shop+" --wait", contains("v1=100 -> v2=100", "springbootapp annotated", "applied (waited "))
		},
		func() error { return s.do(ctx, get, routes("springbootapp", "end-user=jason: v2=100; v2=100")) },
		func() error {
			return s.do(ctx, "kubectl annotate svc springbootapp outrigger.dev/match- -n "+shop, contains("annotated"))
		},
		func() error {
			return s.until(ctx, getBoth, routes("springbootapp", "v2=100"), routes("springbootapp-gateway", "v2=100"))
		},
		func() error { s.right("all traffic to v2"); return nil },
	)
}

func rollout(ctx context.Context, s *stage) error {
	const (
		getPods  = "kubectl get pods -n " + shop + " -l app=orders -L version"
		getRoute = "kubectl get virtualservice orders -n " + shop + " -o custom-columns='NAME:.metadata.name,WRITTEN:.metadata.resourceVersion,HOSTS:.spec.hosts[*],TO:.spec.http[*].route[*].destination.host,SUBSET:.spec.http[*].route[*].destination.subset'"
	)
	s.say(`A single Deployment whose pods change their version label at every release. While it is alone its route names no
		subset: a rollout moves pod by pod as without Istio, also when Outrigger is not there, and nothing has to be written.`)
	written := ""
	err := all(
		func() error {
			return s.do(ctx, "kubectl create -f examples/springbootapp/rolling.yaml -n "+shop, contains("deployment.apps/orders created"))
		},
		func() error { return s.until(ctx, getPods, pods(2, "2/2"), everyRow("v1")) },
		func() error {
			return s.until(ctx, "kubectl get virtualservice orders -n "+shop+" -o yaml", routes("orders", "-=100"))
		},
		func() error {
			return s.do(ctx, getRoute, func(output string) error {
				var err error
				written, err = routeWritten(output)
				return err
			})
		},
		func() error {
			return s.do(ctx, `kubectl patch deployment orders -n `+shop+` -p '{"spec":{"minReadySeconds":2,"template":{"metadata":{"labels":{"version":"v2"}},"spec":{"containers":[{"name":"orders","image":"xjk27400861/springbootapp:43"}]}}}}'`, contains("patched"))
		},
	)
	if err != nil {
		return err
	}
	unchanged := func(output string) error {
		now, err := routeWritten(output)
		if err != nil {
			return err
		}
		return equal("the resourceVersions of the route", now, written)
	}
	if err := follow(ctx, s, getPods, func() error { return s.do(ctx, getRoute, unchanged) }); err != nil {
		return err
	}
	return all(
		func() error { return s.until(ctx, getPods, pods(2, "2/2"), everyRow("v2")) },
		func() error {
			return s.until(ctx, "kubectl get destinationrule orders -n "+shop+" -o yaml", about("DestinationRule", "orders", func(o object) error {
				for _, subset := range o.Spec.Subsets {
					if subset.Name == "v2" {
						return nil
					}
				}
				return fmt.Errorf("it has no subset v2 yet")
			}))
		},
		func() error { return s.do(ctx, getRoute, unchanged) },
		func() error { s.right("rolled out, and the route was not written once"); return nil },
	)
}

// routeWritten reads the resource version out of the table of the one route, which must name no subset.
func routeWritten(output string) (string, error) {
	rows := rowsOf(output)
	if len(rows) != 1 || len(rows[0]) != 5 {
		return "", fmt.Errorf("this is not the one row that was asked for")
	}
	if subset := rows[0][4]; subset != "<none>" {
		return "", fmt.Errorf("the route names subset %s", subset)
	}
	return rows[0][1], nil
}

// follow shows the pods and what else is to be shown each time when other versions run than before, until only v2 runs.
// Both versions must have been seen beside each other, or there was nothing to see.
func follow(ctx context.Context, s *stage, getPods string, show func() error) error {
	deadline := time.Now().Add(patience)
	seen, together := "v1 v1", false
	for seen != "v2 v2" {
		output, err := s.run(ctx, getPods)
		if err != nil {
			return err
		}
		if now := versionsOf(output); now != seen {
			seen = now
			together = together || strings.Contains(now, "v1") && strings.Contains(now, "v2")
			s.command(getPods, output)
			if err := show(); err != nil {
				return err
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not within %v: the rollout stands at %q", patience, seen)
		}
		time.Sleep(50 * time.Millisecond) // between two looks
	}
	if !together {
		return fmt.Errorf("v1 and v2 were never seen beside each other")
	}
	return nil
}

// versionsOf returns the sorted versions of a table of pods whose last column they are.
func versionsOf(output string) string {
	var old, new []string
	for _, row := range rowsOf(output) {
		if version := row[len(row)-1]; version == "v1" {
			old = append(old, version)
		} else {
			new = append(new, version)
		}
	}
	return strings.Join(append(old, new...), " ")
}

func labelOff(ctx context.Context, s *stage) error {
	s.say("Injection can be stopped for new pods at any time. Routes that exist stay: v1 does not get traffic back by it.")
	return all(
		func() error {
			return s.do(ctx, "kubectl label namespace "+shop+" istio-injection=disabled --overwrite", contains("labeled"))
		},
		func() error { return s.do(ctx, "kubectl rollout restart deployment/springbootapp-v1 -n "+shop) },
		func() error {
			return s.until(ctx, "kubectl get pods -n "+shop+" -l app=springbootapp,version=v1", pods(1, "1/1"))
		},
		func() error {
			return s.do(ctx, "kubectl get virtualservice springbootapp -n "+shop+" -o yaml", routes("springbootapp", "v2=100"))
		},
		func() error { s.right("the new pod has no sidecar; the route stands"); return nil },
	)
}

func withoutWebhook(ctx context.Context, s *stage) error {
	s.say(`The same injection as a command, in place of istioctl kube-inject: templates, values and mesh configuration come from
		the cluster's ConfigMaps. The namespace carries no label, so the API server asks no webhook.`)
	return all(
		func() error { return s.do(ctx, "kubectl create namespace "+byHand, contains("created")) },
		func() error {
			return s.do(ctx, "outrigger inject -f examples/springbootapp/app.yaml -n "+byHand+" | kubectl apply -n "+byHand+" -f -", contains("deployment.apps/springbootapp-v1 created", "deployment.apps/springbootapp-v2 created"))
		},
		func() error { return s.until(ctx, "kubectl get pods -n "+byHand, pods(2, "2/2")) },
		func() error {
			return s.do(ctx, "kubectl get deployments -n "+byHand+" -o custom-columns='DEPLOYMENT:.metadata.name,INIT:.spec.template.spec.initContainers[*].name,CONTAINERS:.spec.template.spec.containers[*].name'", everyRow("istio-proxy"))
		},
		func() error { s.right("the sidecar is in the Deployments themselves"); return nil },
	)
}

func telling(ctx context.Context, s *stage) error {
	s.say("Injection is disabled: existing routes stay, and new pods get no sidecar. status and explain report it.")
	return all(
		func() error {
			return s.do(ctx, "outrigger status -n "+shop, contains("disabled", "springbootapp", "orders", ":31380"))
		},
		func() error {
			return s.do(ctx, "outrigger explain service/springbootapp -n "+shop, contains("routed", "v2, because an annotation decided it (default-version or weights)", "subsets v1,v2"))
		},
		func() error {
			return s.do(ctx, "outrigger explain deployment/springbootapp-v1 -n "+shop, contains("no injector is asked about it", "kubectl label namespace "+shop+" istio-injection=enabled"))
		},
		func() error {
			return s.do(ctx, "outrigger disable "+shop+" --dry-run=client", contains("service/springbootapp: begins to receive traffic: v1", "(dry run)"))
		},
		func() error { s.right("nothing has to be guessed, and nothing was changed by asking"); return nil },
	)
}
