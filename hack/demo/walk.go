// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
)

const (
	shop   = "springistiodemo"
	byHand = "byhand"
)

// step is a part of the story: what it is about, its commands, and what they have shown.
type step struct {
	title, text string
	commands    []command
	right       string
	walk        func(context.Context, *stage) error // instead of commands
}

// steps are the story, in its order.
var steps = []step{
	{
		title: "0. A cluster with Istio",
		text: `API server, controllers, and scheduler are real. Pods on node-1 are simulated by kwok; pods on "local" are processes of
			this machine. Istio's CRDs and ConfigMaps are installed from Istio's charts; istiod does not run.`,
		commands: []command{
			do("kubectl get nodes", contains("node-1", "local")).show("Ready"),
			do("kubectl get configmaps -n istio-system", contains("istio-sidecar-injector")),
		},
	},
	{
		title: "1. Install Outrigger",
		text:  `You install the same chart. local-node.yaml only places its pods on the node "local".`,
		commands: []command{
			do("helm install outrigger charts/outrigger -n outrigger-system --create-namespace -f local-node.yaml --wait --timeout 2m", contains("STATUS: deployed")).show("STATUS"),
			until("kubectl get pods -n outrigger-system", pods(2, "1/1")).show("Running"),
			do("kubectl get mutatingwebhookconfigurations", contains("outrigger-sidecar-injector")),
			do("kubectl get destinationrules,virtualservices,gateways.networking.istio.io -A", contains("No resources found")),
		},
		right: "two replicas are ready; installing changed no pod and no route",
	},
	{
		title: "2. Label a namespace",
		commands: []command{
			do("kubectl create namespace "+shop, contains("created")).show("created"),
			do("kubectl label namespace "+shop+" istio-injection=enabled", contains("labeled")).show("labeled"),
			do("kubectl get namespace "+shop+" --show-labels", contains("istio-injection=enabled")),
		},
		right: "a namespace needs no more than this",
	},
	{
		title: "3. Deploy an application",
		text: `One Service and two ordinary Deployments, with the labels app and version. The file contains no sidecar, no
			DestinationRule, no VirtualService, and no Gateway.`,
		commands: []command{
			do("kubectl create -f examples/springbootapp/app.yaml -n "+shop, contains("service/springbootapp created")).show(),
			until("kubectl get pods -n "+shop, pods(2, "2/2")).show("springbootapp"),
			do("kubectl get pods -n "+shop+" -o custom-columns='POD:.metadata.name,VERSION:.metadata.labels.version,INIT:.spec.initContainers[*].name,CONTAINERS:.spec.containers[*].name,IMAGES:.spec.containers[*].image'", everyRow("istio-proxy")),
		},
		right: "every pod has its sidecar: 2/2",
	},
	{
		title: "4. See its routes",
		text: `Outrigger wrote a DestinationRule with a subset for each version, and a VirtualService that sends all traffic to v1. v2
			runs and receives no traffic until you choose it.`,
		commands: []command{
			until("kubectl get destinationrule,virtualservice springbootapp -n "+shop+" -o yaml", subsets("springbootapp", "v1 v2"), routes("springbootapp", "v1=100")),
			until("outrigger status springbootapp -n "+shop, contains("100")).show("WEIGHT", " v1 ", " v2 "),
			until("kubectl get events -n "+shop+" --field-selector involvedObject.kind=Service,involvedObject.name=springbootapp -o custom-columns=REASON:.reason,MESSAGE:.message", someRow),
		},
		right: "subsets v1 and v2; all traffic to v1",
	},
	{
		title: "5. Expose it",
		text: `First Istio's ingress gateway, from Istio's own chart; its pod gets its proxy from Outrigger. Then one annotation, which
			becomes a Gateway and a VirtualService for it.`,
		commands: []command{
			do("helm install istio-ingressgateway istio/gateway -n istio-system -f istio/gateway-values.yaml", contains("STATUS: deployed")).show("STATUS"),
			until("kubectl get pods -n istio-system -l istio=ingressgateway", pods(1, "1/1")),
			do("kubectl get pods -n istio-system -l istio=ingressgateway -o custom-columns='POD:.metadata.name,CONTAINERS:.spec.containers[*].name,IMAGES:.spec.containers[*].image'", contains("istio-proxy", "proxyv2"), lacks("auto")),
			do("kubectl get service istio-ingressgateway -n istio-system", contains("80:31380/TCP")),
			do("kubectl annotate service springbootapp outrigger.dev/expose=true -n "+shop, contains("annotated")).show("annotated"),
			until("kubectl get gateways.networking.istio.io springbootapp -n "+shop+" -o yaml", gateway("springbootapp", 80, shop+"/*")),
			until("kubectl get virtualservice springbootapp-gateway -n "+shop+" -o yaml", boundTo("springbootapp-gateway", "*", shop+"/springbootapp"), routes("springbootapp-gateway", "v1=100")),
			do("outrigger status springbootapp -n "+shop, contains("31380")).show("NODE-PORT", "31380"),
		},
		right: "on a real node, http://NODE:31380/hello answers from v1",
	},
	{
		title: "6. Shift traffic",
		text:  `One request in ten goes to v2. The command sets one annotation, and --wait returns when the proxies have the new route.`,
		commands: []command{
			do("outrigger shift springbootapp v1=90 v2=10 -n "+shop+" --wait", contains("v1=100 -> v1=90 v2=10", "springbootapp annotated", "applied (waited ")).show("->", "applied"),
			do("kubectl get virtualservices -n "+shop+" -o yaml", routes("springbootapp", "v1=90 v2=10"), routes("springbootapp-gateway", "v1=90 v2=10")),
			do("outrigger status springbootapp -n "+shop, contains("90", "10", ":31380")),
		},
		right: "90% to v1 and 10% to v2, from the mesh and through the gateway",
	},
	{
		title: "7. Match a header",
		text:  "Jason tests v2: his requests carry the header end-user. All others go to v1 again.",
		commands: []command{
			do("kubectl annotate service springbootapp outrigger.dev/match=v2=header:end-user:jason outrigger.dev/weights- -n "+shop, contains("annotated")).show("annotated"),
			until("kubectl get virtualservice springbootapp -n "+shop+" -o yaml", routes("springbootapp", "end-user=jason: v2=100; v1=100")),
			do("outrigger status springbootapp -n "+shop, contains("jason")).show("WEIGHT", " v1 ", " v2 "),
		},
		right: "Jason's requests to v2, all others to v1",
	},
	{
		title: "8. Promote v2",
		commands: []command{
			do("outrigger promote springbootapp v2 -n "+shop+" --wait", contains("v1=100 -> v2=100", "springbootapp annotated", "applied (waited ")).show("->", "applied"),
			do("kubectl get virtualservice springbootapp -n "+shop+" -o yaml", routes("springbootapp", "end-user=jason: v2=100; v2=100")),
			do("kubectl annotate service springbootapp outrigger.dev/match- -n "+shop, contains("annotated")).show("annotated"),
			until("kubectl get virtualservices -n "+shop+" -o yaml", routes("springbootapp", "v2=100"), routes("springbootapp-gateway", "v2=100")),
		},
		right: "all traffic to v2",
	},
	{
		title: "9. Roll out a version as a canary",
		text: `Return to v1, then roll out v2 again, step by step. A step takes ten seconds here; the default is five minutes. No metrics
			server is configured, so the canary checks only the readiness of v2's pods.`,
		commands: []command{
			do("outrigger undo springbootapp -n "+shop+" --wait", contains("v2=100 -> v1=100", "applied (waited ")).show("->", "applied"),
			do("outrigger canary springbootapp v2 -n "+shop+" --steps 50,100 --interval 10s", contains("springbootapp: v1=100 -> v1=50 v2=50")).show("->", "annotated"),
			until("outrigger status springbootapp -n "+shop, contains("canary v2 1/2 50% next in")).show("WEIGHT", " v1 ", " v2 ", "canary v2"),
			do("outrigger canary springbootapp --pause -n "+shop, contains("annotated")).show("annotated"),
			until("outrigger status springbootapp -n "+shop, contains("canary v2 1/2 50% paused")).show("canary v2"),
			do("outrigger canary springbootapp --resume -n "+shop+" --wait", contains("canary v2 1/2 50%\n", "canary v2 2/2 100%\n", "canary v2 succeeded\n")).show("2/2 100%", "succeeded"),
			do("kubectl get virtualservices -n "+shop+" -o yaml", routes("springbootapp", "v2=100"), routes("springbootapp-gateway", "v2=100")),
			until("kubectl get events -n "+shop+" --field-selector involvedObject.name=springbootapp -o custom-columns=REASON:.reason,MESSAGE:.message", contains("CanaryStarted", "CanaryStep", "CanarySucceeded")).show("CanaryS"),
		},
		right: "v2 was paused, passed both steps, and is the default version",
	},
	{title: "10. Abort a canary that returns errors", walk: canary},
	{title: "11. Update a Deployment in place", walk: rollout},
	{
		title: "12. Stop injection",
		text:  "New pods no longer get a sidecar. Existing routes stay: v1 still receives no traffic.",
		commands: []command{
			do("kubectl label namespace "+shop+" istio-injection=disabled --overwrite", contains("labeled")).show("labeled"),
			do("kubectl rollout restart deployment/springbootapp-v1 -n " + shop).show(),
			until("kubectl get pods -n "+shop+" -l app=springbootapp,version=v1", pods(1, "1/1")).show("Running"),
			do("kubectl get virtualservice springbootapp -n "+shop+" -o yaml", routes("springbootapp", "v2=100")),
		},
		right: "the new pod has no sidecar; the route is unchanged",
	},
	{
		title: "13. Inject without the webhook",
		text:  "The same injection as a command, from the cluster's own ConfigMaps. The namespace has no label, so no webhook is called.",
		commands: []command{
			do("kubectl create namespace "+byHand, contains("created")).show(),
			do("outrigger inject -f examples/springbootapp/app.yaml -n "+byHand+" | kubectl apply -n "+byHand+" -f -", contains("deployment.apps/springbootapp-v1 created", "deployment.apps/springbootapp-v2 created")).show(),
			until("kubectl get pods -n "+byHand, pods(2, "2/2")).show("springbootapp"),
			do("kubectl get deployments -n "+byHand+" -o custom-columns='DEPLOYMENT:.metadata.name,INIT:.spec.template.spec.initContainers[*].name,CONTAINERS:.spec.template.spec.containers[*].name'", everyRow("istio-proxy")),
		},
		right: "the Deployments themselves contain the sidecar",
	},
	{
		title: "14. Ask why",
		text:  "Why has v1's new pod no sidecar, and what would change if routing stopped?",
		commands: []command{
			do("outrigger status -n "+shop, contains("disabled", "springbootapp", "orders", ":31380")),
			do("outrigger explain service/springbootapp -n "+shop, contains("routed", "subsets v1,v2")),
			do("outrigger explain deployment/springbootapp-v1 -n "+shop, contains("kubectl label namespace "+shop+" istio-injection=enabled")).show("Deployment "+shop+"/", "  Sidecar ", "What to change", "kubectl label"),
			do("outrigger disable "+shop+" --dry-run=client", contains("service/springbootapp: begins to receive traffic: v1", "(dry run)")).show("receive traffic: v1"),
		},
		right: "the reason, the command that changes it, and a dry run",
	},
}

// walk runs the steps until one fails.
func walk(ctx context.Context, s *stage) error {
	for _, step := range steps {
		s.heading(step.title)
		if step.text != "" {
			s.say("%s", step.text)
		}
		err := s.run(ctx, step.commands...)
		if err == nil && step.walk != nil {
			err = step.walk(ctx, s)
		}
		if err != nil {
			return fmt.Errorf("step %q: %w", step.title, err)
		}
		if step.right != "" {
			s.right(step.right)
		}
	}
	return nil
}
